//! Finds the containers that the evidence claims, and the authority of each claim. Every source can be wrong in its own
//! way, or lie. This file orders the claims of arguments and control groups; `resolve` weighs them
//! against the container's files.

use std::borrow::Cow;

use supervisor_model::{
    evidence::{Evidence, ExecFacts, ReaperFacts},
    finding::Authority,
};

use super::{
    argv::{MonitorCall, MonitorKind, RuntimeCall, RuntimeKind},
    authority, cgroup,
    roles::{self, Runtimes},
};

/// Where a claim was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The path of the control group.
    Cgroup,
    /// The arguments of the nearest runtime that was called for a container.
    Runtime,
    /// The arguments of a conmon that is the process itself or one of its creators.
    CreatingMonitor,
    /// The arguments of a conmon that must reap.
    ReapingMonitor,
    /// The arguments of a shim.
    Shim,
}

/// The container that a source names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// Its id.
    pub id: Cow<'a, str>,
    /// Whether an OCI runtime keeps its state and bundle; LXC and systemd-nspawn do not.
    pub is_oci: bool,
    /// Its name, if a monitor got the name as an argument. The monitor has the authority of the author, or root's.
    pub name: Option<&'a str>,
    /// Where it was found.
    pub source: Source,
    /// The author of the claim.
    pub speaker: Speaker,
    /// Whether the author may make claims about this process.
    pub may_speak: bool,
}

impl Claim<'_> {
    /// Whether the source is about exactly this process, and not about a possible ancestor.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        matches!(self.source, Source::Runtime | Source::CreatingMonitor)
    }
}

/// The author of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// The authority that the author has.
    pub by: Authority,
    /// Whether the program is known to be the one whose name it has.
    pub is_verified: bool,
}

impl Speaker {
    /// The author of the arguments of an exec.
    #[must_use]
    pub fn of_exec(exec: &ExecFacts) -> Self {
        Self { by: authority::of_exec(exec), is_verified: authority::is_verified(exec) }
    }
}

