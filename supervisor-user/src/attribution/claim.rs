//! Which container the evidence claims, and through whom. Every source can be wrong in its own way; the order
//! in which they are believed is here, once.

use super::{
    argv::{self, MonitorCall, MonitorKind, RuntimeCall},
    cgroup, roles,
};
use crate::{
    evidence::{Evidence, ExecFacts, ReaperFacts},
    finding::Role,
};

/// The container that a source names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim<'a> {
    /// Its id.
    pub(super) id: &'a str,
    /// Its name, where a monitor was told it.
    pub(super) name: Option<&'a str>,
}

/// The container, as the best source has it:
///
/// 1. The nearest runtime that was called for one. It names exactly the container that the process was made
///    for, while a control group may still be that of whoever called: a process is moved into its
///    container's only some time after the fork, not at all with cgroups disabled, and a runtime that runs
///    inside a container makes another one within the same group.
/// 2. conmon as a creator: it watches one container only.
/// 3. The control group: the innermost container, but perhaps not the one of the last runtime.
/// 4. conmon as the reaper: it may have adopted the process of a container within its own.
/// 5. A shim. The id is that of the pod's first container, its sandbox, and the process may be another's.
#[must_use]
pub(super) fn claim<'a>(evidence: &'a Evidence, cgroup: Option<&'a str>) -> Option<Claim<'a>> {
    let created: Vec<MonitorCall<'_>> = creating_monitors(evidence).collect();
    let reaping = evidence.reaper.as_deref().and_then(reaping_monitor);
    let name_of = |id: &str| {
        let mut known = created.iter().chain(&reaping);
        known.find(|call| call.id == Some(id)).and_then(|call| call.name)
    };
    let of_kind = |kind: MonitorKind| move |call: &&MonitorCall<'a>| call.kind == kind;
    let id = runtime_calls(evidence)
        .find_map(|(_, call)| call.container.or_else(|| call.bundle.and_then(bundle_id)))
        .or_else(|| created.iter().filter(of_kind(MonitorKind::Conmon)).find_map(|call| call.id))
        .or_else(|| Some(cgroup::container(cgroup?)?.id))
        .or_else(|| reaping.iter().filter(of_kind(MonitorKind::Conmon)).find_map(|call| call.id))
        .or_else(|| {
            created.iter().chain(&reaping).filter(of_kind(MonitorKind::Shim)).find_map(|call| call.id)
        })?;
    Some(Claim { id, name: name_of(id) })
}

/// Calls of runtimes, nearest first: the process's own, if it is a runtime's, then its creators'.
pub(super) fn runtime_calls(evidence: &Evidence) -> impl Iterator<Item = (&ExecFacts, RuntimeCall<'_>)> {
    execs(evidence)
        .filter(|exec| roles::runtime(exec).is_some())
        .filter_map(|exec| Some((exec, argv::runtime_call(&exec.args)?)))
}

/// The process's own exec, and its creators'. One that is a forebear's comes with that forebear.
pub(super) fn execs(evidence: &Evidence) -> impl Iterator<Item = &ExecFacts> {
    evidence
        .exec
        .as_ref()
        .filter(|exec| exec.own)
        .into_iter()
        .chain(evidence.creators.iter().filter_map(|creator| creator.exec.as_ref()))
}

/// Monitors among the creators, nearest first.
pub(super) fn creating_monitors(evidence: &Evidence) -> impl Iterator<Item = MonitorCall<'_>> {
    execs(evidence).filter_map(of_exec)
}

/// The reaper's call, if it is a monitor.
#[must_use]
pub(super) fn reaping_monitor(reaper: &ReaperFacts) -> Option<MonitorCall<'_>> {
    if let Some(exec) = &reaper.exec {
        return of_exec(exec);
    }
    // Of one that was there before us, `/proc` has the arguments.
    let kind = MonitorKind::of(roles::base(reaper.facts.exe.as_deref()?))?;
    Some(argv::monitor_call(kind, &reaper.facts.args))
}

/// An exec as a monitor's.
#[must_use]
pub(super) fn of_exec(exec: &ExecFacts) -> Option<MonitorCall<'_>> {
    if roles::role(exec) != Role::Monitor {
        return None;
    }
    let kind = MonitorKind::of(roles::base(roles::real_file(exec)))?;
    Some(argv::monitor_call(kind, &exec.args))
}

/// Engines name a bundle's folder after the container: `…/ID`, podman and CRI-O `…/ID/userdata`. The id itself
/// is the last argument of a runtime, and the first to be cut.
fn bundle_id(bundle: &str) -> Option<&str> {
    let folder = bundle.trim_end_matches('/');
    let folder = folder.strip_suffix("/userdata").unwrap_or(folder);
    Some(roles::base(folder)).filter(|name| cgroup::is_id(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_named_after_their_container() {
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
