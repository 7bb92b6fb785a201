//! Reads what a process claims about itself, and finds out with which authority. The claims are in command lines, and
//! in names of files and control groups, as container runtimes, monitors and engines write them.
//!
//! This crate knows the programs, their arguments, where they keep a container's files, and which of several claims
//! about one container is believed. It must not know how any of that is read, and why a process is unreaped. It is
//! pure.

pub mod argv;
pub mod authority;
pub mod cgroup;
pub mod claim;
pub mod oci;
pub mod roles;

use supervisor_model::{
    evidence::{Evidence, ExecFacts},
    finding::Role,
};

/// Whether an exec started a runtime or a monitor. Their arguments name containers.
#[must_use]
pub fn names_containers(exec: &ExecFacts) -> bool {
    matches!(roles::role(exec), Role::Runtime | Role::Monitor)
}

/// The file that an exec started, if it has the name of a runtime, a monitor or an engine.
#[must_use]
pub fn named_part(exec: &ExecFacts) -> Option<&str> {
    let is_part = matches!(roles::role(exec), Role::Runtime | Role::Monitor | Role::Engine);
    is_part.then(|| roles::real_file(exec))
}

/// The id of the innermost container that a control group's path names.
#[must_use]
pub fn container_id(path: &str) -> Option<String> {
    cgroup::container(path).map(|named| named.id.into_owned())
}

/// The path of the control group of a process: as `/proc` shows it, or where `/proc` hides it, as the kernel side saw
/// it.
#[must_use]
pub fn cgroup_path(evidence: &Evidence) -> Option<String> {
    // On version 2, and wherever `/proc` shows more than the root, `/proc` has the whole path.
    let shown = evidence.facts.cgroup.clone().filter(|path| path != "/");
    let kernel = evidence.task.as_ref().and_then(|task| task.cgroup.as_ref());
    shown
        .or_else(|| kernel.map(|names| format!("/{}", names.join("/"))))
        .or_else(|| evidence.facts.cgroup.clone())
}
