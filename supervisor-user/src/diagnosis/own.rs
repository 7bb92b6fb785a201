//! What a reaper does that can run: it loses one, comes late, or never waits. F17, F18, F4.

use super::{
    Confidence, Family, Verdict,
    case::{Case, Habit, SIGKILL, name, no_call, stop_gap},
    facts::Fact,
};
use crate::words::{clean, duration};

/// A round that is later than this many of the last gap is no round any more.
const OVERDUE: u64 = 2;
/// And this much is never late.
const SLACK_NS: u64 = 1_000_000_000;

/// F17: it waited for any child while this one was there to be got, and got another.
pub(super) fn lost_sigchld(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    let Habit::After { sure } = case.habit() else { return None };
    if !case.reaps_others() {
        return None;
    }
    let since = reaper.reaped_since > Some(0);
    let any_ns = reaper.any_wait_ns.unwrap_or(case.finding.looked_ns);
    let got_another = since || reaper.reaped.is_some_and(|(count, at_ns)| count > 0 && at_ns > any_ns);
    // An adopted one may have been somebody else's zombie when that wait was made, unless it was seen here before.
    let was_here = case.is_own() == Some(true) || (since && any_ns >= case.finding.seen_ns);
    let got = match (sure, got_another) {
        (true, true) => "had exited, got another, and did not ask again",
        (true, false) => "had exited, did not get it, and did not ask again",
        (false, true) => "had exited or was about to, got another, and did not ask again",
        (false, false) => "had exited or was about to, did not get it, and did not ask again",
    };
    Some(Verdict {
        family: Some(Family::F17),
        sentence: format!(
            "{} waited for any child when this one {got}: signals of several exits become one SIGCHLD, and one wait \
             for each loses the rest",
            name(&reaper.process)
        ),
        confidence: if sure && got_another && was_here { Confidence::High } else { Confidence::Medium },
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
    if ago_ns > gap_ns.saturating_mul(OVERDUE).saturating_add(SLACK_NS) {
        return None;
    }
    // Of one whose exit was not seen, rounds may have passed it by. A gap says that there were two rounds, and not
    // that they are regular: the waits of two bursts of exits have a gap too.
    let confidence = match case.finding.exit_ns {
        None => Confidence::Low,
        Some(_) if ago_ns > gap_ns => Confidence::Low,
        Some(_) => Confidence::Medium,
    };
    Some(Verdict {
        family: Some(Family::F18),
        sentence: format!(
            "{} waits for any child only now and then, the last two times {} apart and {} ago: if it goes on like \
             that, its next round gets this one, and nothing has leaked",
            name(&reaper.process),
            duration(gap_ns),
            duration(ago_ns)
        ),
        confidence,
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
        Habit::Never { for_ns } => (no_call(for_ns), case.is_habit_sure().unwrap_or_default()),
        // It may come to this one when it has got the others.
        Habit::ByName => {
            ("was seen to wait only for other children, which it names".to_owned(), Confidence::Medium)
        }
        Habit::AskedForIt { .. } => (case.instead(), Confidence::Medium),
        Habit::Before { ago_ns, .. } => (
            format!(
                "has not waited for any child since {}, the last time {} ago",
                case.since(),
                duration(ago_ns)
            ),
            Confidence::Medium,
        ),
        Habit::Unknown if !reaper.ever_reaped => {
            ("has never collected a child, as far as its accounts show".to_owned(), Confidence::Medium)
        }
        // It waited for any child and did not get this one, nor any other: that is not this.
        Habit::After { .. } => return None,
        Habit::Otherwise | Habit::Unknown => {
            ("was not seen to wait for it, nor seen never to wait".to_owned(), Confidence::Low)
        }
    };
    let confidence = if case.is_seen_own() { confidence } else { confidence.min(Confidence::Medium) };
    let created = if reaper.created == Some(true) { "created it" } else { "is its parent" };
    Some(Verdict {
        family: Some(Family::F4),
        sentence: format!("{} {created} and {what}", name(&reaper.process)),
        confidence,
        cites: vec![
            Fact::Reaper,
            if case.is_seen_own() { Fact::Descent } else { Fact::Subreaper },
            Fact::Waits,
            Fact::ReapedOthers,
        ],
        remedies: vec![
            format!("make {} wait for its children: only it can reap them", clean(&reaper.process.name)),
            stop_gap(case, reaper),
        ],
        wont_help: vec![
            SIGKILL.to_owned(),
            "an init (tini, --init): it gets orphans, and this one has a living parent".to_owned(),
        ],
    })
}
