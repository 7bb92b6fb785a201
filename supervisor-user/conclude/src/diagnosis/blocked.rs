//! The rules for a reaper that cannot run: F11.

use supervisor_model::{
    diagnosis::{Cause, Confidence, Prognosis},
    facts::{Call, MAX_THREADS, SigChld},
    family::Family,
    finding::Reaper,
    words::clean,
};

use super::{
    Verdict,
    advice::{no_init, remedy, sigkill, stop_gap, wont_help},
    case::{Case, Habit, name, tracer_name},
    facts::Fact,
    namespace::thaw,
};

/// A state that may pass is sure only after it was seen for this long.
const LONG_NS: u64 = 1_500_000_000;
/// A lock that another process holds is released within this time.
const WORKED_NS: u64 = 60_000_000_000;

/// F11: all threads of the reaper are stopped, frozen, or in uninterruptible sleep.
#[expect(clippy::too_many_lines, reason = "one arm for each way in which a reaper cannot run")]
pub(super) fn reaper_cannot_run(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    let who = name(&reaper.process);
    let place = |wchan: Option<&str>| wchan.map(|it| format!(" in {}", clean(it))).unwrap_or_default();
    let (why, way_out, confidence) = if let Some(file) = &reaper.frozen {
        (
            "its control group is frozen".to_owned(),
            format!("thaw the control group: `{}`", thaw(file)),
            Confidence::High,
        )
    } else {
        let Held { state, wchan, all_seen } = common_state(reaper)?;
        let sure = if all_seen { Confidence::High } else { Confidence::Medium };
        match state {
            'T' => (
                "it is stopped".to_owned(),
                format!("continue it: `kill -CONT {}`", reaper.process.pid),
                sure,
            ),
            't' => match &reaper.tracer {
                Some(tracer) => {
                    let tracer = tracer_name(tracer);
                    (
                        format!("its tracer, {tracer}, has stopped it"),
                        format!("let {tracer} continue it or detach, or end {tracer}"),
                        sure,
                    )
                }
                None => (
                    "its tracer has stopped it".to_owned(),
                    "let the tracer continue it or detach".to_owned(),
                    sure,
                ),
            },
            // The reaper has run since, so its present sleep will pass, as each vfork does.
            'D' if waited_lately(case, reaper) => return None,
            'D' => {
                let is_vfork = wchan.is_some_and(|it| it.contains("vfork") || it.contains("kernel_clone"));
                let long = case.finding.looked_ns.saturating_sub(reaper.same_since_ns) >= LONG_NS;
                let what = if is_vfork {
                    format!("it waits for a vfork child to exec or exit{}", place(wchan))
                } else if long {
                    format!("it is in uninterruptible sleep{}", place(wchan))
                } else {
                    format!(
                        "it is in uninterruptible sleep{}, which was seen once and may have passed",
                        place(wchan)
                    )
                };
                let way_out = if is_vfork {
                    "find its vfork child, which shares its memory, and why that does not exec or exit"
                } else {
                    "find what it waits for there; if it is storage or a network mount, that is what hangs"
                };
                let confidence = match (long, is_vfork) {
                    (true, _) => sure,
                    (false, true) => Confidence::Medium,
                    // State D for a moment is ordinary.
                    (false, false) => Confidence::Low,
                };
                (what, way_out.to_owned(), confidence)
            }
            _ => return None,
        }
    };
    Some(Verdict {
        family: Some(Family::F11),
        cause: Some(Cause::CannotRun),
        prognosis: Prognosis::Unknown,
        sentence: format!("{who} must reap it and cannot run: {why}"),
        confidence,
        cites: vec![Fact::Reaper, Fact::ReaperState, Fact::Frozen],
        advice: vec![
            remedy(&[], way_out),
            sigkill(),
            wont_help(
                &[],
                format!(
                    "blaming {}: it is blocked, and may reap as soon as it runs",
                    clean(&reaper.process.name)
                ),
            ),
        ],
    })
}

