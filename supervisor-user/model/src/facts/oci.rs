//! Where the files of a container may be, and what they say.

use std::{
    collections::BTreeMap,
    path::{Component, Path},
};

/// Files of each kind that are tried.
pub const MAX_PLACES: usize = 32;

/// Says which engine made the bundle: `libpod`, `cri-o`.
pub const MANAGER: &str = "io.container.manager";

/// CRI-O's id of the container; podman sets other keys of this prefix, but not this one.
pub const CRIO_CONTAINER_ID: &str = "io.kubernetes.cri-o.ContainerID";

/// containerd's id of the pod's sandbox.
pub const CRI_SANDBOX_ID: &str = "io.kubernetes.cri.sandbox-id";

/// Where a container's files may be, the likeliest first, and whose they must be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct OciPlaces {
    /// User id of the owner that each file must have.
    pub owner: u32,
    /// Runtimes' state: crun's `ROOT/ID/status`, runc's `ROOT/ID/state.json`.
    pub state_files: Vec<String>,
    /// Folders with a `config.json`.
    pub bundles: Vec<String>,
    /// What docker knows of a container: `config.v2.json`.
    pub docker_files: Vec<String>,
}

impl OciPlaces {
    /// Whether there is nowhere to look.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.state_files.is_empty() && self.bundles.is_empty() && self.docker_files.is_empty()
    }
}

/// What a container's files say. Absent is what they do not.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OciFacts {
    /// The file that was read; of a state file and a bundle, the state file.
    pub source: String,
    /// User id of the owner of all files that were read. Recordings of older versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
    /// The container's id, as the runtime's state has it, or docker's file.
    pub id: Option<String>,
    /// The name that docker's file has for it. Recordings of older versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its bundle.
    pub bundle: Option<String>,
    /// Host pid of its first process, as the runtime saw it.
    pub init_pid: Option<u32>,
    /// Those annotations that are known here, each value cut to 256 bytes.
    pub annotations: BTreeMap<String, String>,
    /// Arguments of its first process.
    pub args: Vec<String>,
    /// The PID namespace that it joins.
    pub pid_ns_path: Option<String>,
    /// Whether it has a PID namespace that is not the runtime's, new or joined.
    pub has_pid_ns: bool,
}

/// Longest path that is opened.
const MAX_PATH: usize = 4096;

/// Whether a path is absolute, and goes up nowhere.
#[must_use]
pub fn is_plain(path: &str) -> bool {
    path.starts_with('/')
        && path.len() < MAX_PATH
        && !path.contains('\0')
        && Path::new(path).components().all(|part| part != Component::ParentDir)
}
