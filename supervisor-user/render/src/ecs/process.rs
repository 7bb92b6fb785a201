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

/// How it ended: with a code, or by a signal.
#[derive(Serialize, JsonSchema)]
pub(super) struct ExitFields {
    /// Of a normal exit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<u8>,
    /// Of a death by signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 127))]
    pub(super) signal: Option<u8>,
    /// Such as `SIGKILL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^SIG[A-Z0-9]+$"))]
    pub(super) signal_name: Option<&'static str>,
    /// Whether the signal left a core.
    pub(super) core_dumped: bool,
}
