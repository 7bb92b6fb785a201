//! The rules for a reaper that can run, but loses a child, comes late, or never waits: F17, F18, F4.

use supervisor_ebpf::{WAITED_PID, WAITED_PIDFD};
use supervisor_model::{
    diagnosis::{Cause, Confidence, Position, Prognosis},
    facts::{Call, SigChld},
    family::Family,
    finding::{Pattern, Reaper, WaitTarget},
    words::{clean, duration},
};

use super::{
    Verdict,
    advice::{Line, Premise, no_init, remedy, sigkill, stop_gap},
    case::{Case, Habit, name, no_call},
    facts::Fact,
    waits,
};

/// If the next wait is later than this many times the last gap, the waits are not rounds.
const OVERDUE: u64 = 2;
/// This much more delay is never late.
const SLACK_NS: u64 = 1_000_000_000;
/// A reaper that has not waited for this long after a wait that missed a child does not loop.
const QUIET_NS: u64 = 2_000_000_000;
/// A reaper that has not waited for this long after such a wait has no more children that end.
const LEAKED_NS: u64 = 10_000_000_000;
/// This number of outcomes shows a habit.
const ENOUGH_OUTCOMES: u64 = 2;
/// A reaper that asks for its children by their pids in rounds does so at least this often.
const ROUND_BY_PID_NS: u64 = 90_000_000_000;
/// Two waits that are farther apart than this are no rounds.
const LONGEST_ROUND_NS: u64 = 600_000_000_000;

/// F17: the reaper has waited for any child since this process exited, and did not get it, although it reaps others. If
/// it got another child then, the confidence is higher.
pub(super) fn lost_sigchld(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    let Habit::After { sure } = case.habit() else { return None };
    if !case.reaps_others() {
        return None;
    }
    // The handler of the SIGCHLD that reports this zombie has run since, and the wait was made in that handler.
    let sure = sure || case.has_got_sigchld();
    let since = reaper.reaped_since > Some(0);
    let any_ns = reaper.any_wait_ns.unwrap_or(case.finding.looked_ns);
    let got_another = since || reaper.reaped.is_some_and(|(count, at_ns)| count > 0 && at_ns > any_ns);
    // An adopted zombie may have had another parent at the time of that wait, unless it was seen here before.
    let was_here = case.is_own() == Some(true)
        || (since && any_ns >= case.finding.seen_ns)
        || was_adopted_by(case, any_ns);
    // The count of reaped children does not include children that the reaper adopted.
    let got_another = got_another || (sure && was_here && case.is_own() == Some(false));
    // A reaper that takes one child at a time comes back.
    let quiet_ns = case.finding.looked_ns.saturating_sub(any_ns);
    let round_ns = reaper.any_wait_gap_ns.unwrap_or(0).saturating_mul(OVERDUE);
    let is_quiet = quiet_ns >= QUIET_NS.max(round_ns.saturating_add(SLACK_NS));
    let again = if is_quiet { ", and did not ask again" } else { "" };
    let got = match (sure, got_another) {
        (true, true) => "had exited, and got another",
        (true, false) => "had exited, and did not get it",
        (false, true) => "had exited or was about to, and got another",
        (false, false) => "had exited or was about to, and did not get it",
    };
    let is_sure = sure && got_another && was_here && is_quiet;
    // The next exit brings the next wait. If such waits have reaped earlier zombies, the next wait may reap this one.
    let comes_again = case.finding.pattern.is_some_and(|pattern| pattern.reaped > 0 && !pattern.is_broken);
    let is_leaked = is_sure && quiet_ns >= LEAKED_NS && !comes_again;
    Some(Verdict {
        family: Some(Family::F17),
        cause: Some(Cause::Coalesced),
        prognosis: if is_leaked { Prognosis::Leaked } else { Prognosis::Unknown },
        sentence: format!(
            "{} waited for any child when this one {got}{again}: signals of several exits become one SIGCHLD, and one \
             wait for each loses the rest",
            name(&reaper.process)
        ),
        confidence: if is_sure { Confidence::High } else { Confidence::Medium },
        cites: vec![Fact::Waits, Fact::Exit, Fact::ReapedOthers],
        advice: vec![remedy(
            &[],
            format!(
                "make {} loop on SIGCHLD: `while (waitpid(-1, &status, WNOHANG) > 0)`",
                clean(&reaper.process.name)
            ),
        )]
        .into_iter()
        .chain(signal_it(case, reaper))
        .chain([sigkill()])
        .collect(),
    })
}

