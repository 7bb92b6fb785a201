//! Decides which processes are unreaped, and when to inspect which process. Pure: the caller passes in each observation
//! and its time.
//!
//! A candidate is *waiting* (`State::Waiting`) when it was seen past the reporting age, and is not yet confirmed or not
//! yet past the grace period. Then it is *reported* (`State::Reported`), and leaves the ledger when its reap is reported. The
//! init of a PID namespace that cannot end is *stuck* (`State::Stuck`). `State::TakenOver` is what an earlier run has
//! reported, and `State::Stale` a stale entry whose process is gone.
//! The ledger counts each candidate in the cell of its exit epoch. So a tick learns from the kernel's epoch table alone
//! whether the kernel has a process that the ledger does not know.

use std::collections::{HashMap, HashSet};

use supervisor_ebpf::{EPOCH_SHIFT, EPOCHS, ProcessId, Reaped, Unreaped};

/// A candidate that is not confirmed is inspected again after this time; the time doubles after each inspection.
const RECHECK_NS: u64 = 250_000_000;
/// The upper bound of that time.
const RECHECK_MAX_NS: u64 = 8_000_000_000;
/// A reported candidate is inspected again after this time; the time doubles after each inspection. Its reaper may
/// change, and so may the reason why the reaper does not reap it.
const REVIEW_NS: u64 = 2_000_000_000;
/// The upper bound of that time.
const REVIEW_MAX_NS: u64 = 300_000_000_000;
/// The epoch table wraps after 69 s. So the kernel must report reaps, and the ledger must search for candidates, from
/// this age on at the latest.
pub const MAX_REPORT_AFTER_NS: u64 = 30_000_000_000;

/// The state of all candidates.
#[derive(Debug)]
pub struct Ledger {
    grace_ns: u64,
    candidates: HashMap<ProcessId, Candidate>,
    known: [u64; EPOCHS],
    missing: HashSet<ProcessId>,
    /// Processes that the first scan found to have exited.
    existing: HashSet<ProcessId>,
    /// The number of candidates since the last [`Ledger::take_found`] whose exits the hooks missed.
    found: u64,
    /// No candidate is due before this.
    next_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    exit_ns: u64,
    state: State,
    next_ns: u64,
    pause_ns: u64,
    /// When an inspection last found that it is no zombie: the grace period begins no earlier.
    not_zombie_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    /// An earlier run has reported it, and this one has not confirmed it yet.
    TakenOver,
    Stuck,
    Reported,
    /// A stale entry: the process is gone and still in the kernel's table, because its free was not seen. Or an entry
    /// of a process that nobody wants to observe.
    Stale,
}

/// A candidate that has to be inspected now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which process.
    pub id: ProcessId,
    /// When it exited; `None` if that was not seen.
    pub exit_ns: Option<u64>,
    /// Whether it was reported already.
    pub is_reported: bool,
}

/// The result of the inspection of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is unreaped, and was reported.
    Reported,
    /// It is exiting and cannot finish, and was reported as stuck in exit.
    Stuck,
    /// It is no zombie, or no zombie yet, or its reaper is just reaping it.
    NotYet,
    /// Nobody wants to observe it: it is not due again, and its end is not reported.
    Unwanted,
}

