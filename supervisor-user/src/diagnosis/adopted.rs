//! Orphans that whoever adopted them does not reap: F5, F2, F3, F1.

use super::{
    Confidence, Family, Verdict,
    case::{Case, Habit, SIGKILL, about, name},
    facts::Fact,
};
use crate::{
    finding::{Creator, Origin, PidNsMode, Role, Stage},
    words::clean,
};

/// F5: an init program in the descent that could not adopt.
pub(super) fn init_not_pid1(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    if case.is_own() != Some(false) {
        return None;
    }
    // It stands between the two: an orphan passes only those that cannot adopt.
    let below = case.finding.creators.iter().take_while(|creator| creator.process.pid != reaper.process.pid);
    let init = below.into_iter().find(|creator| creator.is_init_program && !creator.gone)?;
    Some(Verdict {
        family: Some(Family::F5),
        sentence: format!(
            "{} is there as an init and is neither PID 1 nor a subreaper, so the orphan went past it to {}, which {}",
            name(&init.process),
            name(&reaper.process),
            case.instead()
        ),
        confidence: confidence(case),
        cites: vec![Fact::Creators, Fact::Descent, Fact::Reaper, Fact::Waits],
        remedies: vec![
            "make it a subreaper: `tini -s`, or TINI_SUBREAPER=1".to_owned(),
            "or make it PID 1: exec it as the container's command, without a shell before it".to_owned(),
        ],
        wont_help: vec![SIGKILL.to_owned()],
    })
}

/// F2 and F3: PID 1 of the namespace is no init.
pub(super) fn by_pid1(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    if reaper.is_pidns_init != Some(true) || case.is_own() == Some(true) {
        return None;
    }
    let what = if case.finding.pid_ns.as_ref().is_some_and(|ns| ns.level == Some(0)) {
        "PID 1 of the host"
    } else {
        "PID 1 of its PID namespace"
    };
    let adopted = match (case.is_own(), case.lost_parent()) {
        (Some(_), Some(parent)) => format!("adopted it when {} was gone and", name(parent)),
        (Some(_), None) => "adopted it and".to_owned(),
        (None, _) => "must reap it (whether it adopted it was not seen) and".to_owned(),
    };
    let who = name(&reaper.process);
    let sentence = format!("{who}, {what}, {adopted} {}", case.instead());
    let (family, sentence, remedy) = match case.finding.origin {
        Origin::HealthCheck { period_ns } => (
            Family::F3,
            format!(
                "a health check that runs about every {} leaves a process each time; {sentence}",
                about(period_ns)
            ),
            "let the probe not leave processes behind: no background jobs, `exec` the last command",
        ),
        Origin::Exec => (
            Family::F3,
            format!("an exec session left it; {sentence}"),
            "let the executed command wait for what it starts",
        ),
        _ => (
            Family::F2,
            sentence,
            "let the application reap: `while (waitpid(-1, &status, WNOHANG) > 0)` when SIGCHLD comes",
        ),
    };
    Some(Verdict {
        family: Some(family),
        sentence,
        // An init reaps; if this one does not, something else is wrong.
        confidence: if reaper.role == Role::Init { Confidence::Low } else { confidence(case) },
        cites: vec![Fact::Descent, Fact::Reaper, Fact::Creators, Fact::Waits],
        remedies: vec![
            "run an init as PID 1: `--init` of podman and docker, tini or catatonit in the image, or \
             shareProcessNamespace in the Pod"
                .to_owned(),
            remedy.to_owned(),
            format!("stop-gap: restart the container of {}", clean(&reaper.process.name)),
        ],
        wont_help: vec![
            SIGKILL.to_owned(),
            "the pause process: it reaps only where the PID namespace is shared (F16)".to_owned(),
        ],
    })
}

