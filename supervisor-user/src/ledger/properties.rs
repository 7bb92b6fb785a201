//! Any order of exits, reaps, losses and looks, against a world that knows what is true.
//!
//! The world is the kernel: processes, the table that its programs keep of them, and a ring. [`World::tick`] does with a
//! ledger what [`crate::observer`] does, and what a look at `/proc` would say is what is true at that moment.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*};

use super::*;

const MS: u64 = 1_000_000;
const GRACE: u64 = 1000 * MS;
const TICK: u64 = 250 * MS;
const RECONCILE: u64 = 30_000 * MS;
const RECONCILE_SOON: u64 = 2000 * MS;
const UNTOLD_TICKS: u32 = 3;
const START: u64 = 1_000_000 * MS;
/// Processes at a time; each has a pid, and a place for its `task_struct`.
const SLOTS: usize = 6;
/// The table has room for fewer than that.
const ROOM: usize = 4;

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Living,
    /// It has passed the exit hook, and is no zombie yet.
    Exiting {
        exit_ns: u64,
        /// It is the PID 1 of a namespace that cannot end.
        held: bool,
    },
    Zombie {
        exit_ns: u64,
    },
    Gone,
}

#[derive(Clone, Debug)]
enum Step {
    /// A gone process's pid, and the place of one that is gone, go to a new process.
    Start {
        slot: usize,
        place: usize,
    },
    Exit {
        slot: usize,
        is_seen: bool,
        is_slow: bool,
        is_held: bool,
    },
    BecomesZombie {
        slot: usize,
    },
    /// `is_told`: the ring has room.
    Reap {
        slot: usize,
        is_seen: bool,
        is_told: bool,
    },
    Wait {
        ms: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let slot = 0..SLOTS;
    // Most of the time nothing is lost.
    let mostly = || prop::bool::weighted(0.8);
    let rarely = || prop::bool::weighted(0.2);
    let step = prop_oneof![
        (slot.clone(), slot.clone()).prop_map(|(slot, place)| Step::Start { slot, place }),
        (slot.clone(), mostly(), rarely(), any::<bool>()).prop_map(|(slot, is_seen, is_slow, is_held)| {
            Step::Exit { slot, is_seen, is_slow, is_held: is_slow && is_held }
        }),
        slot.clone().prop_map(|slot| Step::BecomesZombie { slot }),
        (slot, mostly(), mostly()).prop_map(|(slot, is_seen, is_told)| Step::Reap { slot, is_seen, is_told }),
        prop_oneof![0..300_u64, 300..3000_u64, 3000..40_000_u64].prop_map(|ms| Step::Wait { ms }),
    ];
    vec(step, 1..60)
}

struct World {
    now: u64,
    processes: Vec<(ProcessId, usize, Life)>,
    /// By place.
    table: BTreeMap<usize, Unreaped>,
    ring: Vec<Reaped>,
    has_lost: bool,
    ledger: Ledger,
    untold_ticks: u32,
    next_tick: u64,
    reconcile: u64,
    reconciled: u64,
    /// What was told and is not over, and how often each was opened.
    open: BTreeSet<ProcessId>,
    held: BTreeSet<ProcessId>,
    opened: BTreeMap<ProcessId, u32>,
    /// When each was last seen to be no zombie yet.
    not_zombie: BTreeMap<ProcessId, u64>,
}

impl World {
    fn new() -> Self {
        Self {
            now: START,
            processes: (0..SLOTS)
                .map(|slot| (ProcessId::new(slot as u32 + 1, START), slot, Life::Living))
                .collect(),
            table: BTreeMap::new(),
            ring: Vec::new(),
            has_lost: false,
            ledger: Ledger::new(GRACE),
            untold_ticks: 0,
            next_tick: START,
            reconcile: START + RECONCILE,
            reconciled: START,
            open: BTreeSet::new(),
            held: BTreeSet::new(),
            opened: BTreeMap::new(),
            not_zombie: BTreeMap::new(),
        }
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Start { slot, place } => {
                let is_free = self.processes.iter().all(|(_, at, life)| *at != place || *life == Life::Gone);
                if self.processes[slot].2 == Life::Gone && is_free {
                    // Two of one pid do not start in the same moment.
                    self.now += 1;
                    let id = ProcessId::new(slot as u32 + 1, self.now);
                    self.processes[slot] = (id, place, Life::Living);
                }
            }
            Step::Exit { slot, is_seen, is_slow, is_held } => {
                let exit_ns = self.now;
                let (id, place, life) = &mut self.processes[slot];
                if *life != Life::Living {
                    return;
                }
                *life =
                    if is_slow { Life::Exiting { exit_ns, held: is_held } } else { Life::Zombie { exit_ns } };
                if is_seen {
                    let (id, place) = (*id, *place);
                    self.has_lost |= !self.store(place, Unreaped { id, exit_ns, ..Unreaped::default() });
                }
            }
            Step::BecomesZombie { slot } => {
                if let Life::Exiting { exit_ns, .. } = self.processes[slot].2 {
                    self.processes[slot].2 = Life::Zombie { exit_ns };
                }
            }
            Step::Reap { slot, is_seen, is_told } => {
                let (id, place, life) = self.processes[slot];
                if !matches!(life, Life::Zombie { .. }) {
                    return;
                }
                self.processes[slot].2 = Life::Gone;
                if is_seen
                    && self.table.get(&place).is_some_and(|entry| entry.id == id)
                    && let Some(Unreaped { exit_ns, .. }) = self.table.remove(&place)
                    && self.now.saturating_sub(exit_ns) >= self.ledger.report_after_ns()
                {
                    self.has_lost |= !is_told;
                    if is_told {
                        self.ring.push(Reaped { id, exit_ns, free_ns: self.now, ..Reaped::default() });
                    }
                }
            }
            Step::Wait { ms } => {
                let until = self.now + ms * MS;
                while self.next_tick <= until {
                    self.now = self.now.max(self.next_tick);
                    self.next_tick = self.now + TICK;
                    self.tick();
                }
                self.now = until;
            }
        }
    }

