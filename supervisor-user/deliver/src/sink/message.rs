//! One event on its way to the sinks. It is encoded once for each format, and all sinks of that format share it.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A message that a sink delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Data that a receiver may want without reading the payload.
    pub head: Head,
    /// The event in the sink's format, without a newline at the end. Text for people may have several lines.
    pub payload: Arc<[u8]>,
    /// The event in ECS, if the sink keeps the list of open findings. Otherwise the payload again, in its format.
    pub ecs: Arc<[u8]>,
}

/// The data about an event outside of its payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The id. It is the same for the same news about the same finding, also after a restart: receivers drop a second
    /// copy.
    pub id: String,
    /// `event.action`, such as `zombie-detected`.
    pub action: String,
    /// When it happened.
    pub at: Timestamp,
    /// `event.severity`: 1 is good news, 5 the worst.
    pub severity: u8,
    /// The finding that it opens, updates or closes, if it is about one.
    pub finding: Option<FindingState>,
    /// Whether it is news. If not, it is sent only for the list of open findings.
    #[serde(default = "Head::is_news")]
    pub is_news: bool,
    /// One English sentence that stands alone; it has no control characters.
    pub sentence: String,
}

/// The state of a finding after an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingState {
    /// The finding's id.
    pub id: String,
    /// Whether it is open after this.
    pub is_open: bool,
}

impl Message {
    /// The approximate size in memory, in bytes.
    pub(super) fn size(&self) -> u64 {
        let ecs = if Arc::ptr_eq(&self.payload, &self.ecs) { 0 } else { self.ecs.len() };
        let head = self.head.id.len() + self.head.action.len() + self.head.sentence.len();
        (size_of::<Self>() + head + self.payload.len() + ecs) as u64
    }
}

impl Head {
    fn is_news() -> bool {
        true
    }

    /// The severity as syslog and the journal count it: 6 is information, 2 is critical.
    #[must_use]
    pub fn syslog_severity(&self) -> u8 {
        7 - self.severity.clamp(1, 5)
    }
}
