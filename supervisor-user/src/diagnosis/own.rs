//! What a reaper does that can run: it loses one, comes late, or never waits. F17, F18, F4.

use super::{
    Confidence, Family, Verdict,
    case::{Case, Habit, SIGKILL, about, name},
    facts::Fact,
};
use crate::words::clean;

/// A round that is later than this many of the last gap is no round any more.
const OVERDUE: u64 = 2;
/// And this much is never late.
const SLACK_NS: u64 = 1_000_000_000;

/// F17: it waited for any child while this one was there to be got, and got another.
pub(super) fn lost_sigchld(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    if case.habit() != Habit::After || !case.reaps_others() {
        return None;
    }
    let exit_ns = case.finding.exit_ns.unwrap_or(case.finding.seen_ns);
    let after = reaper.reaped.is_some_and(|(_, at_ns)| at_ns > exit_ns) || reaper.reaped_since > Some(0);
    Some(Verdict {
        family: Some(Family::F17),
        sentence: format!(
            "{} waited for any child after this one had exited, got another, and did not ask again: signals of \
             several exits become one SIGCHLD, and one wait for each loses the rest",
            name(&reaper.process)
        ),
        confidence: if after { Confidence::High } else { Confidence::Medium },
        cites: vec![Fact::Waits, Fact::Exit, Fact::ReapedOthers],
        remedies: vec![format!(
            "make {} loop on SIGCHLD: `while (waitpid(-1, &status, WNOHANG) > 0)`",
            clean(&reaper.process.name)
        )],
        wont_help: vec![SIGKILL.to_owned()],
    })
}

/// F18: it waits for any child in rounds, and the next is not due yet.
pub(super) fn late_reaper(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    let Habit::Before { ago_ns, gap_ns: Some(gap_ns) } = case.habit() else { return None };
    if ago_ns > OVERDUE * gap_ns + SLACK_NS {
        return None;
    }
    Some(Verdict {
        family: Some(Family::F18),
        sentence: format!(
            "{} waits for its children only now and then, the last two times {} apart: it will get this one in its \
             next round, and nothing has leaked",
            name(&reaper.process),
            about(gap_ns)
        ),
        confidence: Confidence::High,
        cites: vec![Fact::Waits, Fact::Exit],
        remedies: vec![format!(
            "if that is too late, make {} wait when SIGCHLD comes",
            clean(&reaper.process.name)
        )],
        wont_help: vec![SIGKILL.to_owned()],
    })
}

/// F4: its own child, for which it does not wait. An init helps orphans only.
pub(super) fn never_waits(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    if case.is_own() != Some(true) {
        return None;
    }
    let (what, confidence) = match case.habit() {
        Habit::Never => ("has made no wait call".to_owned(), Confidence::High),
        Habit::ByName => ("waits only for other children, which it names".to_owned(), Confidence::High),
        Habit::Before { ago_ns, gap_ns: Some(_) } => {
            (format!("has stopped waiting: the last time was {} ago", about(ago_ns)), Confidence::Medium)
        }
        Habit::Before { .. } => {
            ("has not waited for any child since it exited".to_owned(), Confidence::Medium)
        }
        Habit::Unknown if !reaper.ever_reaped => {
            ("has never collected a child, as far as its accounts show".to_owned(), Confidence::Medium)
        }
        // It waited for any child and did not get this one, nor any other: that is not this.
        Habit::After => return None,
        Habit::Unknown => ("has not waited for it".to_owned(), Confidence::Low),
    };
    let confidence = if case.is_seen_own() { confidence } else { confidence.min(Confidence::Medium) };
    let created = if reaper.created == Some(false) { "is its parent" } else { "created it" };
    Some(Verdict {
        family: Some(Family::F4),
        sentence: format!("{} {created} and {what}", name(&reaper.process)),
        confidence,
        cites: vec![Fact::Descent, Fact::Waits, Fact::ReapedOthers],
        remedies: vec![
            format!("make {} wait for its children: only it can reap them", clean(&reaper.process.name)),
            format!(
                "if it may end, end it: its children are then adopted and reaped (`kill {}`)",
                reaper.process.pid
            ),
        ],
        wont_help: vec![
            SIGKILL.to_owned(),
            "an init (tini, --init): it gets orphans, and this one has a living parent".to_owned(),
        ],
    })
}
