//! Which processes are unreaped, and which of them are findings. Pure: it is told what was seen and when.
//!
//! A leftover goes from *waiting* (seen past the reporting age, not yet confirmed or not yet past the grace
//! period) to *open* (reported) or *passed over* (not wanted by the filters), and leaves when its reap is
//! told. Every one of them is counted in the cell of its exit epoch, so that a tick can tell from the
//! kernel's epoch table alone whether there is anything that is not known here.

use std::collections::{HashMap, HashSet};

use supervisor_ebpf::{EPOCH_SHIFT, EPOCHS, ProcessId, Reaped, Unreaped};

use crate::finding::Finding;

/// A leftover that is not confirmed is looked at again after this long, and then twice as long each time.
const RECHECK_NS: u64 = 250_000_000;
/// But at least this often.
const RECHECK_MAX_NS: u64 = 8_000_000_000;
/// The epoch table wraps after 69 s, so reaps must be told, and leftovers looked for, from this age on.
pub const MAX_REPORT_AFTER_NS: u64 = 30_000_000_000;

/// The state of all leftovers.
#[derive(Debug)]
pub struct Ledger {
    grace_ns: u64,
    waiting: HashMap<ProcessId, Waiting>,
    open: HashMap<ProcessId, Finding>,
    passed_over: HashMap<ProcessId, PassedOver>,
    known: [u64; EPOCHS],
    missing: Vec<ProcessId>,
}

#[expect(clippy::struct_field_names, reason = "the unit belongs to the name")]
#[derive(Clone, Copy, Debug)]
struct Waiting {
    exit_ns: u64,
    next_ns: u64,
    recheck_ns: u64,
    /// When it was last seen not to be a zombie: the grace period begins no earlier.
    not_zombie_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct PassedOver {
    exit_ns: u64,
    is_ghost: bool,
}

/// A leftover whose turn it is to be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which process.
    pub id: ProcessId,
    /// When it exited; `None` if that was not seen.
    pub exit_ns: Option<u64>,
}

/// What came of looking at a leftover.
#[derive(Debug)]
pub enum Settled {
    /// It is a finding.
    Open(Box<Finding>),
    /// It is unreaped, but nobody asked for it.
    PassOver,
    /// It is not a zombie, or not yet, or it is just being reaped.
    NotYet,
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(grace_ns: u64) -> Self {
        Self {
            grace_ns,
            waiting: HashMap::new(),
            open: HashMap::new(),
            passed_over: HashMap::new(),
            known: [0; EPOCHS],
            missing: Vec::new(),
        }
    }

    /// From which age on the kernel must tell a reap, and a leftover is looked for.
    #[must_use]
    pub fn report_after_ns(&self) -> u64 {
        self.grace_ns.min(MAX_REPORT_AFTER_NS)
    }

    /// Whether an epoch that is old enough holds more than is known.
    #[must_use]
    pub fn has_unknown(&self, epochs: &[u64; EPOCHS], now_ns: u64) -> bool {
        self.old_cells(now_ns).any(|cell| epochs[cell].cast_signed() > self.known[cell].cast_signed())
    }

    /// Whether an epoch holds less than is known: then a reap was not told, or its event is on its way.
    #[must_use]
    pub fn has_untold(&self, epochs: &[u64; EPOCHS]) -> bool {
        epochs.iter().zip(&self.known).any(|(seen, known)| seen.cast_signed() < known.cast_signed())
    }

    /// Cells whose newest epoch began at least the reporting age ago.
    fn old_cells(&self, now_ns: u64) -> impl Iterator<Item = usize> {
        let current = now_ns >> EPOCH_SHIFT;
        let report_after_ns = self.report_after_ns();
        (0..EPOCHS.min(current as usize + 1)).filter_map(move |back| {
            let epoch = current - back as u64;
            ((epoch << EPOCH_SHIFT) + report_after_ns <= now_ns).then_some(epoch as usize % EPOCHS)
        })
    }

    /// Takes in what is in the kernel's table. Returns how many were new here and had not been seen to exit.
    pub fn walk(&mut self, entries: &[(u64, Unreaped)], now_ns: u64) -> u64 {
        let mut found = 0;
        for (_, Unreaped { id, exit_ns }) in entries {
            let age_ns = now_ns.saturating_sub(*exit_ns);
            if age_ns < self.report_after_ns() || self.is_known(id) {
                continue;
            }
            found += u64::from(*exit_ns == 0);
            self.known[cell(*exit_ns)] += 1;
            // One whose exit was not seen may have exited just now: it gets the whole grace period.
            let since_ns = if *exit_ns == 0 { now_ns } else { *exit_ns };
            let waiting = Waiting {
                exit_ns: *exit_ns,
                next_ns: since_ns + self.grace_ns,
                recheck_ns: RECHECK_NS,
                not_zombie_ns: None,
            };
            self.waiting.insert(*id, waiting);
        }
        found
    }

