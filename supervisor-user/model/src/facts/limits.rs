//! What control groups and the kernel allow.

use serde::{Deserialize, Serialize};

/// How many tasks there are, and how many there may be, where a process lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidBudget {
    /// The file that has the limit.
    pub source: String,
    /// Tasks now, zombies included.
    pub current: u64,
    /// Tasks at most.
    pub max: u64,
    /// Forks that this limit has refused, as far as `pids.events` of the control groups says. Recordings of older versions do
    /// not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork_failures: Option<u64>,
}

/// Limits of a process's processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuFacts {
    /// How often the tightest control group above it was throttled (`nr_throttled` of `cpu.stat`).
    pub throttled: u64,
    /// `cpu.max` in thousandths of a processor, if there is a limit.
    pub limit_millis: Option<u64>,
}