/// F11 too: the reaper's only thread sleeps in a call until a lock, a peer, storage or space in a pipe is available.
pub(super) fn in_another_call(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    let call = case.only_call()?;
    // A program may also sleep in a futex between its children. So the futex counts only if the reaper has asked for
    // any child before, or is in its handler.
    let used_to_reap = matches!(case.habit(), Habit::Before { .. });
    let in_handler = is_in_handler(case);
    let is_at_a_lock = *call == Call::Futex && used_to_reap;
    if !(call.is_for_resource() || in_handler || is_at_a_lock) {
        return None;
    }
    // Nothing shows that it would get an orphan later, unless it waits for any child.
    let comes_to_it = case.is_own()? || used_to_reap;
    if !comes_to_it || case.is_runnable() || matches!(case.habit(), Habit::After { .. }) {
        return None;
    }
    let who = name(&reaper.process);
    let mut sentence = format!(
        "{who} must reap it and does not come to it: its only thread sleeps in {}",
        case.place_of(call)
    );
    let mut cites = vec![Fact::Reaper, Fact::ReaperState, Fact::Calls, Fact::Waits];
    let mut advice = vec![remedy(&[], find_it(reaper, call)), sigkill(), no_init()];
    if in_handler {
        sentence.push_str(
            ", while SIGCHLD is blocked, as it is in the handler of that signal: no other thread can release a lock",
        );
        cites.extend([Fact::SigChld, Fact::Mask]);
        advice.insert(1, remedy(&[], handler_takes_no_lock(&who)));
        advice.insert(2, stop_gap(case, reaper));
    }
    Some(Verdict {
        family: Some(Family::F11),
        cause: Some(Cause::CannotRun),
        prognosis: if in_handler && case.waited_for_ns() >= WORKED_NS {
            Prognosis::Leaked
        } else {
            Prognosis::Unknown
        },
        sentence,
        confidence: Confidence::Medium,
        cites,
        advice,
    })
}

/// Whether the reaper's only thread waits for a lock in its own SIGCHLD handler: the kernel blocks a signal while its
/// handler runs (`signal_delivered()`, `kernel/signal.c`).
pub(super) fn is_in_handler(case: &Case<'_>) -> bool {
    case.only_call() == Some(&Call::Futex)
        && case.reaper.is_some_and(|reaper| {
            reaper.sigchld == Some(SigChld::Blocked)
                && reaper.sigchld_caught == Some(true)
                && reaper.parent_blocks_sigchld.is_none()
        })
}

fn find_it(reaper: &Reaper, call: &Call) -> String {
    let who = name(&reaper.process);
    let pid = reaper.process.pid;
    if *call == Call::Futex {
        return format!(
            "find which lock or condition {who} waits for: `gdb -p {pid} -batch -ex bt` shows its calls"
        );
    }
    format!(
        "find what {who} waits for in that call: `cat /proc/{pid}/syscall` has its arguments, \
         `ls -l /proc/{pid}/fd` its files, /proc/locks who holds a lock"
    )
}

fn handler_takes_no_lock(who: &str) -> String {
    format!(
        "let the handler of {who} take no lock, and call nothing that takes one, such as `malloc` or `printf` \
         (signal-safety(7))"
    )
}

/// Whether the reaper made a wait call a moment ago, after the zombie had exited.
fn waited_lately(case: &Case<'_>, reaper: &Reaper) -> bool {
    let from_ns = case.zombie_ns().max(case.finding.looked_ns.saturating_sub(LONG_NS));
    reaper.last_wait.as_ref().is_some_and(|wait| wait.at_ns >= from_ns)
}

/// The state that keeps a reaper from running.
struct Held<'a> {
    state: char,
    wchan: Option<&'a str>,
    /// Whether all threads were inspected and are in that state.
    all_seen: bool,
}

/// The state of the reaper's living threads, if none of the inspected threads can run.
fn common_state(reaper: &Reaper) -> Option<Held<'_>> {
    let stuck = |state: char| matches!(state, 'D' | 'T' | 't');
    let mut live = reaper.threads.iter().filter(|thread| thread.is_live());
    let Some(first) = live.clone().next() else {
        let state = reaper.state.filter(|state| stuck(*state))?;
        return Some(Held { state, wchan: reaper.wchan.as_deref(), all_seen: true });
    };
    let same = live.clone().all(|thread| thread.state == first.state);
    let all_seen = same && reaper.threads.len() < MAX_THREADS;
    live.all(|thread| stuck(thread.state)).then_some(Held {
        state: first.state,
        wchan: first.wchan.as_deref(),
        all_seen,
    })
}
