//! The terminal of `supervisor top`: reads keys and the mouse, and sends control sequences.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
};

use anyhow::{Context as _, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use ratatui::{
    DefaultTerminal, Terminal,
    backend::CrosstermBackend,
    crossterm::{
        Command,
        event::{
            self, DisableMouseCapture, EnableMouseCapture, Event as Input, KeyCode, KeyEventKind,
            KeyModifiers, MouseButton, MouseEventKind,
        },
        execute,
        terminal::{EnterAlternateScreen, enable_raw_mode},
    },
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Signal, kill_current_process_group},
};

use crate::top::Key;

/// The number of lines of a page, and of a turn of the mouse wheel.
const PAGE: isize = 10;
const WHEEL: isize = 3;

/// Begins to use the terminal. A panic restores it too.
pub(super) fn take() -> Result<DefaultTerminal> {
    let terminal = ratatui::try_init().context("cannot use the terminal")?;
    report_mouse(true)?;
    Ok(terminal)
}

/// Restores the terminal.
pub(super) fn give_back(terminal: DefaultTerminal) -> Result<()> {
    if is_gone(io::stdin().as_fd())? {
        // The terminal cannot be restored. Its drop would fail, report that to a standard error that is gone too, and
        // panic.
        std::mem::forget(terminal);
        return Ok(());
    }
    let _ = execute!(io::stdout(), DisableMouseCapture);
    ratatui::restore();
    Ok(())
}

/// Whether the terminal was closed. crossterm would read from a closed terminal for ever, and no signal would end that.
pub(super) fn is_gone(terminal: BorrowedFd<'_>) -> Result<bool> {
    let mut terminal = [PollFd::from_borrowed_fd(terminal, PollFlags::empty())];
    poll(&mut terminal, Some(&Timespec::default())).context("cannot poll the terminal")?;
    Ok(terminal[0].revents().intersects(PollFlags::HUP | PollFlags::ERR))
}

/// Sets whether the mouse selects and scrolls in `top`. If not, the terminal itself handles the mouse.
pub(super) fn report_mouse(is_on: bool) -> Result<()> {
    let done = if is_on {
        execute!(io::stdout(), EnableMouseCapture)
    } else {
        execute!(io::stdout(), DisableMouseCapture)
    };
    done.context("cannot use the terminal")
}

/// Restores the terminal and stops this job, as a shell expects after Ctrl-Z. Returns when the shell continues the job.
pub(super) fn suspend(terminal: &mut DefaultTerminal, has_mouse: bool) -> Result<()> {
    report_mouse(false)?;
    ratatui::try_restore().context("cannot give the terminal back")?;
    // The signal goes to the whole job, because a shell waits for the first process of the job, such as `sudo` or a
    // script. If no shell could continue the job, the kernel ignores the signal.
    kill_current_process_group(Signal::TSTP).context("cannot stop")?;
    enable_raw_mode().context("cannot use the terminal")?;
    execute!(io::stdout(), EnterAlternateScreen).context("cannot use the terminal")?;
    if has_mouse {
        report_mouse(true)?;
    }
    // The alternate screen is empty now, so everything must be drawn again. `clear()` would ask the terminal for its
    // cursor position, and wait for the answer among the keys.
    *terminal = Terminal::new(CrosstermBackend::new(io::stdout())).context("cannot use the terminal")?;
    Ok(())
}

/// Asks the terminal to copy a text (OSC 52). The terminal does not report whether it did.
pub(super) fn copy(text: &str) -> Result<()> {
    struct Copy<'a>(&'a str);
    impl Command for Copy<'_> {
        fn write_ansi(&self, f: &mut impl std::fmt::Write) -> std::fmt::Result {
            write!(f, "\x1b]52;c;{}\x07", BASE64_STANDARD.encode(self.0))
        }
    }
    execute!(io::stdout(), Copy(text)).context("cannot write to the terminal")
}

/// The next key or movement of the mouse, if there is one.
pub(super) fn next() -> Result<Option<Input>> {
    if !event::poll(std::time::Duration::ZERO).context("cannot read the terminal")? {
        return Ok(None);
    }
    event::read().map(Some).context("cannot read the terminal")
}

/// The request of a key or of the mouse.
pub(super) fn key_of(input: &Input) -> Option<Key> {
    match input {
        Input::Key(key) if key.kind != KeyEventKind::Release => Some(match key.code {
            KeyCode::Char(c) if key.modifiers.contains(KeyModifiers::CONTROL) => match c {
                'c' | 'd' => Key::Char('q'),
                'z' => Key::Suspend,
                _ => return None,
            },
            KeyCode::Char(c) => Key::Char(c),
            KeyCode::Backspace => Key::Backspace,
            KeyCode::Enter => Key::Enter,
            KeyCode::Esc => Key::Escape,
            KeyCode::Tab | KeyCode::Right => Key::Tab,
            KeyCode::BackTab | KeyCode::Left => Key::BackTab,
            KeyCode::Up => Key::Move(-1),
            KeyCode::Down => Key::Move(1),
            KeyCode::PageUp => Key::Move(-PAGE),
            KeyCode::PageDown => Key::Move(PAGE),
            KeyCode::Home => Key::First,
            KeyCode::End => Key::Last,
            _ => return None,
        }),
        Input::Mouse(mouse) => match mouse.kind {
            MouseEventKind::Down(MouseButton::Left) => Some(Key::Line(mouse.row)),
            MouseEventKind::ScrollUp => Some(Key::Move(-WHEEL)),
            MouseEventKind::ScrollDown => Some(Key::Move(WHEEL)),
            _ => None,
        },
        _ => None,
    }
}
