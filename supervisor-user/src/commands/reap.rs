//! `supervisor reap`: frees zombies without ending their reaper.

mod agents;

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    time::Duration,
};

use agents::Agents;
use anyhow::{Context as _, Result};
use caps::Capability;
use clap::Args;
use supervisor_collect::{
    host::{Host as _, Proc},
    one_shot::OneShotScan,
};
use supervisor_conclude::{
    conclusions::Conclusions,
    decision::{decide, may_be_nudged},
};
use supervisor_deliver::say::say;
use supervisor_model::{
    arguments,
    clock::{self, Wall},
    decision::{Decision, Obstacle},
    event::{Event, EventKind},
    filter::Filter,
    finding::{Block, Finding},
    reaping::{ReapAttempt, ReapOutcome, ReapRequest, RequestedBy},
    redact::RedactArgs,
    values::Time,
    words::clean,
};
use supervisor_reap::{
    free::{Zombie, free, released},
    requester::requested_by_command,
    target::{Refused, Target, is_our_program},
};
use supervisor_render::{
    Context, Format, encode,
    reaping::{released_text, stops_text, text_of_all},
    style::Style,
};

use super::{one_look::say_reads_lost, unmatched::unknown_place};
use crate::{console::print, engine::context, exit::CommandExit};

/// The text about the exit codes, for the help.
pub(super) const EXIT_CODES: &str = "Exit codes: 0 all that were named are freed, or with --dry-run can be; 1 one or more are not: refused, \
not without --force, or it failed; 2 wrong usage, or nobody has confirmed it; 3 failed; 4 capabilities are missing; 5 this kernel lacks something.";
/// A zombie counts only if it stays for this long.
const GRACE: Duration = Duration::from_millis(200);
/// `CAP_KILL` is for SIGCHLD, `CAP_SYS_ADMIN` for the seccomp filters of a reaper and for the agents, `CAP_SYS_NICE` for a short stop on a
/// busy machine.
const ALSO_KEPT: [Capability; 3] =
    [Capability::CAP_KILL, Capability::CAP_SYS_ADMIN, Capability::CAP_SYS_NICE];

/// Free zombies by making their reaper wait for them. The reaper goes on as before, and was stopped for less than a millisecond.
///
/// Only zombies are freed that nobody will wait for: adopted, and by the diagnosis leaked. The diagnosis needs to have seen the waits of
/// the reaper, so let `supervisor watch` or `supervisor run` run beside it. --force frees others too.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(group = clap::ArgGroup::new("subject").required(true).multiple(true).args(["pids", "all", "pidns", "reaper"]))]
#[command(after_help = EXIT_CODES)]
pub struct ReapArgs {
    /// Zombies, by their host pids
    #[arg(value_name = "PID", id = "pids", value_parser = arguments::pid)]
    pids: Vec<u32>,
    /// All zombies that match the filters
    #[arg(long)]
    all: bool,
    /// Only zombies whose exit was seen and is this long ago
    #[arg(long, default_value = "0s", value_name = "TIME")]
    min_age: Time,
    /// Say what would be done and why, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Free those too that somebody may wait for; what may follow is printed
    #[arg(long)]
    force: bool,
    /// Do not send SIGCHLD first to a reaper that may answer it with a wait
    #[arg(long)]
    no_nudge: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
    /// How it is written to standard output
    ///
    /// json and ocsf: one audit event for each zombie (`supervisor schema ecs`, `ocsf`)
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    redact: RedactArgs,
}

/// Frees zombies. The exit code says whether all of them are released.
///
/// # Errors
///
/// If `/proc` or a map cannot be read, or standard output cannot be written.
pub fn run(args: &ReapArgs) -> Result<CommandExit> {
    let host = Proc::new().context("cannot read /proc")?;
    let redactor = args.redact.redactor()?;
    let mut scan = OneShotScan::new(&host, &redactor)?;
    scan.keep_capabilities(&ALSO_KEPT)?;
    host.replace_reader()?;
    if let Some(missing) = scan.missing() {
        say(&format!("supervisor: who must reap is known from /proc only: {missing}"));
    }
    let hooks = scan.hooks();
    let mut entries = decided(args, &host, &mut scan)?;
    say_reads_lost(&host);
    if entries.is_empty() {
        // A name that does not exist is a mistake, and no success.
        if let Some(unknown) = unknown_place(&mut scan, &host, &args.filter)? {
            say(&format!("nothing matches: {unknown}"));
            return Ok(CommandExit::Found);
        }
        say("nothing that matches is unreaped");
        return Ok(CommandExit::Ok);
    }
    let allowed = entries.iter().filter(|entry| entry.is_allowed(args.force)).count();
    let requested_by = requested_by_command();
    let (mut is_shown, mut stops) = (false, Stops::new());
    if !args.dry_run && allowed > 0 {
        if !args.yes {
            show(args, &entries)?;
            is_shown = true;
            if !is_confirmed(&entries, allowed, args.force)? {
                return Ok(CommandExit::Usage);
            }
        }
        stops = free_all(&host, &mut entries, args, &requested_by)?;
    }
    finish(args, &context(host.identity(), hooks), entries, &stops, &requested_by, is_shown)
}

