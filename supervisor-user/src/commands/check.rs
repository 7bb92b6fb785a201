//! `supervisor check`: the state of the host in one line, for monitoring systems.
//!
//! Its exit codes are those of monitoring plugins, so they differ from the codes of the other commands.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};
use clap::Args;
use supervisor_collect::{
    host::{Host as _, Proc, ReadsLost},
    one_shot::OneShotScan,
};
use supervisor_model::{
    arguments, clock,
    diagnosis::Prognosis,
    filter::Filter,
    finding::{BlockedNamespace, Finding},
    redact::Redactor,
    values::Time,
    words::{clean, duration},
};

use super::{
    one_look::conclude,
    unmatched::{unknown_place, without_filter},
};
use crate::console::print;

/// The meaning of the exit codes and of the line.
pub(super) const EXIT_CODES: &str = "Exit codes: 0 OK; 1 WARNING; 2 CRITICAL: too many, a PID namespace cannot end, or a process was told to exit and cannot; \
3 UNKNOWN: it could not be checked, a filter names a container, pod or PID namespace that is not there, or wrong usage. Performance data: unreaped, leaked and late (of these), blocked (PID namespaces), stuck (processes that cannot exit), oldest \
(seconds, if known).";
/// A zombie counts only if it stays for this long.
const GRACE: Duration = Duration::from_millis(200);
/// The most reapers that the line names.
const NAMED: usize = 3;

/// Tell monitoring systems how many processes are unreaped: one line, exit code 0, 1, 2 or 3.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct CheckArgs {
    /// WARNING from this many unreaped processes on; those that will go away by themselves (late) do not count
    #[arg(short, long, default_value_t = 1, value_name = "COUNT", value_parser = arguments::count)]
    warning: u64,
    /// CRITICAL from this many on
    #[arg(short, long, default_value_t = 10, value_name = "COUNT", value_parser = arguments::count)]
    critical: u64,
    /// Count only those that are unreaped for this long. How long is known only while `supervisor watch` runs; of
    /// others, those count that were started that long ago
    #[arg(long, default_value = "1m", value_name = "TIME")]
    min_age: Time,
    /// How long a process must be told to exit and not have exited to count. If there is one of unknown age, the check
    /// waits that long
    #[arg(long, default_value = "5s", value_name = "TIME")]
    exit_grace: Time,
    #[command(flatten)]
    filter: Filter,
}

/// A plugin's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CheckState {
    /// All is well.
    Ok = 0,
    /// Somebody should inspect the host.
    Warning = 1,
    /// Somebody must inspect the host.
    Critical = 2,
    /// The check failed.
    Unknown = 3,
}

impl CheckState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// Checks and prints the line.
#[must_use]
pub fn run(args: &CheckArgs) -> CheckState {
    let (state, line) =
        check(args).unwrap_or_else(|error| (CheckState::Unknown, clean(&format!("{error:#}"))));
    report(state, &line)
}

/// Prints the line of a plugin. Returns [`CheckState::Unknown`] if standard output cannot be written.
#[must_use]
pub fn report(state: CheckState, line: &str) -> CheckState {
    match print(&plugin_line(state, line)) {
        Ok(()) => state,
        Err(_) => CheckState::Unknown,
    }
}

pub(super) fn plugin_line(state: CheckState, line: &str) -> String {
    format!("SUPERVISOR {} - {line}\n", state.as_str())
}

