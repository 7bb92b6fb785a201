//! The observations of the kernel and the host, in order. All conclusions are drawn from them, and they are the content
//! of a recording.

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
    /// The time of the observation, by `CLOCK_BOOTTIME`.
    pub at_ns: u64,
    /// The wall clock at that time.
    pub wall: Wall,
    /// The kind of observation, with its data.
    #[serde(flatten)]
    pub seen: Seen,
}

/// The kind of an observation, with its data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "seen")]
pub enum Seen {
    /// A process is unreaped for longer than the grace period. While it stays unreaped, this is observed now and then.
    Unreaped {
        /// The process.
        id: ProcessId,
        /// Whether it had exited before the watch began.
        existing: bool,
        /// The evidence about it.
        evidence: Box<Evidence>,
    },
    /// A process that was observed as unreaped is reaped.
    Reaped {
        /// The process.
        id: ProcessId,
        /// When the kernel freed its structure. `None` if only its absence was seen.
        free_ns: Option<u64>,
        /// The process that reaped it and the exact time, if they are seen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        release: Option<Release>,
    },
    /// A PID namespace's init has exited and cannot finish. Observed now and then while it stays.
    Held {
        /// The init.
        id: ProcessId,
        /// The evidence about it and about the namespace.
        evidence: Box<NamespaceEvidence>,
    },
    /// An init that was observed as [`Seen::Held`] has finished.
    Released {
        /// The init.
        id: ProcessId,
    },
    /// A process was told to exit and cannot. Observed now and then while it stays.
    Stuck {
        /// The process.
        id: ProcessId,
        /// The process is observed if it has not exited for this long.
        grace_ns: u64,
        /// The evidence about it.
        evidence: Box<Evidence>,
    },
    /// A process that was observed as [`Seen::Stuck`] has exited, or has another kind of observation from now on.
    Finished {
        /// The process.
        id: ProcessId,
    },
    /// Something could not be counted.
    Lost {
        /// The loss.
        loss: Loss,
    },
}

/// A reap that was seen as it happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// The time of the reap.
    pub at_ns: u64,
    /// The process that did it.
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
    /// An observation at a time, with the current wall clock.
    #[must_use]
    pub fn at(at_ns: u64, seen: Seen) -> Self {
        Self { at_ns, wall: Wall::now(), seen }
    }
}
