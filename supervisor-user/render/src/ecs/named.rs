//! A process by its pid and name.

use schemars::JsonSchema;
use serde::Serialize;

/// A process, by what people know it by.
#[derive(Serialize, JsonSchema)]
pub(super) struct PidAndName {
    /// Pid on the host.
    pub(super) pid: u32,
    /// As in `/proc/PID/comm`.
    pub(super) name: String,
}
