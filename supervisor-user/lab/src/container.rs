//! Runs `crun create` and `runc create` for a container, with a chosen PID namespace.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use oci_spec::runtime::{
    LinuxBuilder, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType,
    MountBuilder, ProcessBuilder, RootBuilder, Spec, SpecBuilder,
};

use super::{
    lab::{Lab, program},
    monitor::{ExitState, Monitor},
    pod::Pod,
};

/// A command that no root file system of a [`Lab`] has.
pub const NO_SUCH_COMMAND: &str = "no-such-command";

/// An OCI runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// Forks twice to join a PID namespace.
    Crun,
    /// Keeps its stages its own children.
    Runc,
    /// Does not wait for its stages if `create` fails.
    Youki,
}

impl Runtime {
    /// The name of its program.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Crun => "crun",
            Self::Runc => "runc",
            Self::Youki => "youki",
        }
    }

    /// Its program, if the host has it.
    #[must_use]
    pub fn find(self) -> Option<PathBuf> {
        program(self.name())
    }

    /// Its command line, without the verb.
    fn command(self, lab: &Lab) -> Result<Command> {
        let program = self.find().with_context(|| format!("{} is not installed", self.name()))?;
        let mut command = Command::new(program);
        command.arg("--root").arg(lab.state(self.name()));
        if self == Self::Crun {
            command.arg("--cgroup-manager=disabled");
        }
        Ok(command)
    }
}

/// The PID namespace of a container.
#[derive(Clone, Copy, Debug)]
pub enum PidNs<'a> {
    /// A new one.
    Own,
    /// The host's.
    Host,
    /// A pod's.
    Joined(&'a Pod),
    /// A new one under a new user namespace.
    UserNs,
}

impl PidNs<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Host => "host",
            Self::Joined(_) => "joined",
            Self::UserNs => "userns",
        }
    }
}

/// The result of `create`.
#[derive(Clone, Debug)]
pub struct Created {
    /// The runtime.
    pub runtime: Runtime,
    /// The container's id.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// The pid that the runtime had.
    pub runtime_pid: u32,
    /// How the runtime ended.
    pub exit: ExitState,
    /// What the runtime printed.
    pub log: String,
}

/// Creates a container whose command does not exist, under the monitor. The runtime fails, and should clean up.
pub fn create(lab: &Lab, monitor: &mut Monitor, runtime: Runtime, pid_ns: PidNs<'_>) -> Result<Created> {
    let id = lab.container_id(&format!("{}-{}", runtime.name(), pid_ns.name()));
    let bundle = bundle(lab, &id, pid_ns, &[NO_SUCH_COMMAND])?;
    let mut command = runtime.command(lab)?;
    command.arg("create").arg("--bundle").arg(&bundle).arg(&id);
    let log = bundle.join("log");
    let finished = monitor.run(&command, runtime == Runtime::Crun, &log)?;
    let log = fs::read_to_string(log)?.trim_end().to_owned();
    Ok(Created { runtime, id, bundle, runtime_pid: finished.pid, exit: finished.exit, log })
}

/// Writes the bundle of a container: its directory with `config.json`. The same id can be written again.
pub fn bundle(lab: &Lab, id: &str, pid_ns: PidNs<'_>, args: &[&str]) -> Result<PathBuf> {
    let bundle = lab.path().join("bundles").join(id);
    fs::create_dir_all(&bundle)?;
    spec(&lab.rootfs(), pid_ns, args)?.save(bundle.join("config.json"))?;
    Ok(bundle)
}

fn spec(rootfs: &Path, pid_ns: PidNs<'_>, args: &[&str]) -> Result<Spec> {
    let plain = [LinuxNamespaceType::Mount, LinuxNamespaceType::Ipc, LinuxNamespaceType::Uts];
    let mut namespaces = plain.into_iter().map(|typ| namespace(typ, None)).collect::<Result<Vec<_>>>()?;
    match pid_ns {
        PidNs::Host => {}
        PidNs::Own => namespaces.push(namespace(LinuxNamespaceType::Pid, None)?),
        PidNs::Joined(pod) => namespaces.push(namespace(LinuxNamespaceType::Pid, Some(pod.ns_path()))?),
        PidNs::UserNs => {
            namespaces.push(namespace(LinuxNamespaceType::Pid, None)?);
            namespaces.push(namespace(LinuxNamespaceType::User, None)?);
        }
    }
    let mut linux = LinuxBuilder::default().namespaces(namespaces);
    if matches!(pid_ns, PidNs::UserNs) {
        // The host's own ids, so that the root file system needs no other owner.
        let ids =
            vec![LinuxIdMappingBuilder::default().container_id(0u32).host_id(0u32).size(65_536u32).build()?];
        linux = linux.uid_mappings(ids.clone()).gid_mappings(ids);
    }
    let process = ProcessBuilder::default()
        .terminal(false)
        .args(args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>())
        .env(vec!["PATH=/bin".to_owned()])
        .cwd("/")
        .build()?;
    let mount =
        |place: &str, typ: &str| MountBuilder::default().destination(place).typ(typ).source(typ).build();
    // Each container gets an empty `/dev` and makes its devices there: youki fails if they exist already.
    let mounts = vec![mount("/proc", "proc")?, mount("/dev", "tmpfs")?];
    Ok(SpecBuilder::default()
        .version("1.0.2")
        .root(RootBuilder::default().path(rootfs).readonly(false).build()?)
        .process(process)
        .mounts(mounts)
        .linux(linux.build()?)
        .build()?)
}

fn namespace(typ: LinuxNamespaceType, path: Option<String>) -> Result<LinuxNamespace> {
    let builder = LinuxNamespaceBuilder::default().typ(typ);
    Ok(match path {
        Some(path) => builder.path(path).build()?,
        None => builder.build()?,
    })
}
