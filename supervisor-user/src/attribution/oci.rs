//! Where a container's files may be, and whose container they say it is. Pure.

use super::{
    argv::MonitorKind,
    cgroup, cgroup_path,
    claim::{claim, creating_monitors, reaping_monitor, runtime_calls},
};
use crate::{
    evidence::Evidence,
    host::{CRI_SANDBOX_ID, CRIO_CONTAINER_ID, MANAGER, MAX_PLACES, OciFacts, OciPlaces, is_plain},
};

/// Longest name of a file.
const MAX_NAME: usize = 255;

/// Roots of runtimes that were given none.
const ROOTS: &[&str] = &["/run/crun", "/run/runc"];
/// The same below `/run/user/UID`.
const USER_ROOTS: &[&str] = &["crun", "runc"];
/// Roots that docker and containerd give.
const ENGINE_ROOTS: &[&str] = &["/run/containerd/runc/k8s.io", "/run/docker/runtime-runc/moby"];
/// Where podman and CRI-O keep bundles, as `ID/userdata`.
const STORAGE: &[&str] =
    &["/run/containers/storage/overlay-containers", "/var/lib/containers/storage/overlay-containers"];
/// Where containerd keeps bundles, as `ID`; the last is of one that docker started.
const TASKS: &[&str] = &[
    "/run/containerd/io.containerd.runtime.v2.task/k8s.io",
    "/run/containerd/io.containerd.runtime.v2.task/moby",
    "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby",
];

/// Where the files of the claimed container may be. Only places of that one: what another runtime or monitor in
/// the chain names is another container's.
#[must_use]
pub fn places(evidence: &Evidence) -> OciPlaces {
    let cgroup = cgroup_path(evidence);
    let claimed = claim(evidence, cgroup.as_deref()).map(|claim| claim.id);
    if claimed.is_some_and(|id| !is_name(id)) {
        return OciPlaces::default();
    }
    let mut places = Places { id: claimed, root_named: false, found: OciPlaces::default() };
    for (_, call) in runtime_calls(evidence) {
        if call.container.is_none() || call.container == claimed {
            places.named_root(call.root);
            places.bundle(call.bundle);
        }
    }
    let monitors: Vec<_> =
        creating_monitors(evidence).chain(evidence.reaper.as_deref().and_then(reaping_monitor)).collect();
    for call in &monitors {
        if call.kind == MonitorKind::ConmonRs || call.id == claimed {
            places.named_root(call.root);
            places.bundle(call.bundle);
        }
        // A shim serves all containers of its pod.
        if let Some(namespace) = call.namespace.filter(|namespace| is_name(namespace)) {
            places.root(&format!("/run/containerd/runc/{namespace}"));
            places.folder(&format!("/run/containerd/io.containerd.runtime.v2.task/{namespace}"), "");
        }
    }
    let by_engine = claimed.is_some_and(cgroup::is_id);
    // An id that a person chose may be used again under another root, an engine's is not.
    if by_engine || !places.root_named {
        for root in ROOTS {
            places.root(root);
        }
        for uid in users(evidence, cgroup.as_deref()) {
            for root in USER_ROOTS {
                places.root(&format!("/run/user/{uid}/{root}"));
            }
        }
    }
    if by_engine {
        for root in ENGINE_ROOTS {
            places.root(root);
        }
        for root in STORAGE {
            places.folder(root, "/userdata");
        }
        for root in TASKS {
            places.folder(root, "");
        }
    }
    places.found
}

/// The users whose runtime it may be: of the control group, the reaper, the process; root has no such folder.
fn users(evidence: &Evidence, cgroup: Option<&str>) -> Vec<u32> {
    let reaper = evidence.reaper.as_ref().and_then(|reaper| reaper.facts.uid);
    let mut users: Vec<u32> = Vec::new();
    for uid in [cgroup.and_then(cgroup::user), reaper, evidence.facts.uid].into_iter().flatten() {
        if uid != 0 && !users.contains(&uid) {
            users.push(uid);
        }
    }
    users
}

