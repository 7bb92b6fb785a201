//! Finds the paths where a container's files may be, and reads the container's identity from the content of the files.
//! Pure.

use supervisor_model::{
    evidence::Evidence,
    facts::{CRI_SANDBOX_ID, CRIO_CONTAINER_ID, MANAGER, MAX_PLACES, OciFacts, OciPlaces, is_plain},
    finding::Authority,
};

use super::{
    argv::MonitorKind,
    authority, cgroup, cgroup_path,
    claim::{claims, creating_monitors, reaping_monitor, runtime_calls},
};

/// The longest name of a file.
const MAX_NAME: usize = 255;

/// The roots of runtimes that got no root as an argument.
const ROOTS: &[&str] = &["/run/crun", "/run/runc"];
/// The same roots below `/run/user/UID`.
const USER_ROOTS: &[&str] = &["crun", "runc"];
/// The roots that docker and containerd give to a runtime.
const ENGINE_ROOTS: &[&str] = &["/run/containerd/runc/k8s.io", "/run/docker/runtime-runc/moby"];
/// Where podman and CRI-O keep bundles, as `ID/userdata`.
const STORAGE: &[&str] =
    &["/run/containers/storage/overlay-containers", "/var/lib/containers/storage/overlay-containers"];
/// Where containerd keeps bundles, as `NAMESPACE/ID`.
const CONTAINERD_TASKS: &str = "/run/containerd/io.containerd.runtime.v2.task";
/// Where docker keeps its own file about a container, as `ID/config.v2.json`.
const DOCKER_CONTAINERS: &str = "/var/lib/docker/containers";
/// Where containerd keeps bundles, as `ID`. The last one belongs to a containerd that docker started.
const TASKS: &[&str] = &[
    "/run/containerd/io.containerd.runtime.v2.task/k8s.io",
    "/run/containerd/io.containerd.runtime.v2.task/moby",
    "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby",
];

/// The paths where the files of the claimed container may be, and the owner that the files must have. There are only
/// paths of that container: another runtime or monitor in the chain names paths of another container.
///
/// For pods and rootful engines only root's files count, at paths that root has named or that root's programs use. For
/// a user's containers the user's own files count. If the id has the form of an engine's id, root's paths come first,
/// and the user's files count only if root has no file there. A process in a container names paths of its own mount
/// namespace, which are not followed.
#[must_use]
pub fn places(evidence: &Evidence) -> Vec<OciPlaces> {
    let cgroup = cgroup_path(evidence);
    let claims = claims(evidence, cgroup.as_deref());
    let claimed = claims.first();
    if claimed.is_some_and(|claim| !claim.may_speak || !claim.is_oci || !is_name(&claim.id)) {
        return Vec::new();
    }
    let id = claimed.map(|claim| &*claim.id);
    let by = claimed.map(|claim| claim.speaker.by).or_else(|| {
        let mut calls = runtime_calls(evidence).filter(|(_, call)| call.bundle.is_some());
        calls.next().map(|(exec, _)| authority::of_exec(exec))
    });
    let mut all = match by {
        None => Vec::new(),
        Some(Authority::Kernel | Authority::Root) => {
            let mut places = named(evidence, id, Authority::Root);
            places.of_root();
            vec![places.found]
        }
        Some(by) => {
            let mut roots = Places::of(id, 0);
            if roots.by_engine() {
                roots.of_root();
            }
            let mut all = vec![roots.found];
            if let Authority::User(user) = by {
                let mut places = named(evidence, id, by);
                places.of_user(user);
                all.push(places.found);
            }
            all
        }
    };
    all.retain(|places| !places.is_empty());
    all
}