fn check(args: &CheckArgs) -> Result<(CheckState, String)> {
    let host = Proc::new().context("cannot read /proc")?;
    let redactor = Redactor::default();
    let mut scan = OneShotScan::new(&host, &redactor)?;
    scan.give_up_capabilities()?;
    host.replace_reader()?;
    let conclusions = conclude(&mut scan, &host, GRACE, args.exit_grace.0, &args.filter)?;
    let now_ns = clock::now_ns();
    let min_age_ns = args.min_age.0.as_nanos() as u64;
    let old: Vec<&Finding> = conclusions.open().filter(|it| may_be_older(it, now_ns, min_age_ns)).collect();
    let blocked: Vec<&BlockedNamespace> =
        conclusions.namespaces().filter(|it| may_be_older(&it.init, now_ns, min_age_ns)).collect();
    let stuck: Vec<&Finding> =
        conclusions.exits().filter(|it| may_be_older(it, now_ns, min_age_ns)).collect();
    if old.is_empty()
        && blocked.is_empty()
        && stuck.is_empty()
        && let Some(unknown) = unknown_place(&mut scan, &host, &args.filter)?
    {
        return Ok((CheckState::Unknown, format!("{unknown}; {}", without_filter(conclusions.unwanted()))));
    }
    let (state, line) =
        judge(args, &old, &Critical { blocked: &blocked, stuck: &stuck }, scan.missing(), now_ns);
    Ok(with_reads_lost(state, line, host.reads_lost()))
}

/// Adds the number of lost reads. If not all processes could be read, OK becomes UNKNOWN.
fn with_reads_lost(state: CheckState, line: String, lost: ReadsLost) -> (CheckState, String) {
    let count = lost.late + lost.skipped;
    if count == 0 {
        return (state, line);
    }
    let state = if state == CheckState::Ok { CheckState::Unknown } else { state };
    // The performance data stays last.
    let note = format!(" ({count} reads of other processes were late or left out) | ");
    (state, line.replacen(" | ", &note, 1))
}

/// Findings that are CRITICAL even if there is only one.
pub(super) struct Critical<'a> {
    /// PID namespaces that cannot end.
    pub(super) blocked: &'a [&'a BlockedNamespace],
    /// Processes that cannot exit.
    pub(super) stuck: &'a [&'a Finding],
}

/// The state, and the line without its beginning. `missing` says why the check did not search for PID namespaces that
/// cannot end and processes that cannot exit.
pub(super) fn judge(
    args: &CheckArgs,
    old: &[&Finding],
    critical: &Critical<'_>,
    missing: Option<&str>,
    now_ns: u64,
) -> (CheckState, String) {
    // A late zombie goes away by itself, so nobody has to act.
    let late = old.iter().filter(|it| it.diagnosis.prognosis == Prognosis::Late).count();
    let counts = (critical.blocked.len(), critical.stuck.len());
    let state = state(args, (old.len() - late) as u64, counts.0 + counts.1);
    let mut line = sentence(args, old, critical);
    if let Some(missing) = missing {
        line = format!(
            "{line} (PID namespaces that cannot end, and processes that cannot exit, were not looked for: {})",
            clean(missing)
        );
    }
    // Without a search there is no number.
    let counts = missing.is_none().then_some(counts);
    (state, format!("{line} | {}", performance(args, old, counts, now_ns)))
}

fn state(args: &CheckArgs, unreaped: u64, critical: usize) -> CheckState {
    if critical > 0 || unreaped >= args.critical {
        CheckState::Critical
    } else if unreaped >= args.warning {
        CheckState::Warning
    } else {
        CheckState::Ok
    }
}

/// Whether the process may have been unreaped, or told to exit, for that long. If the time of the exit is not known,
/// the start of the process is the earliest possible time.
fn may_be_older(finding: &Finding, now_ns: u64, min_age_ns: u64) -> bool {
    let told_ns = finding.ending.as_ref().and_then(|ending| ending.since_ns);
    let since_ns = told_ns.or(finding.exit_ns).or(finding.process.start_ns).unwrap_or(0);
    now_ns.saturating_sub(since_ns) >= min_age_ns
}

