//! The rules for orphans that their adopter does not reap: F5, F2, F3, F1.

use supervisor_ebpf::WAITED_PGID;
use supervisor_model::{
    diagnosis::{Cause, Confidence},
    family::Family,
    finding::{Creator, Exit, Origin, PidNsMode, Role, Stage},
    words::{clean, duration},
};

use super::{
    Verdict,
    advice::{Line, Premise, is_shared, remedy, sigkill, stop_gap, wont_help},
    case::{Case, Habit, name},
    facts::Fact,
    own::wait_for_it,
    waits,
};

/// F5: there is an init program in the ancestry, but it could not adopt.
pub(super) fn init_not_pid1(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    if case.is_own() != Some(false) {
        return None;
    }
    // The init stands between the orphan and its reaper: an orphan passes only ancestors that cannot adopt. An init
    // beyond a runtime or a monitor is outside of the container, and the kernel does not search there.
    let creators = &case.finding.creators;
    let is_inside = |creator: &&Creator| {
        creator.process.pid != reaper.process.pid
            && !matches!(creator.role, Role::Runtime | Role::Monitor | Role::Engine)
    };
    // PID 1 of another PID namespace does adopt, but only in its own namespace.
    let cannot_adopt =
        |creator: &&Creator| creator.is_init_program && !creator.gone && creator.process.vpid != Some(1);
    let init = creators.iter().take_while(is_inside).find(cannot_adopt)?;
    let is_above = creators.iter().any(|creator| creator.process.pid == reaper.process.pid);
    let most = if is_above { Confidence::High } else { Confidence::Medium };
    Some(Verdict {
        family: Some(Family::F5),
        cause: waits::cause(case),
        prognosis: waits::prognosis(case),
        sentence: format!(
            "{} is there as an init and is neither PID 1 nor a subreaper, so the orphan went past it to {}, which {}",
            name(&init.process),
            name(&reaper.process),
            case.instead()
        ),
        confidence: confidence(case).min(most),
        cites: vec![Fact::Creators, Fact::Ancestry, Fact::Reaper, Fact::Waits],
        advice: vec![
            remedy(&[], "make it a subreaper: `tini -s`, or TINI_SUBREAPER=1"),
            remedy(
                &[Premise::NamespaceIsNotShared],
                "or make it PID 1: exec it as the container's command, without a shell before it",
            ),
        ]
        .into_iter()
        .chain(replace_sandbox_init(case))
        .chain([sigkill()])
        .collect(),
    })
}

