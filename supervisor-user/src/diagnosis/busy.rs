//! F24: the reaper would come to it if it got a processor, or finished what it computes.

use super::{
    Cause, Confidence, Family, Prognosis, Verdict,
    advice::{no_init, remedy, sigkill, wont_help},
    case::{Case, Habit, name},
    facts::Fact,
};
use crate::host::SigChld;

/// For longer than this it is no burst.
const LONG_NS: u64 = 60_000_000_000;

/// F24: its threads run or are runnable while a `SIGCHLD` is pending, or a handler has to do with it.
pub(super) fn starved(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    if !case.is_runnable() || matches!(case.habit(), Habit::After { .. }) {
        return None;
    }
    let is_handled = matches!(reaper.sigchld, Some(SigChld::Handled | SigChld::Blocked));
    if !reaper.sigchld_pending && !is_handled {
        return None;
    }
    let all_run = reaper.threads.iter().filter(|thread| thread.is_live()).all(|thread| thread.state == 'R');
    if !reaper.sigchld_pending && !all_run {
        return None;
    }
    let limit = reaper.cpu.filter(|cpu| cpu.throttled > 0).and_then(|cpu| cpu.limit_millis);
    let pending = if reaper.sigchld_pending { ", and a SIGCHLD is pending" } else { "" };
    let throttled = limit
        .map(|millis| {
            format!(
                "; its control group may use {}.{:02} processors and was throttled",
                millis / 1000,
                millis % 1000 / 10
            )
        })
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
        // Who runs for that long does not come to it soon.
        prognosis: if limit.is_some() || case.waited_for_ns() < LONG_NS {
            Prognosis::Late
        } else {
            Prognosis::Unknown
        },
        sentence: format!(
            "{} must reap it and is busy: it runs or waits for a processor{pending}{throttled}",
            name(&reaper.process)
        ),
        confidence: if reaper.sigchld_pending { Confidence::Medium } else { Confidence::Low },
        cites: vec![Fact::Reaper, Fact::ReaperState, Fact::SigChld],
        advice,
    })
}
