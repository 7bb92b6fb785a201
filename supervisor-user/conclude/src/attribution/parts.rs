//! Finds the runtime and the monitor that a process belongs to, and its role for them.

use supervisor_claims::{
    authority, cgroup, claim,
    roles::{self, Runtimes},
};
use supervisor_model::{
    evidence::{CreatorFacts, Evidence, ExecFacts, ReaperFacts},
    finding::{Authority, Monitor, Role, Runtime, Stage},
};

/// The role of a process by its own exec. A monitor that daemonises forks without an exec, and stays a monitor.
#[must_use]
pub(super) fn own_role(evidence: &Evidence) -> Role {
    let runtimes = Runtimes::of(&evidence.creators);
    match evidence.exec.as_ref() {
        Some(exec) if exec.own => runtimes.role(exec),
        Some(exec) if is_monitor(exec) => Role::Monitor,
        Some(_) | None => Role::Other,
    }
}

/// The role of a creator.
#[must_use]
pub(super) fn creator_role(facts: &CreatorFacts, runtimes: &Runtimes<'_>) -> Role {
    let is_init = facts.vpid == 1;
    match &facts.exec {
        // LXC's monitor is the process of `lxc-start` that was forked to stay.
        Some(exec) if stays(exec) && !exec.own && !facts.gone && !is_init => Role::Monitor,
        Some(exec) if !is_init || runtimes.name(exec).is_some() => runtimes.role(exec),
        _ if is_init => Role::Init,
        _ => Role::Other,
    }
}

/// The role of a reaper.
#[must_use]
pub(super) fn reaper_role(facts: &ReaperFacts, evidence: &Evidence) -> Role {
    match &facts.exec {
        // A living process of such a runtime has children, so it is the monitor.
        Some(exec) if stays(exec) => Role::Monitor,
        Some(exec) => Runtimes::of(&evidence.creators).role(exec),
        None if is_monitor_process(facts) => Role::Monitor,
        None => Role::Other,
    }
}

fn stays(exec: &ExecFacts) -> bool {
    roles::stays(roles::real_file(exec))
}

fn is_monitor(exec: &ExecFacts) -> bool {
    roles::role(exec) == Role::Monitor
}

/// Whether a process whose exec was not seen runs a monitor's file. Such a process is older than the watch, or it
/// daemonised.
fn is_monitor_process(facts: &ReaperFacts) -> bool {
    facts.facts.exe.as_deref().is_some_and(|file| roles::monitor_kind(file).is_some() || roles::stays(file))
}

/// The nearest runtime, which may be the process itself, and the stage of the process in it.
#[must_use]
pub(super) fn runtime(evidence: &Evidence, cgroup: Option<&str>) -> Option<Runtime> {
    let runtimes = Runtimes::of(&evidence.creators);
    let own = evidence.exec.as_ref();
    // `runc init` is an exec of its own too, but it is a stage. Only an exec with a verb is a call.
    let called = own.filter(|own| own.own && runtimes.call(own).is_some());
    let creators = || evidence.creators.iter().filter_map(|creator| creator.exec.as_ref());
    // The stages of a runtime execute its file again, without a verb. The call is above them.
    let seen = || called.into_iter().chain(creators()).filter(|exec| runtimes.name(exec).is_some());
    let Some(exec) = seen().find(|exec| runtimes.call(exec).is_some()).or_else(|| seen().next()) else {
        return runtime_of_monitor(evidence, cgroup).or_else(|| runtime_of_group(cgroup?));
    };
    // A process that still runs the runtime's file has not become the container's command.
    let is_runtime = own.is_some_and(|own| runtimes.name(own).is_some());
    let stage = if is_runtime && roles::is_intermediate(&evidence.facts.comm) {
        Stage::Intermediate
    } else if called.is_some() {
        Stage::Runtime
    } else if !is_runtime {
        Stage::Container
    } else if evidence.has_children || (stays(exec) && evidence.facts.vpid() != Some(1)) {
        Stage::Intermediate
    } else {
        Stage::Init
    };
    Some(Runtime {
        name: runtimes.name(exec)?.to_owned(),
        executable: Some(roles::real_file(exec).to_owned()),
        verb: runtimes.call(exec).map(|call| call.verb.to_owned()),
        stage,
        is_unverified: authority::is_unverified_part(exec, Role::Runtime),
    })
}

/// The runtime that the monitor's arguments name, if the runtime's exec was not seen. A monitor also starts processes
/// that are in no container, such as podman's clean-up.
fn runtime_of_monitor(evidence: &Evidence, cgroup: Option<&str>) -> Option<Runtime> {
    if evidence.exec.as_ref().is_some_and(is_monitor) {
        return None;
    }
    let created = evidence.creators.iter().filter_map(|creator| {
        let exec = creator.exec.as_ref()?;
        Some((claim::Speaker::of_exec(exec), roles::monitor_call(exec)?, Some(creator.pid_ns)))
    });
    let reaping = evidence.reaper.as_deref().and_then(|reaper| {
        let (speaker, call) = claim::reaping_monitor(reaper)?;
        Some((speaker, call, reaper.facts.pid_ns))
    });
    let (speaker, path, monitor_ns) =
        created.chain(reaping).find_map(|(speaker, call, pid_ns)| Some((speaker, call.runtime?, pid_ns)))?;
    let pid_ns = evidence.facts.pid_ns.or_else(|| evidence.task.as_ref().map(|task| task.record.pid_ns));
    let is_elsewhere = pid_ns.zip(monitor_ns).is_some_and(|(own, monitor)| own != monitor);
    if !is_elsewhere && cgroup.and_then(cgroup::container).is_none() {
        return None;
    }
    let has_own_file = evidence.exec.as_ref().is_some_and(|exec| exec.own);
    let is_runtime = !has_own_file && is_elsewhere && roles::is_name_of(&evidence.facts.comm, path);
    Some(Runtime {
        name: roles::runtime_name(path).to_owned(),
        executable: path.starts_with('/').then(|| path.to_owned()),
        verb: None,
        stage: if is_runtime { Stage::Init } else { Stage::Container },
        is_unverified: !speaker.is_verified,
    })
}

