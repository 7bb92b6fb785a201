//! The rules for a zombie that an ordinary wait of its parent does not get: F10, F14, F15.

use supervisor_model::{
    diagnosis::{Cause, Confidence, Prognosis},
    family::Family,
    finding::{LastWait, Reaper, WaitTarget},
    words::{clean, signal_name},
};

use super::{
    Verdict,
    advice::{remedy, sigkill, wont_help},
    case::{Case, Habit, name, tracer_name},
    facts::Fact,
};

const SIGCHLD: i32 = libc::SIGCHLD;
/// A reap that follows a peek comes within this time.
const SOON_NS: u64 = 1_000_000_000;

/// F10: a tracer has to collect the zombie, or the thread that it traces, before the real parent can.
pub(super) fn by_tracer(case: &Case<'_>) -> Option<Verdict> {
    let tracer = case.finding.tracer.as_ref()?;
    let reaper = case.reaper;
    let is_leader = tracer.tid == case.finding.process.pid;
    // The tracer is a thread, and `/proc` names that thread.
    let is_reaper = |reaper: &Reaper| {
        reaper.process.pid == tracer.pid || reaper.threads.iter().any(|thread| thread.tid == tracer.pid)
    };
    if is_leader && reaper.is_some_and(is_reaper) {
        // The tracer is also the parent: its wait collects the zombie for both.
        return None;
    }
    let who = tracer_name(tracer);
    let what =
        if is_leader { "traces it".to_owned() } else { format!("traces its dead thread {}", tracer.tid) };
    let for_whom =
        reaper.map(|reaper| format!(", and {} gets it only then", name(&reaper.process))).unwrap_or_default();
    let is_stopped = matches!(tracer.state, Some('T' | 't'));
    let (why, way_out) = if is_stopped {
        (", because it is stopped", format!("continue {who}: `kill -CONT {}`; or end it", tracer.pid))
    } else {
        ("", format!("let {who} wait, detach or end: detaching hands it back to its parent"))
    };
    Some(Verdict {
        family: Some(Family::F10),
        cause: Some(Cause::Traced),
        prognosis: Prognosis::Unknown,
        sentence: format!("{who} {what} and has not collected its exit{why}{for_whom}"),
        confidence: Confidence::High,
        cites: vec![Fact::Tracer, Fact::State],
        advice: vec![
            remedy(&[], way_out),
            sigkill(),
            wont_help(&[], "its parent's wait: the tracer comes first"),
        ],
    })
}

/// F14: only a wait with `__WALL` or `__WCLONE` reaps it. When an orphan is adopted, its exit signal becomes `SIGCHLD`
/// again.
pub(super) fn by_exit_signal(case: &Case<'_>) -> Option<Verdict> {
    let signal = case.finding.exit_signal.filter(|signal| *signal != SIGCHLD && *signal >= 0)?;
    let reaper = case.reaper?;
    let what = match signal {
        0 => "no exit signal".to_owned(),
        _ => format!(
            "exit signal {}",
            signal_name(signal as u8).map_or_else(|| signal.to_string(), str::to_owned)
        ),
    };
    let tries_all =
        reaper.last_wait.as_ref().is_some_and(|wait| wait.flags.iter().any(|flag| is_for_clones(flag)));
    Some(Verdict {
        family: Some(Family::F14),
        cause: Some(Cause::NarrowedWait),
        prognosis: if tries_all { Prognosis::Unknown } else { Prognosis::Leaked },
        sentence: format!(
            "it was cloned with {what} instead of SIGCHLD, and a plain wait of {} does not see it: only a wait with \
             __WALL or __WCLONE does",
            name(&reaper.process)
        ),
        confidence: if tries_all { Confidence::Medium } else { Confidence::High },
        cites: vec![Fact::ExitSignal, Fact::Waits],
        advice: vec![
            remedy(&[], format!("make {} wait with __WALL", clean(&reaper.process.name))),
            remedy(&[], "clone with SIGCHLD as the exit signal"),
            sigkill(),
            wont_help(&[], "ignoring SIGCHLD in the parent: it does not apply to this one"),
        ],
    })
}

fn is_for_clones(flag: &str) -> bool {
    matches!(flag, "__WALL" | "__WCLONE")
}

/// F15: a wait with `WNOWAIT` reports the exit and leaves the zombie.
pub(super) fn peeked_only(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    let wait = reaper.last_wait.as_ref().filter(|wait| wait.flags.contains(&"WNOWAIT"))?;
    // A wait without `WEXITED` only asks for the stops or continues of a child.
    if !wait.flags.contains(&"WEXITED") || matches!(case.habit(), Habit::After { .. }) {
        return None;
    }
    let finding = case.finding;
    // A call that does not block has reported the exit only if the exit was before the call.
    let is_before = wait.at_ns < finding.exit_ns.unwrap_or(finding.seen_ns);
    if is_before && (wait.flags.contains(&"WNOHANG") || finding.exit_ns.is_none()) {
        return None;
    }
    let (is_it, is_named) = targets(case, wait)?;
    if !is_it {
        return None;
    }
    // The reap may be about to follow.
    let is_old = finding.looked_ns.saturating_sub(wait.at_ns.max(finding.exit_ns.unwrap_or(0))) >= SOON_NS;
    let sentence = if is_named {
        format!(
            "{} has looked at its exit with WNOWAIT, which leaves the zombie, and has not waited for it since",
            name(&reaper.process)
        )
    } else {
        format!(
            "the last wait of {} was with WNOWAIT, which looks at an exit and leaves the zombie, and could have met \
             this one",
            name(&reaper.process)
        )
    };
    Some(Verdict {
        family: Some(Family::F15),
        cause: Some(Cause::Peeked),
        prognosis: if is_named && is_old { Prognosis::Leaked } else { Prognosis::Unknown },
        sentence,
        confidence: if is_named && is_old { Confidence::High } else { Confidence::Medium },
        cites: vec![Fact::Waits, Fact::State],
        advice: vec![
            remedy(
                &[],
                format!(
                    "make {} wait once more without WNOWAIT: a peek is not a reap",
                    clean(&reaper.process.name)
                ),
            ),
            sigkill(),
        ],
    })
}

/// Whether a wait may have been for this process, and whether it named it.
fn targets(case: &Case<'_>, wait: &LastWait) -> Option<(bool, bool)> {
    Some(match wait.target? {
        WaitTarget::Pid(pid) => (case.finding.pid_of_reaper == Some(pid), true),
        // It is not known which process a descriptor or a group means, nor which of several children the wait met.
        WaitTarget::Any | WaitTarget::PidFd(_) | WaitTarget::Pgid(_) => (true, false),
    })
}