    /// False if there is no room. Another process's entry is replaced: its free was not seen.
    fn store(&mut self, place: usize, entry: Unreaped) -> bool {
        if self.table.len() >= ROOM && !self.table.contains_key(&place) {
            return false;
        }
        let stored = self.table.entry(place).or_insert(entry);
        if stored.id != entry.id {
            *stored = entry;
        }
        true
    }

    fn entries(&self) -> Vec<(u64, Unreaped)> {
        self.table.iter().map(|(place, entry)| (*place as u64, *entry)).collect()
    }

    fn epochs(&self) -> [u64; EPOCHS] {
        let mut epochs = [0; EPOCHS];
        for entry in self.table.values() {
            epochs[cell(entry.exit_ns)] += 1;
        }
        epochs
    }

    fn life(&self, id: &ProcessId) -> Life {
        self.processes.iter().find(|(it, ..)| it == id).map_or(Life::Gone, |(_, _, life)| *life)
    }

    fn tick(&mut self) {
        for reaped in std::mem::take(&mut self.ring) {
            if let Some(was) = self.ledger.reaped(&reaped) {
                self.close(reaped.id, was);
            }
            let is_left = self.open.contains(&reaped.id) || self.held.contains(&reaped.id);
            assert!(!is_left, "{:?} was told to be reaped, and stays open", reaped.id);
        }
        if std::mem::take(&mut self.has_lost) {
            self.reconcile_by();
        }
        let epochs = self.epochs();
        if self.ledger.has_unknown(&epochs, self.now) {
            self.ledger.walk(&self.entries(), self.now);
        }
        self.untold_ticks = if self.ledger.has_untold(&epochs) { self.untold_ticks + 1 } else { 0 };
        if self.untold_ticks >= UNTOLD_TICKS {
            self.reconcile_by();
        }
        if self.now >= self.reconcile {
            self.reconcile();
        }
        for due in self.ledger.all_due(self.now) {
            self.look(due);
        }
    }

    fn reconcile_by(&mut self) {
        self.reconcile = self.reconcile.min(self.now.max(self.reconciled + RECONCILE_SOON));
    }

