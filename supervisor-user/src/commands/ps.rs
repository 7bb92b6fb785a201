//! `supervisor ps`: what is unreaped now.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::Args;

use super::{
    fleet,
    listing::Listing,
    table::{named, table, unknown},
    unmatched::{unknown_place, without_filter},
};
use crate::{
    clock::{self, Wall},
    conclusions::Conclusions,
    config::Time,
    console::{Printer, colour, print, say, wait_while_read},
    diagnosis::in_full,
    engine::context,
    exit::Exit,
    filter::Filter,
    finding::{BlockedNamespace, Event, EventKind, Finding},
    fleet::FleetArgs,
    glance::Glance,
    host::{Host as _, Proc, ReadsLost},
    redact::RedactArgs,
    report::{
        Format,
        columns::{Column, EXITS, exit_cells},
        text::Colour,
    },
};

/// List what is unreaped now.
#[derive(Args, Clone, Debug)]
pub struct PsArgs {
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
    #[command(flatten)]
    listing: Listing,
    /// List again and again, so often
    #[arg(long, value_name = "TIME")]
    every: Option<Time>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    redact: RedactArgs,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// Lists; the exit code says whether there is anything.
///
/// # Errors
///
/// If `/proc`, or with `--from` the broker, cannot be read, or standard output cannot be written.
pub fn run(args: &PsArgs) -> Result<Exit> {
    if args.fleet.is_given() {
        return repeat(args.every, || {
            fleet::list(&args.fleet, &args.filter, args.output, &args.listing, args.screen_start())
        });
    }
    let host = Proc::new().context("cannot read /proc")?;
    let redactor = args.redact.redactor()?;
    let mut glance = Glance::new(&host, &redactor)?;
    glance.give_up_capabilities()?;
    host.replace_reader()?;
    if let Some(missing) = glance.missing() {
        say(&format!(
            "supervisor: subreaper flags, cgroup v1 paths and other users' exit statuses are not known: {missing}"
        ));
    }
    repeat(args.every, || list(args, &host, &mut glance))
}

/// Lists once, or again and again until nobody reads it.
fn repeat(every: Option<Time>, mut list: impl FnMut() -> Result<Exit>) -> Result<Exit> {
    loop {
        let found = list()?;
        let Some(every) = every else { return Ok(found) };
        if !wait_while_read(every.0)? {
            return Ok(found);
        }
    }
}

impl PsArgs {
    /// What a list begins with: one of many on a terminal begins at the top of an empty screen.
    fn screen_start(&self) -> &'static str {
        if self.every.is_some() && io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" }
    }
}

/// Lists once.
fn list(args: &PsArgs, host: &Proc, glance: &mut Glance<'_>) -> Result<Exit> {
    let conclusions = conclude(glance, host, args.grace.0, args.exit_grace.0, &args.filter)?;
    let mut findings: Vec<&Finding> = conclusions.open().collect();
    findings.sort_by_key(|finding| {
        (finding.reaper.as_ref().map(|reaper| reaper.process.pid), finding.process.pid)
    });
    let mut namespaces: Vec<&BlockedNamespace> = conclusions.namespaces().collect();
    namespaces.sort_by_key(|namespace| namespace.init.process.pid);
    let mut exits: Vec<&Finding> = conclusions.exits().collect();
    exits.sort_by_key(|finding| finding.process.pid);
    let found = Found { findings: &findings, namespaces: &namespaces, exits: &exits };
    say_reads_lost(host);
    match args.output {
        Format::Text => print_tables(args, &found)?,
        format => print_json(format, &found, host, glance.hooks())?,
    }
    let is_empty = findings.is_empty() && namespaces.is_empty() && exits.is_empty();
    if is_empty {
        say(&nothing(&conclusions, &args.filter, unknown_place(glance, host, &args.filter)?));
    }
    Ok(if is_empty { Exit::Ok } else { Exit::Found })
}

/// What is listed.
struct Found<'a> {
    findings: &'a [&'a Finding],
    namespaces: &'a [&'a BlockedNamespace],
    /// Processes that cannot exit.
    exits: &'a [&'a Finding],
}

/// Says why nothing is listed.
fn nothing(conclusions: &Conclusions, filter: &Filter, unknown: Option<String>) -> String {
    match (unknown, conclusions.unwanted()) {
        (Some(unknown), others) => format!("nothing matches: {unknown}; {}", without_filter(others)),
        (None, _) if *filter == Filter::default() => "nothing is unreaped".to_owned(),
        (None, others) => format!("nothing that matches is unreaped; {}", without_filter(others)),
    }
}

/// Says so if other processes were not read.
pub(super) fn say_reads_lost(host: &Proc) {
    let ReadsLost { late, skipped, .. } = host.reads_lost();
    if late + skipped > 0 {
        say(&format!(
            "supervisor: {late} reads of other processes took too long, and {skipped} were left out for that reason: \
             arguments and containers may be missing"
        ));
    }
}

/// What is unreaped now, and what was told to exit and cannot, concluded.
pub(super) fn conclude(
    glance: &mut Glance<'_>,
    host: &Proc,
    grace: Duration,
    exit_grace: Duration,
    filter: &Filter,
) -> Result<Conclusions> {
    let mut conclusions = Conclusions::new(host.identity().clone(), grace.as_nanos() as u64, filter.clone());
    glance.unreaped(grace, |observation| conclusions.note(observation))?;
    glance.stuck(exit_grace, |observation| conclusions.note(observation))?;
    conclusions.recount();
    Ok(conclusions)
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

fn print_tables(args: &PsArgs, found: &Found<'_>) -> Result<()> {
    let Found { findings, namespaces, exits } = *found;
    let mut out = args.screen_start().to_owned();
    if !findings.is_empty() {
        args.listing.list(&mut out, findings, colour());
    }
    // Who chooses columns reads a list of processes by a program.
    if !namespaces.is_empty() && !args.listing.is_chosen() {
        if !findings.is_empty() {
            out.push('\n');
        }
        blocked_table(&mut out, namespaces, colour());
    }
    if !exits.is_empty() && !args.listing.is_chosen() {
        if !out.is_empty() {
            out.push('\n');
        }
        exits_table(&mut out, exits, clock::now_ns(), colour());
    }
    print(&out)
}

/// Writes the list of PID namespaces that cannot end.
pub(super) fn blocked_table(out: &mut String, namespaces: &[&BlockedNamespace], colour: Colour) {
    let header = ["BLOCKED PID NS", "PID 1", "STATE", "HELD BY", "CONTAINER"];
    table(out, &header, namespaces.iter().map(|namespace| namespace_row(namespace)), colour);
}

/// Writes the list of processes that cannot exit.
pub(super) fn exits_table(out: &mut String, exits: &[&Finding], now_ns: u64, colour: Colour) {
    table(out, &EXITS, exits.iter().map(|finding| exit_cells(finding, now_ns)), colour);
}

fn namespace_row(namespace: &BlockedNamespace) -> [String; 5] {
    let init = &namespace.init;
    let held: Vec<String> = namespace
        .blockers
        .iter()
        .map(|it| format!("{} {}", named(&it.name, it.pid), it.kind.as_str()))
        .collect();
    [
        init.pid_ns.as_ref().map_or_else(unknown, |ns| ns.ino.to_string()),
        named(&init.process.name, init.process.pid),
        init.state.to_string(),
        held.join(", "),
        Column::Container.cell(init, init.looked_ns),
    ]
}
