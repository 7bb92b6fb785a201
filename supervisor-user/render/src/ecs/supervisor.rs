//! The fields of an event that have no name in ECS or OCSF: those below `supervisor`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;
use supervisor_model::{
    diagnosis::{Cause, Confidence, Position, Prognosis},
    event::State,
    facts::SigChld,
    finding::{BlockerKind, PidNsMode},
};

use super::{
    SCHEMA_VERSION,
    losses::{LossFields, SuppressedFields},
    origin::{ClaimFields, CreatorFields, MonitorFields, RuntimeFields},
    process::{ExitFields, PidAndName},
    reap::ReapFields,
};
use crate::{news::Subject, shapes};

/// The fields that other schemas have no name for.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Supervisor {
    /// Version of the names below `supervisor`. The first number changes when a name is removed or changes its meaning;
    /// the second number changes when names are added.
    #[schemars(extend("const" = SCHEMA_VERSION))]
    pub(super) schema_version: &'static str,
    /// Which hooks are in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hooks: Option<Cow<'static, str>>,
    #[serde(flatten)]
    pub(super) finding: Option<FindingFields>,
    #[serde(flatten)]
    pub(super) traced: Option<TracedFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) loss: Option<LossFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) suppressed: Option<SuppressedFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reap: Option<ReapFields>,
    /// The parts that are left out of this event because the sink's receiver accepts no larger event; `*` stands for
    /// everything that is not essential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) shortened: Option<Vec<String>>,
}

/// The fields of a finding.
#[derive(Serialize, JsonSchema)]
pub(super) struct FindingFields {
    pub(super) finding: FindingState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exit: Option<ExitFields>,
    /// Time since the exit, if that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) age_ns: Option<u64>,
    /// How long a process must be unreaped, or must not have exited, to be reported.
    pub(super) grace_ns: u64,
    /// Whether its exit was seen.
    pub(super) exit_time_known: bool,
    /// Of a process that was told to exit and is no zombie yet: time since its first SIGKILL, or else since the exit of
    /// its last thread, if either was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ending_ns: Option<u64>,
    /// The process that sent that SIGKILL, if that was seen and it was not the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) killed_by: Option<PidAndName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reaper: Option<ReaperFields>,
    /// Of a reaped process: the process that reaped it, if that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reaped_by: Option<ReapedByFields>,
    /// The process that forked it, then the process that forked that creator, and so on; nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) creators: Vec<CreatorFields>,
    /// The program that its creator ran when it forked it, if the creator has executed another one since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) forked_as: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) runtime: Option<RuntimeFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) monitor: Option<MonitorFields>,
    /// How sure `container` and `orchestrator` are, where that is not certain: `medium` if only a user or a container
    /// says it, or part of it was refused; `low` if sources contradict each other, or none of them is believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["low", "medium"]))]
    pub(super) identity_confidence: Option<&'static str>,
    /// With `identity_confidence`: each claim, and the authority behind it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) claims: Vec<ClaimFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pid_ns: Option<PidNsFields>,
    /// Path of its control group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cgroup: Option<String>,
    /// Whether the process had more arguments than `process.args` has.
    #[serde(skip_serializing_if = "shapes::is_false")]
    pub(super) args_cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) family: Option<FamilyFields>,
    /// The kind of process that must reap it, and how that process became the reaper.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) position: Option<Position>,
    /// What that process does instead of reaping it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<Cause>,
    /// Of a zombie: whether it will go away by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prognosis: Option<Prognosis>,
    /// What the same reaper did with earlier findings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pattern: Option<PatternFields>,
    /// Why, in one sentence.
    #[schemars(length(min = 1))]
    pub(super) verdict: String,
    pub(super) confidence: Confidence,
    /// What was observed. What the verdict rests on comes first.
    pub(super) evidence: Vec<EvidenceFields>,
    /// What to do, best first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = 1)))]
    pub(super) remedies: Vec<String>,
    /// Actions that people try and that will not help.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = 1)))]
    pub(super) wont_help: Vec<String>,
    /// How it came into the container; `host` if it is in none.
    #[schemars(schema_with = "shapes::origin")]
    pub(super) origin: &'static str,
    /// Of a health check, how often it is executed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) origin_period_ns: Option<u64>,
    /// What cannot end while it stays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) blocks: Vec<BlockFields>,
    /// Of a namespace: what holds it. At most 4; one of each reaper comes first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) blockers: Vec<BlockerFields>,
    /// How many more processes hold it.
    #[serde(skip_serializing_if = "shapes::is_zero")]
    pub(super) blockers_left_out: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) budget: Option<BudgetFields>,
}

/// What a reaper did with earlier findings.
#[derive(Serialize, JsonSchema)]
pub(super) struct PatternFields {
    /// How many it has reaped.
    pub(super) reaped: u64,
    /// The median time from exit to reap, among the latest.
    pub(super) median_ns: u64,
    /// The longest time from exit to reap, among the latest.
    pub(super) longest_ns: u64,
}

/// The fields of an event of a trace.
#[derive(Serialize, JsonSchema)]
pub(super) struct TracedFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exit: Option<ExitFields>,
    /// Of a reaped process: the process that reaped it, if that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reaped_by: Option<ReapedByFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pid_ns: Option<PidNsFields>,
    /// Path of its control group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cgroup: Option<String>,
    /// What it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wait: Option<WaitFields>,
    /// Whether the process had more arguments than `process.args` has.
    #[serde(skip_serializing_if = "shapes::is_false")]
    pub(super) args_cut: bool,
}

