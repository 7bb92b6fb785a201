//! The limits that control groups and the kernel set: for tasks and for processor time.

use serde::{Deserialize, Serialize};

/// The number of tasks and its limit, for the group of tasks that a process belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidBudget {
    /// The file that has the limit.
    pub source: String,
    /// Tasks now, zombies included.
    pub current: u64,
    /// Tasks at most.
    pub max: u64,
    /// The number of forks that this limit has refused, as far as `pids.events` of the control groups shows it.
    /// Recordings of older versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork_failures: Option<u64>,
}

/// Limits of a process's processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuFacts {
    /// How often the control group with the tightest limit above it was throttled (`nr_throttled` of `cpu.stat`).
    pub throttled: u64,
    /// `cpu.max` in thousandths of a processor, if there is a limit.
    pub limit_millis: Option<u64>,
}
