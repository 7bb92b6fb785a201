//! The model of the kernel: the true state of its processes, and the table, counts and ring that its hooks make from
//! the events that they see.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use proptest::prelude::*;
use supervisor_ebpf::{EPOCHS, ProcessId, Reaped, Unreaped};

use super::{super::cell, Was};

/// How many processes can exist at once.
const SLOTS: usize = 6;
/// How many entries the table can hold during the events. The processes from before the watch always fit.
pub(super) const ROOM: usize = 4;

/// The state of a process between its fork and its reap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Alive,
    /// Exited, and no zombie yet.
    Exiting,
    /// Exited, and no zombie as long as other processes are in its PID namespace.
    Stuck,
    Zombie,
}

/// The process in a slot takes its next step: fork, exit, (zombie,) reap, free.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    slot: usize,
    exit: Exit,
    /// Whether the hook runs.
    is_seen: bool,
    free: Free,
}

/// How a process exits.
#[derive(Clone, Copy, Debug)]
enum Exit {
    AtOnce,
    Slowly,
    Stuck,
}

/// The fate of the event of a free that a hook saw.
#[derive(Clone, Copy, Debug)]
enum Free {
    Told,
    /// The event reaches the ring only together with the next one.
    Late,
    /// The ring has no room for the event.
    Lost,
}

/// The process that was in a slot before the watch.
#[derive(Clone, Copy, Debug)]
pub(super) enum Before {
    Nothing,
    Is(State),
    /// A zombie or a process that is stuck in exit, which an earlier run has reported as [`Was`] says.
    Told(Was, State),
}

/// A task structure.
#[derive(Clone, Copy, Debug)]
struct Task {
    id: ProcessId,
    exit_ns: u64,
    /// `None` once it is reaped, and only its free is missing.
    state: Option<State>,
}

#[derive(Debug)]
pub(super) struct Kernel {
    now_ns: u64,
    report_after_ns: u64,
    slots: [Option<Task>; SLOTS],
    unreaped: BTreeMap<ProcessId, Unreaped>,
    room: usize,
    epochs: [u64; EPOCHS],
    ring: VecDeque<Reaped>,
    late: VecDeque<Reaped>,
    lost: u64,
    reaped: HashMap<ProcessId, u64>,
}

impl Kernel {
    pub(super) fn new(now_ns: u64, report_after_ns: u64) -> Self {
        Self {
            now_ns,
            report_after_ns,
            slots: [None; SLOTS],
            unreaped: BTreeMap::new(),
            room: ROOM,
            epochs: [0; EPOCHS],
            ring: VecDeque::new(),
            late: VecDeque::new(),
            lost: 0,
            reaped: HashMap::new(),
        }
    }

    /// Adds the processes from before the hooks. Returns those that an earlier run has reported.
    pub(super) fn begin(&mut self, before: &[Before]) -> Vec<(ProcessId, Was)> {
        let mut left = Vec::new();
        for (slot, before) in before.iter().enumerate() {
            let state = match before {
                Before::Nothing => continue,
                Before::Is(state) | Before::Told(_, state) => *state,
            };
            let id = ProcessId::new(self.free_pid(), 1);
            self.slots[slot] = Some(Task { id, exit_ns: self.now_ns / 2, state: Some(state) });
            if let Before::Told(was, _) = before {
                left.push((id, *was));
            }
        }
        left
    }

    /// Advances the time with each event, so that start times differ.
    fn tick(&mut self) -> u64 {
        self.now_ns += 1;
        self.now_ns
    }

    pub(super) fn wait(&mut self, ns: u64) {
        self.now_ns += ns;
    }

    pub(super) fn take(&mut self, event: &Event) {
        let now_ns = self.tick();
        let slot = event.slot;
        let Some(mut task) = self.slots[slot] else {
            let id = ProcessId::new(self.free_pid(), now_ns);
            self.slots[slot] = Some(Task { id, exit_ns: 0, state: Some(State::Alive) });
            return;
        };
        task.state = match task.state {
            Some(State::Alive) => {
                task.exit_ns = now_ns;
                // `sched_process_exit` in `supervisor-ebpf/src/exit.rs`.
                self.lost += u64::from(event.is_seen && !self.store(Unreaped::new(task.id, now_ns, 0)));
                Some(match event.exit {
                    Exit::AtOnce => State::Zombie,
                    Exit::Slowly => State::Exiting,
                    Exit::Stuck => State::Stuck,
                })
            }
            Some(State::Exiting | State::Stuck) => Some(State::Zombie),
            Some(State::Zombie) => {
                self.reaped.insert(task.id, now_ns);
                None
            }
            None => {
                if event.is_seen {
                    self.free_hook(slot, event.free);
                }
                self.slots[slot] = None;
                return;
            }
        };
        self.slots[slot] = Some(task);
    }

    /// The lowest free pid, so that pids are reused as soon as possible.
    fn free_pid(&self) -> u32 {
        let used =
            |pid: &u32| self.slots.iter().flatten().any(|task| task.id.tgid == *pid && task.state.is_some());
        (1..=SLOTS as u32 + 1).find(|pid| !used(pid)).expect("there are more pids than slots")
    }

