//! Finds the role of a process from the file that it executed. A name alone proves little: a process chooses its own.

use supervisor_model::{
    evidence::{CreatorFacts, ExecFacts},
    finding::Role,
};

use super::argv::{self, MonitorKind, RuntimeCall, RuntimeKind};

/// The kind of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// A container runtime: its name, and the form of its arguments.
    Runtime(&'static str, RuntimeKind),
    /// A container monitor.
    Monitor(MonitorKind),
    /// A container engine, or a program that calls engines.
    Engine,
    /// A program made to be PID 1; some only reap orphans.
    Init { only_reaps: bool },
    /// A shell.
    Shell,
}

use Program::{Engine, Init, Monitor, Runtime, Shell};
use RuntimeKind::{Lxc, Nspawn, Oci};

/// Every program that is recognised, by the name of its file. Distributions and engines rename the same program:
/// CRI-O's static bundle has `crio-crun`, Docker had `docker-runc`, its image builder has `buildkit-runc`.
const PROGRAMS: &[(&str, Program)] = &[
    ("crun", Runtime("crun", Oci)),
    ("crio-crun", Runtime("crun", Oci)),
    ("runc", Runtime("runc", Oci)),
    ("crio-runc", Runtime("runc", Oci)),
    ("docker-runc", Runtime("runc", Oci)),
    ("buildkit-runc", Runtime("runc", Oci)),
    ("youki", Runtime("youki", Oci)),
    ("runsc", Runtime("runsc", Oci)),
    ("lxc-start", Runtime("lxc", Lxc("start"))),
    ("lxc-execute", Runtime("lxc", Lxc("execute"))),
    ("lxc-attach", Runtime("lxc", Lxc("attach"))),
    ("systemd-nspawn", Runtime("systemd-nspawn", Nspawn)),
    ("conmon", Monitor(MonitorKind::Conmon)),
    ("crio-conmon", Monitor(MonitorKind::Conmon)),
    ("conmonrs", Monitor(MonitorKind::ConmonRs)),
    ("crio-conmonrs", Monitor(MonitorKind::ConmonRs)),
    ("containerd-shim", Monitor(MonitorKind::Shim)),
    ("docker-containerd-shim", Monitor(MonitorKind::Shim)),
    ("podman", Engine),
    ("buildah", Engine),
    ("crio", Engine),
    ("containerd", Engine),
    ("docker-containerd", Engine),
    ("dockerd", Engine),
    ("buildkitd", Engine),
    ("lxd", Engine),
    ("incusd", Engine),
    ("kubelet", Engine),
    ("pause", Init { only_reaps: false }),
    ("systemd", Init { only_reaps: false }),
    ("tini", Init { only_reaps: true }),
    ("tini-static", Init { only_reaps: true }),
    ("docker-init", Init { only_reaps: true }),
    ("dumb-init", Init { only_reaps: true }),
    ("catatonit", Init { only_reaps: true }),
    ("s6-svscan", Init { only_reaps: true }),
    ("sh", Shell),
    ("bash", Shell),
    ("dash", Shell),
    ("ash", Shell),
    ("zsh", Shell),
    ("ksh", Shell),
    ("fish", Shell),
    ("busybox", Shell),
];

/// containerd names the shim of a runtime with this prefix and the runtime's name: `containerd-shim-runc-v2`.
const SHIM_PREFIX: &str = "containerd-shim-";
/// A shim that is also the runtime.
const KATA_SHIM: &str = "containerd-shim-kata-v2";
/// Names that the stages of a runtime give themselves before they fork the next stage.
const INTERMEDIATE: &[&str] = &["runc:[0:PARENT]", "runc:[1:CHILD]", "youki:[1:INTER]"];
/// `TASK_COMM_LEN` without the NUL: names are cut to it.
const COMM_MAX: usize = 15;

/// The kind of the program in a file.
fn program(path: &str) -> Option<Program> {
    // The kernel marks the path of a deleted file, such as a file that was upgraded.
    let name = base(path.strip_suffix(" (deleted)").unwrap_or(path));
    let known = PROGRAMS.iter().find(|(file, _)| *file == name).map(|(_, program)| *program);
    known.or_else(|| name.starts_with(SHIM_PREFIX).then_some(Monitor(MonitorKind::Shim)))
}

/// The runtimes among a process's creators: the runtimes of the table, and those that the arguments of a monitor name.
///
/// The arguments of a monitor only give another exec the role of a runtime. They do not decide with which authority
/// that exec makes its claims.
#[derive(Debug, Default)]
pub struct Runtimes<'a> {
    /// The runtimes that the arguments of monitors name.
    named: Vec<&'a str>,
}

