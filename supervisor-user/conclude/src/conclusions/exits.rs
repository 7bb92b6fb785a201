//! Opens, updates and closes the findings of processes that were told to exit and cannot.

use supervisor_ebpf::ProcessId;
use supervisor_model::{
    clock::Wall,
    event::{Event, EventKind},
    evidence::Evidence,
    finding::{Block, Finding},
    identity,
};

use super::{Conclusions, Open, remember};
use crate::{
    attribution::attribute,
    diagnosis::{diagnose_in_short, in_full},
};

impl Conclusions {
    /// Records a process that cannot exit. Returns the event that has to be reported.
    pub(super) fn stuck(&mut self, id: &ProcessId, grace_ns: u64, evidence: &Evidence) -> Option<EventKind> {
        let before = self.exits.remove(id);
        let mut finding = Box::new(attribute(evidence, &self.host, grace_ns));
        remember(&mut finding, before.as_ref().map(|open| &*open.finding));
        finding.id = identity::finding_id("exit", &finding.id);
        finding.blocks = self.blocks_of_exit(id, &finding);
        finding.diagnosis = diagnose_in_short(&finding);
        let was_wanted = before.as_ref().is_some_and(|open| open.is_wanted);
        let is_wanted = was_wanted || self.filter.wants(&finding);
        let is_news = is_wanted
            && match &before {
                Some(before) if was_wanted => has_changed(&before.finding, &finding),
                _ => true,
            };
        let kind = is_news
            .then(|| EventKind::ExitBlocked { finding: Box::new(in_full(&finding)), again: was_wanted });
        self.changes += 1;
        self.exits.insert(*id, Open { finding, is_wanted, change: self.changes });
        kind
    }

    /// Records that the process has exited. Returns the event that has to be reported.
    pub(super) fn finished(&mut self, id: &ProcessId, at_ns: u64) -> Option<EventKind> {
        let Open { finding, is_wanted, .. } = self.exits.remove(id)?;
        let since_ns = finding.ending.as_ref().and_then(|ending| ending.since_ns);
        is_wanted.then(|| EventKind::ExitFinished {
            finding: Box::new(in_full(&finding)),
            blocked_ns: since_ns.map(|since_ns| at_ns.saturating_sub(since_ns)),
        })
    }

    /// Updates the list of blocked namespaces of every process that cannot exit.
    pub(super) fn refresh_exits(&mut self, at_ns: u64, wall: Wall) -> Vec<Event> {
        let mut ids: Vec<ProcessId> = self.exits.keys().copied().collect();
        ids.sort();
        let mut events = Vec::new();
        for id in ids {
            let blocks = self.blocks_of_exit(&id, &self.exits[&id].finding);
            let Some(open) = self.exits.get_mut(&id).filter(|open| open.finding.blocks != blocks) else {
                continue;
            };
            open.finding.blocks = blocks;
            if open.is_wanted {
                let kind = EventKind::ExitBlocked { finding: Box::new(in_full(&open.finding)), again: true };
                events.push(Event { at_ns, wall, kind });
            }
        }
        events
    }

    /// The PID namespaces that wait for the process: its own, if it is PID 1 there, and those that it blocks.
    fn blocks_of_exit(&self, id: &ProcessId, finding: &Finding) -> Vec<Block> {
        let own =
            finding.pid_ns.as_ref().filter(|ns| ns.level > Some(0) && finding.process.vpid == Some(1)).map(
                |ns| Block {
                    ino: ns.ino,
                    init_pid: finding.process.pid,
                    init_name: finding.process.name.clone(),
                    since_ns: finding.ending.as_ref().and_then(|it| it.since_ns).unwrap_or(finding.seen_ns),
                },
            );
        own.into_iter().chain(self.blocks_of(id)).collect()
    }
}

/// Whether the family, the confidence, the state or kernel function of the last thread, or the blocked namespaces
/// changed. The text of the verdict always changes, because it contains the duration.
fn has_changed(before: &Finding, now: &Finding) -> bool {
    let cause = |finding: &Finding| (finding.diagnosis.family, finding.diagnosis.confidence);
    cause(before) != cause(now) || before.last_place() != now.last_place() || before.blocks != now.blocks
}
