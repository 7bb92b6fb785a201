//! Properties of the ledger that hold in any order of events: processes that exit, are reaped and freed, hooks that do
//! not run, a table that is full, ring events that are late or lost, and ticks in between.
//!
//! [`kernel`] is a model of the processes, and of the data that the hooks make from them. [`Watch`] reads these data
//! and drives the ledger as [`crate::observer`] does; it asks the model where the observer asks `/proc`. It checks
//! everything that the ledger reports:
//!
//! - a process that is reported is unreaped at that time, and a process that is closed is reaped;
//! - no process is reported within the grace period of its exit, or within the grace period since it was last seen not
//!   to be a zombie. A process that an earlier run has reported is reported at once;
//! - each finding is opened once and closed once;
//! - a reap is taken from its event, unless the event takes longer than two reconciliations.
//!
//! After a long enough time without events:
//!
//! - the open findings are exactly the unreaped processes and those that are stuck in exit. If one is stuck in exit and
//!   its exit was not seen, it is reported only when it is a zombie: the task iterator stores no others;
//! - there are no more walks, and only the periodic reconciliations. A process that is exiting and not in the table
//!   causes more of them: it may soon be a zombie;
//! - the ledger holds exactly the processes of the kernel's table. Before that it may hold more: a process that was not
//!   reported, and whose reap was not reported either, stays until the second reconciliation.

mod kernel;

use std::collections::BTreeSet;

use kernel::{Before, Event, Kernel, State};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::observer::{RECONCILE_NS, RECONCILE_SOON_NS, UNTOLD_TICKS};

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
/// No tick of the model takes longer. A tick uses the time when it began, so it may report a process that exits during
/// the tick this much too early.
const DURING: u64 = MILLISECOND;
/// The time between the ticks of a watch that nothing delays.
const TICK: u64 = 250 * MILLISECOND;

/// One step.
#[derive(Clone, Debug)]
enum Op {
    /// A process in the kernel takes a step.
    Kernel(Event),
    /// Nothing happens for this long; the machine may also be asleep.
    Wait(u64),
    /// The watch reads the ring.
    Drain,
    /// The watch ticks while the kernel continues with the events in `meanwhile`. It inspects at most `reviews` of the
    /// reported processes again.
    Tick { meanwhile: Vec<Event>, reviews: usize },
}

/// Drives the ledger, and remembers its reports.
struct Watch {
    kernel: Kernel,
    ledger: Ledger,
    grace_ns: u64,
    lost: u64,
    untold_ticks: u32,
    reconcile_ns: u64,
    reconciled_ns: u64,
    walks: u64,
    reconciliations: u64,
    /// The open findings: unreaped processes in `reported`, and processes that are stuck in exit in `held`.
    reported: BTreeSet<ProcessId>,
    held: BTreeSet<ProcessId>,
    /// All findings that this run has opened.
    ever_reported: BTreeSet<ProcessId>,
    ever_held: BTreeSet<ProcessId>,
    /// Processes that had exited before the watch.
    existing: HashSet<ProcessId>,
    /// How many missed exits the ledger has counted.
    found: u64,
    /// Due processes whose exits the hook missed.
    missed: BTreeSet<ProcessId>,
    /// Processes that an earlier run has reported.
    taken_over: BTreeSet<ProcessId>,
    /// When a process was last seen not to be a zombie.
    not_zombie: HashMap<ProcessId, u64>,
}

impl Watch {
    fn start(start_ns: u64, grace_ns: u64, before: &[Before]) -> Self {
        let mut ledger = Ledger::new(grace_ns);
        let mut kernel = Kernel::new(start_ns, ledger.report_after_ns());
        let left = kernel.begin(before);
        let existing = kernel.scan(true);
        ledger.begin(existing.iter().copied());
        let [mut reported, mut held] = [BTreeSet::new(), BTreeSet::new()];
        for (id, was) in left {
            assert!(existing.contains(&id));
            ledger.take_over(id, was, kernel.now_ns());
            match was {
                Was::Reported => reported.insert(id),
                Was::Stuck => held.insert(id),
            };
        }
        let now_ns = kernel.now_ns();
        Self {
            kernel,
            ledger,
            grace_ns,
            lost: 0,
            untold_ticks: 0,
            reconcile_ns: now_ns + RECONCILE_NS,
            reconciled_ns: now_ns,
            walks: 0,
            reconciliations: 0,
            existing,
            found: 0,
            missed: BTreeSet::new(),
            taken_over: &reported | &held,
            ever_held: held.clone(),
            ever_reported: BTreeSet::new(),
            reported,
            held,
            not_zombie: HashMap::new(),
        }
    }