    fn is_known(&self, id: &ProcessId) -> bool {
        self.open.contains_key(id) || self.passed_over.contains_key(id) || self.waiting.contains_key(id)
    }

    /// Compares with the processes that have exited and exist (`present`) and with the kernel's table. A leftover
    /// that is in neither of two such looks was reaped unseen; its finding is returned. One that is left in the
    /// table all the same is a ghost: it is passed over until its place is used again. Call it again while
    /// [`Ledger::is_resyncing`].
    pub fn resync(&mut self, present: &HashSet<ProcessId>, entries: &[(u64, Unreaped)]) -> Vec<Finding> {
        let known = self.open.keys().chain(self.passed_over.keys()).chain(self.waiting.keys());
        let absent: Vec<ProcessId> = known.filter(|id| !present.contains(id)).copied().collect();
        let stored: HashMap<ProcessId, u64> =
            entries.iter().map(|(_, entry)| (entry.id, entry.exit_ns)).collect();
        let (gone, missing): (Vec<_>, Vec<_>) = absent
            .into_iter()
            .filter(|id| !self.is_ghost(id) || !stored.contains_key(id))
            .partition(|id| self.missing.contains(id));
        self.missing = missing;
        let mut closed = Vec::new();
        for id in gone {
            closed.extend(self.remove(&id));
            if let Some(exit_ns) = stored.get(&id) {
                self.known[cell(*exit_ns)] += 1;
                self.passed_over.insert(id, PassedOver { exit_ns: *exit_ns, is_ghost: true });
            }
        }
        closed
    }

    fn is_ghost(&self, id: &ProcessId) -> bool {
        self.passed_over.get(id).is_some_and(|passed_over| passed_over.is_ghost)
    }

    /// Processes that are gone and still in the kernel's table, because their free was not seen.
    #[must_use]
    pub fn ghosts(&self) -> usize {
        self.passed_over.values().filter(|passed_over| passed_over.is_ghost).count()
    }

    /// Whether a leftover was missing in the last walk and waits for the next to be sure.
    #[must_use]
    pub fn is_resyncing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Leftovers that are to be confirmed now.
    #[must_use]
    pub fn due(&self, now_ns: u64) -> Vec<Due> {
        let mut due: Vec<Due> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.next_ns <= now_ns)
            .map(|(id, waiting)| Due { id: *id, exit_ns: (waiting.exit_ns != 0).then_some(waiting.exit_ns) })
            .collect();
        due.sort_by_key(|due| (due.exit_ns, due.id));
        due
    }

    /// Whether a due leftover that is a zombie now has been one for the grace period, as far as was seen. If not,
    /// it is due again when it will have been.
    pub fn has_waited(&mut self, id: &ProcessId, now_ns: u64) -> bool {
        let Some(waiting) = self.waiting.get_mut(id) else { return false };
        let Some(not_zombie_ns) = waiting.not_zombie_ns else { return true };
        waiting.next_ns = not_zombie_ns + self.grace_ns;
        waiting.next_ns <= now_ns
    }

    /// Says what came of a due leftover.
    pub fn settle(&mut self, id: &ProcessId, settled: Settled, now_ns: u64) {
        let Some(waiting) = self.waiting.get_mut(id) else { return };
        match settled {
            Settled::NotYet => {
                waiting.not_zombie_ns = Some(now_ns);
                waiting.next_ns = now_ns + waiting.recheck_ns;
                waiting.recheck_ns = (waiting.recheck_ns * 2).min(RECHECK_MAX_NS);
            }
            Settled::Open(finding) => {
                self.waiting.remove(id);
                self.open.insert(*id, *finding);
            }
            Settled::PassOver => {
                let exit_ns = waiting.exit_ns;
                self.waiting.remove(id);
                self.passed_over.insert(*id, PassedOver { exit_ns, is_ghost: false });
            }
        }
    }

    /// Takes in a told reap; returns the finding that it closes.
    pub fn reaped(&mut self, reaped: &Reaped) -> Option<Finding> {
        self.remove(&reaped.id)
    }

    fn remove(&mut self, id: &ProcessId) -> Option<Finding> {
        let waiting = self.waiting.remove(id).map(|waiting| waiting.exit_ns);
        let passed_over = self.passed_over.remove(id).map(|passed_over| passed_over.exit_ns);
        let finding = self.open.remove(id);
        let open = finding.as_ref().map(|finding| finding.exit_ns.unwrap_or(0));
        if let Some(exit_ns) = waiting.or(passed_over).or(open) {
            self.known[cell(exit_ns)] -= 1;
        }
        finding
    }

    /// Findings that are open now.
    pub fn open(&self) -> impl Iterator<Item = &Finding> {
        self.open.values()
    }
}

fn cell(exit_ns: u64) -> usize {
    (exit_ns >> EPOCH_SHIFT) as usize % EPOCHS
}

#[cfg(test)]
mod tests;
