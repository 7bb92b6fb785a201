//! Classifies events and findings, in words that the ECS and OCSF formats share.

use schemars::JsonSchema;
use serde::Serialize;
use supervisor_model::event::EventKind;

/// What kind of information it is.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Somebody should look at it.
    Alert,
    /// How it is now.
    State,
    /// Something has happened.
    Event,
    /// The stream itself is not complete.
    PipelineError,
}

impl Kind {
    /// The kind of an event.
    pub(super) fn of(event: &EventKind) -> Self {
        match event {
            EventKind::Detected(_)
            | EventKind::Updated(_)
            | EventKind::Blocked { .. }
            | EventKind::ExitBlocked { .. } => Self::Alert,
            EventKind::Existing(_) | EventKind::State(_) | EventKind::Explained(_) => Self::State,
            EventKind::Reaped { .. }
            | EventKind::Released { .. }
            | EventKind::ExitFinished { .. }
            | EventKind::Suppressed(_)
            | EventKind::ReapRequested(_) => Self::Event,
            EventKind::Lost(_) | EventKind::Dropped(_) => Self::PipelineError,
        }
    }
}

/// What a finding is about.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Subject {
    /// An unreaped process.
    Zombie,
    /// A PID namespace that cannot end.
    Namespace,
    /// A process that was told to exit and cannot.
    Exit,
}
