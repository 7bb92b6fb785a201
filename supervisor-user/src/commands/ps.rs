//! `supervisor ps`: lists everything that is unreaped now.

pub(super) mod screen;
mod summary;
mod tree;

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, Result};
use clap::Args;
use supervisor_collect::{
    host::{Host as _, Proc},
    one_shot::OneShotScan,
};
use supervisor_conclude::{conclusions::Conclusions, diagnosis::in_full};
use supervisor_deliver::{fleet::FleetArgs, say::say};
use supervisor_model::{
    arguments,
    clock::{self, Wall},
    event::{Event, EventKind},
    filter::Filter,
    finding::{BlockedNamespace, Finding},
    redact::RedactArgs,
    values::Time,
    words::in_ascii,
};
use supervisor_render::{Format, groups, style::Colour};

use self::screen::screen;
use super::{
    fleet,
    listing::Listing,
    one_look::{conclude, say_reads_lost},
    unmatched::{unknown_place, without_filter},
};
use crate::{
    console::{self, Printer, colour, is_dumb, is_utf8, print, wait_while_read},
    engine::context,
    exit::CommandExit,
};

/// The properties of the terminal, or of the output that replaces it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terminal {
    /// The number of columns; `None` if it is not known.
    pub(super) columns: Option<usize>,
    /// The number of lines; `None` if the output does not go to a person at a terminal.
    pub(super) lines: Option<usize>,
    pub(super) colour: Colour,
}

/// The times from which ages and growth are counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) now_ns: u64,
    /// The time since which a watch has seen every exit; `None` if no watch runs.
    pub(super) watched_since_ns: Option<u64>,
}

/// List what is unreaped now.
#[derive(Args, Clone, Debug)]
pub struct PsArgs {
    /// Only these processes, by their host pids
    #[arg(value_name = "PID", value_parser = arguments::pid, conflicts_with = "from")]
    pids: Vec<u32>,
    /// How long a zombie must stay to be listed: every process is one for a moment
    #[arg(long, default_value = "200ms", value_name = "TIME")]
    grace: Time,
    /// How long a process must be told to exit and not have exited to be listed. If there is one of unknown age, the list
    /// waits that long
    #[arg(long, default_value = "5s", value_name = "TIME")]
    exit_grace: Time,
    /// How the list is written to standard output
    #[arg(short, long, default_value = "text", value_name = "FORMAT")]
    output: Format,
    /// The same as `-o json`
    #[arg(long, conflicts_with = "output")]
    json: bool,
    #[command(flatten)]
    shape: ShapeArgs,
    #[command(flatten)]
    listing: Listing,
    /// List again and again, so often
    #[arg(short = 'n', long, value_name = "TIME")]
    every: Option<Time>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    redact: RedactArgs,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// What is made of many zombies.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "List")]
struct ShapeArgs {
    /// A line for each reaper and cause. A terminal gets this by itself if the list is longer than the terminal
    #[arg(long, conflicts_with_all = ["from", "columns", "sort", "all", "tree"])]
    summary: bool,
    /// Zombies below their reapers and containers
    #[arg(long, conflicts_with_all = ["from", "columns", "sort"])]
    tree: bool,
    /// A line for each zombie, also if these are more than the terminal has
    #[arg(short, long, conflicts_with = "from")]
    all: bool,
}

/// The form of the list of zombies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A line for each zombie; or a summary, if the terminal has too few lines.
    Fitting,
    /// A line for each zombie.
    All,
    /// A line for each reaper and cause.
    Summary,
    /// Zombies below their reapers and containers: some of each kind, or all.
    Tree { all: bool },
}

impl ShapeArgs {
    fn shape(&self) -> Shape {
        match self {
            Self { tree: true, all, .. } => Shape::Tree { all: *all },
            Self { summary: true, .. } => Shape::Summary,
            Self { all: true, .. } => Shape::All,
            _ => Shape::Fitting,
        }
    }
}

/// Lists. The exit code says whether there is anything.
///
/// # Errors
///
/// If `/proc`, or with `--from` the broker, cannot be read, or standard output cannot be written.
pub fn run(args: &PsArgs) -> Result<CommandExit> {
    if args.fleet.is_given() {
        return repeat(args.every, || {
            fleet::list(&args.fleet, &args.filter, args.output(), &args.listing, args.screen_start())
        });
    }
    let host = Proc::new().context("cannot read /proc")?;
    let redactor = args.redact.redactor()?;
    let mut scan = OneShotScan::new(&host, &redactor)?;
    scan.give_up_capabilities()?;
    host.replace_reader()?;
    if let Some(missing) = scan.missing() {
        say(&format!(
            "supervisor: subreaper flags, cgroup v1 paths and other users' exit statuses are not known: {missing}"
        ));
    }
    repeat(args.every, || list(args, &host, &mut scan))
}