fn sentence(args: &CheckArgs, old: &[&Finding], critical: &Critical<'_>) -> String {
    // There may be younger zombies, which `ps` lists.
    let min_age = (!args.min_age.0.is_zero())
        .then(|| format!(" for {} or longer", duration(args.min_age.0.as_nanos() as u64)));
    let mut line = match (old.len(), &min_age) {
        (0, Some(min_age)) => format!("no process is unreaped{min_age}"),
        (0, None) => "no unreaped process".to_owned(),
        (1, _) => "1 unreaped process".to_owned(),
        (count, _) => format!("{count} unreaped processes"),
    };
    let counted: Vec<String> = [Prognosis::Leaked, Prognosis::Late]
        .into_iter()
        .map(|prognosis| (prognosis, with(old, prognosis)))
        .filter(|(_, count)| *count > 0)
        .map(|(prognosis, count)| format!("{count} {}", prognosis.as_str()))
        .collect();
    if !counted.is_empty() {
        line = format!("{line} ({})", counted.join(", "));
    }
    if let Some(min_age) = min_age.filter(|_| !old.is_empty()) {
        line.push_str(&min_age);
    }
    // For each reaper: whether one of its zombies blocks something, and the number of its zombies.
    let mut reapers: BTreeMap<(u32, String, &str), (bool, u64)> = BTreeMap::new();
    for finding in old {
        let (pid, name) = finding
            .reaper
            .as_ref()
            .map_or((0, "not known".to_owned()), |it| (it.process.pid, clean(&it.process.name)));
        let family = finding.diagnosis.family.map_or("no family", supervisor_model::family::Family::id);
        let (blocks, count) = reapers.entry((pid, name, family)).or_default();
        *blocks |= !finding.blocks.is_empty();
        *count += 1;
    }
    let mut reapers: Vec<_> = reapers.into_iter().collect();
    reapers.sort_by_key(|(_, urgency)| std::cmp::Reverse(*urgency));
    let named: Vec<String> = reapers
        .iter()
        .take(NAMED)
        .map(|((pid, name, family), (_, count))| format!("{count} of {name}[{pid}] ({family})"))
        .collect();
    if !named.is_empty() {
        line = format!("{line}: {}", named.join(", "));
    }
    if reapers.len() > NAMED {
        let more = reapers.len() - NAMED;
        line = format!("{line} and {more} more reaper{}", if more == 1 { "" } else { "s" });
    }
    for namespace in critical.blocked.iter().take(NAMED) {
        line = format!("{line}; {}", namespace.diagnosis.verdict);
    }
    for finding in critical.stuck.iter().take(NAMED) {
        let process = &finding.process;
        line = format!(
            "{line}; {} (pid {}) cannot exit: {}",
            clean(&process.name),
            process.pid,
            finding.diagnosis.verdict
        );
    }
    // A `|` would begin the performance data.
    line.replace('|', "/")
}

/// The number of findings with this prognosis.
fn with(old: &[&Finding], prognosis: Prognosis) -> usize {
    old.iter().filter(|it| it.diagnosis.prognosis == prognosis).count()
}

fn performance(args: &CheckArgs, old: &[&Finding], critical: Option<(usize, usize)>, now_ns: u64) -> String {
    let oldest = old.iter().filter_map(|finding| finding.exit_ns).min();
    let oldest = oldest.map(|exit_ns| format!(" oldest={}s", now_ns.saturating_sub(exit_ns) / 1_000_000_000));
    let critical = critical.map(|(blocked, stuck)| format!(" blocked={blocked};;1;0 stuck={stuck};;1;0"));
    format!(
        "unreaped={};{};{};0 leaked={};;;0 late={};;;0{}{}",
        old.len(),
        args.warning,
        args.critical,
        with(old, Prognosis::Leaked),
        with(old, Prognosis::Late),
        critical.unwrap_or_default(),
        oldest.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_reads_turn_ok_into_unknown() {
        let line = || "no unreaped process | unreaped=0;1;10;0".to_owned();
        let read = ReadsLost::default();
        assert_eq!(with_reads_lost(CheckState::Ok, line(), read), (CheckState::Ok, line()));
        let lost = ReadsLost { late: 1, skipped: 2, stuck: 0 };
        let expected =
            "no unreaped process (3 reads of other processes were late or left out) | unreaped=0;1;10;0";
        assert_eq!(with_reads_lost(CheckState::Ok, line(), lost), (CheckState::Unknown, expected.to_owned()));
        assert_eq!(with_reads_lost(CheckState::Critical, line(), lost).0, CheckState::Critical);
    }
}
