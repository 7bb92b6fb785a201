//! The OCSF classes and objects that events are mapped to. Each type has the attributes that `supervisor` fills.

use schemars::JsonSchema;
use serde::Serialize;
use supervisor_model::event::Action;

use super::{
    OCSF_VERSION,
    process::{Process, Resource},
};
use crate::{
    ecs::{DATASET, Supervisor},
    news::Subject,
    shapes, traced,
};

/// One event of `supervisor`: an object on a line of its own, in the names of the Open Cybersecurity Schema Framework.
///
/// What is not known is absent, never null. Times are milliseconds since 1970 in UTC.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(title = "supervisor event (OCSF)")]
pub(super) enum Document {
    Finding(Box<DetectionFinding>),
    Activity(Box<ProcessActivity>),
    Remediation(Box<ProcessRemediation>),
    Error(Box<ApplicationError>),
}

/// Detection Finding: an unreaped process, a process that cannot exit, or a PID namespace that cannot end.
#[derive(Serialize, JsonSchema)]
pub(super) struct DetectionFinding {
    /// Findings.
    #[schemars(extend("const" = 2))]
    pub(super) category_uid: u8,
    /// The category's name.
    #[schemars(extend("const" = "Findings"))]
    pub(super) category_name: &'static str,
    /// Detection Finding.
    #[schemars(extend("const" = 2004))]
    pub(super) class_uid: u16,
    /// The class's name.
    #[schemars(extend("const" = "Detection Finding"))]
    pub(super) class_name: &'static str,
    /// 1 Create, 2 Update, 3 Close; 99 for what `explain` says of a process that is no zombie.
    #[schemars(extend("enum" = [1, 2, 3, 99]))]
    pub(super) activity_id: u8,
    /// The activity's name.
    #[schemars(extend("enum" = ["Create", "Update", "Close", "Explain"]))]
    pub(super) activity_name: &'static str,
    /// Class and activity in one number.
    #[schemars(extend("enum" = [200_401, 200_402, 200_403, 200_499]))]
    pub(super) type_uid: u32,
    /// 1 New, 4 Resolved; 99 if the event is no finding.
    #[schemars(extend("enum" = [1, 4, 99]))]
    pub(super) status_id: u8,
    /// The status's name.
    #[schemars(extend("enum" = ["New", "Resolved", "None"]))]
    pub(super) status: &'static str,
    /// Whether somebody should look at it: true of created and updated findings.
    pub(super) is_alert: bool,
    #[serde(flatten)]
    pub(super) base: Base,
    /// 1 Low, 2 Medium, 3 High.
    #[schemars(range(min = 1, max = 3))]
    pub(super) confidence_id: u8,
    /// The confidence's name.
    #[schemars(extend("enum" = ["Low", "Medium", "High"]))]
    pub(super) confidence: &'static str,
    /// When the process exited, if that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start_time: Option<i64>,
    /// When the finding was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end_time: Option<i64>,
    /// Of a finding that is over, in milliseconds: exit to reap, exit of PID 1 to the end of its namespace, or SIGKILL
    /// to exit. If no SIGKILL was seen, the time to exit counts from the end of the last thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration: Option<u64>,
    pub(super) finding_info: FindingInfo,
    /// The process itself; of a namespace its PID 1, and then everything that holds it.
    #[schemars(length(min = 1))]
    pub(super) evidences: Vec<Evidence>,
    /// The container, the pod, and PID namespaces that cannot end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) resources: Vec<Resource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remediation: Option<Remediation>,
    pub(super) unmapped: Unmapped,
}

/// Process Activity: what has happened to a process, in a trace.
#[derive(Serialize, JsonSchema)]
pub(super) struct ProcessActivity {
    /// System Activity.
    #[schemars(extend("const" = 1))]
    pub(super) category_uid: u8,
    /// The category's name.
    #[schemars(extend("const" = "System Activity"))]
    pub(super) category_name: &'static str,
    /// Process Activity.
    #[schemars(extend("const" = 1007))]
    pub(super) class_uid: u16,
    /// The class's name.
    #[schemars(extend("const" = "Process Activity"))]
    pub(super) class_name: &'static str,
    /// 1 Launch: a fork or an exec. 2 Terminate: an exit. 99: a wait or a reap.
    #[schemars(extend("enum" = [1, 2, 99]))]
    pub(super) activity_id: u8,
    /// The activity's name.
    #[schemars(extend("enum" = ["Launch", "Terminate", "Wait", "Reap"]))]
    pub(super) activity_name: &'static str,
    /// Class and activity in one number.
    #[schemars(extend("enum" = [100_701, 100_702, 100_799]))]
    pub(super) type_uid: u32,
    #[serde(flatten)]
    pub(super) base: Base,
    /// Which step of a launch: 2 Fork, 3 Exec.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [2, 3]))]
    pub(super) launch_type_id: Option<u8>,
    /// The step's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Fork", "Exec"]))]
    pub(super) launch_type: Option<&'static str>,
    pub(super) actor: Actor,
    /// The process that it happens to.
    pub(super) process: Process,
    /// Of a normal exit only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exit_code: Option<u8>,
    /// Of a reap: how long after the exit, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration: Option<u64>,
    pub(super) unmapped: Unmapped,
}

