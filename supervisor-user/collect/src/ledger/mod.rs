//! Which processes are unreaped, and when to look at which. Pure: it is told what was seen and when.
//!
//! A leftover goes from *waiting* (seen past the reporting age, not yet confirmed or not yet past the grace
//! period) to *told*, and leaves when its reap is told. One that is exiting and is *held* in it, as the init of
//! a PID namespace that cannot die, is neither. Every one of them is counted in the cell of its exit epoch, so
//! that a tick can tell from the kernel's epoch table alone whether there is anything that is not known here.

use std::collections::{HashMap, HashSet};

use supervisor_ebpf::{EPOCH_SHIFT, EPOCHS, ProcessId, Reaped, Unreaped};

/// A leftover that is not confirmed is looked at again after this long, and then twice as long each time.
const RECHECK_NS: u64 = 250_000_000;
/// But at least this often.
const RECHECK_MAX_NS: u64 = 8_000_000_000;
/// One that was told is looked at again after this long, and then twice as long each time: who must reap it may
/// change, and why it does not.
const REVIEW_NS: u64 = 2_000_000_000;
/// But at least this often.
const REVIEW_MAX_NS: u64 = 300_000_000_000;
/// The epoch table wraps after 69 s, so reaps must be told, and leftovers looked for, from this age on.
pub const MAX_REPORT_AFTER_NS: u64 = 30_000_000_000;

/// The state of all leftovers.
#[derive(Debug)]
pub struct Ledger {
    grace_ns: u64,
    leftovers: HashMap<ProcessId, Leftover>,
    known: [u64; EPOCHS],
    missing: HashSet<ProcessId>,
    /// Processes that had exited before the hooks were attached.
    existing: HashSet<ProcessId>,
    /// Leftovers whose exits the hooks missed, since the last [`Ledger::take_found`].
    found: u64,
    /// No leftover is due before this.
    next_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Leftover {
    exit_ns: u64,
    state: State,
    next_ns: u64,
    pause_ns: u64,
    /// When it was last seen not to be a zombie: the grace period begins no earlier.
    not_zombie_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    /// An earlier run has told it, and this one has not looked at it yet.
    TakenOver,
    Held,
    Told,
    /// It is gone, and still in the kernel's table, because its free was not seen; or nobody wants to know of it.
    Ghost,
}

/// A leftover whose turn it is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which process.
    pub id: ProcessId,
    /// When it exited; `None` if that was not seen.
    pub exit_ns: Option<u64>,
    /// Whether it was told already.
    pub is_told: bool,
}

/// What came of looking at a leftover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is unreaped, and told.
    Told,
    /// It is exiting, and cannot finish: that was told.
    Held,
    /// It is not a zombie, or not yet, or it is just being reaped.
    NotYet,
    /// Nobody wants to know of it: it is not due again, and its end is not told.
    Unwanted,
}

