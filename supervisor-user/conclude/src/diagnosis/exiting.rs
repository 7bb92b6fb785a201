//! The rules for a process that is no zombie: it lives, some of its threads live, or it has not finished exiting.

use supervisor_model::{
    diagnosis::{Confidence, Prognosis},
    family::Family,
    words::clean,
};

use super::{
    Verdict,
    advice::{remedy, wont_help},
    case::Case,
    facts::Fact,
};

/// An exit that takes less than this is ordinary.
const ORDINARY_NS: u64 = 1_000_000_000;

/// It has not exited at all.
pub(super) fn not_exited(case: &Case<'_>) -> Option<Verdict> {
    let finding = case.finding;
    if finding.is_exiting || finding.state == 'Z' {
        return None;
    }
    Some(Verdict {
        family: None,
        cause: None,
        prognosis: Prognosis::Unknown,
        sentence: "it has not exited".to_owned(),
        confidence: Confidence::High,
        cites: vec![Fact::State],
        advice: Vec::new(),
    })
}

/// F9: `/proc` shows the state of the first thread. That thread is dead, but others are not.
pub(super) fn threads_alive(case: &Case<'_>) -> Option<Verdict> {
    let finding = case.finding;
    let live: Vec<_> = finding.threads.iter().filter(|thread| thread.is_live()).collect();
    let (first, more) = live.split_first()?;
    if finding.state != 'Z' {
        return None;
    }
    let stuck = live.iter().find(|thread| thread.state == 'D');
    let named = stuck.unwrap_or(first);
    let place = named.wchan.as_deref().map(|wchan| format!(" in {}", clean(wchan))).unwrap_or_default();
    let others = if more.is_empty() { String::new() } else { format!(" (and {} more)", more.len()) };
    Some(Verdict {
        family: Some(Family::F9),
        cause: None,
        prognosis: Prognosis::Unknown,
        sentence: format!(
            "its first thread has exited and thread {} (tid {}, state {}{place}){others} lives on: it is no zombie \
             to be reaped, and nothing has leaked",
            clean(&named.comm),
            named.tid,
            named.state
        ),
        confidence: Confidence::High,
        cites: vec![Fact::State, Fact::Threads],
        advice: vec![
            remedy(
                &[],
                match stuck {
                    Some(_) => "find what the thread in state D waits for: it cannot end before",
                    None => "look at its threads with `ps -L -p PID`; end the process if it is not wanted",
                },
            ),
            wont_help(&[], "waiting for it, or an init: it has not exited"),
        ],
    })
}

/// F12: the last thread has begun to exit (`signal->live` is 0), and the process is no zombie yet. `do_exit()`
/// counts `live` down before the exit hook.
pub(super) fn still_exiting(case: &Case<'_>) -> Option<Verdict> {
    let finding = case.finding;
    if finding.state == 'Z' {
        return None;
    }
    let place = finding.wchan.as_deref();
    let init_of = finding.pid_ns.as_ref().filter(|ns| ns.level > Some(0) && finding.process.vpid == Some(1));
    let (why, remedies) = match (init_of, place) {
        (Some(ns), _) => (
            // This holds wherever it sleeps: before it waits for the namespace it closes its files, and that can hang
            // too.
            format!(
                "it is PID 1 of PID namespace {}, which ends only when every other pid of the namespace is released{}",
                ns.ino,
                place.map(|place| format!(", and sleeps in {}", clean(place))).unwrap_or_default()
            ),
            vec![format!("see what holds the namespace: `supervisor explain --pidns {}`", ns.ino)],
        ),
        (None, Some(place)) => (
            format!("it sleeps in {}", clean(place)),
            vec![
                "find what it waits for there; if it is storage or a network mount, that is what hangs"
                    .to_owned(),
            ],
        ),
        (None, None) if finding.state == 'R' => {
            ("it runs".to_owned(), vec!["wait: giving back much memory takes time".to_owned()])
        }
        (None, None) => (
            "where it sleeps is not known".to_owned(),
            vec!["as root, read /proc/PID/wchan and /proc/PID/stack of it".to_owned()],
        ),
    };
    let age_ns = finding.exit_ns.map(|exit_ns| finding.looked_ns.saturating_sub(exit_ns));
    let is_sure = place.is_some() && age_ns.is_none_or(|age_ns| age_ns >= ORDINARY_NS);
    Some(Verdict {
        family: Some(Family::F12),
        cause: None,
        prognosis: Prognosis::Unknown,
        sentence: format!("it is still exiting and no zombie yet: {why}"),
        confidence: if is_sure { Confidence::High } else { Confidence::Medium },
        cites: vec![Fact::Exit, Fact::State],
        advice: remedies
            .into_iter()
            .map(|text| remedy(&[], text))
            .chain([wont_help(&[], "its reaper: there is nothing to wait for yet")])
            .collect(),
    })
}
