//! The rules for a reaper whose state keeps it from ever asking for the zombie: F21, F22, F23.

use supervisor_model::{
    diagnosis::{Cause, Confidence, Position, Prognosis},
    facts::{Call, SigChld},
    family::Family,
    words::{clean, duration},
};

use super::{
    Verdict,
    advice::{Premise, no_init, remedy, sigkill, stop_gap, wont_help},
    blocked::is_in_handler,
    case::{Case, Habit, name},
    facts::Fact,
};

/// A handler that is replaced only for a moment is restored within this time.
const SETTLED_NS: u64 = 1_000_000_000;
/// A reaper that blocks SIGCHLD while it works has unblocked it within this time.
const WORKED_NS: u64 = 60_000_000_000;

/// F21: `SIGCHLD` is blocked and pending, and the reaper waits for it.
pub(super) fn sigchld_blocked(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    if reaper.sigchld != Some(SigChld::Blocked) || !reaper.sigchld_pending {
        return None;
    }
    if is_in_handler(case) {
        return None;
    }
    // If there are several threads, one may take the signal with `sigwait`, but be in another call now.
    let waits_for_signal = case.only_call() == Some(&Call::Signal);
    // A reaper that asks for any child in rounds does not need the signal. A shell asks once, and then sleeps until the
    // signal comes.
    match case.habit() {
        Habit::After { .. } | Habit::Before { gap_ns: Some(_), .. } => return None,
        Habit::Before { gap_ns: None, .. } if !waits_for_signal => return None,
        _ => {}
    }
    if !waits_for_signal && reaper.sigchld_caught != Some(true) {
        return None;
    }
    let who = name(&reaper.process);
    let from =
        reaper.parent_blocks_sigchld.as_ref().map(|(pid, comm)| format!("{} (pid {pid})", clean(comm)));
    let inherited = from
        .as_ref()
        .map(|from| format!("; {from}, which started it, blocks it too, so the mask was inherited"))
        .unwrap_or_default();
    let sits = if waits_for_signal { " and sleeps until a signal comes" } else { "" };
    let launcher = from.unwrap_or_else(|| "whoever starts it".to_owned());
    Some(Verdict {
        family: Some(Family::F21),
        cause: Some(Cause::SigchldBlocked),
        // A program may block the signal while it works, and unblock it in its next `ppoll`.
        prognosis: if waits_for_signal || case.waited_for_ns() >= WORKED_NS {
            Prognosis::Leaked
        } else {
            Prognosis::Unknown
        },
        sentence: format!(
            "{who} must reap it{sits}, but SIGCHLD is blocked there and pending, so that it never gets the signal{inherited}"
        ),
        confidence: if waits_for_signal { Confidence::High } else { Confidence::Medium },
        cites: vec![Fact::Reaper, Fact::SigChld, Fact::Mask, Fact::Calls, Fact::Waits],
        advice: vec![
            remedy(
                &[],
                format!(
                    "let {launcher} unblock SIGCHLD between fork and exec (`sigprocmask`): a mask survives exec"
                ),
            ),
            remedy(
                &[Premise::ReaperIsNotHostInit],
                format!("for now: end {who}; whoever gets its zombies may reap them"),
            ),
            sigkill(),
            wont_help(&[], "`kill -CHLD` to the reaper: the signal is pending already, and stays blocked"),
            wont_help(&[], "restarting the reaper from the same parent: it inherits the mask again"),
            no_init(),
        ],
    })
}

/// F22: the reaper used to reap any child, and its handler was replaced since.
pub(super) fn handler_replaced(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    if reaper.handler_changed != Some(true) {
        return None;
    }
    let Habit::Before { ago_ns, .. } = case.habit() else { return None };
    let who = name(&reaper.process);
    let now = match reaper.sigchld {
        Some(SigChld::Default | SigChld::NoCldWait) => "SIGCHLD has its default action now",
        Some(SigChld::Ignored) => "SIGCHLD is ignored now",
        _ => "SIGCHLD has another handler now",
    };
    Some(Verdict {
        family: Some(Family::F22),
        cause: Some(Cause::HandlerReplaced),
        // A handler can be replaced for a moment, as perl does around backticks.
        prognosis: if case.waited_for_ns() >= SETTLED_NS { Prognosis::Leaked } else { Prognosis::Unknown },
        sentence: format!(
            "{who} used to reap any child, the last time {} ago; its SIGCHLD handler was replaced since ({now}), and \
             nothing asks for its children any more",
            duration(ago_ns)
        ),
        confidence: Confidence::High,
        cites: vec![Fact::Reaper, Fact::Waits, Fact::SigChld, Fact::Handler, Fact::ReapedOthers],
        advice: vec![
            remedy(
                &[],
                format!(
                    "restore the handler in {} after loading the library that replaces it (a JVM, a language runtime), \
                     or wait outside of a signal handler",
                    clean(&reaper.process.name)
                ),
            ),
            stop_gap(case, reaper),
            sigkill(),
            no_init(),
        ],
    })
}

/// F23: the reaper executed another program after it had forked the zombie.
pub(super) fn image_replaced(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    if case.position() != Some(Position::OwnChild) {
        return None;
    }
    if reaper.created == Some(false) {
        return None;
    }
    let exec_ns = reaper.exec_ns.filter(|exec_ns| Some(*exec_ns) > case.finding.process.start_ns)?;
    if matches!(case.habit(), Habit::After { .. } | Habit::Before { .. } | Habit::AskedForIt { .. }) {
        return None;
    }
    let who = name(&reaper.process);
    let file = |path: &str| clean(path);
    // Without an earlier exec of its own, it ran the program that it was forked from.
    let forker = case.finding.creators.first().filter(|creator| creator.process.pid == reaper.process.pid);
    let forked_as = || forker.and_then(|creator| creator.process.executable.as_deref());
    let old = reaper.previous_program.as_deref().or_else(forked_as);
    let old = old.map_or("another program".to_owned(), file);
    let new = reaper.process.executable.as_deref().map_or_else(|| clean(&reaper.process.name), file);
    let programs = if old == new { format!("{new} again") } else { format!("{new} in place of {old}") };
    let ago = duration(case.finding.looked_ns.saturating_sub(exec_ns));
    Some(Verdict {
        family: Some(Family::F23),
        cause: Some(Cause::ImageReplaced),
        prognosis: Prognosis::Leaked,
        sentence: format!(
            "{who} forked it and then executed {programs} ({ago} ago): the new program does not know this child and {}",
            case.instead()
        ),
        confidence: Confidence::High,
        cites: vec![Fact::Reaper, Fact::Ancestry, Fact::Image, Fact::Waits],
        advice: vec![
            remedy(
                &[],
                format!(
                    "let {new} collect children that it does not know when it starts (`waitpid` with WNOHANG, once for each)"
                ),
            ),
            remedy(&[], format!("or let {old} hand their pids over, or wait for them before its exec")),
            stop_gap(case, reaper),
            sigkill(),
            no_init(),
        ],
    })
}
