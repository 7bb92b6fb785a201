//! A request to free a zombie: the decision, the requester, and the outcome.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use supervisor_ebpf::ProcessId;

use crate::{
    decision::{Decision, Risk},
    finding::{Block, Finding},
    words::{clean, short_duration},
};

/// The outcome of a request to free a zombie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReapOutcome {
    /// The reaper itself waited for it after a SIGCHLD.
    FreedByNudge,
    /// The reaper was made to wait for it.
    Freed,
    /// It was reaped meanwhile, but not by this request.
    Gone,
    /// It stays, for this reason.
    Failed(String),
    /// The command that was to free it has not reported what came of it.
    Unknown,
}

impl ReapOutcome {
    /// Whether the zombie is gone.
    #[must_use]
    pub fn is_freed(&self) -> bool {
        !matches!(self, Self::Failed(_) | Self::Unknown)
    }

    /// All words of the event contract.
    pub const WORDS: [&str; 5] = ["freed", "freed-by-sigchld", "gone", "failed", "unknown"];

    /// The word of the event contract.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::FreedByNudge => "freed-by-sigchld",
            Self::Freed => "freed",
            Self::Gone => "gone",
            Self::Failed(_) => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// A zombie with a decision about it, and the outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct ReapAttempt {
    /// The zombie.
    pub finding: Finding,
    /// The decision.
    pub decision: Decision,
    /// The outcome. `None` if the request was only a question, or the reap is not allowed.
    pub outcome: Option<ReapOutcome>,
    /// Whether the reaper got a SIGCHLD first.
    pub is_nudged: bool,
    /// How long the reaper was stopped when it was made to wait for this zombie.
    pub stopped_for: Option<Duration>,
}

impl ReapAttempt {
    /// An entry for a decision that is not carried out yet.
    #[must_use]
    pub fn new(finding: Finding, decision: Decision) -> Self {
        Self { finding, decision, outcome: None, is_nudged: false, stopped_for: None }
    }

    /// Whether it may be freed.
    #[must_use]
    pub fn is_allowed(&self, is_forced: bool) -> bool {
        match &self.decision {
            Decision::Reap => true,
            Decision::NeedsForce(_) => is_forced,
            Decision::Refused(_) => false,
        }
    }

    /// The zombie. `None` if it is not known when it was forked.
    #[must_use]
    pub fn zombie(&self) -> Option<ProcessId> {
        let process = &self.finding.process;
        process.start_ns.map(|start_ns| ProcessId::new(process.pid, start_ns))
    }

    /// Host pid of the reaper; 0 if it is not known.
    #[must_use]
    pub fn reaper(&self) -> u32 {
        self.finding.reaper.as_ref().map_or(0, |reaper| reaper.process.pid)
    }

    /// Why force is needed.
    #[must_use]
    pub fn risks(&self) -> &[Risk] {
        match &self.decision {
            Decision::NeedsForce(risks) => risks,
            _ => &[],
        }
    }
}

/// One request to free a zombie, which an audit event reports.
#[derive(Clone, Debug, PartialEq)]
pub struct ReapRequest {
    /// The zombie, the decision, and the outcome.
    pub entry: ReapAttempt,
    /// The requester.
    pub requested_by: RequestedBy,
    /// Whether `--force` was given.
    pub is_forced: bool,
    /// PID namespaces that the zombie had blocked, and that have ended since.
    pub released: Vec<Block>,
}

impl ReapRequest {
    /// The reason why the zombie still exists.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match (&self.entry.outcome, &self.entry.decision) {
            (Some(ReapOutcome::Failed(reason)), _) => Some(reason.clone()),
            (None, Decision::Refused(obstacle)) => Some(obstacle.text()),
            _ => None,
        }
    }

    /// One sentence that stands alone.
    #[must_use]
    pub fn sentence(&self) -> String {
        let ReapAttempt { finding, outcome, decision, stopped_for, .. } = &self.entry;
        let zombie = format!("{} (pid {})", clean(&finding.process.name), finding.process.pid);
        let reaper = finding.reaper.as_ref().map_or_else(
            || "its reaper".to_owned(),
            |reaper| format!("{} (pid {})", clean(&reaper.process.name), reaper.process.pid),
        );
        let by = self.requested_by.phrase();
        match (outcome, decision) {
            (Some(ReapOutcome::Freed), _) => {
                let stopped = stopped_for.map(|it| short_duration(it.as_nanos() as u64));
                let stopped = stopped.map(|it| format!(", which was stopped for {it}")).unwrap_or_default();
                format!("{by} freed {zombie} by a wait of {reaper}{stopped}")
            }
            (Some(ReapOutcome::FreedByNudge), _) => {
                format!("{by} sent SIGCHLD to {reaper}, which then reaped {zombie}")
            }
            (Some(ReapOutcome::Gone), _) => format!("{by} was to free {zombie}, which was reaped meanwhile"),
            (Some(ReapOutcome::Failed(reason)), _) => {
                format!("{by} could not free {zombie}: {}", clean(reason))
            }
            (Some(ReapOutcome::Unknown), _) => {
                format!("{by} was to free {zombie}, and has not reported what came of it")
            }
            (None, Decision::Refused(obstacle)) => {
                format!("{by} did not free {zombie}: {}", obstacle.text())
            }
            (None, Decision::NeedsForce(_)) if !self.is_forced => {
                format!("{by} did not free {zombie}: that needs --force")
            }
            (None, _) => format!("{by} only asked whether {zombie} can be freed"),
        }
    }
}

/// The kind of a requester.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Requester {
    /// A person or a program, by `supervisor reap`.
    Command,
    /// The agent, by `[reap]` in its configuration.
    Service,
}

/// Who has asked for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestedBy {
    /// `command`: `supervisor reap`. `service`: the agent's `[reap]`.
    pub kind: Requester,
    /// Real user id.
    pub uid: u32,
    /// User id at login, which `su` and `sudo` do not change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login_uid: Option<u32>,
    /// User id of who called `sudo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sudo_uid: Option<u32>,
    /// Pid of the process that started `supervisor reap`, or of the agent.
    pub pid: u32,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl RequestedBy {
    /// The requester, as the subject of a sentence.
    fn phrase(&self) -> String {
        match self.kind {
            Requester::Service => "the agent's [reap]".to_owned(),
            Requester::Command => {
                let user = self.login_uid.or(self.sudo_uid).unwrap_or(self.uid);
                let name = self.name.as_deref().map_or_else(|| "a process".to_owned(), clean);
                format!("`supervisor reap` of user {user}, started by {name} (pid {}),", self.pid)
            }
        }
    }
}
