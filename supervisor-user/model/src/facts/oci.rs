//! The possible paths of a container's files, and the facts that these files contain.

use std::{
    collections::BTreeMap,
    path::{Component, Path},
};

/// The maximum number of files that are tried, for each kind of file.
pub const MAX_PLACES: usize = 32;

/// The annotation with the engine that made the bundle: `libpod`, `cri-o`.
pub const MANAGER: &str = "io.container.manager";

/// The annotation with CRI-O's id of the container. podman sets other keys with this prefix, but not this key.
pub const CRIO_CONTAINER_ID: &str = "io.kubernetes.cri-o.ContainerID";

/// The annotation with containerd's id of the pod's sandbox.
pub const CRI_SANDBOX_ID: &str = "io.kubernetes.cri.sandbox-id";

/// The possible paths of a container's files, with the most likely path first, and the owner that the files must have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct OciPlaces {
    /// User id of the owner that each file must have.
    pub owner: u32,
    /// Runtimes' state: crun's `ROOT/ID/status`, runc's `ROOT/ID/state.json`.
    pub state_files: Vec<String>,
    /// Folders with a `config.json`.
    pub bundles: Vec<String>,
    /// docker's files about a container: `config.v2.json`.
    pub docker_files: Vec<String>,
}

impl OciPlaces {
    /// Whether there is no path.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.state_files.is_empty() && self.bundles.is_empty() && self.docker_files.is_empty()
    }
}

/// The facts from a container's files. A fact that the files do not contain is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OciFacts {
    /// The file that was read. If a state file and a bundle were read, it is the state file.
    pub source: String,
    /// User id of the owner of all files that were read. Recordings of older versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
    /// The container's id, from the runtime's state or from docker's file.
    pub id: Option<String>,
    /// The container's name, from docker's file. Recordings of older versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its bundle.
    pub bundle: Option<String>,
    /// Host pid of its first process, as the runtime saw it.
    pub init_pid: Option<u32>,
    /// The annotations that this program knows. Each value is cut to 256 bytes.
    pub annotations: BTreeMap<String, String>,
    /// Arguments of its first process.
    pub args: Vec<String>,
    /// The PID namespace that it joins.
    pub pid_ns_path: Option<String>,
    /// Whether it has a PID namespace that is not the runtime's, new or joined.
    pub has_pid_ns: bool,
}

/// A path that is opened is shorter than this (`PATH_MAX`, which includes the NUL byte).
const MAX_PATH: usize = 4096;

/// Whether a path is absolute, has no `..` and no NUL byte, and is not too long for the kernel.
#[must_use]
pub fn is_plain(path: &str) -> bool {
    path.starts_with('/')
        && path.len() < MAX_PATH
        && !path.contains('\0')
        && Path::new(path).components().all(|part| part != Component::ParentDir)
}
