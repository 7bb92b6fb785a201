//! F24: the rule for a reaper that would reap if it got a processor, or if it finished its computation.

use supervisor_model::{
    diagnosis::{Cause, Confidence, Prognosis},
    facts::SigChld,
    family::Family,
    finding::Reaper,
};

use super::{
    Verdict,
    advice::{no_init, remedy, sigkill, wont_help},
    case::{BY_NAME, Case, Habit, name},
    facts::Fact,
};

/// A reaper that is busy for longer than this is not in a burst.
const LONG_NS: u64 = 60_000_000_000;

/// F24: the reaper's threads run or are runnable while a `SIGCHLD` is pending, or while a handler or a blocked mask
/// shows that the reaper takes it.
pub(super) fn starved(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    if !case.is_runnable() || matches!(case.habit(), Habit::After { .. }) {
        return None;
    }
    let is_handled = matches!(reaper.sigchld, Some(SigChld::Handled | SigChld::Blocked));
    if !reaper.sigchld_pending && !is_handled {
        return None;
    }
    // Its waits leave the zombie out, however much time it gets.
    if case.waits_leave_it_out() {
        return None;
    }
    // A reaper does not work on an orphan that it does not know.
    if case.is_own() == Some(false) && is_unknown_to_it(case) {
        return None;
    }
    let all_run = reaper.threads.iter().filter(|thread| thread.is_live()).all(|thread| thread.state == 'R');
    let main_runs = main_thread_runs(reaper) && comes_to_its_children(case);
    if !reaper.sigchld_pending && !all_run && !main_runs {
        return None;
    }
    let limit = reaper.cpu.filter(|cpu| cpu.throttled > 0).and_then(|cpu| cpu.limit_millis);
    let pending = if reaper.sigchld_pending { ", and a SIGCHLD is pending" } else { "" };
    let throttled = limit
        .map(|millis| format!("; its control group may use {} processors and was throttled", decimal(millis)))
        .unwrap_or_default();
    let mut advice = vec![remedy(&[], "wait: it has not had the time to reap yet")];
    if limit.is_some() {
        advice.push(remedy(
            &[],
            "give its control group more processor time (`cpu.max`, the container's CPU limit)",
        ));
    }
    advice.extend([
        sigkill(),
        wont_help(&[], "a signal to the reaper: it gets to no signal before it runs"),
        no_init(),
    ]);
    Some(Verdict {
        family: Some(Family::F24),
        cause: Some(Cause::Busy),
        // A reaper that runs for that long does not reap soon.
        prognosis: if limit.is_some() || case.waited_for_ns() < LONG_NS {
            Prognosis::Late
        } else {
            Prognosis::Unknown
        },
        sentence: format!(
            "{} must reap it and is busy: it runs or waits for a processor{pending}{throttled}",
            name(&reaper.process)
        ),
        confidence: if reaper.sigchld_pending || main_runs { Confidence::Medium } else { Confidence::Low },
        cites: vec![Fact::Reaper, Fact::ReaperState, Fact::SigChld],
        advice,
    })
}

/// Thousandths as a decimal number, with a third place only if it is needed.
fn decimal(millis: u64) -> String {
    let (whole, rest) = (millis / 1000, millis % 1000);
    if rest % 10 == 0 { format!("{whole}.{:02}", rest / 10) } else { format!("{whole}.{rest:03}") }
}

/// Whether the reaper waits only for children that it names, or waits for none and has reaped none.
fn is_unknown_to_it(case: &Case<'_>) -> bool {
    match case.habit() {
        Habit::Never { .. } => !case.reaps_others(),
        Habit::ByName => case.waits_only(BY_NAME),
        _ => false,
    }
}

/// Whether the first thread runs. An event loop is in the first thread, and helper threads sleep beside it.
fn main_thread_runs(reaper: &Reaper) -> bool {
    reaper.threads.iter().any(|thread| thread.tid == reaper.process.pid && thread.state == 'R')
}

/// Whether the reaper waits between two pieces of work: it has waited for any child, or asked for one without blocking.
/// In Go and Java a thread blocks in a wait for each child, and a busy thread does not keep that thread from its wait.
fn comes_to_its_children(case: &Case<'_>) -> bool {
    let polls = || {
        let wait = case.reaper.and_then(|reaper| reaper.last_wait.as_ref());
        wait.is_some_and(|wait| wait.flags.contains(&"WNOHANG"))
    };
    match case.habit() {
        Habit::Before { .. } => true,
        Habit::Never { .. } => case.got_sigchld_before_the_watch(),
        Habit::AskedForIt { exited: false, .. } | Habit::ByName => polls(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_limit_is_not_shown_as_none() {
        assert_eq!([1, 10, 505, 1500].map(decimal), ["0.001", "0.01", "0.505", "1.50"]);
    }
}