    fn reconcile(&mut self) {
        let exited: Vec<(ProcessId, usize, Life)> = self
            .processes
            .iter()
            .copied()
            .filter(|(_, _, life)| matches!(life, Life::Exiting { .. } | Life::Zombie { .. }))
            .collect();
        let mut all_stored = true;
        for (id, place, life) in &exited {
            if matches!(life, Life::Zombie { .. }) {
                self.store(*place, Unreaped { id: *id, ..Unreaped::default() });
            }
            all_stored &= self.table.contains_key(place);
        }
        let entries = self.entries();
        self.ledger.walk(&entries, self.now);
        let present: HashSet<ProcessId> = exited.iter().map(|(id, ..)| *id).collect();
        for (id, was) in self.ledger.resync(&present, &entries) {
            self.close(id, was);
        }
        self.reconciled = self.now;
        let soon = !all_stored || self.ledger.is_resyncing();
        self.reconcile = self.now + if soon { RECONCILE_SOON } else { RECONCILE };
    }

    fn look(&mut self, due: Due) {
        let id = due.id;
        let settled = match self.life(&id) {
            Life::Zombie { exit_ns } => {
                if self.ledger.release(&id) {
                    assert!(self.held.remove(&id), "{id:?} was released and never held");
                }
                if !self.ledger.has_waited(&id, self.now) {
                    return;
                }
                let from = self.not_zombie.get(&id).copied().unwrap_or(exit_ns);
                assert!(self.now >= from + GRACE, "{id:?} is told within its grace period");
                if !due.is_told {
                    assert!(self.open.insert(id), "{id:?} is opened while it is open");
                    *self.opened.entry(id).or_default() += 1;
                }
                Settled::Told
            }
            Life::Exiting { held: true, .. } => {
                self.held.insert(id);
                Settled::Held
            }
            Life::Living => panic!("{id:?} lives, and is looked at"),
            Life::Exiting { .. } | Life::Gone => Settled::NotYet,
        };
        if !due.is_told && settled != Settled::Told {
            self.not_zombie.insert(id, self.now);
        }
        self.ledger.settle(&id, settled, self.now);
    }

    fn close(&mut self, id: ProcessId, was: Was) {
        assert_eq!(self.life(&id), Life::Gone, "{id:?} is closed and not reaped");
        match was {
            Was::Told => assert!(self.open.remove(&id), "{id:?} is closed and not open"),
            Was::Held => assert!(self.held.remove(&id), "{id:?} is released and not held"),
        }
    }

    /// What is in the table, by what it does.
    fn stored(&self, does: impl Fn(Life) -> bool) -> BTreeSet<ProcessId> {
        let stored =
            |place: &usize, id: &ProcessId| self.table.get(place).is_some_and(|entry| entry.id == *id);
        let those = self.processes.iter().filter(|(id, place, life)| does(*life) && stored(place, id));
        those.map(|(id, ..)| *id).collect()
    }

    fn zombies(&self) -> BTreeSet<ProcessId> {
        self.stored(|life| matches!(life, Life::Zombie { .. }))
    }

    fn held_in_exit(&self) -> BTreeSet<ProcessId> {
        self.stored(|life| matches!(life, Life::Exiting { held: true, .. }))
    }
}

proptest! {
    #[test]
    fn in_any_order_what_is_told_is_true_and_in_the_end_it_is_all(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
            prop_assert!(world.ledger.leftovers.len() <= SLOTS + ROOM + world.open.len() + world.held.len());
        }
        // Two reconciliations, two looks of each, and a look that comes as late as one does.
        world.run(&Step::Wait { ms: 2 * (RECONCILE + RECONCILE_SOON + RECHECK_MAX_NS) / MS });
        prop_assert_eq!(&world.open, &world.zombies(), "open, and what is unreaped");
        prop_assert_eq!(&world.held, &world.held_in_exit(), "told as held, and what is held");
        prop_assert!(world.opened.values().all(|times| *times == 1), "opened again: {:?}", world.opened);
        let now = world.now;
        let epochs = world.epochs();
        prop_assert!(!world.ledger.has_unknown(&epochs, now), "every tick walks the table");
        prop_assert!(!world.ledger.has_untold(&epochs), "every tick wants to reconcile");
        prop_assert!(!world.ledger.is_resyncing());
        prop_assert!(world.ledger.leftovers.len() <= world.table.len() + world.held.len());
    }
}
