//! Formats the events that take one line, such as the end of a finding or a loss.

use supervisor_model::{
    event::{Event, EventKind},
    words::{clean, duration},
};

use super::sentence::{reaped_by, sentence};
use crate::parts::place_of;

/// An event that takes one line.
pub(super) struct Short {
    pub(super) code: &'static str,
    pub(super) word: &'static str,
    pub(super) text: String,
}

/// The one line of an event that does not open or update a finding.
pub(super) fn short(event: &Event) -> Short {
    let (code, word) = match &event.kind {
        EventKind::Reaped { finding, dwell_ns, by } => {
            let after =
                dwell_ns.map(|dwell| format!(", {} after its exit", duration(dwell))).unwrap_or_default();
            let (name, pid) = (clean(&finding.process.name), finding.process.pid);
            let by = by.as_ref().map(|by| format!(", by {}", reaped_by(by))).unwrap_or_default();
            let text = format!("{name}[{pid}]{after}{by}{}", place_of(finding));
            return Short { code: "1;32", word: "REAPED", text };
        }
        EventKind::Released { .. } => ("1;32", "RELEASED"),
        EventKind::ExitFinished { .. } => ("1;32", "EXITED"),
        EventKind::ReapRequested(_) => ("1;36", "REAP"),
        EventKind::Suppressed(_) => ("1;33", "MORE"),
        _ => ("1;33", "LOST"),
    };
    Short { code, word, text: sentence(event) }
}
