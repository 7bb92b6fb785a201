//! The decision whether a zombie may be freed by making its reaper wait for it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::words::clean;

/// The decision whether a zombie is freed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// No process will wait for it: it is freed.
    Reap,
    /// A process may wait for it, or a mistake has a high cost: it is freed only with `--force`.
    NeedsForce(Vec<Risk>),
    /// It cannot be freed in this way.
    Refused(Obstacle),
}

/// What a forced reap may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    /// The reaper created it.
    OwnChild,
    /// A thread of the reaper waits for it.
    WaitedFor,
    /// The reaper has asked for it by its pid.
    AskedFor,
    /// The reaper is late.
    Late,
    /// It may be reaped by itself.
    PrognosisUnknown,
    /// Nobody saw who created it.
    PositionUnknown,
    /// The reaper is the host's PID 1.
    HostInit,
}

impl Risk {
    /// Whether nobody is known to wait for the zombie. If somebody does, force takes an exit status away, and `--force`
    /// is no advice to give.
    #[must_use]
    pub fn is_advisable(self) -> bool {
        !matches!(self, Self::WaitedFor | Self::AskedFor | Self::Late)
    }

    /// Why it is not freed without force, and what follows if it is.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::OwnChild => {
                "its reaper created it: if that waits for it later, the wait fails with ECHILD and the exit status is lost"
            }
            Self::WaitedFor => {
                "a thread of its reaper is in a wait for it: that wait would fail with ECHILD and lose the exit status"
            }
            Self::AskedFor => {
                "its reaper has asked for it by its pid: the next wait for it would fail with ECHILD and lose the exit status"
            }
            Self::Late => "its reaper is only late and will reap it: the exit status would be lost",
            Self::PrognosisUnknown => {
                "whether its reaper will still wait for it was not seen: the exit status would be lost; a `supervisor watch` \
                 that runs when a process exits sees that within a minute"
            }
            Self::PositionUnknown => {
                "whether its reaper created or adopted it was not seen: if it did create it, it may wait for it, and the \
                 exit status would be lost"
            }
            Self::HostInit => "its reaper is PID 1 of the host: if that fails, the machine halts",
        }
    }
}

/// Why a zombie cannot be freed in this way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Obstacle {
    /// It has not exited.
    NotAZombie(char),
    /// Other threads of the same process live.
    LiveThreads,
    /// A tracer holds it.
    Traced(u32),
    /// The process that must reap it is not known.
    NoReaper,
    /// The reaper's control group is frozen.
    ReaperFrozen(String),
    /// The reaper cannot be made to wait, for this reason.
    ReaperCannotWait(String),
}

impl Obstacle {
    /// The text for people: the obstacle, and what to do.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::NotAZombie(state) => format!("it is not a zombie: its state is {state}"),
            Self::LiveThreads => {
                "other threads of it still live, so that no wait can take it: end those".to_owned()
            }
            Self::Traced(tracer) => {
                format!(
                    "process {tracer} traces it and must collect it first: end that process, or let it detach"
                )
            }
            Self::NoReaper => "which process must reap it was not seen".to_owned(),
            Self::ReaperFrozen(file) => {
                format!("the control group of its reaper is frozen: thaw it first ({})", clean(file))
            }
            Self::ReaperCannotWait(reason) => format!("its reaper cannot be made to wait: {}", clean(reason)),
        }
    }
}
