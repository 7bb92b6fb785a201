//! Derives the cause and the prognosis from the reaper's wait calls, if no other evidence explains them better.

use supervisor_model::{
    diagnosis::{Cause, Confidence, Prognosis},
    facts::Call,
};

use super::case::{Case, Habit};

/// A parent that has not waited for its own child yet may still do so within this time.
const SETTLED_NS: u64 = 60_000_000_000;
/// A longer sleep is no pause before a wait.
const LONG_SLEEP_NS: u64 = 600_000_000_000;
/// A reaper that was watched for less than this may still be one that waits in rounds.
const WATCHED_NS: u64 = 10_000_000_000;
/// A reaper that sleeps between its rounds must be watched for this many of its sleeps.
const SLEEPS: u64 = 2;

/// The cause by the reaper's waits alone. `None` if they do not show one.
pub(super) fn cause(case: &Case<'_>) -> Option<Cause> {
    let reaper = case.reaper?;
    Some(match case.habit() {
        Habit::Never { .. } if is_unseen(case) => Cause::Unseen,
        // It was not seen how the reaper missed this zombie.
        Habit::Never { .. } if case.got_sigchld_before_the_watch() => {
            return None;
        }
        Habit::Never { .. } => Cause::NeverWaits,
        Habit::ByName | Habit::AskedForIt { exited: false, .. } => Cause::WaitsByPid,
        Habit::Otherwise if case.is_for_another_group() => Cause::WaitsForGroup,
        Habit::Otherwise if case.narrowed().is_some() => Cause::NarrowedWait,
        Habit::Unknown if !reaper.ever_reaped && case.wait_that_it_is_in().is_none() => Cause::NeverWaits,
        Habit::Otherwise | Habit::Unknown => Cause::Unseen,
        Habit::Before { .. } if matches!(case.other_call(), Some(Call::Read { .. })) => Cause::Reading,
        Habit::Before { .. } | Habit::After { .. } | Habit::AskedForIt { exited: true, .. } => return None,
    })
}

/// Whether the reaper will still reap the zombie, if only the reaper's waits are known.
pub(super) fn prognosis(case: &Case<'_>) -> Prognosis {
    match cause(case) {
        // A wait before the exit says nothing about the next wait.
        Some(Cause::WaitsForGroup | Cause::NarrowedWait) => {
            let wait = case.reaper.and_then(|reaper| reaper.last_wait.as_ref());
            let is_after = wait.is_some_and(|wait| wait.at_ns >= case.zombie_ns());
            if is_after { Prognosis::Leaked } else { Prognosis::Unknown }
        }
        Some(Cause::NeverWaits | Cause::WaitsByPid) => {
            let is_sure = case.is_habit_sure() >= Some(Confidence::Medium);
            // A reaper that sleeps may wait when it wakes.
            let sleep_ns = case.longest_sleep_ns(LONG_SLEEP_NS).unwrap_or(0);
            let is_settled = case.waited_for_ns() >= SETTLED_NS.max(sleep_ns) && !case.is_runnable();
            match case.is_own() {
                // Nobody asks for an orphan by its pid. A reaper that has asked for no child yet may ask in rounds.
                Some(false) if is_sure && is_watched(case) => Prognosis::Leaked,
                // It is not known what the reaper does after that.
                _ if case.polls_others() || case.reads_unknown() || case.has_not_polled() => {
                    Prognosis::Unknown
                }
                _ if is_sure && is_settled => Prognosis::Leaked,
                _ => Prognosis::Unknown,
            }
        }
        _ => Prognosis::Unknown,
    }
}

/// Whether the reaper was watched for long enough to see its rounds. A `sleep 30` can be one round. A `sleep 600` does
/// not end within a minute, so it does not count.
fn is_watched(case: &Case<'_>) -> bool {
    let of_rounds = |round_ns: Option<u64>| (round_ns.unwrap_or(0) * SLEEPS).min(SETTLED_NS);
    match case.habit() {
        Habit::Never { for_ns } => for_ns >= of_rounds(case.longest_timeout_ns(SETTLED_NS)).max(WATCHED_NS),
        Habit::Unknown => false,
        // The reaper was seen to wait. It may also ask for any child, but only after a plain sleep.
        _ => case.waited_for_ns() >= of_rounds(case.longest_sleep_ns(SETTLED_NS)),
    }
}

/// Whether the reaper may wait without a wait call: through `io_uring`.
fn is_unseen(case: &Case<'_>) -> bool {
    case.reaper.is_some_and(|reaper| reaper.has_io_uring == Some(true)) || case.reaps_unseen()
}