    fn take(&mut self, op: &Op) {
        match op {
            Op::Kernel(event) => self.kernel.take(event),
            Op::Wait(ns) => self.kernel.wait(*ns),
            Op::Drain => self.drain(),
            Op::Tick { meanwhile, reviews } => self.tick(meanwhile, *reviews),
        }
        let mut known = [0; EPOCHS];
        for candidate in self.ledger.candidates.values() {
            known[cell(candidate.exit_ns)] += 1;
        }
        assert_eq!(self.ledger.known, known, "each candidate is counted in the cell of its exit");
    }

    fn drain(&mut self) {
        while let Some(reaped) = self.kernel.next_event() {
            if let Some(was) = self.ledger.reaped(&reaped) {
                self.close(&reaped.id, was);
            }
        }
    }

    fn tick(&mut self, meanwhile: &[Event], reviews: usize) {
        let mut meanwhile = meanwhile.iter();
        self.drain();
        let now_ns = self.kernel.now_ns();
        let lost = std::mem::replace(&mut self.lost, self.kernel.lost());
        if self.lost > lost {
            self.reconcile_by(now_ns);
        }
        let epochs = self.kernel.epochs();
        self.go_on(&mut meanwhile);
        if self.ledger.has_unknown(&epochs, now_ns) {
            self.walks += 1;
            self.ledger.walk(&self.kernel.table(), now_ns);
        }
        self.untold_ticks = if self.ledger.has_unreported(&epochs) { self.untold_ticks + 1 } else { 0 };
        if self.untold_ticks >= UNTOLD_TICKS {
            self.reconcile_by(now_ns);
        }
        if now_ns >= self.reconcile_ns {
            self.reconcile(now_ns, &mut meanwhile);
        }
        self.found += self.ledger.take_found();
        self.look_at_due(now_ns, reviews, &mut meanwhile);
        assert!(self.missed.len() as u64 <= self.found, "a missed exit is not counted");
    }

    fn reconcile_by(&mut self, now_ns: u64) {
        self.reconcile_ns = self.reconcile_ns.min(now_ns.max(self.reconciled_ns + RECONCILE_SOON_NS));
    }