/// The finding, and its state after this event.
#[derive(Serialize, JsonSchema)]
pub(super) struct FindingState {
    /// The same from open to close, and after a restart of the agent.
    #[schemars(length(min = 1))]
    pub(super) id: String,
    pub(super) kind: Subject,
    pub(super) state: State,
}

/// The class of cause.
#[derive(Serialize, JsonSchema)]
pub(super) struct FamilyFields {
    /// `F1` and so on: see `docs/families.md`.
    #[schemars(schema_with = "shapes::family_id")]
    pub(super) id: &'static str,
    /// Its short name.
    #[schemars(schema_with = "shapes::family_name")]
    pub(super) name: &'static str,
}

/// Something observed.
#[derive(Serialize, JsonSchema)]
pub(super) struct EvidenceFields {
    /// Its number in this event, from 1.
    #[schemars(range(min = 1))]
    pub(super) id: u32,
    /// Where it was seen.
    #[schemars(length(min = 1))]
    pub(super) source: String,
    /// What was seen.
    #[schemars(length(min = 1))]
    pub(super) text: String,
    /// Whether the verdict rests on it.
    pub(super) cited: bool,
}

/// Something that cannot end while the process stays.
#[derive(Serialize, JsonSchema)]
pub(super) struct BlockFields {
    /// Always `pid-namespace`.
    #[schemars(extend("const" = "pid-namespace"))]
    pub(super) kind: &'static str,
    /// Inode number of the namespace.
    pub(super) ino: u32,
    /// Its PID 1.
    pub(super) init: PidAndName,
    /// For how long it has not been able to end.
    pub(super) waiting_ns: u64,
}

/// The process that reaped another one.
#[derive(Serialize, JsonSchema)]
pub(super) struct ReapedByFields {
    /// Pid on the host.
    pub(super) pid: u32,
    /// As in `/proc/PID/comm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
}

/// A process that holds a namespace.
#[derive(Serialize, JsonSchema)]
pub(super) struct BlockerFields {
    pub(super) kind: BlockerKind,
    /// Pid on the host.
    pub(super) pid: u32,
    /// As in `/proc/PID/comm`.
    pub(super) name: String,
    /// The process that can release it: the one that must reap it, or its ptrace tracer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reaper: Option<PidAndName>,
    /// State letter.
    pub(super) state: char,
    /// Kernel function that it sleeps in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wchan: Option<String>,
    /// System call that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) call: Option<String>,
    /// The file of the frozen control group that it is in or below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) frozen: Option<String>,
}

/// The use of pids under the tightest limit that applies to the process.
#[derive(Serialize, JsonSchema)]
pub(super) struct BudgetFields {
    /// Unreaped processes under that limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unreaped: Option<u64>,
    /// Tasks that exist.
    pub(super) pids_current: u64,
    /// Tasks that may exist.
    pub(super) pids_max: u64,
    /// The file that says so.
    pub(super) source: String,
    /// Forks that this limit has refused, as far as `pids.events` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fork_failures: Option<u64>,
    /// How many more processes are unreaped after an hour, if their number grows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rate_per_hour: Option<u64>,
    /// Time until no pid is left at that rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exhausted_in_ns: Option<u64>,
}

/// The process that must wait for it.
#[derive(Serialize, JsonSchema)]
pub(super) struct ReaperFields {
    /// Pid on the host.
    pub(super) pid: u32,
    /// As in `/proc/PID/comm`.
    pub(super) name: String,
    /// The file that it executed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) executable: Option<String>,
    /// Whether another process was its parent at first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) adopted: Option<bool>,
    /// Whether it has asked to adopt its descendants' orphans.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) is_subreaper: Option<bool>,
    /// Whether it is PID 1 of a PID namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) is_pidns_init: Option<bool>,
    /// State letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<char>,
    /// Kernel function that it sleeps in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wchan: Option<String>,
    /// Its memory map is locked, so that its arguments cannot be read in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory_locked: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sigchld: Option<SigChld>,
    /// Whether it had more arguments than `process.parent.args` has.
    #[serde(skip_serializing_if = "shapes::is_false")]
    pub(super) args_cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_wait: Option<LastWaitFields>,
    /// How many unreaped processes it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unreaped_held: Option<u64>,
    /// How many of its own children it has reaped since the first inspection of the unreaped one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reaped_since: Option<u64>,
}

/// Its last wait call, if one was seen.
#[derive(Serialize, JsonSchema)]
pub(super) struct LastWaitFields {
    /// Time since the call.
    pub(super) age_ns: u64,
    #[serde(flatten)]
    pub(super) wait: WaitFields,
}

/// A wait call.
#[derive(Serialize, JsonSchema)]
pub(super) struct WaitFields {
    /// Which one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["wait4", "waitid"]))]
    pub(super) call: Option<&'static str>,
    /// The processes that it waits for, by ids of its own PID namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::wait_target")]
    pub(super) target: Option<String>,
    /// The options that were set, such as `WNOHANG`.
    pub(super) flags: Vec<&'static str>,
}

/// The process's PID namespace.
#[derive(Serialize, JsonSchema)]
pub(super) struct PidNsFields {
    /// Inode number.
    pub(super) ino: u32,
    /// Depth; the initial one is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) level: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mode: Option<PidNsMode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) init: Option<InitFields>,
    /// Ids of the containers whose processes live in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) containers: Vec<String>,
}

/// PID 1 of a namespace.
#[derive(Serialize, JsonSchema)]
pub(super) struct InitFields {
    /// Pid on the host.
    pub(super) pid: u32,
    /// As in `/proc/PID/comm`.
    pub(super) name: String,
    /// State letter.
    pub(super) state: char,
}