/// F2 and F3: PID 1 of the namespace is no init.
#[expect(clippy::too_many_lines, reason = "the cases of one family side by side, each with its advice")]
pub(super) fn by_pid1(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    if reaper.is_pidns_init != Some(true) || case.is_own() == Some(true) {
        return None;
    }
    let is_host = reaper.process.pid == 1;
    let what = if is_host { "PID 1 of the host" } else { "PID 1 of its PID namespace" };
    let adopted = match (case.is_own(), case.lost_parent_story()) {
        (Some(_), Some(parent)) => format!("adopted it ({parent}) and"),
        (Some(_), None) => "adopted it and".to_owned(),
        (None, _) => "must reap it (whether it adopted it was not seen) and".to_owned(),
    };
    let who = name(&reaper.process);
    let sentence = format!("{who}, {what}, {adopted} {}", case.instead());
    let (family, sentence, at_source) = match case.finding.origin {
        Origin::HealthCheck { period_ns } => (
            Family::F3,
            format!(
                "an exec session that comes about every {}, as health checks do, left it; {sentence}",
                duration(period_ns)
            ),
            Some("let the probe not leave processes behind: no background jobs, `exec` the last command"),
        ),
        Origin::Exec => (
            Family::F3,
            format!("an exec session left it; {sentence}"),
            Some("let the executed command wait for what it starts"),
        ),
        _ => (Family::F2, sentence, None),
    };
    // A single session may come from a person. An init reaps at once. If this init does not, something else may be
    // wrong, even if it was seen not to wait.
    let is_idle_init = matches!(case.habit(), Habit::Never { .. })
        && case.is_habit_sure() == Some(Confidence::High)
        && !case.is_runnable();
    let most = match (reaper.role, case.finding.origin) {
        (Role::Init, _) if is_idle_init => Confidence::Medium,
        (Role::Init, _) => Confidence::Low,
        (_, Origin::Exec) => Confidence::Medium,
        _ => Confidence::High,
    };
    let only_if = if case.is_own().is_none() { "if it was adopted, " } else { "" };
    let mut advice = vec![remedy(
        &[Premise::Adopted, Premise::ReaperIsContainerInit, Premise::NamespaceIsNotShared],
        format!("{only_if}{}", init_as_pid1(case)),
    )];
    advice.extend(replace_sandbox_init(case));
    advice.extend(at_source.map(|text| remedy(&[], text)));
    advice.extend(busybox_timeout(case));
    advice.extend(killed_creator(case));
    if at_source.is_none() {
        advice.push(wait_for_it(case));
    }
    advice.extend([
        stop_gap(case, reaper),
        sigkill(),
        wont_help(
            &[Premise::ReaperIsContainerInit, Premise::NamespaceIsNotShared],
            "the pause process: it reaps only where the PID namespace is shared (F16)",
        ),
    ]);
    Some(Verdict {
        family: Some(family),
        cause: waits::cause(case),
        prognosis: waits::prognosis(case),
        sentence,
        confidence: confidence(case).min(most),
        cites: vec![Fact::Ancestry, Fact::Reaper, Fact::Creators, Fact::Waits],
        advice,
    })
}

/// Says how to give the container an init.
fn init_as_pid1(case: &Case<'_>) -> &'static str {
    let manager = case.finding.container.as_ref().and_then(|container| container.runtime.as_deref());
    match manager {
        Some("lxc") => "run an init as PID 1: `lxc-execute` brings one, or name an init in `lxc.init.cmd`",
        Some("systemd-nspawn") => {
            "run an init as PID 1: `systemd-nspawn --as-pid2` brings one, and `--boot` starts the container's own"
        }
        _ if case.finding.orchestrator.is_some() => {
            "run an init as PID 1: tini or catatonit in the image, or shareProcessNamespace in the Pod"
        }
        None => {
            "run an init as PID 1: tini or catatonit before the program; with podman or docker `--init`, in a Pod \
             shareProcessNamespace"
        }
        Some(_) => {
            "run an init as PID 1: `--init` of podman and docker, tini or catatonit in the image, or \
             shareProcessNamespace in the Pod"
        }
    }
}

/// The remedy for a shared namespace: there, the sandbox's PID 1 gets the orphans of all containers.
fn replace_sandbox_init(case: &Case<'_>) -> Option<Line> {
    // If it is not known whether the namespace is shared, an init as PID 1 suggests a sandbox.
    let reaper_is_init = case.reaper.is_some_and(|reaper| reaper.role == Role::Init);
    if !is_shared(case).unwrap_or(reaper_is_init) {
        return None;
    }
    let pid1 = case
        .finding
        .pid_ns
        .as_ref()
        .and_then(|ns| ns.init.as_ref())
        .map_or("PID 1".to_owned(), |init| clean(&init.name));
    Some(remedy(
        &[Premise::ReaperIsContainerInit, Premise::NamespaceIsShared],
        format!(
            "replace {pid1}, PID 1 of the PID namespace that the containers share, by one that reaps (the pause image \
             of Kubernetes does); `tini -s` as a container's command reaps what descends from it"
        ),
    ))
}

/// busybox's `timeout` forks its timer away from itself, so each call leaves an orphan.
fn busybox_timeout(case: &Case<'_>) -> Option<Line> {
    // The `timeout` of coreutils is the parent of its command, and leaves no orphan.
    let is_timer = case.finding.process.name == "timeout" && case.finding.executed == Some(false);
    (is_timer && case.is_own() == Some(false)).then(|| {
        remedy(
            &[],
            "use the probe's own time limit (`timeoutSeconds`) or the `timeout` of coreutils: busybox's leaves its timer \
             to PID 1 at each call",
        )
    })
}

/// The remedy for a creator that was killed and so could not wait.
fn killed_creator(case: &Case<'_>) -> Option<Line> {
    let creator = case.finding.creators.first().filter(|creator| creator.gone)?;
    let Exit::Signal { number: 9, .. } = Exit::from_wait_status(creator.end.as_ref()?.status) else {
        return None;
    };
    Some(remedy(
        &[],
        format!(
            "let whoever killed {} end its whole process group, or give it more time: what it had started became an orphan",
            name(&creator.process)
        ),
    ))
}

/// F1: a subreaper, usually a container monitor, waits only for the processes that it started.
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
        let orphan = case.lost_parent_story().map(|parent| format!(" ({parent})")).unwrap_or_default();
        format!("{who}{what} adopted it{orphan} and {instead}")
    };
    let mut advice = upgrades(case, is_monitor);
    advice.extend(end_it(case, is_monitor));
    advice.push(sigkill());
    if is_monitor {
        advice.extend([
            wont_help(&[], "deleting the Pod by force: it removes the API object and leaves the zombie"),
            wont_help(
                &[Premise::ReaperIsOutside],
                "an init in the container: the orphan is adopted outside of it",
            ),
        ]);
    } else {
        advice.push(wont_help(&[], "an init as PID 1: a subreaper that is nearer gets the orphan"));
    }
    Some(Verdict {
        family: Some(Family::F1),
        cause: waits::cause(case),
        prognosis: waits::prognosis(case),
        sentence,
        confidence: confidence(case),
        cites: vec![Fact::Ancestry, Fact::Creators, Fact::Reaper, Fact::Subreaper, Fact::Waits],
        advice,
    })
}