/// The paths where the `config.json` of the pod's sandbox may be, if the container's own files name no pod: engines
/// remove the files of a container that has failed. Only a monitor that root runs on the host can say which pod it is.
#[must_use]
pub fn sandbox_places(evidence: &Evidence) -> OciPlaces {
    let mut places = OciPlaces::default();
    if evidence.oci.as_ref().map(identify).is_some_and(|identity| identity.names_pod()) {
        return places;
    }
    let reaping = evidence.reaper.as_deref().and_then(reaping_monitor);
    let monitors = creating_monitors(evidence).chain(reaping);
    for (_, call) in monitors.filter(|(speaker, _)| speaker.by == Authority::Root) {
        if let Some(bundle) = call.sandbox {
            add(&mut places.bundles, bundle.to_owned());
        }
        // A shim has the id of its pod's sandbox.
        let names = call.namespace.zip(call.id).filter(|(namespace, id)| is_name(namespace) && is_name(id));
        if let Some((namespace, id)) = names {
            add(&mut places.bundles, format!("{CONTAINERD_TASKS}/{namespace}/{id}"));
        }
    }
    places
}

/// The paths that runtimes and monitors of that authority name.
fn named<'a>(evidence: &'a Evidence, id: Option<&'a str>, by: Authority) -> Places<'a> {
    let mut places = Places::of(id, if let Authority::User(user) = by { user } else { 0 });
    for (_, call) in runtime_calls(evidence).filter(|(exec, _)| authority::of_exec(exec) == by) {
        if call.container.is_none() || call.container == id {
            places.named_root(call.root);
            places.bundle(call.bundle);
        }
    }
    let reaping = evidence.reaper.as_deref().and_then(reaping_monitor);
    for (_, call) in creating_monitors(evidence).chain(reaping).filter(|(speaker, _)| speaker.by == by) {
        if call.kind == MonitorKind::ConmonRs || call.id == id {
            places.named_root(call.root);
            places.bundle(call.bundle);
        }
        // A shim serves all containers of its pod.
        if let Some(namespace) = call.namespace.filter(|namespace| is_name(namespace)) {
            places.root(&format!("/run/containerd/runc/{namespace}"));
            places.folder(&format!("{CONTAINERD_TASKS}/{namespace}"), "");
        }
    }
    places
}

struct Places<'a> {
    id: Option<&'a str>,
    /// Whether the runtime got a root as an argument. Then it uses no other root.
    root_named: bool,
    found: OciPlaces,
}

impl<'a> Places<'a> {
    fn of(id: Option<&'a str>, owner: u32) -> Self {
        Self { id, root_named: false, found: OciPlaces { owner, ..OciPlaces::default() } }
    }

    /// Whether an engine has chosen the id. Then there is only one container with it.
    fn by_engine(&self) -> bool {
        self.id.is_some_and(cgroup::is_id)
    }

    /// Adds the paths of root's runtimes and engines. An id that a person chose may be used again under another root;
    /// an engine's id is not.
    fn of_root(&mut self) {
        if self.by_engine() || !self.root_named {
            for root in ROOTS {
                self.root(root);
            }
        }
        if self.by_engine() {
            for root in ENGINE_ROOTS {
                self.root(root);
            }
            for root in STORAGE {
                self.folder(root, "/userdata");
            }
            for root in TASKS {
                self.folder(root, "");
            }
            if let Some(id) = self.id {
                add(&mut self.found.docker_files, format!("{DOCKER_CONTAINERS}/{id}/config.v2.json"));
            }
        }
    }

    /// Adds the paths of a user's runtimes.
    fn of_user(&mut self, user: u32) {
        if self.by_engine() || !self.root_named {
            for root in USER_ROOTS {
                self.root(&format!("/run/user/{user}/{root}"));
            }
        }
    }

    /// Adds a root that a runtime got as an argument.
    fn named_root(&mut self, root: Option<&str>) {
        if let Some(root) = root {
            self.root_named = true;
            self.root(root);
        }
    }

    /// Adds the state files below a runtime's root, of any runtime.
    fn root(&mut self, root: &str) {
        let Some(id) = self.id else { return };
        let root = root.trim_end_matches('/');
        for file in ["status", "state.json"] {
            add(&mut self.found.state_files, format!("{root}/{id}/{file}"));
        }
    }

    /// Adds a bundle in a folder with bundles. Each bundle is a folder with the name of its container's id.
    fn folder(&mut self, root: &str, below: &str) {
        let Some(id) = self.id else { return };
        add(&mut self.found.bundles, format!("{root}/{id}{below}"));
    }