/// How a candidate that is gone was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Was {
    /// Reported as unreaped.
    Reported,
    /// Reported as stuck in exit.
    Stuck,
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(grace_ns: u64) -> Self {
        Self {
            grace_ns,
            candidates: HashMap::new(),
            known: [0; EPOCHS],
            missing: HashSet::new(),
            existing: HashSet::new(),
            found: 0,
            next_ns: u64::MAX,
        }
    }

    /// The age from which on the kernel must report a reap, and the ledger searches for candidates.
    #[must_use]
    pub fn report_after_ns(&self) -> u64 {
        self.grace_ns.min(MAX_REPORT_AFTER_NS)
    }

    /// Whether an epoch that is old enough holds more processes than the ledger knows.
    #[must_use]
    pub fn has_unknown(&self, epochs: &[u64; EPOCHS], now_ns: u64) -> bool {
        self.old_cells(now_ns).any(|cell| epochs[cell].cast_signed() > self.known[cell].cast_signed())
    }

    /// Whether an epoch holds fewer processes than the ledger knows. Then a reap was not reported, or its event is on
    /// its way.
    #[must_use]
    pub fn has_unreported(&self, epochs: &[u64; EPOCHS]) -> bool {
        epochs.iter().zip(&self.known).any(|(seen, known)| seen.cast_signed() < known.cast_signed())
    }

    /// The cells whose newest epoch began at least the reporting age ago.
    fn old_cells(&self, now_ns: u64) -> impl Iterator<Item = usize> {
        let current = now_ns >> EPOCH_SHIFT;
        let report_after_ns = self.report_after_ns();
        (0..EPOCHS.min(current as usize + 1)).filter_map(move |back| {
            let epoch = current - back as u64;
            ((epoch << EPOCH_SHIFT) + report_after_ns <= now_ns).then_some(epoch as usize % EPOCHS)
        })
    }

    /// Adds the processes that the first scan found to have exited. Their exits never count as missed: almost all of
    /// them exited before the hooks were attached, and a few between that and the scan.
    pub fn begin(&mut self, existing: impl IntoIterator<Item = ProcessId>) {
        self.existing.extend(existing);
    }

    /// Adds the entries of the kernel's table, and counts the new entries whose exits the hooks missed.
    pub fn walk(&mut self, entries: &[Unreaped], now_ns: u64) {
        for Unreaped { id, exit_ns, .. } in entries {
            let age_ns = now_ns.saturating_sub(*exit_ns);
            if age_ns < self.report_after_ns() || self.candidates.contains_key(id) {
                continue;
            }
            self.found += u64::from(*exit_ns == 0 && !self.existing.contains(id));
            // A process whose exit was not seen may have exited just now: it gets the whole grace period.
            let since_ns = if *exit_ns == 0 { now_ns } else { *exit_ns };
            self.insert(*id, *exit_ns, State::Waiting, since_ns + self.grace_ns);
        }
    }

    /// The number of candidates since the last call whose exits the hooks missed.
    pub fn take_found(&mut self) -> u64 {
        std::mem::take(&mut self.found)
    }

    /// Adds a process that had exited before the start and that an earlier run has reported. It is due now, and its end
    /// is reported even if it comes before the inspection.
    pub fn take_over(&mut self, id: ProcessId, was: Was, now_ns: u64) {
        let state = match was {
            Was::Reported => State::TakenOver,
            Was::Stuck => State::Stuck,
        };
        // If an earlier run has reported it both as stuck in exit and as a zombie, the former is kept: the inspection
        // finds out the latter.
        match self.candidates.get_mut(&id) {
            Some(candidate) if state == State::Stuck => candidate.state = state,
            Some(_) => {}
            None => self.insert(id, 0, state, now_ns),
        }
    }

    fn insert(&mut self, id: ProcessId, exit_ns: u64, state: State, next_ns: u64) {
        let candidate = Candidate { exit_ns, state, next_ns, pause_ns: RECHECK_NS, not_zombie_ns: None };
        self.candidates.insert(id, candidate);
        self.known[cell(exit_ns)] += 1;
        self.next_ns = self.next_ns.min(next_ns);
    }

    /// Compares the ledger with the processes that have exited and exist (`present`) and with the kernel's table. A
    /// candidate that is missing from `present` in two calls in a row was reaped unseen; it is returned if it was
    /// reported. If its entry is still in the table, the entry is stale: the ledger ignores it until its slot is used
    /// again. Call this again while [`Ledger::is_reconciling`].
    pub fn reconcile(&mut self, present: &HashSet<ProcessId>, entries: &[Unreaped]) -> Vec<(ProcessId, Was)> {
        let stored: HashMap<ProcessId, u64> = entries.iter().map(|entry| (entry.id, entry.exit_ns)).collect();
        let (gone, missing): (Vec<_>, Vec<_>) = self
            .candidates
            .iter()
            .filter(|(id, _)| !present.contains(id))
            .filter(|(id, candidate)| candidate.state != State::Stale || !stored.contains_key(id))
            .map(|(id, _)| *id)
            .partition(|id| self.missing.contains(id));
        self.missing = missing.into_iter().collect();
        let mut closed = Vec::new();
        for id in gone {
            closed.extend(self.remove(&id).map(|was| (id, was)));
            if let Some(exit_ns) = stored.get(&id) {
                self.insert(id, *exit_ns, State::Stale, u64::MAX);
            }
        }
        closed
    }

    /// Whether a candidate was missing in the last reconciliation, so that the next one must confirm that it is gone.
    #[must_use]
    pub fn is_reconciling(&self) -> bool {
        !self.missing.is_empty()
    }

    /// The candidates to inspect now, in the order of their exits; settle each. It returns at most `reviews` reported
    /// ones, those that have been due for the longest time. The others stay due.
    #[must_use]
    pub fn due(&mut self, now_ns: u64, reviews: usize) -> Vec<Due> {
        if now_ns < self.next_ns {
            return Vec::new();
        }
        let mut due = Vec::new();
        let mut reported = Vec::new();
        self.next_ns = u64::MAX;
        for (id, Candidate { exit_ns, state, next_ns, .. }) in &self.candidates {
            let is_reported = *state == State::Reported;
            let one = Due { id: *id, exit_ns: (*exit_ns != 0).then_some(*exit_ns), is_reported };
            match (*next_ns <= now_ns, is_reported) {
                (true, true) => reported.push((*next_ns, one)),
                (true, false) => due.push(one),
                (false, _) => self.next_ns = self.next_ns.min(*next_ns),
            }
        }
        if reported.len() > reviews {
            reported.sort_by_key(|(next_ns, _)| *next_ns);
            reported.truncate(reviews);
            self.next_ns = now_ns;
        }
        due.extend(reported.into_iter().map(|(_, one)| one));
        due.sort_by_key(|due| (due.exit_ns, due.id));
        due
    }

    /// Notes that some of the due candidates were not inspected: they stay due.
    pub fn resume_at(&mut self, at_ns: u64) {
        self.next_ns = self.next_ns.min(at_ns);
    }

    /// Whether a due candidate that is a zombie now has been one for the whole grace period, as far as the inspections
    /// know. If not, it is due again at the end of its grace period.
    pub fn has_waited(&mut self, id: &ProcessId, now_ns: u64) -> bool {
        let Some(candidate) = self.candidates.get_mut(id) else { return false };
        let Some(not_zombie_ns) = candidate.not_zombie_ns else { return true };
        candidate.next_ns = not_zombie_ns + self.grace_ns;
        self.next_ns = self.next_ns.min(candidate.next_ns);
        candidate.next_ns <= now_ns
    }

    /// Notes that a candidate is a zombie. Returns whether it was reported as stuck in exit, which it no longer is. Its
    /// parent can reap it only from now on, so it then gets a whole grace period.
    pub fn release(&mut self, id: &ProcessId, now_ns: u64) -> bool {
        let stuck = self.candidates.get_mut(id).filter(|candidate| candidate.state == State::Stuck);
        let Some(candidate) = stuck else { return false };
        (candidate.state, candidate.not_zombie_ns) = (State::Waiting, Some(now_ns));
        true
    }

    /// Takes the result of the inspection of a due candidate.
    pub fn settle(&mut self, id: &ProcessId, settled: Settled, now_ns: u64) {
        let Some(candidate) = self.candidates.get_mut(id) else { return };
        let (state, first_ns, most_ns) = match (settled, candidate.state) {
            (Settled::Unwanted, _) => {
                (candidate.state, candidate.next_ns) = (State::Stale, u64::MAX);
                return;
            }
            (Settled::Reported, _) | (_, State::Reported) => (State::Reported, REVIEW_NS, REVIEW_MAX_NS),
            // Between its release and its free it is not in `/proc`, and its end is not reported yet.
            (Settled::Stuck, _) | (Settled::NotYet, State::Stuck) => {
                (State::Stuck, RECHECK_NS, RECHECK_MAX_NS)
            }
            (Settled::NotYet, State::TakenOver) => (State::TakenOver, RECHECK_NS, RECHECK_MAX_NS),
            (Settled::NotYet, _) => (State::Waiting, RECHECK_NS, RECHECK_MAX_NS),
        };
        if candidate.state != state {
            candidate.pause_ns = first_ns;
        }
        if state != State::Reported {
            candidate.not_zombie_ns = Some(now_ns);
        }
        candidate.state = state;
        candidate.next_ns = now_ns + candidate.pause_ns;
        candidate.pause_ns = (candidate.pause_ns * 2).min(most_ns);
        self.next_ns = self.next_ns.min(candidate.next_ns);
    }

    /// Takes a reported reap. Returns how the process was reported, if it was.
    pub fn reaped(&mut self, reaped: &Reaped) -> Option<Was> {
        self.remove(&reaped.id)
    }

    fn remove(&mut self, id: &ProcessId) -> Option<Was> {
        let candidate = self.candidates.remove(id)?;
        self.known[cell(candidate.exit_ns)] -= 1;
        match candidate.state {
            State::Reported | State::TakenOver => Some(Was::Reported),
            State::Stuck => Some(Was::Stuck),
            State::Waiting | State::Stale => None,
        }
    }
}

fn cell(exit_ns: u64) -> usize {
    (exit_ns >> EPOCH_SHIFT) as usize % EPOCHS
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
