//! The fields of an audit event that reports a request to free a zombie.

use schemars::JsonSchema;
use serde::Serialize;
use supervisor_model::decision::{Decision, Risk};
use supervisor_model::reaping::{ReapOutcome, ReapRequest, RequestedBy};

use super::process::PidAndName;

/// A request to free a zombie.
#[derive(Serialize, JsonSchema)]
pub(super) struct ReapFields {
    /// Id of the zombie's finding.
    #[schemars(length(min = 1))]
    finding_id: String,
    /// Who has asked for it.
    requested_by: RequestedBy,
    /// What the diagnosis allows.
    decision: DecisionWord,
    /// Why force is needed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    risks: Vec<Risk>,
    /// Whether `--force` was given.
    forced: bool,
    /// `freed`: the reaper was made to wait. `freed-by-sigchld`: the reaper waited by itself after a SIGCHLD. `gone`:
    /// it was reaped meanwhile. `failed`: `event.reason` says why. `unknown`: the command ended before it could report.
    /// Absent if nothing was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ReapOutcome::WORDS))]
    outcome: Option<&'static str>,
    /// The process that must reap the zombie, also if that process was not stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    reaper: Option<PidAndName>,
    /// Whether the reaper got a SIGCHLD first.
    nudged: bool,
    /// How long the reaper was stopped when it was made to wait for this zombie, in microseconds. One stop can free
    /// several.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped_us: Option<u64>,
    /// PID namespaces that it had blocked and that could end. Of the command only: an agent emits `namespace-released`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    released: Vec<ReleasedFields>,
}

/// What the diagnosis allows.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum DecisionWord {
    /// Nobody will wait for it.
    Reap,
    /// Somebody may wait for it: `risks`.
    NeedsForce,
    /// It cannot be freed in this way.
    Refused,
}

/// A PID namespace that could end.
#[derive(Serialize, JsonSchema)]
struct ReleasedFields {
    /// Inode number.
    ino: u32,
    /// Its PID 1.
    init: PidAndName,
}

pub(super) fn reap_fields(request: &ReapRequest) -> ReapFields {
    let entry = &request.entry;
    ReapFields {
        finding_id: entry.finding.id.clone(),
        requested_by: request.requested_by.clone(),
        decision: match entry.decision {
            Decision::Reap => DecisionWord::Reap,
            Decision::NeedsForce(_) => DecisionWord::NeedsForce,
            Decision::Refused(_) => DecisionWord::Refused,
        },
        risks: entry.risks().to_vec(),
        forced: request.is_forced,
        outcome: entry.outcome.as_ref().map(ReapOutcome::as_str),
        reaper: entry
            .finding
            .reaper
            .as_ref()
            .map(|it| PidAndName { pid: it.process.pid, name: it.process.name.clone() }),
        nudged: entry.is_nudged,
        stopped_us: entry.stopped_for.map(|it| it.as_micros() as u64),
        released: request
            .released
            .iter()
            .map(|it| ReleasedFields {
                ino: it.ino,
                init: PidAndName { pid: it.init_pid, name: it.init_name.clone() },
            })
            .collect(),
    }
}
