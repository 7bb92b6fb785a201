//! What was lost, and what was not reported one by one.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::process::PidAndName;
use crate::shapes;

/// What was lost: by the collector, by a sink, or by a trace.
#[derive(Serialize, JsonSchema)]
pub(super) struct LossFields {
    /// Since when.
    #[schemars(schema_with = "shapes::time")]
    pub(super) since: Timestamp,
    #[serde(flatten)]
    pub(super) tracer: Option<TracerLossFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sink: Option<SinkLossFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<TraceLossFields>,
}

/// What a trace has lost.
#[derive(Serialize, JsonSchema)]
pub(super) struct TraceLossFields {
    /// Records that came faster than they were read.
    pub(super) records: u64,
}

/// What the collector has lost.
#[derive(Serialize, JsonSchema)]
pub(super) struct TracerLossFields {
    /// Exits that the table of unreaped processes had no slot for.
    pub(super) exits: u64,
    /// Reaps that were not seen, or that the event ring had no space for.
    pub(super) reaps: u64,
    /// Forks, execs and waits that were not seen or not stored.
    pub(super) records: u64,
    /// Unreaped processes that were found again in `/proc`.
    pub(super) resync_found: u64,
    /// Findings that turned out to be over.
    pub(super) resync_closed: u64,
    /// Reads of other processes that took too long, or that were skipped after too many slow reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reads: Option<u64>,
}

/// Events that a sink did not get.
#[derive(Serialize, JsonSchema)]
pub(super) struct SinkLossFields {
    /// Its name in the configuration.
    pub(super) name: String,
    /// Events that it had no space for.
    pub(super) dropped: u64,
    /// How many of them were dropped because the sink failed: its destination was down, it could not be opened, or its
    /// spool could not be written or read. The others came faster than it delivers.
    pub(super) failed: u64,
}

/// Openings and updates of findings that are not reported one by one.
#[derive(Serialize, JsonSchema)]
pub(super) struct SuppressedFields {
    /// Since when.
    #[schemars(schema_with = "shapes::time")]
    pub(super) since: Timestamp,
    /// How many.
    pub(super) count: u64,
    /// The reaper of these findings.
    pub(super) reaper: PidAndName,
}