/// The claims, best first. Claims of authors who may not speak about this process come last ([`Claim::may_speak`]).
/// Then the authority decides: first the kernel's control group, then root, then users and containers. Within one rank
/// the order is:
///
/// 1. The control group: the innermost container of its path.
/// 2. The nearest runtime that was called for a container. It names exactly the container that the process was made
///    for.
/// 3. conmon as a creator: it watches one container only.
/// 4. conmon as the reaper: it may have adopted a process of a container within its own container.
/// 5. A shim. Its id is that of the pod's first container, the sandbox. The process may belong to another container.
///
/// A runtime's process moves into its container's group only some time after the fork, and never if cgroups are
/// disabled. Until then it is in the group of its caller, and in most cases that group is not named after a container.
#[must_use]
pub fn claims<'a>(evidence: &'a Evidence, cgroup: Option<&'a str>) -> Vec<Claim<'a>> {
    let created: Vec<(Speaker, MonitorCall<'_>)> = creating_monitors(evidence).collect();
    let reaping = evidence.reaper.as_deref().and_then(reaping_monitor);
    let monitor = |source: Source, of: &[(Speaker, MonitorCall<'a>)], kind: MonitorKind| {
        let mut of_kind = of.iter().filter(|(_, call)| call.kind == kind);
        of_kind.find_map(|(speaker, call)| Some((call.id?.into(), true, source, *speaker)))
    };
    let both: Vec<_> = created.iter().chain(&reaping).copied().collect();
    let in_cgroup = cgroup.and_then(|path| {
        let speaker = Speaker { by: authority::of_cgroup(path), is_verified: true };
        let named = cgroup::container(path)?;
        let is_oci = named.machine_runtime().is_none();
        Some((named.id, is_oci, Source::Cgroup, speaker))
    });
    let called = runtime_calls(evidence).find_map(|(exec, call)| {
        let id = call.container.or_else(|| call.bundle.and_then(bundle_id))?;
        Some((id.into(), call.kind == RuntimeKind::Oci, Source::Runtime, Speaker::of_exec(exec)))
    });
    let found = [
        in_cgroup,
        called,
        monitor(Source::CreatingMonitor, &created, MonitorKind::Conmon),
        monitor(Source::ReapingMonitor, reaping.as_slice(), MonitorKind::Conmon),
        monitor(Source::Shim, &both, MonitorKind::Shim),
    ];
    let mut claims: Vec<Claim<'a>> = found
        .into_iter()
        .flatten()
        .map(|(id, is_oci, source, speaker)| Claim {
            name: both
                .iter()
                .filter(|(monitor, _)| monitor.by == speaker.by || monitor.by.is_trusted())
                .find(|(_, call)| call.id == Some(&*id))
                .and_then(|(_, call)| call.name),
            id,
            is_oci,
            source,
            speaker,
            may_speak: authority::speaks_for(speaker.by, evidence),
        })
        .collect();
    claims.sort_by_key(|claim| (!claim.may_speak, claim.speaker.by.rank()));
    claims
}

/// The calls of runtimes, nearest first: the call of the process itself, if it is a runtime, and then those of its
/// creators.
pub fn runtime_calls(evidence: &Evidence) -> impl Iterator<Item = (&ExecFacts, RuntimeCall<'_>)> {
    let runtimes = Runtimes::of(&evidence.creators);
    execs(evidence).filter_map(move |exec| Some((exec, runtimes.call(exec)?)))
}

/// The exec of the process itself, and those of its creators. An exec that the process inherited from an ancestor comes
/// with that ancestor.
pub fn execs(evidence: &Evidence) -> impl Iterator<Item = &ExecFacts> {
    evidence
        .exec
        .as_ref()
        .filter(|exec| exec.own)
        .into_iter()
        .chain(evidence.creators.iter().filter_map(|creator| creator.exec.as_ref()))
}

/// The calls of monitors, nearest first: the call of the process itself, if it is a monitor, and then those of its
/// creators.
pub fn creating_monitors(evidence: &Evidence) -> impl Iterator<Item = (Speaker, MonitorCall<'_>)> {
    execs(evidence).filter_map(|exec| Some((Speaker::of_exec(exec), roles::monitor_call(exec)?)))
}

/// The reaper's call, if it is a monitor.
#[must_use]
pub fn reaping_monitor(reaper: &ReaperFacts) -> Option<(Speaker, MonitorCall<'_>)> {
    if let Some(exec) = &reaper.exec {
        return Some((Speaker::of_exec(exec), roles::monitor_call(exec)?));
    }
    // If the monitor was there before us, or daemonised without an exec, `/proc` has its file and arguments.
    let file = reaper.facts.exe.as_deref()?;
    let call = roles::monitor_call_of(roles::monitor_kind(file)?, file, &reaper.facts.args);
    let by = authority::of_process(&reaper.facts);
    Some((Speaker { by, is_verified: by == Authority::Root }, call))
}

/// Engines name the folder of a bundle after the container: `…/ID`, podman and CRI-O `…/ID/userdata`. The id itself is
/// the last argument of a runtime, and so the first to be cut.
fn bundle_id(bundle: &str) -> Option<&str> {
    let folder = bundle.trim_end_matches('/');
    let folder = folder.strip_suffix("/userdata").unwrap_or(folder);
    Some(roles::base(folder)).filter(|name| cgroup::is_id(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_an_engine_bundle_gives_the_container_id() {
        let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        for (bundle, expected) in [
            (format!("/run/containerd/io.containerd.runtime.v2.task/k8s.io/{id}"), Some(id)),
            (format!("/run/containers/storage/overlay-containers/{id}/userdata/"), Some(id)),
            ("/b".into(), None),
            (String::new(), None),
        ] {
            assert_eq!(bundle_id(&bundle), expected, "{bundle}");
        }
    }
}