    fn reconcile<'a>(&mut self, now_ns: u64, meanwhile: &mut impl Iterator<Item = &'a Event>) {
        self.reconciliations += 1;
        self.go_on(meanwhile);
        let present = self.kernel.scan(false);
        self.go_on(meanwhile);
        let entries = self.kernel.table();
        self.ledger.walk(&entries, now_ns);
        for (id, was) in self.ledger.reconcile(&present, &entries) {
            let since_ns = now_ns.saturating_sub(self.kernel.reaped_ns(&id).expect("it is reaped"));
            // Without a grace period, a process that exits between the two reads above is missing from the first of
            // them.
            let may_come = since_ns + DURING < RECONCILE_SOON_NS && self.grace_ns > 0;
            assert!(!may_come, "{id:?}: its event may still come");
            self.close(&id, was);
        }
        let all_stored = present.iter().all(|id| entries.iter().any(|entry| entry.id == *id));
        self.reconciled_ns = now_ns;
        let soon = !all_stored || self.ledger.is_reconciling();
        self.reconcile_ns = now_ns + if soon { RECONCILE_SOON_NS } else { RECONCILE_NS };
    }

    fn look_at_due<'a>(
        &mut self,
        now_ns: u64,
        reviews: usize,
        meanwhile: &mut impl Iterator<Item = &'a Event>,
    ) {
        let all_due = self.ledger.due(now_ns, reviews);
        assert!(
            all_due.iter().filter(|due| due.is_reported).count() <= reviews,
            "more is looked at again than allowed"
        );
        if all_due.is_empty() {
            return;
        }
        self.kernel.scan(false);
        for due in all_due {
            self.go_on(meanwhile);
            let id = due.id;
            if due.exit_ns.is_none() && !self.existing.contains(&id) {
                self.missed.insert(id);
            }
            if let (Some(exit_ns), Some(true_ns)) = (due.exit_ns, self.kernel.exit_ns(&id)) {
                assert_eq!(exit_ns, true_ns, "{id:?}: it exited then");
            }
            let settled = match self.kernel.state(&id) {
                Some(State::Zombie) => {
                    if self.ledger.release(&id, now_ns) {
                        self.not_zombie.insert(id, now_ns);
                        assert!(self.held.remove(&id), "{id:?}: what is released was held");
                    }
                    if !self.ledger.has_waited(&id, now_ns) {
                        continue;
                    }
                    self.open(&due, now_ns);
                    Settled::Reported
                }
                Some(State::Stuck) => {
                    assert!(self.has_waited(&id, now_ns), "{id:?}: reported as held within the grace period");
                    if self.held.insert(id) {
                        assert!(self.ever_held.insert(id), "{id:?}: reported twice as held");
                    }
                    self.not_zombie.insert(id, now_ns);
                    Settled::Stuck
                }
                Some(_) => {
                    self.not_zombie.insert(id, now_ns);
                    Settled::NotYet
                }
                None => Settled::NotYet,
            };
            self.ledger.settle(&id, settled, now_ns);
        }
    }

    /// Checks that the ledger may report a zombie, and opens its finding.
    fn open(&mut self, due: &Due, now_ns: u64) {
        let id = due.id;
        if due.is_reported {
            assert!(self.reported.contains(&id), "{id:?}: reported again and not open");
            return;
        }
        assert!(self.ever_reported.insert(id), "{id:?}: reported twice");
        self.reported.insert(id);
        assert!(!self.held.contains(&id), "{id:?}: reported while it is reported as held");
        assert!(self.has_waited(&id, now_ns), "{id:?}: reported within the grace period of its exit");
        let is_one = self.not_zombie.get(&id).is_none_or(|seen_ns| now_ns >= seen_ns + self.grace_ns);
        assert!(is_one, "{id:?}: no zombie within the grace period");
    }

    fn has_waited(&self, id: &ProcessId, now_ns: u64) -> bool {
        let exit_ns = self.kernel.exit_ns(id).expect("it has exited");
        self.taken_over.contains(id) || now_ns + DURING >= exit_ns + self.grace_ns
    }

    fn close(&mut self, id: &ProcessId, was: Was) {
        assert!(self.kernel.state(id).is_none(), "{id:?}: closed and not reaped");
        let open = match was {
            Was::Reported => &mut self.reported,
            Was::Stuck => &mut self.held,
        };
        assert!(open.remove(id), "{id:?}: closed as {was:?}, and not open");
    }

    /// Lets the kernel take the next event in the middle of a tick.
    fn go_on<'a>(&mut self, meanwhile: &mut impl Iterator<Item = &'a Event>) {
        if let Some(event) = meanwhile.next() {
            self.kernel.take(event);
        }
    }

    /// Ticks for this long, without events.
    fn watch_for(&mut self, ns: u64) {
        for _ in 0..ns / TICK {
            self.kernel.wait(TICK);
            self.take(&Op::Tick { meanwhile: Vec::new(), reviews: 1 });
        }
    }

    fn settles_down(&mut self) {
        self.kernel.come_to_rest();
        // Waits for two reconciliations, for the longest time between two inspections, and for the grace period of a
        // process that is found then, twice in case it was no zombie yet. The reporting age is added because a new
        // epoch makes a cell of the epoch table young again.
        self.watch_for(2 * RECONCILE_NS + MAX_REPORT_AFTER_NS + RECHECK_MAX_NS + 2 * self.grace_ns);
        let stored: BTreeSet<ProcessId> = self.kernel.table().iter().map(|entry| entry.id).collect();
        let [zombies, held, exiting] =
            [State::Zombie, State::Stuck, State::Exiting].map(|state| self.kernel.all_in(state));
        assert_eq!(self.reported, zombies, "what is reported is what is unreaped");
        assert_eq!(self.held, &held & &stored, "what is reported as held is what is held");

        let (walks, reconciliations) = (self.walks, self.reconciliations);
        self.watch_for(2 * RECONCILE_NS);
        assert_eq!(self.walks, walks, "walks do not end");
        if (&held | &exiting).is_subset(&stored) {
            assert!(self.reconciliations - reconciliations <= 2, "reconciliations do not end");
        }
        assert!(!self.ledger.has_unreported(&self.kernel.epochs()), "less is there than is known");
        let known: BTreeSet<ProcessId> = self.ledger.candidates.keys().copied().collect();
        assert_eq!(known, stored, "the ledger is the kernel's table");
    }
}

fn op() -> impl Strategy<Value = Op> {
    let wait = prop_oneof![
        (1..20u64).prop_map(|ms| ms * MILLISECOND),
        Just(TICK),
        (1..40u64).prop_map(|quarters| quarters * TICK),
        // The time between two reconciliations, and the time after which the epoch table wraps.
        Just(RECONCILE_NS),
        Just((EPOCHS as u64) << EPOCH_SHIFT),
    ];
    prop_oneof![
        6 => kernel::event().prop_map(Op::Kernel),
        3 => wait.prop_map(Op::Wait),
        1 => Just(Op::Drain),
        5 => (vec(kernel::event(), 0..4), 0..3usize)
            .prop_map(|(meanwhile, reviews)| Op::Tick { meanwhile, reviews }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_events_is_reported_correctly(
        start_ns in SECOND..200 * SECOND,
        grace_ns in prop::sample::select(vec![0, TICK, SECOND, 10 * SECOND, 45 * SECOND]),
        before in vec(kernel::before(), 0..=kernel::ROOM),
        ops in vec(op(), 0..80),
    ) {
        let mut watch = Watch::start(start_ns, grace_ns, &before);
        for op in &ops {
            watch.take(op);
        }
        watch.settles_down();
    }
}
