//! Orphans that whoever adopted them does not reap: F5, F2, F3, F1.

use super::{
    Confidence, Family, Verdict,
    case::{Case, Habit, SIGKILL, name, stop_gap},
    facts::Fact,
};
use crate::{
    finding::{Creator, Origin, PidNsMode, Role, Stage},
    words::{clean, duration},
};

/// F5: an init program in the descent that could not adopt.
pub(super) fn init_not_pid1(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    if case.is_own() != Some(false) {
        return None;
    }
    // It stands between the two: an orphan passes only those that cannot adopt. One beyond a runtime or a monitor is
    // outside of the container, where the search does not come.
    let creators = &case.finding.creators;
    let is_inside = |creator: &&Creator| {
        creator.process.pid != reaper.process.pid
            && !matches!(creator.role, Role::Runtime | Role::Monitor | Role::Engine)
    };
    // PID 1 of another PID namespace does adopt, there.
    let cannot_adopt =
        |creator: &&Creator| creator.is_init_program && !creator.gone && creator.process.vpid != Some(1);
    let init = creators.iter().take_while(is_inside).find(cannot_adopt)?;
    let is_above = creators.iter().any(|creator| creator.process.pid == reaper.process.pid);
    let most = if is_above { Confidence::High } else { Confidence::Medium };
    Some(Verdict {
        family: Some(Family::F5),
        sentence: format!(
            "{} is there as an init and is neither PID 1 nor a subreaper, so the orphan went past it to {}, which {}",
            name(&init.process),
            name(&reaper.process),
            case.instead()
        ),
        confidence: confidence(case).min(most),
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
    let is_host = reaper.process.pid == 1;
    let what = if is_host { "PID 1 of the host" } else { "PID 1 of its PID namespace" };
    let adopted = match (case.is_own(), case.lost_parent()) {
        (Some(_), Some(parent)) => format!("adopted it ({}, which forked it, is gone) and", name(parent)),
        (Some(_), None) => "adopted it and".to_owned(),
        (None, _) => "must reap it (whether it adopted it was not seen) and".to_owned(),
    };
    let who = name(&reaper.process);
    let sentence = format!("{who}, {what}, {adopted} {}", case.instead());
    let (family, sentence, remedy) = match case.finding.origin {
        Origin::HealthCheck { period_ns } => (
            Family::F3,
            format!(
                "an exec session that comes about every {}, as health checks do, left it; {sentence}",
                duration(period_ns)
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
    // A single session may be a person's, and an init reaps: if this one does not, something else is wrong.
    let most = match (reaper.role, case.finding.origin) {
        (Role::Init, _) => Confidence::Low,
        (_, Origin::Exec) => Confidence::Medium,
        _ => Confidence::High,
    };
    let mut remedies = vec![remedy.to_owned(), stop_gap(case, reaper)];
    if !is_host {
        let only_if = if case.is_own().is_none() { "if it was adopted, " } else { "" };
        remedies.insert(
            0,
            format!(
                "{only_if}run an init as PID 1: `--init` of podman and docker, tini or catatonit in the image, or \
                 shareProcessNamespace in the Pod"
            ),
        );
    }
    Some(Verdict {
        family: Some(family),
        sentence,
        confidence: confidence(case).min(most),
        cites: vec![Fact::Descent, Fact::Reaper, Fact::Creators, Fact::Waits],
        remedies,
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
    let is_own = case.is_own();
    if is_own == Some(true) || (is_own.is_none() && !is_monitor) {
        return None;
    }
    let who = name(&reaper.process);
    let what = match (is_monitor, reaper.is_subreaper == Some(true)) {
        (true, true) => ", a monitor and subreaper,",
        (true, false) => ", a monitor,",
        (false, true) => ", a subreaper,",
        (false, false) => "",
    };
    let instead = case.instead();
    let sentence = if let Some((stage, starter)) = double_fork(case).filter(|_| is_own == Some(false)) {
        let runtime = case.finding.runtime.as_ref().map_or("the runtime".to_owned(), |it| clean(&it.name));
        let ns = case.finding.pid_ns.as_ref();
        let aim = match ns.and_then(|ns| Some((ns.mode?, ns.ino))) {
            Some((PidNsMode::Joined, ino)) => format!("to join PID namespace {ino}"),
            _ => "to set up its namespaces".to_owned(),
        };
        format!(
            "{runtime} forked twice {aim} ({} forked it and exited), so {runtime}'s own wait ({}) could not reap it; \
             {who}{what} adopted it and {instead}",
            name(&stage.process),
            name(&starter.process)
        )
    } else if is_own.is_none() {
        format!("{who}{what} must reap it (whether it adopted it was not seen) and {instead}")
    } else {
        let orphan =
            case.lost_parent().map(|parent| format!(" ({}, which forked it, is gone)", name(parent)));
        format!("{who}{what} adopted it{} and {instead}", orphan.unwrap_or_default())
    };
    let monitor = clean(&reaper.process.name);
    let is_crun = case.finding.runtime.as_ref().is_none_or(|runtime| runtime.name == "crun");
    let upgrade = if !is_monitor {
        format!("make {monitor} wait for any child, not only for its own")
    } else if monitor.contains("shim") {
        format!("upgrade containerd, of which {monitor} is a part: it has to wait for any child")
    } else if !is_crun {
        format!("make {monitor} wait for any child; if it is conmon-rs, upgrade to 0.6.6 or later")
    } else {
        "conmon-rs 0.6.6 or later, or conmon, or runc instead of crun, avoid it: upgrade or switch one of them"
            .to_owned()
    };
    let loss = if is_monitor { "; containers under it lose their log and exit status" } else { "" };
    let mut wont_help = vec![SIGKILL.to_owned()];
    if is_monitor {
        wont_help
            .push("deleting the Pod by force: it removes the API object and leaves the zombie".to_owned());
        wont_help.push("an init in the container: the orphan is adopted outside of it".to_owned());
    } else {
        wont_help.push("an init as PID 1: a subreaper that is nearer gets the orphan".to_owned());
    }
    Some(Verdict {
        family: Some(Family::F1),
        sentence,
        confidence: confidence(case),
        cites: vec![Fact::Descent, Fact::Creators, Fact::Reaper, Fact::Subreaper, Fact::Waits],
        remedies: vec![upgrade, format!("{}{loss}", stop_gap(case, reaper))],
        wont_help,
    })
}

/// The stage that forked a container init and the runtime that started the stage, if the runtime did it that way: other
/// runtimes fork as often, with `CLONE_PARENT`, and so stay the parent.
fn double_fork<'a>(case: &Case<'a>) -> Option<(&'a Creator, &'a Creator)> {
    let runtime = case.finding.runtime.as_ref()?;
    let [stage, starter, ..] = case.finding.creators.as_slice() else { return None };
    let is_runtime = |creator: &Creator| creator.role == Role::Runtime;
    (runtime.name == "crun"
        && runtime.stage == Stage::Init
        && is_runtime(stage)
        && stage.gone
        && is_runtime(starter))
    .then_some((stage, starter))
}

/// All of it was seen, or something was not.
fn confidence(case: &Case<'_>) -> Confidence {
    let reaper_is_sure = case
        .reaper
        .is_some_and(|reaper| reaper.is_subreaper == Some(true) || reaper.is_pidns_init == Some(true));
    let never_reaped = case.reaper.is_some_and(|reaper| !reaper.ever_reaped);
    let most = if reaper_is_sure { Confidence::High } else { Confidence::Medium };
    match (case.is_own(), case.habit()) {
        (None, Habit::Unknown | Habit::Otherwise) | (_, Habit::After { .. }) => Confidence::Low,
        (Some(_), Habit::Never { .. } | Habit::ByName) => case.is_habit_sure().unwrap_or_default().min(most),
        (Some(_), Habit::Unknown | Habit::Otherwise) if !never_reaped => Confidence::Low,
        (None, Habit::Never { .. }) => case.is_habit_sure().unwrap_or_default().min(Confidence::Medium),
        _ => Confidence::Medium,
    }
}
