//! `supervisor top`: findings, reapers, PID namespaces and events on a screen, of this host, a recording or all nodes.

mod reaping;
mod terminal;

use std::{
    io::{self, IsTerminal as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use ratatui::{DefaultTerminal, Frame};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use self::reaping::Reaping;
pub(super) use self::reaping::{REAPS, serve};
use supervisor_collect::{
    host::{Host as _, Proc},
    kernel::SimulatedLoss,
    observer::{Grace, Observer},
    privileges,
};
use supervisor_conclude::conclusions::Conclusions;
use supervisor_deliver::fleet::FleetArgs;
use supervisor_model::{
    clock, filter::Filter, observation::Observation, recording::RecordingReader, redact::RedactArgs,
    values::Time, words::clean,
};
use supervisor_render::style::Style;

use super::fleet::Nodes;
use crate::{
    console::{is_dumb, style},
    engine,
    exit::CommandExit,
    top::{Ask, Top, View, draw::draw},
};

/// How often the code searches for candidates, and reads the size of the terminal.
const TICK: Duration = Duration::from_millis(250);
/// How often the screen is refreshed while its content changes. Refreshing may take one part in `SPARE` of the time.
const REFRESH: Duration = Duration::from_secs(1);
const SPARE: u32 = 200;
/// The longest time between two refreshes: when only ages change, or when refreshing is slow.
const MAX_REFRESH: Duration = Duration::from_secs(5);
/// How often all findings are read again even if nothing has happened.
const LOOK: Duration = Duration::from_secs(30);
/// For this long after its beginning, a finding's age is shown in tenths of seconds.
const YOUNG_NS: u64 = 60_000_000_000;

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
    /// The factor by which the replay is faster than the recording
    #[arg(long, value_name = "TIMES", default_value_t = 1, requires = "replay")]
    speed: u32,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    redact: RedactArgs,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// The source of the content of the screen.
enum Source {
    /// Observations of this host, and the conclusions from them.
    Host(Box<Observer<Proc>>, Box<Conclusions>),
    Recording(Box<Played>, Box<Conclusions>),
    /// The conclusions of other nodes.
    Fleet(Box<Nodes>),
}

/// A recording that is played.
struct Played {
    reader: RecordingReader,
    next: Option<Observation>,
    started: Instant,
    /// The time of its first observation.
    first_ns: u64,
    speed: u32,
}

impl Source {
    /// The content that the screen shows.
    fn view(&self) -> &dyn View {
        match self {
            Self::Host(_, conclusions) | Self::Recording(_, conclusions) => &**conclusions,
            Self::Fleet(nodes) => nodes.fleet(),
        }
    }

    /// Reads everything up to the present. Returns the present time of the source, and whether something has happened.
    fn tick(&mut self, screen: &mut Top) -> Result<(u64, bool)> {
        match self {
            Self::Host(observer, conclusions) => {
                let mut seen = observer.drain();
                seen.extend(observer.tick()?);
                Ok((clock::now_ns(), take(conclusions, screen, &seen)))
            }
            Self::Recording(played, conclusions) => {
                let now_ns = played.first_ns + (played.started.elapsed() * played.speed).as_nanos() as u64;
                let mut is_news = false;
                while let Some(due) = played.next.take_if(|it| it.at_ns <= now_ns) {
                    is_news |= take(conclusions, screen, &[due]);
                    played.next = played.reader.next().transpose()?;
                }
                Ok((now_ns, is_news))
            }
            Self::Fleet(nodes) => {
                nodes.tick(screen);
                Ok((clock::now_ns(), true))
            }
        }
    }

    /// Updates the values that change without an event.
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
pub fn run(args: &TopArgs) -> Result<CommandExit> {
    ensure!(
        io::stdout().is_terminal() && io::stdin().is_terminal(),
        "top needs a terminal; for a program there are `supervisor watch -o json` and `supervisor ps -o json`"
    );
    ensure!(!is_dumb(), "top moves the cursor, and TERM is dumb: use `supervisor ps -n 2`");
    engine::block_on(top(args))
}

async fn top(args: &TopArgs) -> Result<CommandExit> {
    let (mut stop, _) = engine::signals(false)?;
    let mut session = start(args)?;
    let mut terminal = terminal::take()?;
    let shown = session.show(&mut terminal, style(), &mut stop).await;
    terminal::give_back(terminal)?;
    shown?;
    Ok(CommandExit::Ok)
}

/// All that belongs to a screen.
struct Session {
    source: Source,
    screen: Top,
    /// Frees zombies of this host.
    reaping: Option<Reaping>,
}

/// Attaches the hooks, opens the recording, or begins to ask the broker.
fn start(args: &TopArgs) -> Result<Session> {
    if args.fleet.is_given() {
        let nodes = Nodes::new(&args.fleet, &args.filter)?;
        let mut screen = Top::new(args.fleet.access().places());
        screen.no_reap = Some("this is another host: run `supervisor reap PID` there".to_owned());
        return Ok(Session { source: Source::Fleet(Box::new(nodes)), screen, reaping: None });
    }
    match &args.replay {
        Some(file) => start_recording(args, file),
        None => start_host(args),
    }
}

fn start_host(args: &TopArgs) -> Result<Session> {
    let host = Proc::new().context("cannot read /proc")?;
    let identity = host.identity().clone();
    let grace_ns = args.grace.0.as_nanos() as u64;
    let grace = Grace { zombie_ns: grace_ns, exit_ns: args.exit_grace.0.as_nanos() as u64 };
    let redactor = args.redact.redactor()?;
    let reaping = Reaping::start();
    let mut observer = Observer::start(host, redactor, grace, false, SimulatedLoss::default())?;
    privileges::drop_all_but_needed(Some(observer.programs_mut()), &[])?;
    observer.host().replace_reader()?;
    let about = format!("{}  Linux {}", clean(&identity.hostname), clean(&identity.kernel));
    let conclusions = Conclusions::new(identity, grace_ns, args.filter.clone());
    let mut screen = Top::new(about);
    if let Err(error) = &reaping {
        screen.no_reap =
            Some(format!("`supervisor reap` cannot be started here: {error}; run it in a shell"));
    }
    let source = Source::Host(Box::new(observer), Box::new(conclusions));
    Ok(Session { source, screen, reaping: reaping.ok() })
}

fn start_recording(args: &TopArgs, file: &Path) -> Result<Session> {
    let mut reader = RecordingReader::open(file)?;
    let header = reader.header().clone();
    let about = format!("recorded {:.0} on {}", header.recorded, clean(&header.host.hostname));
    let conclusions = Conclusions::new(header.host, header.grace_ns, args.filter.clone());
    let next = reader.next().transpose()?;
    let first_ns = next.as_ref().map_or(0, |it| it.at_ns);
    let played = Played { reader, next, started: Instant::now(), first_ns, speed: args.speed };
    let mut screen = Top::new(about);
    screen.no_reap = Some("this is a recording: its zombies are not here".to_owned());
    Ok(Session { source: Source::Recording(Box::new(played), Box::new(conclusions)), screen, reaping: None })
}

/// Processes observations. Returns whether an event has followed.
fn take(conclusions: &mut Conclusions, screen: &mut Top, observations: &[Observation]) -> bool {
    let mut is_news = false;
    for event in observations.iter().flat_map(|observation| conclusions.take(observation)) {
        screen.event(&event);
        is_news = true;
    }
    is_news
}

/// When to refresh the screen.
struct Refresh {
    /// At the latest.
    due: Instant,
    /// If something happens.
    soonest: Instant,
    /// When the findings are read again: at the next refresh if something has happened.
    look: Instant,
}

impl Session {
    /// Shows it until it is left.
    async fn show(
        &mut self,
        terminal: &mut DefaultTerminal,
        style: Style,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<()> {
        let keys = engine::poll(io::stdin().as_fd().try_clone_to_owned()?)?;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let now = Instant::now();
        let mut refresh = Refresh { due: now, soonest: now, look: now };
        loop {
            let mut is_changed = false;
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                ready = keys.readable() => ready.context("cannot poll the terminal")?.clear_ready(),
                _ = ticks.tick() => is_changed = self.tick(&mut refresh)?,
            }
            if terminal::is_gone(io::stdin().as_fd())? {
                return Ok(());
            }
            while let Some(input) = terminal::next()? {
                is_changed = true;
                let Some(key) = terminal::key_of(&input) else { continue };
                match self.screen.key(key, self.source.view()) {
                    Ask::Draw => {}
                    Ask::Quit => return Ok(()),
                    Ask::Suspend => terminal::suspend(terminal, self.screen.has_mouse())?,
                    Ask::Copy(text) => terminal::copy(&text)?,
                    Ask::Mouse(is_on) => terminal::report_mouse(is_on)?,
                    Ask::Reap(pid) => self.reap(pid),
                }
            }
            if is_changed {
                let (screen, view) = (&mut self.screen, self.source.view());
                let draw = |frame: &mut Frame<'_>| {
                    screen.prepare(view, frame.area().width);
                    draw(frame, screen, style);
                };
                terminal.draw(draw).context("cannot write to the terminal")?;
            }
        }
    }

    /// Processes everything since the last tick. Returns whether the content of the screen has changed.
    fn tick(&mut self, refresh: &mut Refresh) -> Result<bool> {
        let (now_ns, is_news) = self.source.tick(&mut self.screen)?;
        if is_news {
            refresh.due = refresh.due.min(refresh.soonest);
            refresh.look = refresh.due;
        }
        let answer = self.reaping.as_mut().and_then(Reaping::answer);
        let mut is_changed = answer.is_some();
        if let Some(answer) = answer {
            self.screen.answered(harmless(&answer));
        }
        let started = Instant::now();
        if started >= refresh.due {
            if started >= refresh.look {
                self.source.recount();
                self.screen.refresh(self.source.view(), now_ns);
                refresh.look = started + LOOK;
            } else {
                self.screen.pass(self.source.view(), now_ns);
            }
            refresh.soonest = started + (started.elapsed() * SPARE).clamp(REFRESH, MAX_REFRESH);
            let is_calm = !self.screen.is_younger_than(YOUNG_NS);
            refresh.due = if is_calm { started + MAX_REFRESH } else { refresh.soonest };
            is_changed = true;
        }
        Ok(is_changed)
    }

    /// Requests that a zombie is freed, or says why that is not possible.
    fn reap(&mut self, pid: u32) {
        if let Source::Host(_, conclusions) = &mut self.source {
            let zombie = conclusions.open_by_id().find(|(id, _)| id.tgid == pid).map(|(id, _)| *id);
            if let Some(zombie) = zombie {
                conclusions.is_being_freed(&zombie);
            }
        }
        let asked = self.reaping.as_mut().map(|reaping| reaping.ask(pid));
        if let Some(Err(error)) = asked {
            self.screen.note(format!("`supervisor reap` does not run any more ({error}): run it in a shell"));
        }
    }
}

/// The lines of an answer, without characters that could control the terminal.
fn harmless(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}