/// The runtime that the control group names. LXC and systemd-nspawn have no engine above them.
fn runtime_of_group(path: &str) -> Option<Runtime> {
    let name = cgroup::container(path)?.machine_runtime()?;
    Some(Runtime {
        name: name.to_owned(),
        executable: None,
        verb: None,
        stage: Stage::Container,
        is_unverified: authority::of_cgroup(path) != Authority::Kernel,
    })
}

/// The monitor, from the first of these sources: the nearest creator that is a monitor by name; the process itself; the
/// process that started the runtime, if it is the reaper and a subreaper; the reaper, if it is a known monitor.
#[must_use]
pub(super) fn monitor(evidence: &Evidence) -> Option<Monitor> {
    let runtimes = Runtimes::of(&evidence.creators);
    let creators = evidence.creators.as_slice();
    // If the process is a monitor itself, its earlier stages among the creators are not the monitor of the container
    // that it runs in.
    let itself = evidence.exec.as_ref().filter(|exec| is_monitor(exec));
    let stages = itself.map_or(0, |own| creators.iter().take_while(|creator| runs(creator, own)).count());
    if let Some(found) = named_monitor(&creators[stages..], &runtimes) {
        return Some(of_creator(found));
    }
    if let Some(exec) = itself {
        return Some(Monitor {
            name: evidence.facts.comm.clone(),
            pid: evidence.facts.pid,
            executable: Some(roles::real_file(exec).to_owned()),
            namespace: namespace(exec),
            is_unverified: authority::is_unverified_part(exec, Role::Monitor),
        });
    }
    if let Some(found) = monitor_by_deed(evidence, &runtimes) {
        return Some(of_creator(found));
    }
    // If the creators of a process were not seen, its reaper may still be a known monitor.
    let is_known =
        |reaper: &ReaperFacts| is_monitor_process(reaper) || roles::is_monitor_name(&reaper.facts.comm);
    let reaper = evidence.reaper.as_deref().filter(|reaper| is_known(reaper))?;
    let call = claim::reaping_monitor(reaper);
    Some(Monitor {
        namespace: call.and_then(|(_, call)| call.namespace.map(str::to_owned)),
        // Only its name is known, unless it is known to belong to root.
        is_unverified: call.is_none_or(|(speaker, _)| !speaker.is_verified),
        name: reaper.facts.comm.clone(),
        pid: reaper.facts.pid,
        executable: reaper.facts.exe.clone(),
    })
}

/// The nearest monitor. A monitor that daemonises leaves dead stages that run the same file. The living process of that
/// file is the monitor.
fn named_monitor<'a>(creators: &'a [CreatorFacts], runtimes: &Runtimes<'_>) -> Option<&'a CreatorFacts> {
    let is_monitor = |creator: &CreatorFacts| {
        let stays = || creator.exec.as_ref().is_some_and(stays) && creator.vpid != 1;
        creator_role(creator, runtimes) == Role::Monitor || stays()
    };
    let first = creators.iter().position(is_monitor)?;
    let nearest = &creators[first];
    let mut same = creators[first..]
        .iter()
        .take_while(|creator| nearest.exec.as_ref().is_some_and(|exec| runs(creator, exec)));
    same.find(|creator| !creator.gone).or(Some(nearest))
}

/// Whether a creator runs the file of that exec.
fn runs(creator: &CreatorFacts, exec: &ExecFacts) -> bool {
    creator.exec.as_ref().is_some_and(|other| roles::real_file(other) == roles::real_file(exec))
}

fn monitor_by_deed<'a>(evidence: &'a Evidence, runtimes: &Runtimes<'_>) -> Option<&'a CreatorFacts> {
    let is_runtime =
        |creator: &CreatorFacts| creator.exec.as_ref().is_some_and(|exec| runtimes.name(exec).is_some());
    let runtime = evidence.creators.iter().rposition(is_runtime)?;
    let starter = evidence.creators.get(runtime + 1)?;
    let reaper = evidence.reaper.as_ref()?;
    (reaper.id == Some(starter.id) && reaper.is_subreaper == Some(true)).then_some(starter)
}

fn of_creator(creator: &CreatorFacts) -> Monitor {
    let exec = creator.exec.as_ref();
    Monitor {
        name: creator.comm.clone(),
        pid: creator.id.tgid,
        executable: exec.map(|exec| roles::real_file(exec).to_owned()),
        namespace: exec.and_then(namespace),
        is_unverified: exec.is_some_and(|exec| authority::is_unverified_part(exec, roles::role(exec))),
    }
}

fn namespace(exec: &ExecFacts) -> Option<String> {
    roles::monitor_call(exec)?.namespace.map(str::to_owned)
}

#[cfg(test)]
mod tests;
