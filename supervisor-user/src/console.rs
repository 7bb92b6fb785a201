//! Output for the person at the terminal: writing to standard output, colour, and the size of the terminal.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::OnceLock,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use supervisor_deliver::say::columns_of;
use supervisor_model::event::Event;
use supervisor_render::{
    Context, Format, encode,
    style::{COLUMNS, Colour, Style},
};

/// Writes to standard output. It is no error if the reader has closed the pipe.
///
/// # Errors
///
/// If standard output cannot be written for another reason.
pub fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Waits for `length`. Returns false as soon as nobody can read standard output any more.
///
/// # Errors
///
/// If the kernel does not let us wait.
pub fn wait_while_read(length: Duration) -> anyhow::Result<bool> {
    let stdout = io::stdout();
    // No event is requested: `poll` reports a reader that has gone away in any case.
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    let end = Instant::now() + length;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
        match poll(&mut fds, Some(&left)) {
            Err(Errno::INTR) => {}
            result => return Ok(result.context("cannot wait")? == 0),
        }
    }
}

/// When text is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Colouring {
    /// On a terminal, and not with `NO_COLOR` or `TERM=dumb`
    #[default]
    Auto,
    /// In any case
    Always,
    /// In no case
    Never,
}

/// The choice of the user.
static COLOURING: OnceLock<Colouring> = OnceLock::new();

/// Stores the choice of the user. Only the first call counts.
pub fn set_colouring(colouring: Colouring) {
    COLOURING.get_or_init(|| colouring);
}

/// Whether output to standard output is coloured.
#[must_use]
pub fn colour() -> Colour {
    colour_of(io::stdout().is_terminal())
}

/// Whether output to a stream is coloured. `is_terminal` says whether the stream is a terminal.
fn colour_of(is_terminal: bool) -> Colour {
    let is_coloured = match COLOURING.get().copied().unwrap_or_default() {
        Colouring::Always => true,
        Colouring::Never => false,
        Colouring::Auto => {
            let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            is_terminal && !plain && !is_dumb()
        }
    };
    if is_coloured { Colour::Always } else { Colour::Never }
}

/// Whether the terminal knows no escape codes.
#[must_use]
pub fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// The environment variable with the number of columns where standard output is no terminal. Other programs read it
/// too. `demo` sets it for the commands whose output it shows.
pub const COLUMNS_VARIABLE: &str = "COLUMNS";

/// How many columns the terminal has, if standard output is one. Otherwise the number in [`COLUMNS_VARIABLE`], if it
/// has one.
#[must_use]
pub fn columns() -> Option<usize> {
    columns_of(io::stdout()).or_else(|| std::env::var(COLUMNS_VARIABLE).ok()?.parse().ok())
}

/// How many lines the terminal has, if standard output is one.
#[must_use]
pub fn lines() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_row > 0).then_some(usize::from(size.ws_row))
}

/// How text is written to standard output.
#[must_use]
pub fn style() -> Style {
    Style { colour: colour(), columns: columns().map_or(COLUMNS, |it| it.min(COLUMNS)), is_ascii: !is_utf8() }
}

/// How text is written to standard error.
#[must_use]
pub fn style_of_stderr() -> Style {
    let columns = columns_of(io::stderr()).map_or(COLUMNS, |it| it.min(COLUMNS));
    Style { colour: colour_of(io::stderr().is_terminal()), columns, is_ascii: !is_utf8() }
}

/// Whether the locale has box-drawing characters.
#[must_use]
pub fn is_utf8() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|it| !it.is_empty()));
    locale.is_some_and(|it| it.to_ascii_lowercase().replace('-', "").ends_with("utf8"))
}

/// Writes the events of a one-shot scan to standard output.
#[derive(Debug)]
pub struct Printer {
    format: Format,
    context: Context,
    sequence: u64,
}

impl Printer {
    /// Makes a printer for events of this run.
    #[must_use]
    pub fn new(format: Format, context: Context) -> Self {
        Self { format, context, sequence: 0 }
    }

    /// Writes one event, in one write.
    ///
    /// # Errors
    ///
    /// If standard output cannot be written. A missing reader is no error.
    pub fn write(&mut self, event: &Event) -> anyhow::Result<()> {
        self.sequence += 1;
        print(&format!("{}\n", encode(event, &self.context, self.sequence, self.format, style())?))
    }
}
