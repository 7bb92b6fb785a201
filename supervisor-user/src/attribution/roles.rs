//! Who is who, by the file that was executed. A name alone proves little: a process chooses its own.

use crate::{evidence::ExecFacts, finding::Role};

const RUNTIMES: &[&str] = &["crun", "runc", "youki"];
const MONITORS: &[&str] = &[
    "conmon",
    "crio-conmon",
    "conmonrs",
    "crio-conmonrs",
    "containerd-shim",
    "containerd-shim-runc-v1",
    "containerd-shim-runc-v2",
    "docker-containerd-shim",
];
const ENGINES: &[&str] = &["podman", "crio", "containerd", "dockerd", "kubelet", "buildah"];
const INITS: &[&str] = &["pause", "tini", "docker-init", "dumb-init", "catatonit", "s6-svscan", "systemd"];
const SHELLS: &[&str] = &["sh", "bash", "dash", "ash", "zsh", "ksh", "fish", "busybox"];
/// Names that stages give themselves before they fork the next one.
const INTERMEDIATE: &[&str] = &["runc:[0:PARENT]", "runc:[1:CHILD]", "youki:[1:INTER]"];
/// `TASK_COMM_LEN` without the NUL: names are cut to it.
const COMM_MAX: usize = 15;

/// The runtime that an exec started, if it is one. Runtimes re-execute themselves from a descriptor, so that
/// a container cannot overwrite them; then the exec before it, or the first argument, has the name.
#[must_use]
pub(super) fn runtime(exec: &ExecFacts) -> Option<&'static str> {
    let name = base(real_file(exec));
    RUNTIMES.iter().copied().find(|runtime| *runtime == name)
}

/// What an exec makes of a process.
#[must_use]
pub(super) fn role(exec: &ExecFacts) -> Role {
    let name = base(real_file(exec));
    [
        (RUNTIMES, Role::Runtime),
        (MONITORS, Role::Monitor),
        (ENGINES, Role::Engine),
        (INITS, Role::Init),
        (SHELLS, Role::Shell),
    ]
    .into_iter()
    .find(|(names, _)| names.contains(&name))
    .map_or(Role::Other, |(_, role)| role)
}

/// Whether an exec started a program whose only task is to reap orphans.
#[must_use]
pub(super) fn is_reaping_init(exec: &ExecFacts) -> bool {
    const NAMES: &[&str] = &["tini", "tini-static", "docker-init", "dumb-init", "catatonit", "s6-svscan"];
    exec.own && NAMES.contains(&base(real_file(exec)))
}

/// Whether a name, which the kernel cuts, is a monitor's.
#[must_use]
pub(super) fn is_monitor_name(comm: &str) -> bool {
    MONITORS.iter().any(|name| name.get(..COMM_MAX).unwrap_or(name) == comm)
}

/// Whether a runtime's process only prepares the next one.
#[must_use]
pub(super) fn is_intermediate(comm: &str) -> bool {
    INTERMEDIATE.contains(&comm)
}

/// The file behind an exec from a descriptor.
#[must_use]
pub(super) fn real_file(exec: &ExecFacts) -> &str {
    let descriptor = |file: &str| {
        file.starts_with("/dev/fd/") || file.starts_with("/proc/self/fd/") || file == "/proc/self/exe"
    };
    if !descriptor(&exec.filename) {
        return &exec.filename;
    }
    match &exec.previous {
        Some(previous) if !descriptor(previous) => previous,
        _ => exec.args.first().map_or(&exec.filename, String::as_str),
    }
}

/// A path's last component.
#[must_use]
pub(super) fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