/// F1: a subreaper, mostly a container monitor, that waits only for what it started.
pub(super) fn by_subreaper(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    let is_monitor = reaper.role == Role::Monitor
        || case.finding.monitor.as_ref().is_some_and(|monitor| monitor.pid == reaper.process.pid);
    let is_adopted = case.is_own();
    if is_adopted == Some(true) || (is_adopted.is_none() && !is_monitor) {
        return None;
    }
    let who = name(&reaper.process);
    let what = if is_monitor { "a monitor" } else { "a subreaper" };
    let instead = match case.habit() {
        Habit::ByName => "waits only for what it started".to_owned(),
        _ => case.instead(),
    };
    let sentence = if let Some((stage, own)) = double_fork(case) {
        let runtime = case.finding.runtime.as_ref().map_or("the runtime".to_owned(), |it| clean(&it.name));
        let ns = case.finding.pid_ns.as_ref();
        let aim = match ns.and_then(|ns| Some((ns.mode?, ns.ino))) {
            Some((PidNsMode::Joined, ino)) => format!("to join PID namespace {ino}"),
            _ => "to set up its namespaces".to_owned(),
        };
        format!(
            "{runtime} forked twice {aim} ({} forked it and exited), so {runtime}'s own wait ({}) could not reap it; \
             {who}, {what} and subreaper, adopted it and {instead}",
            name(&stage.process),
            name(&own.process)
        )
    } else if is_adopted.is_none() {
        format!("{who}, {what}, must reap it (whether it adopted it was not seen) and {instead}")
    } else {
        let orphan = case.lost_parent().map(|parent| format!(" when {} was gone", name(parent)));
        format!("{who}, {what}, adopted it{} and {instead}", orphan.unwrap_or_default())
    };
    let mut remedies = Vec::new();
    if is_monitor {
        remedies.push(
            "conmon-rs 0.6.6 or later, or conmon, or runc instead of crun, avoid it: upgrade or switch one of them"
                .to_owned(),
        );
    } else {
        remedies
            .push(format!("make {} wait for any child, not only for its own", clean(&reaper.process.name)));
    }
    remedies.push(format!(
        "stop-gap: restart {} (pid {}): its zombies are then adopted and reaped",
        clean(&reaper.process.name),
        reaper.process.pid
    ));
    Some(Verdict {
        family: Some(Family::F1),
        sentence,
        confidence: confidence(case),
        cites: vec![Fact::Descent, Fact::Creators, Fact::Subreaper, Fact::Waits],
        remedies,
        wont_help: vec![
            SIGKILL.to_owned(),
            "deleting the Pod by force: it removes the API object and leaves the zombie".to_owned(),
            "an init in the container: the orphan is adopted outside of it".to_owned(),
        ],
    })
}

/// The stage that forked a container init and the runtime that started the stage, if the runtime did it that way.
fn double_fork<'a>(case: &Case<'a>) -> Option<(&'a Creator, &'a Creator)> {
    let runtime = case.finding.runtime.as_ref()?;
    let [stage, own, ..] = case.finding.creators.as_slice() else { return None };
    let is_runtime = |creator: &Creator| creator.role == Role::Runtime;
    (runtime.stage == Stage::Init && is_runtime(stage) && is_runtime(own)).then_some((stage, own))
}

/// All of it was seen, or something was not.
fn confidence(case: &Case<'_>) -> Confidence {
    let reaper_is_sure = case
        .reaper
        .is_some_and(|reaper| reaper.is_subreaper == Some(true) || reaper.is_pidns_init == Some(true));
    let never_reaped = case.reaper.is_some_and(|reaper| !reaper.ever_reaped);
    let all_seen = reaper_is_sure && matches!(case.habit(), Habit::Never | Habit::ByName);
    match (case.is_own(), case.habit()) {
        (Some(_), _) if all_seen => Confidence::High,
        (None, Habit::Unknown) | (Some(_), Habit::After) => Confidence::Low,
        (Some(_), Habit::Unknown) if !never_reaped => Confidence::Low,
        _ => Confidence::Medium,
    }
}
