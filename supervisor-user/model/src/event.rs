//! The events of `supervisor`: a finding opens, changes or closes, or something was lost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use supervisor_ebpf::ProcessId;

use crate::{
    clock::Wall,
    finding::{BlockedNamespace, Finding},
    reaping::ReapRequest,
};

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The time of the event.
    pub at_ns: u64,
    /// The wall clock at that time.
    pub wall: Wall,
    /// The kind of event, with its data.
    pub kind: EventKind,
}

/// The process that reaped another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReapedBy {
    /// The process.
    pub id: ProcessId,
    /// Its name, if that is known.
    pub name: Option<String>,
}

/// The kind of an event, with its data.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// A process is unreaped for the grace period.
    Detected(Box<Finding>),
    /// As [`EventKind::Detected`], for a process that had exited before the start.
    Existing(Box<Finding>),
    /// A line of `ps`: a process is unreaped now.
    State(Box<Finding>),
    /// The explanation that `explain` gives for a process that is no zombie.
    Explained(Box<Finding>),
    /// A process that was reported is reaped.
    Reaped {
        /// The finding as it was reported.
        finding: Box<Finding>,
        /// The time from exit to reap. Not known if the exit was not seen.
        dwell_ns: Option<u64>,
        /// The process that reaped it, if that is seen.
        by: Option<ReapedBy>,
    },
    /// The verdict on a process, its reaper, or the list of namespaces that it blocks has changed.
    Updated(Box<Finding>),
    /// A PID namespace's init has exited and cannot finish, or other processes than before keep it from its end.
    Blocked {
        /// The namespace.
        namespace: Box<BlockedNamespace>,
        /// Whether it was reported before.
        again: bool,
    },
    /// The init of a reported namespace could finish.
    Released {
        /// The namespace as it was reported.
        namespace: Box<BlockedNamespace>,
        /// How long it was blocked. Not known if the exit of its init was not seen.
        blocked_ns: Option<u64>,
    },
    /// A process was told to exit and cannot, or something about that has changed.
    ExitBlocked {
        /// The process, with the namespaces that it blocks.
        finding: Box<Finding>,
        /// Whether it was reported before.
        again: bool,
    },
    /// A reported process has exited.
    ExitFinished {
        /// The finding as it was reported.
        finding: Box<Finding>,
        /// How long it could not exit. Not known if that was not seen.
        blocked_ns: Option<u64>,
    },
    /// Something could not be counted.
    Lost(Loss),
    /// A sink was too slow or failed, and events for it were dropped.
    Dropped(Dropped),
    /// One reaper left so many zombies that only their number is reported.
    Suppressed(Suppressed),
    /// A user, or the agent's `[reap]`, has asked to free a zombie.
    ReapRequested(Box<ReapRequest>),
}

impl EventKind {
    /// `event.action` of the event contract.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Detected(_) => Action::ZombieDetected,
            Self::Existing(_) | Self::State(_) => Action::ZombieExisting,
            Self::Updated(_) => Action::ZombieUpdated,
            Self::Explained(_) => Action::ProcessExplained,
            Self::Reaped { .. } => Action::ZombieReaped,
            Self::Blocked { .. } => Action::NamespaceBlocked,
            Self::Released { .. } => Action::NamespaceReleased,
            Self::ExitBlocked { .. } => Action::ExitBlocked,
            Self::ExitFinished { .. } => Action::ExitFinished,
            Self::Lost(_) | Self::Dropped(_) => Action::EventsLost,
            Self::Suppressed(_) => Action::FindingsSuppressed,
            Self::ReapRequested(_) => Action::ReapRequested,
        }
    }

    /// `event.severity`: 1 is good news, or none; 5 is the worst.
    #[must_use]
    pub fn severity(&self) -> u8 {
        match self {
            Self::Explained(_) | Self::Reaped { .. } | Self::Released { .. } | Self::ExitFinished { .. } => 1,
            Self::Detected(_)
            | Self::Existing(_)
            | Self::State(_)
            | Self::Updated(_)
            | Self::Suppressed(_) => 3,
            // The request interferes with a process, whatever the outcome is.
            Self::ReapRequested(_) => 2,
            Self::Lost(_) | Self::Dropped(_) => 4,
            // These keep a container, or a PID namespace, from its end.
            Self::ExitBlocked { finding, .. } if finding.blocks.is_empty() => 4,
            Self::Blocked { .. } | Self::ExitBlocked { .. } => 5,
        }
    }

    /// The finding about the event's process. For a namespace, the finding about its PID 1.
    #[must_use]
    pub fn process(&self) -> Option<&Finding> {
        match self {
            Self::Detected(finding)
            | Self::Existing(finding)
            | Self::State(finding)
            | Self::Updated(finding)
            | Self::Explained(finding)
            | Self::ExitBlocked { finding, .. }
            | Self::ExitFinished { finding, .. }
            | Self::Reaped { finding, .. } => Some(finding),
            Self::Blocked { namespace, .. } | Self::Released { namespace, .. } => Some(&namespace.init),
            Self::ReapRequested(request) => Some(&request.entry.finding),
            Self::Lost(_) | Self::Dropped(_) | Self::Suppressed(_) => None,
        }
    }

    /// How long a closed finding lasted, if that is known.
    #[must_use]
    pub fn duration_ns(&self) -> Option<u64> {
        match self {
            Self::Reaped { dwell_ns: duration, .. }
            | Self::Released { blocked_ns: duration, .. }
            | Self::ExitFinished { blocked_ns: duration, .. } => *duration,
            _ => None,
        }
    }

    /// The id of the event's finding, and the state of the finding after the event.
    #[must_use]
    pub fn finding(&self) -> Option<(&str, State)> {
        Some(match self {
            Self::Detected(finding)
            | Self::Existing(finding)
            | Self::State(finding)
            | Self::ExitBlocked { finding, again: false } => (&finding.id, State::Open),
            Self::Updated(finding) | Self::ExitBlocked { finding, again: true } => {
                (&finding.id, State::Updated)
            }
            Self::Explained(finding) => (&finding.id, State::None),
            Self::Reaped { finding, .. } | Self::ExitFinished { finding, .. } => (&finding.id, State::Closed),
            Self::Blocked { namespace, again: false } => (&namespace.id, State::Open),
            Self::Blocked { namespace, again: true } => (&namespace.id, State::Updated),
            Self::Released { namespace, .. } => (&namespace.id, State::Closed),
            // Each request has an event of its own: a finding can have several.
            Self::Lost(_) | Self::Dropped(_) | Self::Suppressed(_) | Self::ReapRequested(_) => return None,
        })
    }
}

