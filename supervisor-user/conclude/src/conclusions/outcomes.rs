//! Remembers how earlier findings of a reaper ended: whether it reaped them, and how late.

use std::collections::{HashMap, HashSet, VecDeque};

use serde::{Deserialize, Serialize};
use supervisor_ebpf::ProcessId;
use supervisor_model::finding::{Finding, Pattern};

/// The number of reapers that are remembered.
const MAX_REAPERS: usize = 1024;
/// The number of outcomes of one reaper that are remembered.
const MAX_OUTCOMES: usize = 16;

/// The key of similar findings: the reaper (its entity id, or its pid), and whether it had adopted them.
type Key = (String, Option<bool>);

/// What one reaper did with earlier findings, in the form that is stored beyond the end of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastOutcome {
    /// The reaper's entity id, or its pid.
    pub reaper: String,
    /// Whether the reaper had adopted the processes that it reaped.
    pub adopted: Option<bool>,
    /// The number of processes that it has reaped.
    pub reaped: u64,
    /// Nanoseconds from exit to reap, the latest last.
    pub dwells_ns: Vec<u64>,
}

/// Outcomes by reaper.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    of: HashMap<Key, Record>,
}

#[derive(Debug, Default)]
struct Record {
    /// From exit to reap, the latest last.
    dwells_ns: VecDeque<u64>,
    /// The times of reaps whose author was not seen. They count only after the reaper is seen alive after the reap.
    unconfirmed_ns: VecDeque<u64>,
    /// The number of all reaped processes.
    reaped: u64,
    /// The open findings that are overdue ([`Pattern::is_overdue_at`]). A finding of unknown age counts as overdue.
    overdue: HashSet<ProcessId>,
    used: u64,
}

impl Outcomes {
    /// Returns all known outcomes, for storage.
    pub(super) fn all(&self) -> Vec<PastOutcome> {
        let known = self.of.iter().filter(|(_, record)| record.reaped > 0);
        known
            .map(|((reaper, adopted), record)| PastOutcome {
                reaper: reaper.clone(),
                adopted: *adopted,
                reaped: record.reaped,
                dwells_ns: record.dwells_ns.iter().copied().collect(),
            })
            .collect()
    }

    /// Restores stored outcomes.
    pub(super) fn restore(&mut self, outcomes: Vec<PastOutcome>) {
        for PastOutcome { reaper, adopted, reaped, dwells_ns } in outcomes.into_iter().take(MAX_REAPERS) {
            let record = self.of.entry((reaper, adopted)).or_default();
            record.reaped += reaped;
            for dwell_ns in dwells_ns.into_iter().take(MAX_OUTCOMES) {
                push(&mut record.dwells_ns, dwell_ns);
            }
        }
    }

    /// The pattern of this finding's reaper with earlier findings.
    pub(super) fn of(&mut self, id: &ProcessId, finding: &Finding) -> Option<Pattern> {
        let record = self.of.get_mut(&key(finding)?)?;
        // The reaper is alive, so the earlier zombies were not freed by its end.
        for dwell_ns in std::mem::take(&mut record.unconfirmed_ns) {
            record.confirm(dwell_ns);
        }
        let mut sorted: Vec<u64> = record.dwells_ns.iter().copied().collect();
        sorted.sort_unstable();
        let longest_ns = *sorted.last()?;
        let age_ns = finding.exit_ns.map(|exit_ns| finding.looked_ns.saturating_sub(exit_ns));
        if age_ns.is_none_or(|age_ns| Pattern::is_overdue_at(longest_ns, age_ns)) {
            record.overdue.insert(*id);
        }
        Some(Pattern {
            reaped: record.reaped,
            median_ns: sorted[sorted.len() / 2],
            longest_ns,
            is_broken: !record.overdue.is_empty(),
        })
    }

    /// Records that a finding was reaped, `dwell_ns` after its exit. `by_reaper` says whether its reaper did it, if
    /// that was seen.
    pub(super) fn reaped(
        &mut self,
        id: &ProcessId,
        finding: &Finding,
        dwell_ns: Option<u64>,
        by_reaper: Option<bool>,
    ) {
        let Some(key) = key(finding) else { return };
        if let Some(record) = self.of.get_mut(&key) {
            record.overdue.remove(id);
        }
        let Some(dwell_ns) = dwell_ns.filter(|_| by_reaper != Some(false)) else { return };
        let now = self.of.values().map(|record| record.used).max().unwrap_or(0) + 1;
        if !self.of.contains_key(&key) && self.of.len() >= MAX_REAPERS {
            let oldest = self.of.iter().min_by_key(|(_, record)| record.used).map(|(key, _)| key.clone());
            oldest.map(|key| self.of.remove(&key));
        }
        let record = self.of.entry(key).or_default();
        record.used = now;
        if by_reaper == Some(true) {
            record.confirm(dwell_ns);
        } else {
            push(&mut record.unconfirmed_ns, dwell_ns);
        }
    }
}

impl Record {
    fn confirm(&mut self, dwell_ns: u64) {
        self.reaped += 1;
        push(&mut self.dwells_ns, dwell_ns);
    }
}

fn push(outcomes: &mut VecDeque<u64>, dwell_ns: u64) {
    if outcomes.len() == MAX_OUTCOMES {
        outcomes.pop_front();
    }
    outcomes.push_back(dwell_ns);
}

fn key(finding: &Finding) -> Option<Key> {
    let reaper = finding.reaper.as_ref()?;
    let process = &reaper.process;
    Some((process.entity_id.clone().unwrap_or_else(|| process.pid.to_string()), reaper.adopted))
}