/// Whether the zombie's first parent had exited by then.
fn was_adopted_by(case: &Case<'_>, at_ns: u64) -> bool {
    let creator = case.finding.creators.first().filter(|creator| creator.gone);
    creator.and_then(|creator| creator.end.as_ref()).is_some_and(|end| end.at_ns <= at_ns)
}

/// The stop-gap to send a SIGCHLD: it brings one more wait, whoever sends it.
fn signal_it(case: &Case<'_>, reaper: &Reaper) -> Option<Line> {
    let pid = reaper.process.pid;
    case.has_got_sigchld().then(|| {
        remedy(
            &[Premise::ReaperIsNotHostInit],
            format!("stop-gap: `kill -CHLD {pid}` lets it fetch one zombie for each such signal"),
        )
    })
}

/// F17 too: the reaper's handler waits for the pid that each signal names.
pub(super) fn one_per_signal(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    // A handler that takes a `siginfo_t` knows one pid. A reaper that peeks or waits by descriptor knows its children.
    let by_signal = reaper.takes_siginfo == Some(true)
        // If there are several threads, any of them can have waited, and not the handler.
        && reaper.threads.is_empty()
        && reaper.sigchld == Some(SigChld::Handled)
        && case.waits_only(WAITED_PID)
        && reaper.last_wait.as_ref().is_some_and(|wait| !wait.flags.contains(&"WNOHANG"));
    let (count, _) = reaper.reaped?;
    if !by_signal || count == 0 || case.position() != Some(Position::OwnChild) {
        return None;
    }
    let asked_for_it = matches!(case.habit(), Habit::AskedForIt { .. });
    if asked_for_it || reaper.sigchld_pending {
        return None;
    }
    let who = name(&reaper.process);
    Some(Verdict {
        family: Some(Family::F17),
        cause: Some(Cause::Coalesced),
        prognosis: Prognosis::Leaked,
        sentence: format!(
            "{who} waits on each SIGCHLD for the pid that the signal names, and has reaped {count} children that way: \
             signals of several exits become one, which names one pid, and the rest is lost"
        ),
        confidence: Confidence::Medium,
        cites: vec![Fact::Waits, Fact::SigChld, Fact::Handler, Fact::ReapedOthers, Fact::Held],
        advice: vec![
            remedy(
                &[],
                format!(
                    "make the handler of {} loop: `while (waitpid(-1, &status, WNOHANG) > 0)`, or ask for each child \
                     that it knows",
                    clean(&reaper.process.name)
                ),
            ),
            stop_gap(case, reaper),
            sigkill(),
            no_init(),
        ],
    })
}

/// Builds the verdict F18: the reaper waits for its children now and then.
fn late(reaper: &Reaper, sentence: String, confidence: Confidence, cites: Vec<Fact>) -> Verdict {
    Verdict {
        family: Some(Family::F18),
        cause: Some(Cause::Periodic),
        prognosis: Prognosis::Late,
        sentence,
        confidence,
        cites,
        advice: vec![
            remedy(
                &[],
                format!("if that is too late, make {} wait when SIGCHLD comes", clean(&reaper.process.name)),
            ),
            sigkill(),
        ],
    }
}

/// F18: the reaper has reaped earlier zombies, each some time after its exit, and this zombie is not overdue: its age
/// is at most twice the longest of these times plus 1 s ([`Pattern::is_overdue_at`]).
pub(super) fn late_before(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    let pattern =
        case.finding.pattern.filter(|pattern| pattern.reaped >= ENOUGH_OUTCOMES && !pattern.is_broken)?;
    let age_ns = case.finding.looked_ns.saturating_sub(case.finding.exit_ns?);
    let who = name(&reaper.process);
    // The earlier zombies were perhaps other programs.
    if Pattern::is_overdue_at(pattern.longest_ns, age_ns) {
        return None;
    }
    let sentence = format!(
        "{who} has reaped {} earlier ones like this, {} after their exit in the middle and {} at most: it comes to \
         them now and then, and nothing has leaked",
        pattern.reaped,
        duration(pattern.median_ns),
        duration(pattern.longest_ns)
    );
    Some(late(reaper, sentence, Confidence::Medium, vec![Fact::Pattern, Fact::Exit, Fact::Waits]))
}

