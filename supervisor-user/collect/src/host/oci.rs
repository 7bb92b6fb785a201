//! Reads OCI state and bundles; no other module does. A process names these files in its arguments, so they are
//! hostile: `files.rs` decides which of them are read, and this module bounds the part that is kept.

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use serde::Deserialize;
use supervisor_model::facts::{
    CRI_SANDBOX_ID, CRIO_CONTAINER_ID, MANAGER, MAX_PLACES, OciFacts, OciPlaces, is_plain,
};

use super::files;

/// A file larger than this is not read.
const MAX_FILE: u64 = 1 << 20;
/// The value of an annotation is cut to this many bytes.
const MAX_VALUE: usize = 256;
/// The arguments of the container's process are cut to this many bytes in all, and to [`MAX_ARGS`] arguments.
const MAX_ARGS_BYTES: usize = 4096;
const MAX_ARGS: usize = 64;

/// The annotations that are kept: of the kubelet, of CRI-O, of containerd, of podman.
const ANNOTATIONS: &[&str] = &[
    MANAGER,
    "io.kubernetes.pod.name",
    "io.kubernetes.pod.namespace",
    "io.kubernetes.pod.uid",
    "io.kubernetes.container.name",
    CRIO_CONTAINER_ID,
    "io.kubernetes.cri-o.ContainerName",
    "io.kubernetes.cri-o.ContainerType",
    "io.kubernetes.cri-o.KubeName",
    "io.kubernetes.cri-o.Namespace",
    "io.kubernetes.cri-o.SandboxID",
    "io.kubernetes.cri-o.SandboxName",
    CRI_SANDBOX_ID,
    "io.kubernetes.cri.sandbox-name",
    "io.kubernetes.cri.sandbox-namespace",
    "io.kubernetes.cri.sandbox-uid",
    "io.kubernetes.cri.container-name",
    "io.kubernetes.cri.container-type",
];

/// Reads the files at the first of these sets of paths that has one.
#[must_use]
pub(super) fn read(places: &[OciPlaces]) -> Option<OciFacts> {
    places.iter().find_map(read_one)
}

/// Reads the files of the runtime and the engine, and the file of docker about the container.
fn read_one(places: &OciPlaces) -> Option<OciFacts> {
    let facts = read_oci(places);
    let docker = places
        .docker_files
        .iter()
        .take(MAX_PLACES)
        .find_map(|path| Some((path, read_docker(path, places.owner)?)));
    let Some((path, docker)) = docker else { return facts };
    let mut facts = facts.unwrap_or_else(|| OciFacts {
        source: path.clone(),
        owner: Some(places.owner),
        ..OciFacts::default()
    });
    facts.id.get_or_insert(docker.id);
    facts.name = Some(cut(docker.name.trim_start_matches('/'), MAX_VALUE).to_owned());
    Some(facts)
}

/// The useful part of docker's `config.v2.json`. Its labels also come from the image.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerContainer {
    #[serde(rename = "ID")]
    id: String,
    name: String,
}

fn read_docker(path: &str, owner: u32) -> Option<DockerContainer> {
    let found: DockerContainer = serde_json::from_slice(&files::read(path, owner, MAX_FILE).ok()?).ok()?;
    // The folder is named after the container's id.
    (path.rsplit('/').nth(1) == Some(&*found.id)).then_some(found)
}

/// Reads the first valid state file, and the bundle that it names. If there is no state file, reads the first bundle.
fn read_oci(places: &OciPlaces) -> Option<OciFacts> {
    let owner = places.owner;
    let state = places.state_files.iter().take(MAX_PLACES).find_map(|path| read_state(path, owner));
    let Some((path, mut facts)) = state else {
        return places.bundles.iter().take(MAX_PLACES).find_map(|bundle| {
            let (path, spec) = read_bundle(bundle, owner)?;
            let mut facts = OciFacts {
                source: path,
                owner: Some(owner),
                bundle: Some(bundle.clone()),
                ..OciFacts::default()
            };
            add_spec(&mut facts, &spec);
            Some(facts)
        });
    };
    // crun keeps a copy of `config.json` beside its state. The copy stays when the engine has removed the bundle.
    let beside = path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    let spec = facts
        .bundle
        .iter()
        .chain(&beside)
        .chain(places.bundles.iter().take(MAX_PLACES))
        .find_map(|bundle| read_bundle(bundle, owner));
    if let Some((_, spec)) = spec {
        add_spec(&mut facts, &spec);
    }
    Some(facts)
}

