//! What kind of news an event is: the words that all formats share.

use schemars::JsonSchema;
use serde::Serialize;

use crate::finding::{Event, EventKind};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A process is unreaped for the grace period.
    ZombieDetected,
    /// The same of one that had exited before the start; and every line of `ps`.
    ZombieExisting,
    /// The verdict, its confidence, the reaper, the origin or what it blocks has changed.
    ZombieUpdated,
    /// A reported one was reaped.
    ZombieReaped,
    /// A PID namespace's PID 1 has exited and cannot finish, or others hold it now.
    NamespaceBlocked,
    /// A reported one could finish.
    NamespaceReleased,
    /// What `explain` says of a process that is no zombie.
    ProcessExplained,
    /// Something could not be counted.
    EventsLost,
}

/// What kind of information it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Somebody should look at it.
    Alert,
    /// How it is now.
    State,
    /// Something has happened.
    Event,
    /// The stream itself is not complete.
    PipelineError,
}

/// What becomes of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is told for the first time.
    Open,
    /// It was told before, and something about it has changed.
    Updated,
    /// It is over.
    Closed,
    /// There is nothing wrong with what it is about.
    None,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// An unreaped process.
    Zombie,
    /// A PID namespace that cannot end.
    Namespace,
}

/// An event, in those words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// What happened.
    pub action: Action,
    /// What kind of information it is.
    pub kind: Kind,
    /// What becomes of the finding; `State::None` without one.
    pub state: State,
    /// 1 is good news, 5 the worst.
    pub severity: u8,
    /// Of a closed finding, how long it lasted, if that is known.
    pub duration_ns: Option<u64>,
}

impl News {
    /// Of an event.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        use EventKind as It;
        let (action, kind, state, severity) = match &event.kind {
            It::Detected(_) => (Action::ZombieDetected, Kind::Alert, State::Open, 3),
            It::Existing(_) | It::State(_) => (Action::ZombieExisting, Kind::State, State::Open, 3),
            It::Updated(_) => (Action::ZombieUpdated, Kind::Alert, State::Updated, 3),
            It::Explained(_) => (Action::ProcessExplained, Kind::State, State::None, 1),
            It::Reaped { .. } => (Action::ZombieReaped, Kind::Event, State::Closed, 1),
            It::Blocked { again: false, .. } => (Action::NamespaceBlocked, Kind::Alert, State::Open, 5),
            It::Blocked { again: true, .. } => (Action::NamespaceBlocked, Kind::Alert, State::Updated, 5),
            It::Released { .. } => (Action::NamespaceReleased, Kind::Event, State::Closed, 1),
            It::Lost(_) => (Action::EventsLost, Kind::PipelineError, State::None, 4),
        };
        let duration_ns = match &event.kind {
            It::Reaped { dwell_ns: duration, .. } | It::Released { blocked_ns: duration, .. } => *duration,
            _ => None,
        };
        Self { action, kind, state, severity, duration_ns }
    }
}