/// The upgrades and replacements that leave no such orphan.
fn upgrades(case: &Case<'_>, is_monitor: bool) -> Vec<Line> {
    let Some(reaper) = case.reaper else { return Vec::new() };
    let monitor = clean(&reaper.process.name);
    if !is_monitor {
        return vec![match (waits::cause(case), case.habit()) {
            (Some(Cause::WaitsByPid), _) | (_, Habit::Before { .. }) => wait_for_it(case),
            _ => remedy(&[], format!("make {monitor} wait for any child, not only for its own")),
        }];
    }
    if monitor.contains("shim") {
        return vec![remedy(
            &[],
            format!("upgrade containerd ({monitor} is a part of it): it has to wait for any child"),
        )];
    }
    if let Some(kind) = ends_with_container(&monitor) {
        return vec![remedy(&[], format!("run an init in the container of {kind}, or upgrade {monitor}"))];
    }
    if is_conmon(&monitor) {
        return vec![remedy(&[], format!("upgrade {monitor}: it waits for any child when SIGCHLD comes"))];
    }
    let runtime = case.finding.runtime.as_ref();
    let is_crun = runtime.is_none_or(|runtime| runtime.name == "crun");
    let is_failed_create =
        runtime.is_none_or(|runtime| runtime.verb.as_deref() != Some("exec") && runtime.stage == Stage::Init);
    if !is_failed_create || !is_crun {
        // conmon-rs 0.6.6 looks for orphans after a failed create only.
        return vec![
            remedy(&[], format!("make {monitor} wait for any child; conmon (C) does")),
            wont_help(
                &[],
                "conmon-rs 0.6.6 or runc: an orphan of a running container or of an exec stays there too",
            ),
        ];
    }
    vec![
        remedy(
            &[],
            "conmon-rs 0.6.6 or later, or conmon, or runc instead of crun, avoid it: upgrade or switch one of them",
        ),
        remedy(
            &[Premise::NamespaceIsShared],
            "or give each container its own PID namespace (`shareProcessNamespace: false`): crun then forks once, and \
             reaps it",
        ),
    ]
}

