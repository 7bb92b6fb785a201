//! The ECS fields that identify a process by pid and name.

use schemars::JsonSchema;
use serde::Serialize;

/// A process by pid and name.
#[derive(Serialize, JsonSchema)]
pub(super) struct PidAndName {
    /// Pid on the host.
    pub(super) pid: u32,
    /// As in `/proc/PID/comm`.
    pub(super) name: String,
}