impl<'a> Runtimes<'a> {
    /// The runtimes of a process with these creators.
    #[must_use]
    pub fn of(creators: &'a [CreatorFacts]) -> Self {
        let execs = creators.iter().filter_map(|creator| creator.exec.as_ref());
        let named =
            execs.filter_map(|exec| monitor_call(exec)?.runtime).filter(|path| program(path).is_none());
        Self { named: named.collect() }
    }

    /// The name of the runtime that an exec started, if it is one. Runtimes re-execute themselves from a descriptor, so
    /// that a container cannot overwrite them. Then the previous exec, or the first argument, has the name.
    #[must_use]
    pub fn name<'e>(&self, exec: &'e ExecFacts) -> Option<&'e str> {
        Some(self.find(exec)?.0)
    }

    /// The parsed call of the runtime that an exec started, if it is one.
    #[must_use]
    pub fn call<'e>(&self, exec: &'e ExecFacts) -> Option<RuntimeCall<'e>> {
        argv::runtime_call(self.find(exec)?.1, &exec.args)
    }

    /// The role of a process after an exec.
    #[must_use]
    pub fn role(&self, exec: &ExecFacts) -> Role {
        if self.find(exec).is_some() { Role::Runtime } else { role(exec) }
    }

    fn find<'e>(&self, exec: &'e ExecFacts) -> Option<(&'e str, RuntimeKind)> {
        let file = real_file(exec);
        match program(file) {
            Some(Runtime(name, kind)) => Some((name, kind)),
            Some(_) => None,
            None => {
                let is_it =
                    |named: &&str| if named.contains('/') { *named == file } else { *named == base(file) };
                self.named.iter().any(is_it).then(|| (base(file), Oci))
            }
        }
    }
}

/// The name of the runtime in a file, for a path from the arguments of a monitor.
#[must_use]
pub fn runtime_name(path: &str) -> &str {
    match program(path) {
        Some(Runtime(name, _)) => name,
        _ => base(path),
    }
}

/// The role of a process after an exec.
#[must_use]
pub fn role(exec: &ExecFacts) -> Role {
    role_of_file(real_file(exec))
}

/// The role of a process that runs a file.
#[must_use]
pub fn role_of_file(path: &str) -> Role {
    match program(path) {
        Some(Runtime(..)) => Role::Runtime,
        Some(Monitor(_)) => Role::Monitor,
        Some(Engine) => Role::Engine,
        Some(Init { .. }) => Role::Init,
        Some(Shell) => Role::Shell,
        None => Role::Other,
    }
}

/// Whether a file is a runtime that stays as the parent of the container's PID 1, and so is its monitor.
#[must_use]
pub fn stays(path: &str) -> bool {
    matches!(program(path), Some(Runtime(_, Lxc("start" | "execute") | Nspawn)))
}

/// The kind of monitor in a file.
#[must_use]
pub fn monitor_kind(path: &str) -> Option<MonitorKind> {
    match program(path)? {
        Monitor(kind) => Some(kind),
        _ => None,
    }
}

/// The parsed call of the monitor that an exec started, if it is one.
#[must_use]
pub fn monitor_call(exec: &ExecFacts) -> Option<argv::MonitorCall<'_>> {
    let file = real_file(exec);
    Some(monitor_call_of(monitor_kind(file)?, file, &exec.args))
}

/// The parsed arguments of a monitor in that file.
#[must_use]
pub fn monitor_call_of<'a>(kind: MonitorKind, file: &str, args: &'a [String]) -> argv::MonitorCall<'a> {
    let call = argv::monitor_call(kind, args);
    if base(file) == KATA_SHIM { argv::MonitorCall { runtime: Some("kata"), ..call } } else { call }
}

/// Whether an exec started a program whose only task is to reap orphans.
#[must_use]
pub fn is_reaping_init(exec: &ExecFacts) -> bool {
    exec.own && program(real_file(exec)) == Some(Init { only_reaps: true })
}

/// Whether a process name, which the kernel cuts, is the name of a monitor.
#[must_use]
pub fn is_monitor_name(comm: &str) -> bool {
    let mut monitors = PROGRAMS.iter().filter(|(_, program)| matches!(program, Monitor(_)));
    // The names of all shims are the same once they are cut.
    monitors.any(|(name, _)| cut(name) == comm) || comm == cut(SHIM_PREFIX)
}

/// Whether a process name, which the kernel cuts, is the name of the file at a path.
#[must_use]
pub fn is_name_of(comm: &str, path: &str) -> bool {
    cut(base(path)) == comm
}

fn cut(name: &str) -> &str {
    name.get(..COMM_MAX).unwrap_or(name)
}

