//! One sentence for an event: it stands alone in a log.

use super::words::{clean, duration, signal_name};
use crate::finding::{Event, EventKind, Exit, Finding, Loss, Reaper, WaitTarget};

/// The sentence.
#[must_use]
pub(super) fn sentence(event: &Event) -> String {
    match &event.kind {
        EventKind::Detected(finding) | EventKind::State(finding) => unreaped(finding, event.at_ns),
        EventKind::Existing(finding) => {
            format!("{}; it had exited before supervisor started", unreaped(finding, event.at_ns))
        }
        EventKind::Reaped { finding, dwell_ns } => {
            let after =
                dwell_ns.map(|dwell| format!(" {} after its exit", duration(dwell))).unwrap_or_default();
            format!("{} was reaped{after}", subject(finding))
        }
        EventKind::Lost(loss) => lost(loss, event.at_ns),
    }
}

fn unreaped(finding: &Finding, now_ns: u64) -> String {
    let how = finding.exit.map_or_else(|| "exited".to_owned(), exit);
    let since = finding
        .exit_ns
        .map(|exit_ns| format!(" {} ago", duration(now_ns.saturating_sub(exit_ns))))
        .unwrap_or_default();
    let whom = finding
        .reaper
        .as_ref()
        .map(|reaper| format!(": only {} can reap it", reaper_clause(reaper, now_ns)))
        .unwrap_or_default();
    format!("{} {how}{since} and is not reaped{whom}", subject(finding))
}

/// The process, and what it is.
fn subject(finding: &Finding) -> String {
    let process = &finding.process;
    let of = match (&finding.runtime, &finding.container) {
        (Some(runtime), Some(container)) => {
            let verb = runtime.verb.as_deref().map(|verb| format!(" {}", clean(verb))).unwrap_or_default();
            format!(
                ", {} of `{}{verb}` for container {}",
                runtime.stage.describe(),
                clean(&runtime.name),
                clean(&container.id)
            )
        }
        (_, Some(container)) => format!(", of container {}", clean(&container.id)),
        _ => String::new(),
    };
    let end = if of.is_empty() { "" } else { "," };
    format!("{} (pid {}){of}{end}", clean(&process.name), process.pid)
}

fn reaper_clause(reaper: &Reaper, now_ns: u64) -> String {
    let mut clauses = Vec::new();
    match (reaper.adopted, reaper.created) {
        (Some(true), _) => clauses.push("which adopted it".to_owned()),
        (Some(false), Some(true)) => clauses.push("which created it".to_owned()),
        (Some(false), _) => clauses.push("which has been its parent since the fork".to_owned()),
        (None, _) => {}
    }
    if let Some(wait) = &reaper.last_wait {
        clauses.push(format!(
            "which last waited {} ago{}",
            duration(now_ns.saturating_sub(wait.at_ns)),
            wait.target.map(|target| format!(" for {}", target_words(target))).unwrap_or_default()
        ));
    } else if let Some(since_ns) = reaper.never_waited_since_ns {
        clauses.push(format!(
            "which has not waited in the {} of watching",
            duration(now_ns.saturating_sub(since_ns))
        ));
    }
    let clauses = match clauses.as_slice() {
        [] => String::new(),
        [one] => format!(", {one},"),
        [first, second, ..] => format!(", {first} and {},", second.trim_start_matches("which ")),
    };
    format!("{} (pid {}){clauses}", clean(&reaper.process.name), reaper.process.pid)
}

/// How a process ended.
#[must_use]
pub(super) fn exit(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exited with status {code}"),
        Exit::Signal { number, core_dumped } => {
            let core = if core_dumped { ", core dumped" } else { "" };
            let name = signal_name(number).map_or_else(|| number.to_string(), str::to_owned);
            format!("was killed by {name}{core}")
        }
    }
}

/// For whom a wait call waits.
#[must_use]
pub(super) fn target_words(target: WaitTarget) -> String {
    match target {
        WaitTarget::Any => "any child".to_owned(),
        WaitTarget::Pid(pid) => format!("pid {pid}"),
        WaitTarget::Pgid(0) => "its process group".to_owned(),
        WaitTarget::Pgid(pgid) => format!("process group {pgid}"),
        WaitTarget::PidFd(fd) => format!("pidfd {fd}"),
    }
}

fn lost(loss: &Loss, now_ns: u64) -> String {
    let mut parts = Vec::new();
    for (count, what) in [
        (loss.exits, "exits that the table of unreaped processes had no room for"),
        (loss.reaps, "reaps that were not seen, or that the event ring had no room for"),
        (loss.records, "fork, exec or wait records that could not be stored"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    let what = if parts.is_empty() { "reaps that were not told".to_owned() } else { parts.join(", ") };
    format!(
        "events were lost in the last {}: {what}; the resync found {} unknown unreaped processes and closed {} findings",
        duration(now_ns.saturating_sub(loss.since_ns)),
        loss.found,
        loss.closed
    )
}
