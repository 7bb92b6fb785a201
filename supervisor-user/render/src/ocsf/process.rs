//! A process, its user, its container and its pod.

use schemars::JsonSchema;
use serde::Serialize;

use crate::shapes;

/// A process. `parent_process` is its reaper: the process that must wait for it now. In a fork event, it is the process
/// that called fork.
#[derive(Default, Serialize, JsonSchema)]
pub(super) struct Process {
    /// Pid on the host.
    pub(super) pid: u32,
    /// As in `/proc/PID/comm`.
    pub(super) name: String,
    /// The same as `cpid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::uuid_v8")]
    pub(super) uid: Option<String>,
    /// OCSF Common Process ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::uuid_v8")]
    pub(super) cpid: Option<String>,
    /// The file that it executed last, or that its nearest ancestor executed if it has executed none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    /// Arguments of that exec, with spaces between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cmd_line: Option<String>,
    /// When it was forked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created_time: Option<i64>,
    /// When its last thread exited, if that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) terminated_time: Option<i64>,
    /// Pid in its innermost namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) namespace_pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<User>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) container: Option<Container>,
    #[serde(rename = "parent_process", skip_serializing_if = "Option::is_none")]
    pub(super) parent: Option<Box<Process>>,
}

/// Whose process it is.
#[derive(Serialize, JsonSchema)]
pub(super) struct User {
    /// Real user id on the host.
    #[schemars(regex(pattern = "^[0-9]+$"))]
    pub(super) uid: String,
}

/// The container that it is part of.
#[derive(Default, Serialize, JsonSchema)]
pub(super) struct Container {
    /// As the runtime knows it.
    #[schemars(length(min = 1))]
    pub(super) uid: String,
    /// As people know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// What manages it: `podman`, `cri-o`, `containerd`, `docker`, or a bare runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) runtime: Option<String>,
    /// Such as `kubernetes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) orchestrator: Option<&'static str>,
    /// The Kubernetes pod's uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pod_uuid: Option<String>,
}

/// What is affected.
#[derive(Serialize, JsonSchema)]
pub(super) struct Resource {
    pub(super) r#type: ResourceType,
    /// Of a PID namespace, its inode number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<String>,
    /// As people know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// The orchestrator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<String>,
    /// 3: Affected.
    #[schemars(extend("const" = 3))]
    pub(super) role_id: u8,
}

/// Kinds of affected resources.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ResourceType {
    Container,
    Pod,
    PidNamespace,
}
