//! What the kernel and the host told, in order: all that conclusions are drawn from, and all that a recording holds.

use serde::{Deserialize, Serialize};
use supervisor_ebpf::ProcessId;

use crate::{
    clock::Wall,
    event::Loss,
    evidence::{Evidence, NamespaceEvidence},
};

/// One observation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// When, by `CLOCK_BOOTTIME`.
    pub at_ns: u64,
    /// The wall clock then.
    pub wall: Wall,
    /// What.
    #[serde(flatten)]
    pub seen: Seen,
}

/// What was observed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "seen")]
pub enum Seen {
    /// A process is unreaped for longer than the grace period. Of one that stays it is observed now and then.
    Unreaped {
        /// Which process.
        id: ProcessId,
        /// Whether it had exited before the watch began.
        existing: bool,
        /// What was gathered of it.
        evidence: Box<Evidence>,
    },
    /// One that was observed is reaped.
    Reaped {
        /// Which process.
        id: ProcessId,
        /// When its structure was freed; `None` if only its absence was seen.
        free_ns: Option<u64>,
        /// By whom, and when exactly, where that is seen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        release: Option<Release>,
    },
    /// A PID namespace's init has exited and cannot finish. Observed now and then while it stays.
    Held {
        /// The init.
        id: ProcessId,
        /// What was gathered of it and of the namespace.
        evidence: Box<NamespaceEvidence>,
    },
    /// Such an init has finished.
    Released {
        /// The init.
        id: ProcessId,
    },
    /// A process was told to exit and cannot. Observed now and then while it stays.
    Stuck {
        /// Which process.
        id: ProcessId,
        /// How long such a process must not have exited to be observed.
        grace_ns: u64,
        /// What was gathered of it.
        evidence: Box<Evidence>,
    },
    /// Such a process has exited, or is observed otherwise from now on.
    Finished {
        /// Which process.
        id: ProcessId,
    },
    /// Something could not be counted.
    Lost {
        /// What.
        loss: Loss,
    },
}

/// A reap that was seen as it happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// When.
    pub at_ns: u64,
    /// Which process did it.
    pub by: ProcessId,
    /// Its name, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
}

impl Seen {
    /// Whether it is the end of something that was observed.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Reaped { .. } | Self::Released { .. } | Self::Finished { .. })
    }
}

impl Observation {
    /// Something that was seen at a time, by the wall clock of now.
    #[must_use]
    pub fn at(at_ns: u64, seen: Seen) -> Self {
        Self { at_ns, wall: Wall::now(), seen }
    }
}