/// Lists once, or repeatedly until nobody reads the output.
fn repeat(every: Option<Time>, mut list: impl FnMut() -> Result<CommandExit>) -> Result<CommandExit> {
    loop {
        let found = list()?;
        let Some(every) = every else { return Ok(found) };
        if !wait_while_read(every.0)? {
            return Ok(found);
        }
    }
}

impl PsArgs {
    fn output(&self) -> Format {
        if self.json { Format::Ecs } else { self.output }
    }

    /// The beginning of a list: a repeated list on a terminal first clears the screen.
    fn screen_start(&self) -> &'static str {
        let clears = self.every.is_some() && io::stdout().is_terminal() && !is_dumb();
        if clears { "\x1b[H\x1b[2J" } else { "" }
    }

    fn wants(&self, pid: u32) -> bool {
        self.pids.is_empty() || self.pids.contains(&pid)
    }

    fn is_filtered(&self) -> bool {
        self.filter != Filter::default() || !self.pids.is_empty()
    }
}

/// Lists once.
fn list(args: &PsArgs, host: &Proc, scan: &mut OneShotScan<'_>) -> Result<CommandExit> {
    let conclusions = conclude(scan, host, args.grace.0, args.exit_grace.0, &args.filter)?;
    let mut findings: Vec<&Finding> = conclusions.open().collect();
    groups::sort(&mut findings);
    let mut namespaces: Vec<&BlockedNamespace> = conclusions.namespaces().collect();
    namespaces.sort_by_key(|namespace| namespace.init.process.pid);
    let mut exits: Vec<&Finding> = conclusions.exits().collect();
    exits.sort_by_key(|finding| finding.process.pid);
    let all = findings.len() + namespaces.len() + exits.len();
    findings.retain(|it| args.wants(it.process.pid));
    namespaces.retain(|it| args.wants(it.init.process.pid));
    exits.retain(|it| args.wants(it.process.pid));
    let found = Found { findings: &findings, namespaces: &namespaces, exits: &exits };
    say_reads_lost(host);
    match args.output() {
        Format::Text => print_screen(args, &found, &conclusions)?,
        format => print_json(format, &found, host, scan.hooks())?,
    }
    if found.is_empty() {
        let others = conclusions.unwanted() + all;
        say(&nothing(others, args.is_filtered(), unknown_place(scan, host, &args.filter)?));
    }
    Ok(if found.is_empty() { CommandExit::Ok } else { CommandExit::Found })
}

/// The content of the list.
pub(super) struct Found<'a> {
    /// Zombies, the most urgent first.
    pub(super) findings: &'a [&'a Finding],
    /// PID namespaces that cannot end.
    pub(super) namespaces: &'a [&'a BlockedNamespace],
    /// Processes that cannot exit.
    pub(super) exits: &'a [&'a Finding],
}

impl Found<'_> {
    fn is_empty(&self) -> bool {
        self.findings.is_empty() && self.namespaces.is_empty() && self.exits.is_empty()
    }
}

/// Says why nothing is listed.
fn nothing(others: usize, is_filtered: bool, unknown: Option<String>) -> String {
    match unknown {
        Some(unknown) => format!("nothing matches: {unknown}; {}", without_filter(others)),
        None if !is_filtered => "nothing is unreaped".to_owned(),
        None => format!("nothing that matches is unreaped; {}", without_filter(others)),
    }
}

fn print_json(format: Format, found: &Found<'_>, host: &Proc, hooks: Option<&'static str>) -> Result<()> {
    let mut printer = Printer::new(format, context(host.identity(), hooks));
    let zombies = found.findings.iter().map(|finding| EventKind::State(Box::new(in_full(finding))));
    let blocked = found
        .namespaces
        .iter()
        .map(|it| EventKind::Blocked { namespace: Box::new((*it).clone()), again: false });
    let exits =
        found.exits.iter().map(|it| EventKind::ExitBlocked { finding: Box::new(in_full(it)), again: false });
    for kind in zombies.chain(blocked).chain(exits) {
        let event = Event { at_ns: clock::now_ns(), wall: Wall::now(), kind };
        printer.write(&event)?;
    }
    Ok(())
}

fn print_screen(args: &PsArgs, found: &Found<'_>, conclusions: &Conclusions) -> Result<()> {
    let lines = if io::stdout().is_terminal() { console::lines().or(Some(usize::MAX)) } else { None };
    let terminal = Terminal { columns: console::columns(), lines, colour: colour() };
    let times = Times { now_ns: clock::now_ns(), watched_since_ns: conclusions.watched_since_ns() };
    let text = screen(found, args.shape.shape(), &args.listing, times, terminal);
    let text = if is_utf8() { text } else { in_ascii(&text) };
    print(&format!("{}{text}", args.screen_start()))
}