    /// Stores an entry as the exit hook and the iterator do (`supervisor-ebpf/src/unreaped.rs`). Returns false if the
    /// table is full.
    fn store(&mut self, unreaped: Unreaped) -> bool {
        if self.unreaped.contains_key(&unreaped.id) {
            return true;
        }
        // The slot of a process whose free was not seen is given to the next process.
        let is_left_over = |id: &&ProcessId| id.tgid == unreaped.id.tgid && self.slot_of(id).is_none();
        if let Some(id) = self.unreaped.keys().find(is_left_over).copied() {
            self.drop_entry(&id);
        }
        if self.unreaped.len() >= self.room {
            return false;
        }
        self.unreaped.insert(unreaped.id, unreaped);
        self.count(unreaped.exit_ns, 1);
        true
    }

    fn drop_entry(&mut self, id: &ProcessId) {
        if let Some(entry) = self.unreaped.remove(id) {
            self.count(entry.exit_ns, -1);
        }
    }

    /// `sched_process_free` in `supervisor-ebpf/src/free.rs`.
    fn free_hook(&mut self, slot: usize, free: Free) {
        let Some(id) = self.slots[slot].map(|task| task.id) else { return };
        let Some(Unreaped { exit_ns, .. }) = self.unreaped.get(&id).copied() else { return };
        self.drop_entry(&id);
        let reaped = Reaped { id, exit_ns, free_ns: self.now_ns, ..Reaped::default() };
        if reaped.free_ns - exit_ns < self.report_after_ns {
            return;
        }
        match free {
            Free::Told => {
                self.ring.append(&mut self.late);
                self.ring.push_back(reaped);
            }
            Free::Late => self.late.push_back(reaped),
            Free::Lost => self.lost += 1,
        }
    }

    fn count(&mut self, exit_ns: u64, by: i64) {
        let count = &mut self.epochs[cell(exit_ns)];
        *count = count.wrapping_add_signed(by);
    }

    /// The task iterator in `supervisor-ebpf/src/task.rs`. Returns the processes that have exited.
    pub(super) fn scan(&mut self, is_seed: bool) -> HashSet<ProcessId> {
        let mut exited = HashSet::new();
        for slot in 0..SLOTS {
            let Some(Task { id, state: Some(state), .. }) = self.slots[slot] else { continue };
            if state == State::Alive {
                continue;
            }
            exited.insert(id);
            if state == State::Zombie || is_seed {
                self.store(Unreaped::new(id, 0, 0));
            }
        }
        exited
    }

    /// Makes room in the table for all entries, and delivers the events that were late.
    pub(super) fn come_to_rest(&mut self) {
        self.room = usize::MAX;
        self.ring.append(&mut self.late);
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.now_ns
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    pub(super) fn epochs(&self) -> [u64; EPOCHS] {
        self.epochs
    }

    pub(super) fn table(&self) -> Vec<Unreaped> {
        self.unreaped.values().copied().collect()
    }

    pub(super) fn next_event(&mut self) -> Option<Reaped> {
        self.ring.pop_front()
    }

    fn slot_of(&self, id: &ProcessId) -> Option<usize> {
        self.slots.iter().position(|task| task.is_some_and(|task| task.id == *id))
    }

    fn task(&self, id: &ProcessId) -> Option<Task> {
        self.slot_of(id).and_then(|slot| self.slots[slot])
    }

    /// The state that `/proc` shows; none for a process that is reaped.
    pub(super) fn state(&self, id: &ProcessId) -> Option<State> {
        self.task(id)?.state
    }

    pub(super) fn exit_ns(&self, id: &ProcessId) -> Option<u64> {
        Some(self.task(id)?.exit_ns)
    }

    pub(super) fn reaped_ns(&self, id: &ProcessId) -> Option<u64> {
        self.reaped.get(id).copied()
    }

    pub(super) fn all_in(&self, state: State) -> BTreeSet<ProcessId> {
        self.slots.iter().flatten().filter(|task| task.state == Some(state)).map(|task| task.id).collect()
    }
}

pub(super) fn event() -> impl Strategy<Value = Event> {
    let exit = prop_oneof![4 => Just(Exit::AtOnce), 1 => Just(Exit::Slowly), 1 => Just(Exit::Stuck)];
    let free = prop_oneof![
        6 => Just(Free::Told),
        2 => Just(Free::Late),
        2 => Just(Free::Lost)
    ];
    (0..SLOTS, exit, prop::bool::weighted(0.8), free).prop_map(|(slot, exit, is_seen, free)| Event {
        slot,
        exit,
        is_seen,
        free,
    })
}

pub(super) fn before() -> impl Strategy<Value = Before> {
    use State::{Alive, Exiting, Stuck, Zombie};
    prop::sample::select(vec![
        Before::Nothing,
        Before::Is(Alive),
        Before::Is(Exiting),
        Before::Is(Stuck),
        Before::Is(Zombie),
        Before::Told(Was::Reported, Zombie),
        Before::Told(Was::Stuck, Stuck),
        // It became a zombie between the runs.
        Before::Told(Was::Stuck, Zombie),
    ])
}