/// A runtime's state: crun writes `pid` and `bundle`, runc `id`, `init_process_pid` and `config`.
#[derive(Deserialize)]
struct State {
    id: Option<String>,
    #[serde(alias = "init_process_pid")]
    pid: Option<i64>,
    bundle: Option<String>,
    config: Option<RuncConfig>,
}

#[derive(Deserialize)]
struct RuncConfig {
    /// The annotations, and `bundle`, each as `KEY=VALUE`.
    labels: Option<Vec<String>>,
    namespaces: Option<Vec<RuncNamespace>>,
}

#[derive(Deserialize)]
struct RuncNamespace {
    r#type: String,
    #[serde(default)]
    path: String,
}

fn read_state(path: &str, owner: u32) -> Option<(&str, OciFacts)> {
    let state: State = serde_json::from_slice(&files::read(path, owner, MAX_FILE).ok()?).ok()?;
    let pid = state.pid?;
    // The folder is named after the container's id.
    let id = path.rsplit('/').nth(1)?;
    if state.id.as_deref().is_some_and(|inside| inside != id) {
        return None;
    }
    let mut facts = OciFacts {
        source: path.to_owned(),
        owner: Some(owner),
        id: Some(id.to_owned()),
        bundle: state.bundle,
        init_pid: u32::try_from(pid).ok().filter(|pid| *pid != 0),
        ..OciFacts::default()
    };
    if let Some(config) = state.config {
        for (key, value) in config.labels.iter().flatten().filter_map(|label| label.split_once('=')) {
            if key == "bundle" {
                facts.bundle = Some(value.to_owned());
            } else {
                annotate(&mut facts, key, value);
            }
        }
        let namespaces = config.namespaces.unwrap_or_default();
        if let Some(pid_ns) = namespaces.into_iter().find(|namespace| namespace.r#type == "NEWPID") {
            facts.has_pid_ns = true;
            facts.pid_ns_path = Some(pid_ns.path).filter(|path| is_plain(path));
        }
    }
    facts.bundle = facts.bundle.filter(|bundle| is_plain(bundle));
    Some((path, facts))
}

fn read_bundle(bundle: &str, owner: u32) -> Option<(String, Spec)> {
    let path = format!("{}/config.json", bundle.trim_end_matches('/'));
    let spec = serde_json::from_slice(&files::read(&path, owner, MAX_FILE).ok()?).ok()?;
    Some((path, spec))
}

fn add_spec(facts: &mut OciFacts, spec: &Spec) {
    for (key, value) in spec.annotations().iter().flatten() {
        annotate(facts, key, value);
    }
    let args = spec.process().as_ref().and_then(|process| process.args().as_ref());
    let mut left = MAX_ARGS_BYTES;
    facts.args = args
        .into_iter()
        .flatten()
        .take(MAX_ARGS)
        .map_while(|arg| {
            let arg = cut(arg, left).to_owned();
            let go_on = left > 0;
            left -= arg.len();
            go_on.then_some(arg)
        })
        .collect();
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let pid_ns =
        namespaces.into_iter().flatten().find(|namespace| namespace.typ() == LinuxNamespaceType::Pid);
    if let Some(pid_ns) = pid_ns {
        facts.has_pid_ns = true;
        let path = pid_ns.path().as_ref().and_then(|path| path.to_str());
        facts.pid_ns_path = path.filter(|path| is_plain(path)).map(str::to_owned);
    }
}

fn annotate(facts: &mut OciFacts, key: &str, value: &str) {
    if ANNOTATIONS.contains(&key) {
        facts.annotations.insert(key.to_owned(), cut(value, MAX_VALUE).to_owned());
    }
}

/// The longest prefix of at most that many bytes.
fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests;