/// Process Remediation Activity: somebody, or the agent's `[reap]`, has asked to free a zombie.
#[derive(Serialize, JsonSchema)]
pub(super) struct ProcessRemediation {
    /// Remediation.
    #[schemars(extend("const" = 7))]
    pub(super) category_uid: u8,
    /// The category's name.
    #[schemars(extend("const" = "Remediation"))]
    pub(super) category_name: &'static str,
    /// Process Remediation Activity.
    #[schemars(extend("const" = 7003))]
    pub(super) class_uid: u16,
    /// The class's name.
    #[schemars(extend("const" = "Process Remediation Activity"))]
    pub(super) class_name: &'static str,
    /// 3 Restore: the system comes to a better state.
    #[schemars(extend("const" = 3))]
    pub(super) activity_id: u8,
    /// The activity's name.
    #[schemars(extend("const" = "Restore"))]
    pub(super) activity_name: &'static str,
    /// Class and activity in one number.
    #[schemars(extend("const" = 700_303))]
    pub(super) type_uid: u32,
    #[serde(flatten)]
    pub(super) base: Base,
    /// Id of this request.
    #[schemars(length(min = 1))]
    pub(super) command_uid: String,
    /// 0 Unknown: nothing was tried. 1 Success: the zombie is gone. 2 Failure.
    #[schemars(extend("enum" = [0, 1, 2]))]
    pub(super) status_id: u8,
    /// The status's name.
    #[schemars(extend("enum" = ["Unknown", "Success", "Failure"]))]
    pub(super) status: &'static str,
    /// Why the zombie is not gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status_detail: Option<String>,
    /// The zombie; its `parent_process` is the reaper, also if the reaper was not stopped.
    pub(super) process: Process,
    pub(super) unmapped: Unmapped,
}

/// The process that acts: the one that forks or reaps, and otherwise the process itself. It is the process itself also
/// for a reap if the reaper was not seen.
#[derive(Serialize, JsonSchema)]
pub(super) struct Actor {
    pub(super) process: Process,
}

/// Application Error: something could not be counted or delivered, or is only counted.
#[derive(Serialize, JsonSchema)]
pub(super) struct ApplicationError {
    /// Application Activity.
    #[schemars(extend("const" = 6))]
    pub(super) category_uid: u8,
    /// The category's name.
    #[schemars(extend("const" = "Application Activity"))]
    pub(super) category_name: &'static str,
    /// Application Error.
    #[schemars(extend("const" = 6008))]
    pub(super) class_uid: u16,
    /// The class's name.
    #[schemars(extend("const" = "Application Error"))]
    pub(super) class_name: &'static str,
    /// 1 General Error; 99 for findings that are not reported one by one.
    #[schemars(extend("enum" = [1, 99]))]
    pub(super) activity_id: u8,
    /// The activity's name.
    #[schemars(extend("enum" = ["General Error", "Suppress"]))]
    pub(super) activity_name: &'static str,
    /// Class and activity in one number.
    #[schemars(extend("enum" = [600_801, 600_899]))]
    pub(super) type_uid: u32,
    #[serde(flatten)]
    pub(super) base: Base,
    /// Since when.
    pub(super) start_time: i64,
    /// The number of events or findings that this error is about, if one number says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<u64>,
    pub(super) unmapped: Unmapped,
}

/// The attributes that every event has.
#[derive(Serialize, JsonSchema)]
pub(super) struct Base {
    /// Names of class and activity.
    pub(super) type_name: &'static str,
    /// When it happened.
    pub(super) time: i64,
    /// 1 Informational, 2 Low, 3 Medium, 4 High, 5 Critical.
    #[schemars(range(min = 1, max = 5))]
    pub(super) severity_id: u8,
    /// The severity's name.
    #[schemars(extend("enum" = ["Informational", "Low", "Medium", "High", "Critical"]))]
    pub(super) severity: &'static str,
    /// One English sentence that stands alone. It has no control characters.
    #[schemars(length(min = 1))]
    pub(super) message: String,
    pub(super) metadata: Metadata,
    pub(super) device: Device,
}

/// The event itself.
#[derive(Serialize, JsonSchema)]
pub(super) struct Metadata {
    /// Version of OCSF.
    #[schemars(extend("const" = OCSF_VERSION))]
    pub(super) version: &'static str,
    pub(super) product: Product,
    /// Which of OCSF's optional sets of attributes are used.
    pub(super) profiles: &'static [Profile],
    /// The same for the same news of the same finding, also when it is emitted again after a restart.
    #[schemars(length(min = 1))]
    pub(super) uid: String,
    /// Grows with every event of one run of the agent.
    pub(super) sequence: u64,
    /// `supervisor.findings`, or of a trace `supervisor.trace`.
    #[schemars(extend("enum" = [DATASET, traced::DATASET]))]
    pub(super) log_name: &'static str,
    /// What happened, as `event.action` of the native format.
    pub(super) event_code: Action,
}