/// The zombies that the arguments name, each with a decision, sorted by reaper.
fn decided(args: &ReapArgs, host: &Proc, scan: &mut OneShotScan<'_>) -> Result<Vec<ReapAttempt>> {
    // Zombies of nested namespaces block a namespace too, so the filter must not leave them out.
    let filter = Filter { pidns: None, ..args.filter.clone() };
    let mut conclusions = Conclusions::new(host.identity().clone(), GRACE.as_nanos() as u64, filter);
    scan.unreaped(GRACE, |observation| conclusions.note(observation))?;
    conclusions.recount();
    let mut entries: Vec<ReapAttempt> =
        conclusions.open().filter(|it| is_meant(args, it)).map(entry).collect();
    for &pid in &args.pids {
        if entries.iter().any(|entry| entry.finding.process.pid == pid) {
            continue;
        }
        let Some((evidence, _)) = scan.process(pid)? else {
            anyhow::bail!("there is no process {pid}: it was reaped, or never was");
        };
        let entry = entry(&conclusions.explain(&evidence));
        // Any other is a zombie that became one only a moment ago, or a filter leaves it out.
        if matches!(entry.decision, Decision::Refused(Obstacle::NotAZombie(_) | Obstacle::LiveThreads)) {
            entries.push(entry);
        }
    }
    entries.sort_by_key(|entry| (entry.reaper(), entry.finding.process.pid));
    refuse_where_no_wait_can_be_made(&mut entries);
    Ok(entries)
}

/// Checks in each reaper's files in `/proc` whether the reaper can be made to wait at all.
fn refuse_where_no_wait_can_be_made(entries: &mut [ReapAttempt]) {
    for of_one in entries.chunk_by_mut(|one, next| one.reaper() == next.reaper()) {
        let is_refused = |entry: &ReapAttempt| matches!(entry.decision, Decision::Refused(_));
        if of_one.iter().all(is_refused) {
            continue;
        }
        let reaper = of_one[0].reaper();
        let target =
            if is_our_program(reaper) { Err(Refused::Ourselves) } else { Target::open(reaper).map(drop) };
        if let Err(reason) = target {
            for entry in of_one.iter_mut().filter(|entry| !is_refused(entry)) {
                entry.decision = Decision::Refused(Obstacle::ReaperCannotWait(reason.to_string()));
            }
        }
    }
}

fn entry(finding: &Finding) -> ReapAttempt {
    ReapAttempt::new(finding.clone(), decide(finding))
}

/// Whether the arguments name this finding.
fn is_meant(args: &ReapArgs, finding: &Finding) -> bool {
    let min_age_ns = args.min_age.0.as_nanos() as u64;
    let is_old = min_age_ns == 0
        || finding.exit_ns.is_some_and(|exit_ns| clock::now_ns().saturating_sub(exit_ns) >= min_age_ns);
    let is_in = |ino: u32| {
        finding.pid_ns.as_ref().is_some_and(|ns| ns.ino == ino)
            || finding.blocks.iter().any(|it| it.ino == ino)
    };
    is_old
        && (args.pids.is_empty() || args.pids.contains(&finding.process.pid))
        && args.filter.pidns.is_none_or(is_in)
}

/// The entries, grouped by reaper. Reapers with a zombie that can be freed come first.
fn by_reaper(entries: &[ReapAttempt], is_forced: bool) -> Vec<&[ReapAttempt]> {
    let mut all: Vec<&[ReapAttempt]> = entries.chunk_by(|one, next| one.reaper() == next.reaper()).collect();
    all.sort_by_key(|of_one| !of_one.iter().any(|entry| entry.is_allowed(is_forced)));
    all
}

fn show(args: &ReapArgs, entries: &[ReapAttempt]) -> Result<()> {
    let of_one = |of_one: &[ReapAttempt]| text_of_all(&of_one.iter().collect::<Vec<_>>(), args.force);
    let text: String = by_reaper(entries, args.force).into_iter().map(of_one).collect();
    if args.output == Format::Text {
        return print(&text);
    }
    say(text.trim_end());
    Ok(())
}

/// Asks the person at the terminal.
fn is_confirmed(entries: &[ReapAttempt], allowed: usize, is_forced: bool) -> Result<bool> {
    if !io::stdin().is_terminal() {
        say(
            "supervisor: nothing was done: standard input is no terminal where it could be confirmed; give --yes",
        );
        return Ok(false);
    }
    let mut reapers: Vec<u32> =
        entries.iter().filter(|entry| entry.is_allowed(is_forced)).map(ReapAttempt::reaper).collect();
    reapers.dedup();
    let stopped = match reapers.len() {
        1 => format!("process {}, which is stopped for a moment", reapers[0]),
        count => format!("{count} processes, which are stopped for a moment"),
    };
    let mut terminal = io::stderr();
    write!(
        terminal,
        "Free {allowed} of {}? Their exit statuses are lost to {stopped}. [y/N] ",
        entries.len()
    )?;
    terminal.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    let is_yes = matches!(answer.trim(), "y" | "Y" | "yes");
    if !is_yes {
        say("supervisor: nothing was done");
    }
    Ok(is_yes)
}