/// F18: the reaper waits in rounds, and the next round is not due yet.
pub(super) fn late_reaper(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    let who = name(&reaper.process);
    let (sentence, confidence) = match case.habit() {
        Habit::Before { ago_ns, gap_ns: Some(gap_ns) } => {
            if gap_ns > LONGEST_ROUND_NS || ago_ns > gap_ns.saturating_mul(OVERDUE).saturating_add(SLACK_NS) {
                return None;
            }
            // If the exit was not seen, rounds may have missed this zombie already. A gap shows that there were two
            // rounds, and not that they are regular: the waits of two bursts of exits have a gap too.
            let confidence = match case.finding.exit_ns {
                None => Confidence::Low,
                Some(_) if ago_ns > gap_ns => Confidence::Low,
                Some(_) => Confidence::Medium,
            };
            let sentence = format!(
                "{who} waits for any child only now and then, the last two times {} apart and {} ago: if it goes on \
                 like that, its next round gets this one, and nothing has leaked",
                duration(gap_ns),
                duration(ago_ns)
            );
            (sentence, confidence)
        }
        // The reaper polls its children by their pids. A wait that blocks would have reaped this one.
        Habit::AskedForIt { ago_ns, exited: false } if ago_ns <= ROUND_BY_PID_NS && case.reaps_others() => {
            let polls = reaper
                .last_wait
                .as_ref()
                .is_some_and(|wait| wait.flags.contains(&"WNOHANG") && !wait.flags.contains(&"WNOWAIT"));
            if !polls {
                return None;
            }
            let sentence = format!(
                "{who} asks for this one by its pid now and then, the last time {} ago, before it had exited: its next \
                 round gets it, and nothing has leaked",
                duration(ago_ns)
            );
            (sentence, Confidence::Medium)
        }
        _ => return None,
    };
    Some(late(reaper, sentence, confidence, vec![Fact::Waits, Fact::Exit]))
}

/// F4: the reaper does not wait for its own child. An init helps only orphans.
#[expect(clippy::too_many_lines, reason = "the cases of one family side by side, each with its advice")]
pub(super) fn never_waits(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    if case.is_own() != Some(true) {
        return None;
    }
    let (what, confidence) = match case.habit() {
        Habit::Never { for_ns } if case.got_sigchld_before_the_watch() => (
            format!(
                "{}; it handles SIGCHLD and has reaped others, and what kept it from this one was before that{}",
                no_call(for_ns),
                case.while_in()
            ),
            Confidence::Low,
        ),
        Habit::Never { for_ns } => {
            (format!("{}{}", no_call(for_ns), case.while_in()), case.is_habit_sure().unwrap_or_default())
        }
        // The reaper may come to this zombie after the others.
        Habit::ByName => {
            let only = if case.waits_only(super::case::BY_NAME) { "waits only" } else { "was seen to wait" };
            let since = if case.has_not_polled() {
                ", and has made no wait call since this one exited, although SIGCHLD was delivered to it"
            } else {
                ""
            };
            (format!("{only} for other children, which it names{since}"), Confidence::Medium)
        }
        Habit::AskedForIt { .. } => (case.instead(), Confidence::Medium),
        Habit::Before { ago_ns, .. } => (
            format!(
                "has not waited for any child since {}, the last time {} ago{}",
                case.since(),
                duration(ago_ns),
                case.although_it_got_sigchld()
            ),
            Confidence::Medium,
        ),
        Habit::Unknown if !reaper.ever_reaped => {
            ("has never collected a child, as far as its accounts show".to_owned(), Confidence::Medium)
        }
        // The reaper waited for any child and got neither this one nor another. F4 does not explain that.
        Habit::After { .. } => return None,
        Habit::Otherwise if case.is_for_another_group() => (case.instead(), Confidence::Medium),
        Habit::Otherwise if case.narrowed().is_some() => (case.instead(), case.is_always_narrowed()),
        Habit::Otherwise | Habit::Unknown => {
            ("was not seen to wait for it, nor seen never to wait".to_owned(), Confidence::Low)
        }
    };
    // Before it waits, the reaper may read the output of a process that the zombie started, to the end.
    let is_clear = case.is_seen_own() && !case.reads_from_strangers() && !case.reads_unknown();
    let confidence = if is_clear { confidence } else { confidence.min(Confidence::Medium) };
    let created = if reaper.created == Some(true) { "created it" } else { "is its parent" };
    Some(Verdict {
        family: Some(Family::F4),
        cause: waits::cause(case),
        prognosis: waits::prognosis(case),
        sentence: format!("{} {created} and {what}", name(&reaper.process)),
        confidence,
        cites: vec![
            Fact::Reaper,
            if case.is_seen_own() { Fact::Ancestry } else { Fact::Subreaper },
            Fact::Waits,
            Fact::ReapedOthers,
        ],
        advice: [wait_for_it(case)]
            .into_iter()
            .chain(wake_it(case, reaper))
            .chain([stop_gap(case, reaper), sigkill(), no_init()])
            .collect(),
    })
}

