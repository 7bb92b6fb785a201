//! The fields of an event that have a name in ECS.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use supervisor_model::event::Action;

use super::{ECS_VERSION, supervisor::Supervisor};
use crate::{news::Kind, shapes, traced};

/// One event of `supervisor`: an object on a line of its own, in the names of the Elastic Common Schema.
///
/// What is not known is absent, never null. Times are in UTC; durations are nanoseconds.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "supervisor event (ECS)")]
pub(super) struct Document {
    /// When it happened.
    #[serde(rename = "@timestamp")]
    #[schemars(schema_with = "shapes::time")]
    pub(super) timestamp: Timestamp,
    /// One English sentence that stands alone. It has no control characters.
    #[schemars(length(min = 1))]
    pub(super) message: String,
    pub(super) ecs: Ecs,
    pub(super) event: Event,
    pub(super) host: Host,
    pub(super) agent: Agent,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) process: Option<Process>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) container: Option<Container>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) orchestrator: Option<Orchestrator>,
    pub(super) supervisor: Supervisor,
}

/// The schema that defines the names.
#[derive(Serialize, JsonSchema)]
pub(super) struct Ecs {
    /// Its version.
    #[schemars(extend("const" = ECS_VERSION))]
    pub(super) version: &'static str,
}

/// What kind of news it is.
#[derive(Serialize, JsonSchema)]
pub(super) struct Event {
    pub(super) kind: Kind,
    /// Always `process`.
    pub(super) category: [Category; 1],
    /// `start` and `end` in a trace only; `change` of `reap-requested`.
    pub(super) r#type: [Type; 1],
    pub(super) action: Action,
    /// Always `supervisor`.
    #[schemars(extend("const" = "supervisor"))]
    pub(super) module: &'static str,
    /// `supervisor.findings`, or of a trace `supervisor.trace`.
    #[schemars(extend("enum" = [super::DATASET, traced::DATASET]))]
    pub(super) dataset: &'static str,
    /// The same for the same news of the same finding, also when it is emitted again after a restart.
    #[schemars(length(min = 1))]
    pub(super) id: String,
    /// Grows with every event of one run of the agent.
    pub(super) sequence: u64,
    /// 1 is good news, 5 the worst.
    #[schemars(range(min = 1, max = 5))]
    pub(super) severity: u8,
    /// Of a finding that is over, in nanoseconds: exit to reap, exit of PID 1 to the end of its namespace, or SIGKILL
    /// to exit. If no SIGKILL was seen, the time to exit counts from the end of the last thread. Of a reap in a trace:
    /// exit to reap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration: Option<u64>,
    /// Of `reap-requested`: whether the zombie is gone; `unknown` if nothing was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<Outcome>,
    /// Of `reap-requested`: why the zombie is not gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

/// Whether the request was fulfilled.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Success,
    Failure,
    Unknown,
}

/// The subject of an event, in the classification of ECS.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Category {
    Process,
}

/// The type of an event, in the classification of ECS.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Type {
    Info,
    Start,
    End,
    Change,
}

/// The host that it happened on.
#[derive(Serialize, JsonSchema)]
pub(super) struct Host {
    /// `/etc/machine-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(super) id: Option<String>,
    /// Its name.
    #[schemars(length(min = 1))]
    pub(super) hostname: String,
    pub(super) boot: Boot,
    pub(super) os: Os,
}

/// This boot of the host.
#[derive(Serialize, JsonSchema)]
pub(super) struct Boot {
    /// `/proc/sys/kernel/random/boot_id`.
    #[schemars(length(min = 1))]
    pub(super) id: String,
}

/// Its operating system.
#[derive(Serialize, JsonSchema)]
pub(super) struct Os {
    /// Kernel release.
    #[schemars(length(min = 1))]
    pub(super) kernel: String,
}

/// The agent that emits the event.
#[derive(Serialize, JsonSchema)]
pub(super) struct Agent {
    /// Always `supervisor`.
    #[schemars(extend("const" = "supervisor"))]
    pub(super) r#type: &'static str,
    /// Of this program.
    #[schemars(length(min = 1))]
    pub(super) version: &'static str,
    /// Another one with every run of the agent.
    #[schemars(length(min = 1))]
    pub(super) ephemeral_id: String,
}

/// A process: the unreaped one, the one that cannot exit, or the PID 1 of a namespace that cannot end; in a trace, any
/// process. `parent` is its reaper. In a fork event, it is the process that called fork.
#[derive(Default, Serialize, JsonSchema)]
pub(super) struct Process {
    /// Pid on the host.
    pub(super) pid: u32,
    /// Pid in its innermost namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) vpid: Option<u32>,
    /// OCSF Common Process ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::uuid_v8")]
    pub(super) entity_id: Option<String>,
    /// As in `/proc/PID/comm`.
    pub(super) name: String,
    /// The file that it executed last, or that its nearest ancestor executed if it has executed none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) executable: Option<String>,
    /// Arguments of that exec.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) args: Vec<String>,
    /// How many arguments there were, if that is known; `args` has the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) args_count: Option<u32>,
    /// When it was forked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::time")]
    pub(super) start: Option<Timestamp>,
    /// When its last thread exited, if that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::time")]
    pub(super) end: Option<Timestamp>,
    /// Of a normal exit only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exit_code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<User>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent: Option<Box<Process>>,
}

impl Process {
    /// The same process without arguments, and with a parent without arguments.
    pub(super) fn without_arguments(self) -> Self {
        let parent = self.parent.map(|parent| Box::new(parent.without_arguments()));
        Self { args: Vec::new(), args_count: None, parent, ..self }
    }
}

/// Whose process it is.
#[derive(Serialize, JsonSchema)]
pub(super) struct User {
    /// Real user id on the host.
    #[schemars(regex(pattern = "^[0-9]+$"))]
    pub(super) id: String,
}

/// The container that it is part of.
#[derive(Serialize, JsonSchema)]
pub(super) struct Container {
    /// As the runtime knows it.
    #[schemars(length(min = 1))]
    pub(super) id: String,
    /// As people know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// What manages it: `podman`, `cri-o`, `containerd`, `docker`, or a bare runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) runtime: Option<String>,
}

/// What placed the container on this host.
#[derive(Serialize, JsonSchema)]
pub(super) struct Orchestrator {
    /// Always `kubernetes`.
    #[schemars(extend("const" = "kubernetes"))]
    pub(super) r#type: &'static str,
    /// The pod's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<String>,
    pub(super) resource: Resource,
}

/// What the container is part of.
#[derive(Serialize, JsonSchema)]
pub(super) struct Resource {
    /// Always `pod`.
    #[schemars(extend("const" = "pod"))]
    pub(super) r#type: &'static str,
    /// The pod's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// The pod's uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
}
