//! `supervisor top`: findings, reapers, PID namespaces and events on a screen, of this host, a recording or all nodes.

use std::{
    io::{self, IsTerminal as _},
    os::fd::{AsFd as _, BorrowedFd},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use ratatui::{
    DefaultTerminal,
    crossterm::{
        event::{
            self, DisableMouseCapture, EnableMouseCapture, Event as Input, KeyCode, KeyEventKind,
            KeyModifiers, MouseButton, MouseEventKind,
        },
        execute,
    },
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use super::fleet::Nodes;
use crate::{
    clock,
    conclusions::Conclusions,
    config::Time,
    console::style,
    engine,
    exit::Exit,
    filter::Filter,
    fleet::FleetArgs,
    host::{Host as _, Proc},
    kernel::SimulatedLoss,
    observation::Observation,
    observer::{Grace, Observer},
    privileges,
    recording::Reader,
    redact::RedactArgs,
    report::text::Style,
    top::{
        self, Top, View,
        draw::{draw, line_at},
    },
    words::clean,
};

/// How often leftovers are looked for, and the size of the terminal.
const TICK: Duration = Duration::from_millis(250);
/// How often what is shown is made anew; and no more of the time than one in so many is spent on that.
const REFRESH: Duration = Duration::from_secs(1);
const SPARE: u32 = 30;
/// Lines that a page, and a turn of a mouse's wheel, are.
const PAGE: isize = 10;
const WHEEL: isize = 3;

/// Arguments of `supervisor top`.
#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    /// How long a process must be unreaped to be shown, such as 500ms, 1s or 2m
    #[arg(long, default_value = "1s", value_name = "TIME")]
    grace: Time,
    /// How long a process must be told to exit and not have exited to be shown, such as 5s
    #[arg(long, default_value = "5s", value_name = "TIME")]
    exit_grace: Time,
    /// Show a recording instead of this host, at the pace that it was made
    #[arg(long, value_name = "FILE", conflicts_with_all = ["grace", "exit_grace", "from"])]
    replay: Option<PathBuf>,
    /// So many times as fast
    #[arg(long, value_name = "TIMES", default_value_t = 1, requires = "replay")]
    speed: u32,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    redact: RedactArgs,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// Where it comes from.
enum Source {
    /// Observations, and what follows from them.
    Host(Box<Observer<Proc>>, Box<Conclusions>),
    Recording(Box<Played>, Box<Conclusions>),
    /// What other nodes have concluded.
    Fleet(Box<Nodes>),
}

/// A recording that is played.
struct Played {
    reader: Reader,
    next: Option<Observation>,
    started: Instant,
    /// The time of its first observation.
    first_ns: u64,
    speed: u32,
}

impl Source {
    /// What there is to be shown.
    fn view(&self) -> &dyn View {
        match self {
            Self::Host(_, conclusions) | Self::Recording(_, conclusions) => &**conclusions,
            Self::Fleet(nodes) => nodes.fleet(),
        }
    }

    /// Takes in what is so by now; returns when that is.
    fn tick(&mut self, screen: &mut Top) -> Result<u64> {
        match self {
            Self::Host(observer, conclusions) => {
                let mut seen = observer.drain();
                seen.extend(observer.tick()?);
                take(conclusions, screen, &seen);
                Ok(clock::now_ns())
            }
            Self::Recording(played, conclusions) => {
                let now_ns = played.first_ns + (played.started.elapsed() * played.speed).as_nanos() as u64;
                while let Some(due) = played.next.take_if(|it| it.at_ns <= now_ns) {
                    take(conclusions, screen, &[due]);
                    played.next = played.reader.next().transpose()?;
                }
                Ok(now_ns)
            }
            Self::Fleet(nodes) => {
                nodes.tick(screen);
                Ok(clock::now_ns())
            }
        }
    }

    /// Brings to now what changes without an event.
    fn recount(&mut self) {
        if let Self::Host(_, conclusions) | Self::Recording(_, conclusions) = self {
            conclusions.recount();
        }
    }
}

/// Shows it until it is left.
///
/// # Errors
///
/// If there is no terminal, or the kernel side cannot be started or read, or the recording cannot be read.
pub fn run(args: &TopArgs) -> Result<Exit> {
    ensure!(
        io::stdout().is_terminal() && io::stdin().is_terminal(),
        "top needs a terminal; for a program there are `supervisor watch -o json` and `supervisor ps -o json`"
    );
    engine::block_on(top(args))
}

async fn top(args: &TopArgs) -> Result<Exit> {
    let (mut stop, _) = engine::signals(false)?;
    let (mut source, mut screen) = start(args)?;
    let style = style();
    // It restores the terminal after a panic too.
    let mut terminal = ratatui::try_init().context("cannot use the terminal")?;
    let shown = show(&mut terminal, style, &mut stop, &mut source, &mut screen).await;
    if is_gone(io::stdin().as_fd())? {
        // It cannot be given back; that its drop fails to would be told to a standard error that is gone too, by a panic.
        std::mem::forget(terminal);
        return shown.map(|()| Exit::Ok);
    }
    let _ = execute!(io::stdout(), DisableMouseCapture);
    ratatui::restore();
    shown?;
    Ok(Exit::Ok)
}

/// Attaches the hooks, opens the recording, or begins to ask the broker.
fn start(args: &TopArgs) -> Result<(Source, Top)> {
    if args.fleet.is_given() {
        let nodes = Nodes::new(&args.fleet, &args.filter)?;
        let screen = Top::new(args.fleet.access().places());
        return Ok((Source::Fleet(Box::new(nodes)), screen));
    }
    let Some(file) = &args.replay else {
        let host = Proc::new().context("cannot read /proc")?;
        let identity = host.identity().clone();
        let grace_ns = args.grace.0.as_nanos() as u64;
        let grace = Grace { zombie_ns: grace_ns, exit_ns: args.exit_grace.0.as_nanos() as u64 };
        let redactor = args.redact.redactor()?;
        let mut observer = Observer::start(host, redactor, grace, false, SimulatedLoss::default())?;
        privileges::drop_all_but_needed(Some(observer.tracer()), &[])?;
        observer.host().replace_reader()?;
        let about = format!("{}  Linux {}", clean(&identity.hostname), clean(&identity.kernel));
        let conclusions = Conclusions::new(identity, grace_ns, args.filter.clone());
        return Ok((Source::Host(Box::new(observer), Box::new(conclusions)), Top::new(about)));
    };
    let mut reader = Reader::open(file)?;
    let header = reader.header().clone();
    let about = format!("recorded {:.0} on {}", header.recorded, clean(&header.host.hostname));
    let conclusions = Conclusions::new(header.host, header.grace_ns, args.filter.clone());
    let next = reader.next().transpose()?;
    let first_ns = next.as_ref().map_or(0, |it| it.at_ns);
    let played = Played { reader, next, started: Instant::now(), first_ns, speed: args.speed };
    Ok((Source::Recording(Box::new(played), Box::new(conclusions)), Top::new(about)))
}

fn take(conclusions: &mut Conclusions, screen: &mut Top, observations: &[Observation]) {
    for event in observations.iter().flat_map(|observation| conclusions.take(observation)) {
        screen.event(&event);
    }
}

async fn show(
    terminal: &mut DefaultTerminal,
    style: Style,
    stop: &mut watch::Receiver<bool>,
    source: &mut Source,
    screen: &mut Top,
) -> Result<()> {
    execute!(io::stdout(), EnableMouseCapture).context("cannot use the terminal")?;
    let keys = engine::poll(io::stdin().as_fd().try_clone_to_owned()?)?;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut refresh = Instant::now();
    loop {
        let mut is_changed = false;
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            ready = keys.readable() => ready.context("cannot poll the terminal")?.clear_ready(),
            _ = ticks.tick() => {
                let now_ns = source.tick(screen)?;
                if Instant::now() >= refresh {
                    let started = Instant::now();
                    source.recount();
                    screen.refresh(source.view(), now_ns);
                    refresh = started + REFRESH.max(started.elapsed() * SPARE);
                    is_changed = true;
                }
            }
        }
        if is_gone(io::stdin().as_fd())? {
            return Ok(());
        }
        while event::poll(Duration::ZERO).context("cannot read the terminal")? {
            is_changed = true;
            let input = event::read().context("cannot read the terminal")?;
            if let Some(key) = key_of(&input)
                && !screen.key(key, source.view())
            {
                return Ok(());
            }
        }
        if is_changed {
            terminal.draw(|frame| draw(frame, screen, style)).context("cannot write to the terminal")?;
        }
    }
}

/// Whether the terminal was closed: from one that was, crossterm reads for ever, and no signal would end that.
fn is_gone(terminal: BorrowedFd<'_>) -> Result<bool> {
    let mut terminal = [PollFd::from_borrowed_fd(terminal, PollFlags::empty())];
    poll(&mut terminal, Some(&Timespec::default())).context("cannot poll the terminal")?;
    Ok(terminal[0].revents().intersects(PollFlags::HUP | PollFlags::ERR))
}

/// What a key or a mouse asks for.
fn key_of(input: &Input) -> Option<top::Key> {
    use top::Key;

    match input {
        Input::Key(key) if key.kind != KeyEventKind::Release => Some(match key.code {
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Char('q'),
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
            MouseEventKind::Down(MouseButton::Left) => line_at(mouse.row).map(Key::Line),
            MouseEventKind::ScrollUp => Some(Key::Move(-WHEEL)),
            MouseEventKind::ScrollDown => Some(Key::Move(WHEEL)),
            _ => None,
        },
        _ => None,
    }
}