/// An optional set of attributes.
#[derive(Clone, Copy, Serialize, JsonSchema)]
pub(super) enum Profile {
    #[serde(rename = "container")]
    Container,
    #[serde(rename = "host")]
    Host,
    #[serde(rename = "linux/linux_users")]
    LinuxUsers,
}

/// The product that made the event.
#[derive(Serialize, JsonSchema)]
pub(super) struct Product {
    /// Always `supervisor`.
    #[schemars(extend("const" = "supervisor"))]
    pub(super) name: &'static str,
    /// Of this program.
    pub(super) version: &'static str,
}

/// The host that it happened on.
#[derive(Serialize, JsonSchema)]
pub(super) struct Device {
    /// Its name.
    #[schemars(length(min = 1))]
    pub(super) hostname: String,
    /// `/etc/machine-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<String>,
    /// 0: whether it is a server or a desktop is not known.
    #[schemars(extend("const" = 0))]
    pub(super) type_id: u8,
    /// `/proc/sys/kernel/random/boot_id`.
    pub(super) boot_uid: String,
    pub(super) os: Os,
    /// The one agent that has seen it.
    pub(super) agent_list: [Agent; 1],
}

/// The operating system.
#[derive(Serialize, JsonSchema)]
pub(super) struct Os {
    /// Always `Linux`.
    #[schemars(extend("const" = "Linux"))]
    pub(super) name: &'static str,
    /// Linux.
    #[schemars(extend("const" = 200))]
    pub(super) type_id: u16,
    /// The type's name.
    #[schemars(extend("const" = "Linux"))]
    pub(super) r#type: &'static str,
    /// As `uname -r` has it.
    pub(super) kernel_release: String,
}

/// The agent.
#[derive(Serialize, JsonSchema)]
pub(super) struct Agent {
    /// Always `supervisor`.
    #[schemars(extend("const" = "supervisor"))]
    pub(super) name: &'static str,
    /// 4: Performance Monitoring & Observability.
    #[schemars(extend("const" = 4))]
    pub(super) type_id: u8,
    /// Another one with every run.
    pub(super) uid: String,
    /// Of this program.
    pub(super) version: &'static str,
}

/// The finding.
#[derive(Serialize, JsonSchema)]
pub(super) struct FindingInfo {
    /// The same from create to close, and after a restart of the agent.
    #[schemars(length(min = 1))]
    pub(super) uid: String,
    /// What is wrong, in general, and the container and the pod, if they are known.
    #[schemars(length(min = 1))]
    pub(super) title: String,
    /// What is wrong with this one: the verdict.
    #[schemars(length(min = 1))]
    pub(super) desc: String,
    /// What it is about.
    pub(super) types: [Subject; 1],
    /// The rule that produced the finding, one for each family of causes. Absent if no family fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) analytic: Option<Analytic>,
    /// When it was first inspected.
    pub(super) first_seen_time: i64,
}

/// A rule.
#[derive(Serialize, JsonSchema)]
pub(super) struct Analytic {
    /// The family.
    #[schemars(schema_with = "shapes::family_id")]
    pub(super) uid: &'static str,
    /// The family's short name.
    #[schemars(schema_with = "shapes::family_name")]
    pub(super) name: &'static str,
    /// Rule.
    #[schemars(extend("const" = 1))]
    pub(super) type_id: u8,
    /// The type's name.
    #[schemars(extend("const" = "Rule"))]
    pub(super) r#type: &'static str,
}

/// A process that the finding rests on.
#[derive(Serialize, JsonSchema)]
pub(super) struct Evidence {
    pub(super) name: EvidenceName,
    pub(super) process: Process,
}

/// The role of a process in the finding.
#[derive(Serialize, JsonSchema)]
pub(super) enum EvidenceName {
    /// The process that is not reaped or cannot exit, or that `explain` shows.
    #[serde(rename = "process")]
    Subject,
    /// PID 1 of the namespace.
    #[serde(rename = "namespace-init")]
    NamespaceInit,
    /// A zombie that holds the namespace.
    #[serde(rename = "blocker-zombie")]
    Zombie,
    /// A process of the namespace that has not ended.
    #[serde(rename = "blocker-task")]
    Task,
    /// A process of the namespace that its ptrace tracer must wait for: its `parent_process`.
    #[serde(rename = "blocker-tracer")]
    Tracer,
}

/// What to do.
#[derive(Serialize, JsonSchema)]
pub(super) struct Remediation {
    /// One sentence a line, best first.
    #[schemars(length(min = 1))]
    pub(super) desc: String,
}

/// What OCSF has no attribute for.
#[derive(Serialize, JsonSchema)]
pub(super) struct Unmapped {
    pub(super) supervisor: Supervisor,
}