/// What a leftover was that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Was {
    /// Told as unreaped.
    Told,
    /// Told as held in its exit.
    Held,
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(grace_ns: u64) -> Self {
        Self {
            grace_ns,
            leftovers: HashMap::new(),
            known: [0; EPOCHS],
            missing: HashSet::new(),
            existing: HashSet::new(),
            found: 0,
            next_ns: u64::MAX,
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

    /// Names the processes that had exited before the hooks were attached: no hook has missed their exits.
    pub fn begin(&mut self, existing: impl IntoIterator<Item = ProcessId>) {
        self.existing.extend(existing);
    }

    /// Takes in what is in the kernel's table, and counts the new entries whose exits the hooks missed.
    pub fn walk(&mut self, entries: &[Unreaped], now_ns: u64) {
        for Unreaped { id, exit_ns, .. } in entries {
            let age_ns = now_ns.saturating_sub(*exit_ns);
            if age_ns < self.report_after_ns() || self.leftovers.contains_key(id) {
                continue;
            }
            self.found += u64::from(*exit_ns == 0 && !self.existing.contains(id));
            // One whose exit was not seen may have exited just now: it gets the whole grace period.
            let since_ns = if *exit_ns == 0 { now_ns } else { *exit_ns };
            self.insert(*id, *exit_ns, State::Waiting, since_ns + self.grace_ns);
        }
    }

    /// The number of leftovers since the last call whose exits the hooks missed.
    pub fn take_found(&mut self) -> u64 {
        std::mem::take(&mut self.found)
    }

    /// Takes in one that had exited before the start, and that an earlier run has told: it is looked at now, and its end
    /// is told even if it comes before that.
    pub fn take_over(&mut self, id: ProcessId, was: Was, now_ns: u64) {
        let state = match was {
            Was::Told => State::TakenOver,
            Was::Held => State::Held,
        };
        // Of what was held and then a zombie, the first matters: the look tells the other.
        match self.leftovers.get_mut(&id) {
            Some(leftover) if state == State::Held => leftover.state = state,
            Some(_) => {}
            None => self.insert(id, 0, state, now_ns),
        }
    }

    fn insert(&mut self, id: ProcessId, exit_ns: u64, state: State, next_ns: u64) {
        let leftover = Leftover { exit_ns, state, next_ns, pause_ns: RECHECK_NS, not_zombie_ns: None };
        self.leftovers.insert(id, leftover);
        self.known[cell(exit_ns)] += 1;
        self.next_ns = self.next_ns.min(next_ns);
    }

    /// Compares with the processes that have exited and exist (`present`) and with the kernel's table. A leftover
    /// that is in neither of two such looks was reaped unseen; it is returned if it was told. One that is left in
    /// the table all the same is a ghost: it is passed over until its place is used again. Call it again while
    /// [`Ledger::is_resyncing`].
    pub fn resync(&mut self, present: &HashSet<ProcessId>, entries: &[Unreaped]) -> Vec<(ProcessId, Was)> {
        let stored: HashMap<ProcessId, u64> = entries.iter().map(|entry| (entry.id, entry.exit_ns)).collect();
        let (gone, missing): (Vec<_>, Vec<_>) = self
            .leftovers
            .iter()
            .filter(|(id, _)| !present.contains(id))
            .filter(|(id, leftover)| leftover.state != State::Ghost || !stored.contains_key(id))
            .map(|(id, _)| *id)
            .partition(|id| self.missing.contains(id));
        self.missing = missing.into_iter().collect();
        let mut closed = Vec::new();
        for id in gone {
            closed.extend(self.remove(&id).map(|was| (id, was)));
            if let Some(exit_ns) = stored.get(&id) {
                self.insert(id, *exit_ns, State::Ghost, u64::MAX);
            }
        }
        closed
    }

    /// Whether a leftover was missing in the last walk and waits for the next to be sure.
    #[must_use]
    pub fn is_resyncing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Leftovers that are to be looked at now, in the order of their exits; settle each. Of those that were told, no
    /// more than so many `reviews`, whose turn came first; the others stay due.
    #[must_use]
    pub fn due(&mut self, now_ns: u64, reviews: usize) -> Vec<Due> {
        if now_ns < self.next_ns {
            return Vec::new();
        }
        let mut due = Vec::new();
        let mut told = Vec::new();
        self.next_ns = u64::MAX;
        for (id, Leftover { exit_ns, state, next_ns, .. }) in &self.leftovers {
            let is_told = *state == State::Told;
            let one = Due { id: *id, exit_ns: (*exit_ns != 0).then_some(*exit_ns), is_told };
            match (*next_ns <= now_ns, is_told) {
                (true, true) => told.push((*next_ns, one)),
                (true, false) => due.push(one),
                (false, _) => self.next_ns = self.next_ns.min(*next_ns),
            }
        }
        if told.len() > reviews {
            told.sort_by_key(|(next_ns, _)| *next_ns);
            told.truncate(reviews);
            self.next_ns = now_ns;
        }
        due.extend(told.into_iter().map(|(_, one)| one));
        due.sort_by_key(|due| (due.exit_ns, due.id));
        due
    }

    /// Says that not all that were due were looked at: the others stay due.
    pub fn resume_at(&mut self, at_ns: u64) {
        self.next_ns = self.next_ns.min(at_ns);
    }

    /// Whether a due leftover that is a zombie now has been one for the grace period, as far as was seen. If not,
    /// it is due again when it will have been.
    pub fn has_waited(&mut self, id: &ProcessId, now_ns: u64) -> bool {
        let Some(leftover) = self.leftovers.get_mut(id) else { return false };
        let Some(not_zombie_ns) = leftover.not_zombie_ns else { return true };
        leftover.next_ns = not_zombie_ns + self.grace_ns;
        self.next_ns = self.next_ns.min(leftover.next_ns);
        leftover.next_ns <= now_ns
    }

    /// Says that a leftover is a zombie; whether it was told that it is held in its exit, which it is no more. Its parent
    /// can reap it only from now on, so it gets a whole grace period.
    pub fn release(&mut self, id: &ProcessId, now_ns: u64) -> bool {
        let held = self.leftovers.get_mut(id).filter(|leftover| leftover.state == State::Held);
        let Some(leftover) = held else { return false };
        (leftover.state, leftover.not_zombie_ns) = (State::Waiting, Some(now_ns));
        true
    }

    /// Says what came of a due leftover.
    pub fn settle(&mut self, id: &ProcessId, settled: Settled, now_ns: u64) {
        let Some(leftover) = self.leftovers.get_mut(id) else { return };
        let (state, first_ns, most_ns) = match (settled, leftover.state) {
            (Settled::Unwanted, _) => {
                (leftover.state, leftover.next_ns) = (State::Ghost, u64::MAX);
                return;
            }
            (Settled::Told, _) | (_, State::Told) => (State::Told, REVIEW_NS, REVIEW_MAX_NS),
            // Between its release and its free it is not in `/proc`, and its end is still to be told.
            (Settled::Held, _) | (Settled::NotYet, State::Held) => (State::Held, RECHECK_NS, RECHECK_MAX_NS),
            (Settled::NotYet, State::TakenOver) => (State::TakenOver, RECHECK_NS, RECHECK_MAX_NS),
            (Settled::NotYet, _) => (State::Waiting, RECHECK_NS, RECHECK_MAX_NS),
        };
        if leftover.state != state {
            leftover.pause_ns = first_ns;
        }
        if state != State::Told {
            leftover.not_zombie_ns = Some(now_ns);
        }
        leftover.state = state;
        leftover.next_ns = now_ns + leftover.pause_ns;
        leftover.pause_ns = (leftover.pause_ns * 2).min(most_ns);
        self.next_ns = self.next_ns.min(leftover.next_ns);
    }

    /// Takes in a told reap; returns what it was, if it was told.
    pub fn reaped(&mut self, reaped: &Reaped) -> Option<Was> {
        self.remove(&reaped.id)
    }

    fn remove(&mut self, id: &ProcessId) -> Option<Was> {
        let leftover = self.leftovers.remove(id)?;
        self.known[cell(leftover.exit_ns)] -= 1;
        match leftover.state {
            State::Told | State::TakenOver => Some(Was::Told),
            State::Held => Some(Was::Held),
            State::Waiting | State::Ghost => None,
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
