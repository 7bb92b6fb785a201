//! F11: the reaper cannot run.

use super::{
    Confidence, Family, Verdict,
    case::{Case, SIGKILL, name},
    facts::Fact,
};
use crate::{finding::Reaper, words::clean};

/// For a state that passes by, how long it must have been seen to be sure of it.
const LONG_NS: u64 = 1_500_000_000;

/// F11: stopped, frozen, or in uninterruptible sleep, with all its threads.
pub(super) fn reaper_cannot_run(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    let who = name(&reaper.process);
    let place = |wchan: Option<&str>| wchan.map(|it| format!(" in {}", clean(it))).unwrap_or_default();
    let (why, remedy, confidence) = if let Some(file) = &reaper.frozen {
        (
            "its control group is frozen".to_owned(),
            format!("thaw the control group: {} says that it is frozen", clean(file)),
            Confidence::High,
        )
    } else {
        let (state, wchan) = common_state(reaper)?;
        match state {
            'T' => (
                "it is stopped".to_owned(),
                format!("continue it: `kill -CONT {}`", reaper.process.pid),
                Confidence::High,
            ),
            't' => (
                "its tracer has stopped it".to_owned(),
                "let the tracer continue it or detach".to_owned(),
                Confidence::High,
            ),
            'D' => {
                let is_vfork = wchan.is_some_and(|it| it.contains("vfork") || it.contains("kernel_clone"));
                let what = if is_vfork {
                    format!("it waits for a vfork child to exec or exit{}", place(wchan))
                } else {
                    format!("it is in uninterruptible sleep{}", place(wchan))
                };
                let remedy = if is_vfork {
                    "find its vfork child, which shares its memory, and why that does not exec or exit"
                } else {
                    "find what it waits for there; if it is storage or a network mount, that is what hangs"
                };
                let long = case.finding.looked_ns.saturating_sub(reaper.same_since_ns) >= LONG_NS;
                (what, remedy.to_owned(), if long { Confidence::High } else { Confidence::Medium })
            }
            _ => return None,
        }
    };
    Some(Verdict {
        family: Some(Family::F11),
        sentence: format!("{who} must reap it and cannot run: {why}"),
        confidence,
        cites: vec![Fact::Reaper, Fact::ReaperState, Fact::Frozen],
        remedies: vec![remedy],
        wont_help: vec![
            SIGKILL.to_owned(),
            format!(
                "blaming {}: it is blocked, and may reap as soon as it runs",
                clean(&reaper.process.name)
            ),
        ],
    })
}

/// The state that all its living threads are in, if they cannot run in it.
fn common_state(reaper: &Reaper) -> Option<(char, Option<&str>)> {
    let stuck = |state: char| matches!(state, 'D' | 'T' | 't');
    let mut live = reaper.threads.iter().filter(|thread| thread.is_live()).peekable();
    if live.peek().is_none() {
        return reaper.state.filter(|state| stuck(*state)).map(|state| (state, reaper.wchan.as_deref()));
    }
    let first = *live.peek()?;
    live.all(|thread| stuck(thread.state)).then_some((first.state, first.wchan.as_deref()))
}