/// Whether a runtime's process only prepares the next process.
#[must_use]
pub fn is_intermediate(comm: &str) -> bool {
    INTERMEDIATE.contains(&comm)
}

/// The file that an exec started. If that is a descriptor, the file behind it.
#[must_use]
pub fn real_file(exec: &ExecFacts) -> &str {
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
pub fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use supervisor_model::evidence::sample::{creator, exec};

    use super::*;

    #[test]
    fn a_runtime_is_recognised_by_each_of_its_names() {
        let none = Runtimes::default();
        for (line, name, verb) in [
            ("/usr/libexec/crio/crio-crun --root=/run/crun create --bundle /b web", "crun", Some("create")),
            ("/usr/bin/crio-runc create --bundle /b web", "runc", Some("create")),
            ("/usr/bin/docker-runc create --bundle /b web", "runc", Some("create")),
            ("/usr/bin/buildkit-runc --log /l run --bundle /b web", "runc", Some("run")),
            ("/usr/local/bin/runsc --root=/r --log=/l create --bundle /b web", "runsc", Some("create")),
            ("/usr/bin/youki -r /r exec web sh", "youki", Some("exec")),
            ("/usr/bin/lxc-start -n web", "lxc", Some("start")),
            ("/usr/bin/lxc-execute -n web -- app", "lxc", Some("execute")),
            ("lxc-attach -n web -- sh", "lxc", Some("attach")),
            ("/usr/bin/systemd-nspawn -M web -bD /c", "systemd-nspawn", Some("run")),
            ("runc init", "runc", None),
        ] {
            let exec = exec(line, true);
            let call = none.call(&exec).map(|call| call.verb);
            assert_eq!(
                (none.name(&exec), none.role(&exec), call),
                (Some(name), Role::Runtime, verb),
                "{line}"
            );
        }
        for line in ["/usr/bin/lxc-ls", "/usr/bin/crun2", "/usr/bin/conmon -c x"] {
            assert_eq!(none.name(&exec(line, true)), None, "{line}");
        }
    }

    #[test]
    fn a_monitor_is_recognised_by_each_of_its_names() {
        for (file, kind) in [
            ("/usr/libexec/crio/conmon", Some(MonitorKind::Conmon)),
            ("crio-conmon", Some(MonitorKind::Conmon)),
            ("/usr/bin/crio-conmonrs", Some(MonitorKind::ConmonRs)),
            ("/usr/bin/conmonrs (deleted)", Some(MonitorKind::ConmonRs)),
            ("containerd-shim-runc-v2", Some(MonitorKind::Shim)),
            ("/opt/kata/bin/containerd-shim-kata-v2", Some(MonitorKind::Shim)),
            ("containerd-shim-runsc-v1", Some(MonitorKind::Shim)),
            ("docker-containerd-shim", Some(MonitorKind::Shim)),
            ("/usr/bin/containerd", None),
            ("my-containerd-shim-x", None),
            ("runc", None),
        ] {
            assert_eq!(monitor_kind(file), kind, "{file}");
        }
        for comm in ["conmon", "crio-conmonrs", "containerd-shim", "docker-containe"] {
            assert!(is_monitor_name(comm), "{comm}");
        }
        assert!(!is_monitor_name("containerd") && !is_monitor_name("crun"));
    }

    #[test]
    fn a_monitor_names_the_runtime_that_it_calls() {
        for (monitor, path) in [
            ("/usr/bin/conmonrs --runtime /opt/oci-1.2 --runtime-root /r", "/opt/oci-1.2"),
            ("/usr/bin/conmon -c x -r /opt/oci-1.2 -b /b", "/opt/oci-1.2"),
            ("/usr/bin/conmon -c x -r oci-1.2 -b /b", "/usr/bin/oci-1.2"),
        ] {
            let creators = [creator(10, "monitor", exec(monitor, true), false)];
            let runtimes = Runtimes::of(&creators);
            let called = exec(&format!("{path} --root /r create --bundle /b web"), true);
            assert_eq!(runtimes.name(&called), Some("oci-1.2"), "{monitor}");
            assert_eq!(runtimes.call(&called).and_then(|call| call.container), Some("web"));
            assert_eq!(runtimes.name(&exec("/tmp/oci-1.3 create web", true)), None);
            assert_eq!(Runtimes::default().name(&called), None);
        }
        // A program with a known role keeps it.
        let creators = [creator(10, "conmon", exec("/usr/bin/conmon -r /bin/sh", true), false)];
        assert_eq!(Runtimes::of(&creators).name(&exec("/bin/sh -c create", true)), None);
    }
}
