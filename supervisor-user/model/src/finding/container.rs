//! Where a process comes from: creators, runtime, monitor, container and pod.

use schemars::JsonSchema;
use serde::Serialize;

use super::Process;
use crate::evidence::EndFacts;

/// One ancestor.
#[derive(Clone, Debug, PartialEq)]
pub struct Creator {
    /// The process.
    pub process: Process,
    /// The verb, if it is a runtime.
    pub verb: Option<String>,
    /// Its role.
    pub role: Role,
    /// Whether only the name of its file says that it is a runtime, monitor or engine: root has not started it, or
    /// other users than root can change the file.
    pub is_unverified: bool,
    /// Whether it runs a program that is made to reap orphans.
    pub is_init_program: bool,
    /// Whether it does not exist any more.
    pub gone: bool,
    /// How it ended, if that was seen.
    pub end: Option<EndFacts>,
}

/// What a process is in a container's process tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// crun, runc, youki, runsc, LXC's programs, systemd-nspawn.
    Runtime,
    /// conmon, conmonrs, a shim, LXC's monitor.
    Monitor,
    /// podman, crio, containerd, dockerd, buildkitd, kubelet.
    Engine,
    /// PID 1 of a PID namespace, or a program made to be it.
    Init,
    /// A shell.
    Shell,
    /// Anything else.
    #[default]
    Other,
}

/// The container runtime that an unreaped process comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// `crun`, `runc`, `youki`, `runsc`, `lxc`, `systemd-nspawn`, `kata`; or the name of the file that a monitor calls.
    pub name: String,
    /// The file that was executed.
    pub executable: Option<String>,
    /// `create`, `run`, `exec`; of LXC `start`, `execute`, `attach`. Not known if its exec was not seen.
    pub verb: Option<String>,
    /// The part of the unreaped process in the work of this runtime.
    pub stage: Stage,
    /// As [`Creator::is_unverified`].
    pub is_unverified: bool,
}

impl Runtime {
    /// Whether it was called to start a process in a running container: `exec`, or LXC's `attach`.
    #[must_use]
    pub fn is_session(&self) -> bool {
        matches!(self.verb.as_deref(), Some("exec" | "attach"))
    }

    /// Describes the unreaped process, as a part of a sentence. `vpid` is its pid in its innermost namespace.
    #[must_use]
    pub fn describe(&self, vpid: Option<u32>) -> &'static str {
        match (self.stage, self.is_session()) {
            (Stage::Init, false) => "the container init",
            (Stage::Init, true) => "the first process of an exec session",
            (Stage::Intermediate, _) => "an intermediate stage",
            (Stage::Container, true) => "a process of an exec session",
            (Stage::Container, false) if vpid == Some(1) => "the container's PID 1",
            (Stage::Container, false) => "a process of the container",
            (Stage::Runtime, _) => "the called process",
        }
    }
}

/// A runtime's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The first process of a container or exec session, which has not executed the command.
    Init,
    /// One that only prepares and forks the next.
    Intermediate,
    /// A process of the container itself.
    Container,
    /// The process that was called with the verb.
    Runtime,
}

/// A container monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// Its name.
    pub name: String,
    /// Host pid.
    pub pid: u32,
    /// The file that it executed.
    pub executable: Option<String>,
    /// containerd's namespace of its containers. This is not the Kubernetes namespace.
    pub namespace: Option<String>,
    /// As [`Creator::is_unverified`].
    pub is_unverified: bool,
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// The software that manages it: `podman`, `cri-o`, `containerd`, `docker`, or a bare runtime.
    pub runtime: Option<String>,
}

/// The software that placed a container on this host, and the pod that the container belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orchestrator {
    /// `kubernetes`.
    pub kind: &'static str,
    /// The pod's namespace.
    pub namespace: Option<String>,
    /// The pod's name.
    pub pod_name: Option<String>,
    /// The pod's uid.
    pub pod_uid: Option<String>,
}

/// The authority behind a claim about a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// The kernel: the name of a control group that no user can choose.
    Kernel,
    /// Root in the host's PID namespace.
    Root,
    /// Another user.
    User(u32),
    /// A process of any user in a container.
    Container,
}

impl Authority {
    /// The rank of this authority. The authority that is believed first has the lowest rank.
    #[must_use]
    pub fn rank(self) -> u8 {
        match self {
            Self::Kernel => 0,
            Self::Root => 1,
            Self::User(_) | Self::Container => 2,
        }
    }

    /// Whether it may name a pod, and containers of other users.
    #[must_use]
    pub fn is_trusted(self) -> bool {
        matches!(self, Self::Kernel | Self::Root)
    }

    /// The word of the event contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Root => "root",
            Self::User(_) => "user",
            Self::Container => "container",
        }
    }
}

/// The source of a claim about a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimSource {
    /// The path of the control group.
    Cgroup,
    /// Arguments of a runtime or monitor.
    Arguments,
    /// The file of the container at that path.
    File(String),
}

impl ClaimSource {
    /// The word of the event contract.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Arguments => "arguments",
            Self::File(_) => "file",
        }
    }
}

/// The claim of one source about container and pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityClaim {
    /// The source of the claim.
    pub source: ClaimSource,
    /// The authority behind the claim.
    pub by: Authority,
    /// The container's id.
    pub container_id: Option<String>,
    /// The pod.
    pub pod: Option<Orchestrator>,
    /// Whether container and pod of the finding are taken from this claim.
    pub is_accepted: bool,
}