/// The stop-gap for a reaper that sleeps until a signal comes, and whose SIGCHLD for this zombie comes no more: it came
/// before the reaper began to wait for it, or was taken and answered by no wait. `youki run` can miss a container that
/// ends at once. For which signals the reaper waits is not known.
fn wake_it(case: &Case<'_>, reaper: &Reaper) -> Option<Line> {
    let takes_it = reaper.sigchld == Some(SigChld::Handled) || reaper.is_in_sigtimedwait();
    let sleeps = case.only_call() == Some(&Call::Signal) && case.has_got_sigchld() && takes_it;
    sleeps.then(|| {
        remedy(
            &[Premise::ReaperIsNotHostInit],
            format!(
                "stop-gap: `kill -CHLD {}`: it sleeps until a signal comes, and no SIGCHLD is pending for this zombie; if it \
                 waits for that signal, another one may make it reap",
                reaper.process.pid
            ),
        )
    })
}

/// The remedy to change the reaper's program. A program that waits by pid breaks if a part of it waits for any child:
/// that wait takes the exit statuses that other parts wait for.
pub(super) fn wait_for_it(case: &Case<'_>) -> Line {
    // Nobody changes the program of the host's init because of one zombie.
    const PREMISES: &[Premise] = &[Premise::ReaperIsNotHostInit];
    let who = case.reaper.map(|reaper| clean(&reaper.process.name)).unwrap_or_default();
    let by_name = matches!(case.habit(), Habit::ByName | Habit::AskedForIt { .. })
        || case.waits_only(WAITED_PID | WAITED_PIDFD);
    let by_group = case
        .reaper
        .and_then(|reaper| reaper.last_wait.as_ref()?.target)
        .is_some_and(|target| matches!(target, WaitTarget::Pgid(_)));
    let is_own = case.is_own();
    if let (Habit::Otherwise, Some((_, mended))) = (case.habit(), case.narrowed()) {
        return remedy(PREMISES, format!("make {who} wait {mended}"));
    }
    if let Habit::Before { .. } = case.habit() {
        return remedy(
            PREMISES,
            format!(
                "let {who} wait whenever SIGCHLD comes: it has waited for any child before, but not since this one exited"
            ),
        );
    }
    let text = match (is_own, by_name, by_group) {
        (Some(true), true, _) => format!(
            "make {who} wait for this child too, by its pid: a loop over `waitpid(-1)` would take the exit statuses \
             that it waits for elsewhere"
        ),
        (Some(true), ..) => format!("make {who} wait for its children: only it can reap them"),
        (_, true, _) => format!(
            "let {who} reap orphans that it does not know, and only those (find one with `waitid(P_ALL, …, WNOHANG | \
             WNOWAIT | WEXITED)`, then wait for its pid): a loop over `waitpid(-1)` would take the exit statuses that \
             it waits for elsewhere"
        ),
        (_, _, true) => {
            format!("let {who} wait for any child (`waitpid(-1, …)`), not only for a process group")
        }
        _ => "let the application reap: `while (waitpid(-1, &status, WNOHANG) > 0)` when SIGCHLD comes"
            .to_owned(),
    };
    remedy(PREMISES, text)
}
