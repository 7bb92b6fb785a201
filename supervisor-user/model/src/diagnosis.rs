//! The parts of a diagnosis, which says why a process is unreaped. They have the words of the event contract.

use schemars::JsonSchema;
use serde::Serialize;

use crate::family::Family;

/// Why a process is unreaped, as far as the evidence shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// The class of the cause. `None` if the evidence supports no class.
    pub family: Option<Family>,
    /// The process that must reap it, and how that process got it.
    pub position: Option<Position>,
    /// What that process does instead of reaping it.
    pub cause: Option<Cause>,
    /// Whether the zombie will go away by itself.
    pub prognosis: Prognosis,
    /// Whether `supervisor reap` frees it without force.
    pub is_reapable: bool,
    /// One sentence, without the full stop.
    pub verdict: String,
    /// The confidence in the verdict.
    pub confidence: Confidence,
    /// The observed facts. The facts that the verdict rests on come first.
    pub evidence: Vec<Observed>,
    /// The actions that help, best first.
    pub remedies: Vec<String>,
    /// The actions that will not help.
    pub wont_help: Vec<String>,
}

/// How sure a verdict is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Something that matters was not seen, or contradicts.
    #[default]
    Low,
    /// It fits, and something else could fit too.
    Medium,
    /// Everything that it rests on was seen.
    High,
}

impl Confidence {
    /// The word of the event contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// One observed fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Its number in this diagnosis, from 1.
    pub id: u32,
    /// The source of the fact: a hook, a file, the task iterator.
    pub source: String,
    /// The fact. Names in it are as the process chose them.
    pub text: String,
    /// Whether the verdict rests on it.
    pub cited: bool,
}

/// Who must reap, and how it got the zombie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Position {
    /// The reaper was its parent from the beginning.
    OwnChild,
    /// PID 1 of a PID namespace adopted it.
    AdoptedByInit,
    /// A subreaper adopted it.
    AdoptedBySubreaper,
    /// A tracer must collect it first.
    HeldByTracer,
}

impl Position {
    /// The word of the event contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OwnChild => "own-child",
            Self::AdoptedByInit => "adopted-by-init",
            Self::AdoptedBySubreaper => "adopted-by-subreaper",
            Self::HeldByTracer => "held-by-tracer",
        }
    }
}

/// What the reaper does instead of reaping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It makes no wait call.
    NeverWaits,
    /// Its waits name other processes.
    WaitsByPid,
    /// It waits for a process group that the zombie is not in.
    WaitsForGroup,
    /// Options of its waits, or the zombie's exit signal, exclude the zombie.
    NarrowedWait,
    /// It waits for another child that lives, and may come to this one next.
    WaitingForAnother,
    /// It reads a pipe or a socket to its end before it waits.
    Reading,
    /// It runs, or would if it got a processor.
    Busy,
    /// `SIGCHLD` is blocked, so that the reaper never gets the signal.
    SigchldBlocked,
    /// It used to reap any child, and its `SIGCHLD` handler was replaced since.
    HandlerReplaced,
    /// It executed another program after it had forked the zombie.
    ImageReplaced,
    /// It reaps one child for each `SIGCHLD`, and one signal stands for several exits.
    Coalesced,
    /// It waits in rounds.
    Periodic,
    /// It looked at the exit with `WNOWAIT`.
    Peeked,
    /// It is stopped, frozen or in uninterruptible sleep.
    CannotRun,
    /// A tracer must collect the zombie first.
    Traced,
    /// Its waits cannot be seen.
    Unseen,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::NeverWaits,
        Self::WaitsByPid,
        Self::WaitsForGroup,
        Self::NarrowedWait,
        Self::WaitingForAnother,
        Self::Reading,
        Self::Busy,
        Self::SigchldBlocked,
        Self::HandlerReplaced,
        Self::ImageReplaced,
        Self::Coalesced,
        Self::Periodic,
        Self::Peeked,
        Self::CannotRun,
        Self::Traced,
        Self::Unseen,
    ];

    /// The word of the event contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NeverWaits => "never-waits",
            Self::WaitsByPid => "waits-by-pid",
            Self::WaitsForGroup => "waits-for-group",
            Self::NarrowedWait => "narrowed-wait",
            Self::WaitingForAnother => "waiting-for-another",
            Self::Reading => "reading",
            Self::Busy => "busy",
            Self::SigchldBlocked => "sigchld-blocked",
            Self::HandlerReplaced => "handler-replaced",
            Self::ImageReplaced => "image-replaced",
            Self::Coalesced => "coalesced",
            Self::Periodic => "periodic",
            Self::Peeked => "peeked",
            Self::CannotRun => "cannot-run",
            Self::Traced => "traced",
            Self::Unseen => "unseen",
        }
    }

    /// The cause in few words, for a list.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::NeverWaits => "never waits",
            Self::WaitsByPid => "waits for others only",
            Self::WaitsForGroup => "waits for another group",
            Self::NarrowedWait => "its waits exclude this one",
            Self::WaitingForAnother => "waits for another first",
            Self::Reading => "reads before it waits",
            Self::Busy => "is busy",
            Self::SigchldBlocked => "SIGCHLD is blocked",
            Self::HandlerReplaced => "SIGCHLD handler was replaced",
            Self::ImageReplaced => "executed another program",
            Self::Coalesced => "one wait per SIGCHLD",
            Self::Periodic => "waits in rounds",
            Self::Peeked => "looks with WNOWAIT only",
            Self::CannotRun => "cannot run",
            Self::Traced => "held by its tracer",
            Self::Unseen => "its waits are not seen",
        }
    }
}

/// Whether a zombie will go away by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Prognosis {
    /// No: nobody will ask for it.
    Leaked,
    /// Yes: its reaper is late.
    Late,
    /// The evidence does not say.
    #[default]
    Unknown,
}

impl Prognosis {
    /// The word of the event contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leaked => "leaked",
            Self::Late => "late",
            Self::Unknown => "unknown",
        }
    }
}