/// For each reaper, the length of each stop.
type Stops = BTreeMap<u32, Vec<Duration>>;

/// How many zombies are announced to the agents at once.
const ANNOUNCED: usize = 1024;

/// Frees all zombies that may be freed, one reaper after the other. The agents of the host know it before, and get the
/// results.
fn free_all(
    host: &Proc,
    entries: &mut [ReapAttempt],
    args: &ReapArgs,
    requested_by: &RequestedBy,
) -> Result<Stops> {
    let mut agents = Agents::find();
    let mut allowed: Vec<&mut ReapAttempt> =
        entries.iter_mut().filter(|entry| entry.is_allowed(args.force)).collect();
    let mut stops = Stops::new();
    let mut signalled = HashSet::new();
    for announced in allowed.chunks_mut(ANNOUNCED) {
        agents.asked(requested_by, args.force, announced.iter().map(|entry| &**entry))?;
        for of_one in announced.chunk_by_mut(|one, next| one.reaper() == next.reaper()) {
            let reaper = of_one[0].reaper();
            let zombies: Vec<Zombie> = of_one.iter().map(|entry| Zombie::of(&entry.finding)).collect();
            let nudges = !args.no_nudge
                && of_one.iter().any(|entry| may_be_nudged(&entry.finding))
                && signalled.insert(reaper);
            let done = free(host, reaper, &zombies, nudges, &|| false);
            let results = done.outcomes.into_iter().zip(done.stopped_for);
            for (entry, (outcome, stopped_for)) in of_one.iter_mut().zip(results) {
                (entry.outcome, entry.stopped_for) = (Some(outcome), stopped_for);
                entry.is_nudged = done.is_nudged;
            }
            stops.entry(reaper).or_default().extend(done.stops);
            agents.done(of_one.iter().map(|entry| &**entry))?;
        }
    }
    agents.settle();
    Ok(stops)
}

/// Writes the outcomes, and the namespaces that are released by them.
fn finish(
    args: &ReapArgs,
    context: &Context,
    entries: Vec<ReapAttempt>,
    stops: &Stops,
    requested_by: &RequestedBy,
    is_shown: bool,
) -> Result<CommandExit> {
    let is_freed = |entry: &&ReapAttempt| entry.outcome.as_ref().is_some_and(ReapOutcome::is_freed);
    let free_again = released(entries.iter().filter(is_freed).map(|entry| &entry.finding));
    let is_done = |entry: &ReapAttempt| match &entry.outcome {
        Some(outcome) => outcome.is_freed(),
        None => args.dry_run && entry.is_allowed(args.force),
    };
    let exit = if entries.iter().all(is_done) { CommandExit::Ok } else { CommandExit::Found };
    if args.output == Format::Text {
        print(&text(args, &entries, stops, &free_again, is_shown))?;
        return Ok(exit);
    }
    for (sequence, entry) in (1..).zip(entries) {
        let is_blocked = |block: &&Block| entry.finding.blocks.iter().any(|it| it.ino == block.ino);
        let released = free_again.iter().filter(is_blocked).cloned().collect();
        let request =
            ReapRequest { entry, requested_by: requested_by.clone(), is_forced: args.force, released };
        let kind = EventKind::ReapRequested(Box::new(request));
        let event = Event { at_ns: clock::now_ns(), wall: Wall::now(), kind };
        print(&format!("{}\n", encode(&event, context, sequence, args.output, Style::PLAIN)?))?;
    }
    Ok(exit)
}

fn text(
    args: &ReapArgs,
    entries: &[ReapAttempt],
    stops: &Stops,
    free_again: &[Block],
    is_shown: bool,
) -> String {
    let mut out = String::new();
    for of_one in by_reaper(entries, args.force) {
        // An entry that was shown before the confirmation and was not tried is not shown again.
        let listed: Vec<&ReapAttempt> =
            of_one.iter().filter(|entry| entry.outcome.is_some() || !is_shown).collect();
        out.push_str(&text_of_all(&listed, args.force));
        if let Some(reaper) = &of_one[0].finding.reaper {
            let name = format!("{}[{}]", clean(&reaper.process.name), reaper.process.pid);
            out.extend(stops.get(&reaper.process.pid).and_then(|stops| stops_text(&name, stops)));
        }
    }
    let needs_force =
        |entry: &ReapAttempt| matches!(entry.decision, Decision::NeedsForce(_)) && entry.outcome.is_none();
    out.extend(free_again.iter().map(released_text));
    if !args.force && entries.iter().any(needs_force) {
        out.push_str("Those that need force are freed with --force; what stands below each may follow.\n");
    }
    out
}