/// What happened, in the words of the event contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A process is unreaped for the grace period.
    ZombieDetected,
    /// The same of one that had exited before the start; and every line of `ps`.
    ZombieExisting,
    /// The family, the cause, the prognosis, the reaper, the origin or what it blocks has changed.
    ZombieUpdated,
    /// A reported one was reaped.
    ZombieReaped,
    /// A PID namespace's PID 1 has exited and cannot finish, or others hold it now.
    NamespaceBlocked,
    /// A reported one could finish.
    NamespaceReleased,
    /// A process was told to exit and cannot, or something about that has changed.
    ExitBlocked,
    /// A reported one has exited.
    ExitFinished,
    /// What `explain` says of a process that is no zombie.
    ProcessExplained,
    /// Something could not be counted, or was dropped.
    EventsLost,
    /// One reaper left so many zombies that only their number is reported.
    FindingsSuppressed,
    /// Somebody, or the agent's `[reap]`, has asked to free a zombie.
    ReapRequested,
    /// In a trace: a process was forked.
    ProcessForked,
    /// In a trace: a process has executed a file.
    ProcessStarted,
    /// In a trace: the last thread of a process has exited.
    ProcessExited,
    /// In a trace: a process waits for children.
    ProcessWaited,
    /// In a trace: a process was reaped.
    ProcessReaped,
}

impl Action {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ZombieDetected => "zombie-detected",
            Self::ZombieExisting => "zombie-existing",
            Self::ZombieUpdated => "zombie-updated",
            Self::ZombieReaped => "zombie-reaped",
            Self::NamespaceBlocked => "namespace-blocked",
            Self::NamespaceReleased => "namespace-released",
            Self::ExitBlocked => "exit-blocked",
            Self::ExitFinished => "exit-finished",
            Self::ProcessExplained => "process-explained",
            Self::EventsLost => "events-lost",
            Self::FindingsSuppressed => "findings-suppressed",
            Self::ReapRequested => "reap-requested",
            Self::ProcessForked => "process-forked",
            Self::ProcessStarted => "process-started",
            Self::ProcessExited => "process-exited",
            Self::ProcessWaited => "process-waited",
            Self::ProcessReaped => "process-reaped",
        }
    }
}

/// What becomes of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is reported for the first time in this run.
    Open,
    /// It was reported before, and something about it has changed.
    Updated,
    /// It is over.
    Closed,
    /// There is no finding: a user has only asked about a process.
    None,
}

impl State {
    /// The word of the event contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Updated => "updated",
            Self::Closed => "closed",
            Self::None => "none",
        }
    }
}

/// Events that a sink did not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The sink's name in the configuration.
    pub sink: String,
    /// The number of these events.
    pub count: u64,
    /// The number of them that were dropped because the sink failed, and not because it was too slow.
    pub failed: u64,
    /// The time since which they were dropped.
    pub since_ns: u64,
}

/// Openings and updates of findings that are not reported one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppressed {
    /// Host pid of the reaper.
    pub reaper_pid: u32,
    /// Its name.
    pub reaper_name: String,
    /// The number of them.
    pub count: u64,
    /// The time since which they are suppressed.
    pub since_ns: u64,
}

/// The losses, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The time since which these were lost.
    pub since_ns: u64,
    /// Exits for which the table of unreaped processes had no slot.
    pub exits: u64,
    /// Reaps that were not seen, or for which the ring had no space.
    pub reaps: u64,
    /// Records of forks, execs and waits that could not be stored or could not be kept, and processes whose fork was
    /// not seen. Creators or last waits may be missing because of them.
    pub records: u64,
    /// Unreaped processes that were not known, and that reconciliation found.
    pub found: u64,
    /// Findings that reconciliation closed.
    pub closed: u64,
    /// Reads of other processes that were given up because they took too long, or that were left out after too many
    /// such reads.
    #[serde(default)]
    pub reads: u64,
}