struct Places<'a> {
    id: Option<&'a str>,
    /// Whether the runtime was given a root, so that it uses no other.
    root_named: bool,
    found: OciPlaces,
}

impl Places<'_> {
    /// A root that a runtime was given.
    fn named_root(&mut self, root: Option<&str>) {
        if let Some(root) = root {
            self.root_named = true;
            self.root(root);
        }
    }

    /// A runtime's root, whichever runtime it is.
    fn root(&mut self, root: &str) {
        let Some(id) = self.id else { return };
        let root = root.trim_end_matches('/');
        for file in ["status", "state.json"] {
            add(&mut self.found.state_files, format!("{root}/{id}/{file}"));
        }
    }

    /// A folder with bundles in folders of the container's id.
    fn folder(&mut self, root: &str, below: &str) {
        let Some(id) = self.id else { return };
        add(&mut self.found.bundles, format!("{root}/{id}{below}"));
    }

    /// A bundle that a runtime was given.
    fn bundle(&mut self, bundle: Option<&str>) {
        if let Some(bundle) = bundle {
            add(&mut self.found.bundles, bundle.to_owned());
        }
    }
}

fn add(places: &mut Vec<String>, path: String) {
    if places.len() < MAX_PLACES && is_plain(&path) && !places.contains(&path) {
        places.push(path);
    }
}

/// Whether a text can be the name of a folder, and no way out of it.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME && !text.contains(['/', '\0']) && text != "." && text != ".."
}

/// Whose container it is, by its annotations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity<'a> {
    /// Its id.
    pub(super) id: Option<&'a str>,
    /// Its name.
    pub(super) container: Option<&'a str>,
    /// Its pod's name.
    pub(super) pod: Option<&'a str>,
    /// Its pod's namespace.
    pub(super) namespace: Option<&'a str>,
    /// Its pod's uid.
    pub(super) uid: Option<&'a str>,
    /// Who made it.
    pub(super) engine: Option<&'static str>,
}

impl Identity<'_> {
    /// Whether it names a pod.
    #[must_use]
    pub(super) fn names_pod(&self) -> bool {
        self.pod.is_some() || self.namespace.is_some() || self.uid.is_some()
    }
}

/// Reads the annotations as their engine means them. Whoever writes a pod's manifest chooses other annotations
/// of it, so the keys of one engine say nothing in a bundle of another.
#[must_use]
pub(super) fn identify(facts: &OciFacts) -> Identity<'_> {
    let value = |key: &str| facts.annotations.get(key).map(String::as_str).filter(|value| !value.is_empty());
    let engine = match value(MANAGER) {
        Some("libpod") => Some("podman"),
        Some("cri-o") => Some("cri-o"),
        None if value(CRIO_CONTAINER_ID).is_some() => Some("cri-o"),
        None if value(CRI_SANDBOX_ID).is_some() => Some("containerd"),
        Some(_) | None => None,
    };
    let id = facts.id.as_deref();
    let crio = || Identity {
        id: id.or_else(|| value(CRIO_CONTAINER_ID)),
        container: value("io.kubernetes.container.name")
            .or_else(|| value("io.kubernetes.cri-o.ContainerName")),
        pod: value("io.kubernetes.pod.name").or_else(|| value("io.kubernetes.cri-o.KubeName")),
        namespace: value("io.kubernetes.pod.namespace").or_else(|| value("io.kubernetes.cri-o.Namespace")),
        uid: value("io.kubernetes.pod.uid"),
        engine,
    };
    match engine {
        // A podman pod is none of Kubernetes.
        Some("podman") => Identity { id, engine, ..Identity::default() },
        Some("containerd") => Identity {
            id,
            container: value("io.kubernetes.cri.container-name"),
            pod: value("io.kubernetes.cri.sandbox-name"),
            namespace: value("io.kubernetes.cri.sandbox-namespace"),
            uid: value("io.kubernetes.cri.sandbox-uid"),
            engine,
        },
        _ => crio(),
    }
}

#[cfg(test)]
mod tests;