/// Whether a monitor is conmon, the one in C.
fn is_conmon(monitor: &str) -> bool {
    monitor == "conmon" || monitor.ends_with("-conmon")
}

/// Monitors whose end ends their container.
fn ends_with_container(monitor: &str) -> Option<&'static str> {
    [("lxc", "LXC"), ("systemd-nspawn", "systemd-nspawn")]
        .into_iter()
        .find_map(|(part, kind)| monitor.contains(part).then_some(kind))
}

/// The stop-gap and its cost.
fn end_it(case: &Case<'_>, is_monitor: bool) -> Vec<Line> {
    let Some(reaper) = case.reaper else { return Vec::new() };
    if !is_monitor {
        return vec![stop_gap(case, reaper)];
    }
    let who = name(&reaper.process);
    let pid = reaper.process.pid;
    let monitor = &reaper.process.name;
    if monitor.contains("shim") || ends_with_container(monitor).is_some() {
        return vec![remedy(
            &[Premise::IsNotLate, Premise::ReaperIsNotHostInit],
            format!(
                "stop-gap: restart the container of {who}: it ends when {who} is ended, and its zombies with it"
            ),
        )];
    }
    let kill = remedy(
        &[Premise::IsNotLate, Premise::ReaperIsNotHostInit],
        format!(
            "stop-gap: `kill -KILL {pid}` ends {who}: its zombies go to the next subreaper or PID 1, and are gone if that \
             reaps; containers under it lose their log and exit status"
        ),
    );
    if is_conmon(monitor) {
        return vec![kill];
    }
    let conmonrs = if monitor.contains("conmonrs") { "it" } else { "conmon-rs" };
    let sigterm = format!(
        "SIGTERM to {who}: {conmonrs} then stops the sandbox and waits for it, which waits for this zombie, so that a pod \
         that still worked is blocked too"
    );
    vec![kill, wont_help(&[], sigterm)]
}

/// The stage that forked a container init, and the runtime process that started the stage, if the runtime forked twice
/// in this way. Other runtimes fork as often, but with `CLONE_PARENT`, so they stay the parent.
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

/// The confidence in the verdict: it depends on which of its facts were seen.
fn confidence(case: &Case<'_>) -> Confidence {
    let reaper_is_sure = case
        .reaper
        .is_some_and(|reaper| reaper.is_subreaper == Some(true) || reaper.is_pidns_init == Some(true));
    let never_reaped = case.reaper.is_some_and(|reaper| !reaper.ever_reaped);
    let most = if reaper_is_sure { Confidence::High } else { Confidence::Medium };
    match (case.is_own(), case.habit()) {
        (None, Habit::Unknown | Habit::Otherwise) | (_, Habit::After { .. }) => Confidence::Low,
        (Some(_), Habit::Never { .. } | Habit::ByName) => case.is_habit_sure().unwrap_or_default().min(most),
        (Some(_), Habit::Otherwise) if case.is_for_another_group() => {
            let is_after = case
                .reaper
                .is_some_and(|it| it.last_wait.as_ref().is_some_and(|it| it.at_ns >= case.zombie_ns()));
            let is_all = is_after && case.waits_only(WAITED_PGID);
            if is_all { most } else { Confidence::Medium }
        }
        (Some(_), Habit::Otherwise) if case.narrowed().is_some() => case.is_always_narrowed().min(most),
        (Some(_), Habit::Unknown | Habit::Otherwise) if !never_reaped => Confidence::Low,
        (None, Habit::Never { .. }) => case.is_habit_sure().unwrap_or_default().min(Confidence::Medium),
        _ => Confidence::Medium,
    }
}
