//! Where a process comes from: its creators, runtime and monitor, and the claims about its container.

use schemars::JsonSchema;
use serde::Serialize;
use supervisor_model::finding::{Role, Stage};

use super::process::{ExitFields, PidAndName};
use crate::shapes;

/// An ancestor of the process.
#[derive(Serialize, JsonSchema)]
pub(super) struct CreatorFields {
    /// Pid on the host.
    pub(super) pid: u32,
    /// As in `/proc/PID/comm`.
    pub(super) name: String,
    /// The program that it ran when it forked the process before it: the previous one in `creators`, or the process
    /// itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) executable: Option<String>,
    /// Arguments of that exec.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) args: Vec<String>,
    /// Whether there were more.
    #[serde(skip_serializing_if = "shapes::is_false")]
    pub(super) args_cut: bool,
    /// Of a runtime: the action that it was called for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verb: Option<String>,
    pub(super) role: Role,
    /// Whether only the file's name supports the role: root has not started it on the host, or users other than root
    /// can change the file.
    #[serde(skip_serializing_if = "shapes::is_false")]
    pub(super) unverified: bool,
    /// Whether it no longer exists.
    pub(super) gone: bool,
    /// How it ended, if that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exit: Option<ExitFields>,
    /// How long it had lived, if that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lived_ns: Option<u64>,
    /// The process that sent the signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) killed_by: Option<PidAndName>,
}

/// The container runtime that it comes from.
#[derive(Serialize, JsonSchema)]
pub(super) struct RuntimeFields {
    /// `crun`, `runc`, `youki`.
    pub(super) name: String,
    /// The file that was executed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) executable: Option<String>,
    /// `create`, `run`, `exec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verb: Option<String>,
    pub(super) stage: Stage,
    /// As in `creators`.
    #[serde(skip_serializing_if = "shapes::is_false")]
    pub(super) unverified: bool,
}

/// The container monitor.
#[derive(Serialize, JsonSchema)]
pub(super) struct MonitorFields {
    /// `conmon`, `conmonrs`, `containerd-shim-runc-v2`.
    pub(super) name: String,
    /// Pid on the host.
    pub(super) pid: u32,
    /// The file that it executed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) executable: Option<String>,
    /// containerd's namespace, such as `k8s.io`: not the pod's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<String>,
    /// As in `creators`.
    #[serde(skip_serializing_if = "shapes::is_false")]
    pub(super) unverified: bool,
}

/// The claim of one source about the container and the pod.
#[derive(Serialize, JsonSchema)]
pub(super) struct ClaimFields {
    /// Where it was found.
    #[schemars(extend("enum" = ["cgroup", "arguments", "file"]))]
    pub(super) source: &'static str,
    /// The authority behind the claim: the kernel, root, another user, or a process in a container.
    #[schemars(extend("enum" = ["kernel", "root", "user", "container"]))]
    pub(super) by: &'static str,
    /// Of `user`: its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<u32>,
    /// Of `file`: its path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    /// The container's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) container_id: Option<String>,
    /// The pod's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pod_namespace: Option<String>,
    /// The pod's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pod_name: Option<String>,
    /// The pod's uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pod_uid: Option<String>,
    /// Whether `container` and `orchestrator` rest on it.
    pub(super) accepted: bool,
}
