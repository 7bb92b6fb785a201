//! Queries: what is open, blocked or stuck now.

use supervisor_ebpf::ProcessId;
use supervisor_model::{
    finding::{BlockedNamespace, Finding},
    observation::{Observation, Seen},
};

use super::Conclusions;
#[cfg(doc)]
use crate::diagnosis::in_full;

impl Conclusions {
    /// The findings that are open and wanted, with their diagnosis abridged: see [`in_full`].
    pub fn open(&self) -> impl Iterator<Item = &Finding> {
        self.open.values().filter(|open| open.is_wanted).map(|open| &*open.finding)
    }

    /// The same findings, each with its process.
    pub fn open_by_id(&self) -> impl Iterator<Item = (&ProcessId, &Finding)> {
        self.open.iter().filter(|(_, open)| open.is_wanted).map(|(id, open)| (id, &*open.finding))
    }

    /// The same findings, each with the number of its last change: as long as the number is the same, only ages and counts
    /// of others have changed. Reading a number is much cheaper than reading the finding.
    pub fn open_with_change(&self) -> impl Iterator<Item = (u64, &Finding)> {
        self.open.values().filter(|open| open.is_wanted).map(|open| (open.change, &*open.finding))
    }

    /// The finding of a process, if it is open and wanted.
    #[must_use]
    pub fn finding(&self, id: &ProcessId) -> Option<&Finding> {
        self.open.get(id).filter(|open| open.is_wanted).map(|open| &*open.finding)
    }

    /// Whether the finding of a process is open, wanted or not.
    #[must_use]
    pub fn is_open(&self, id: &ProcessId) -> bool {
        self.open.contains_key(id)
    }

    /// The PID namespaces that are blocked and wanted.
    pub fn namespaces(&self) -> impl Iterator<Item = &BlockedNamespace> {
        self.namespaces.values().filter(|blocked| blocked.is_wanted).map(|blocked| &blocked.namespace)
    }

    /// The processes that cannot exit and are wanted, with their diagnosis abridged: see [`in_full`].
    pub fn exits(&self) -> impl Iterator<Item = &Finding> {
        self.exits.values().filter(|open| open.is_wanted).map(|open| &*open.finding)
    }

    /// The number of open findings of all kinds that the filters reject.
    #[must_use]
    pub fn unwanted(&self) -> usize {
        self.open.values().chain(self.exits.values()).filter(|open| !open.is_wanted).count()
            + self.namespaces.values().filter(|blocked| !blocked.is_wanted).count()
    }

    /// Whether an observation is about a finding that is open and wanted, or about losses, which are always wanted.
    #[must_use]
    pub fn wants(&self, observation: &Observation) -> bool {
        match &observation.seen {
            Seen::Unreaped { id, .. } | Seen::Reaped { id, .. } => {
                self.open.get(id).is_some_and(|open| open.is_wanted)
            }
            Seen::Held { id, .. } | Seen::Released { id } => {
                self.namespaces.get(id).is_some_and(|blocked| blocked.is_wanted)
            }
            Seen::Stuck { id, .. } | Seen::Finished { id } => {
                self.exits.get(id).is_some_and(|open| open.is_wanted)
            }
            Seen::Lost { .. } => true,
        }
    }
}