    /// Adds a bundle that a runtime got as an argument.
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

/// Whether a text can be the name of a folder, and does not lead out of its parent.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME && !text.contains(['/', '\0']) && text != "." && text != ".."
}

/// The identity of a container, from its annotations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity<'a> {
    /// Its id.
    pub id: Option<&'a str>,
    /// Its name.
    pub container: Option<&'a str>,
    /// Its pod's name.
    pub pod: Option<&'a str>,
    /// Its pod's namespace.
    pub namespace: Option<&'a str>,
    /// Its pod's uid.
    pub uid: Option<&'a str>,
    /// The engine that made it.
    pub engine: Option<&'static str>,
}

impl Identity<'_> {
    /// The part of the identity that a user may claim for the user's own container: podman is the engine that users
    /// run. Users name no pods, and a pod's container has the name that its pod gives it.
    #[must_use]
    pub fn of_user(self) -> Self {
        Self { id: self.id, engine: self.engine.filter(|engine| *engine == "podman"), ..Self::default() }
    }

    /// The identity without the names that a pod gives.
    #[must_use]
    pub fn without_pod(self) -> Self {
        Self { id: self.id, engine: self.engine, ..Self::default() }
    }

    /// The same identity. If it names no pod, it gets the pod of another identity.
    #[must_use]
    pub fn or_pod_of(self, other: Self) -> Self {
        if self.names_pod() {
            return self;
        }
        // The sandbox's container has its own name.
        let is_same = self.id.is_some() && self.id == other.id;
        Self {
            container: self.container.or(other.container.filter(|_| is_same)),
            pod: other.pod,
            namespace: other.namespace,
            uid: other.uid,
            ..self
        }
    }

    /// Whether it names a pod.
    #[must_use]
    pub fn names_pod(&self) -> bool {
        self.pod.is_some() || self.namespace.is_some() || self.uid.is_some()
    }
}

/// The parts of a container name that the kubelet makes for engines without pods:
/// `k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT`. No part can have a `_`.
#[must_use]
pub fn kubernetes_name(name: &str) -> Option<Identity<'_>> {
    let parts: Vec<&str> = name.split('_').collect();
    let ["k8s", container, pod, namespace, uid, attempt] = parts[..] else { return None };
    let is_number = !attempt.is_empty() && attempt.bytes().all(|byte| byte.is_ascii_digit());
    let is_whole = [container, pod, namespace, uid].iter().all(|part| !part.is_empty());
    (is_number && is_whole).then(|| Identity {
        container: Some(container),
        pod: Some(pod),
        namespace: Some(namespace),
        uid: Some(uid),
        ..Identity::default()
    })
}

/// Reads the annotations as their engine means them. The author of a pod's manifest chooses its other annotations, so
/// the keys of one engine mean nothing in a bundle of another engine.
#[must_use]
pub fn identify(facts: &OciFacts) -> Identity<'_> {
    let value = |key: &str| facts.annotations.get(key).map(String::as_str).filter(|value| !value.is_empty());
    let engine = match value(MANAGER) {
        Some("libpod") => Some("podman"),
        Some("cri-o") => Some("cri-o"),
        None if value(CRIO_CONTAINER_ID).is_some() => Some("cri-o"),
        None if value(CRI_SANDBOX_ID).is_some() => Some("containerd"),
        None if facts.name.is_some() => Some("docker"),
        Some(_) | None => None,
    };
    let id = facts.id.as_deref();
    let named = facts.name.as_deref().filter(|name| !name.is_empty());
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
        // A podman pod is not a pod of Kubernetes.
        Some("podman") => Identity { id, engine, ..Identity::default() },
        Some("containerd") => Identity {
            id,
            container: value("io.kubernetes.cri.container-name"),
            pod: value("io.kubernetes.cri.sandbox-name"),
            namespace: value("io.kubernetes.cri.sandbox-namespace"),
            uid: value("io.kubernetes.cri.sandbox-uid"),
            engine,
        },
        Some("docker") => {
            let plain = Identity { container: named, ..Identity::default() };
            Identity { id, engine, ..named.and_then(kubernetes_name).unwrap_or(plain) }
        }
        _ => crio(),
    }
}

#[cfg(test)]
mod tests;
