//! Unit tests of the ledger: each test passes in a short sequence of observations.

use super::*;

const SECOND: u64 = 1_000_000_000;
/// Far from the wrap of the epoch table, and not at the start of an epoch.
const T: u64 = 1_000 * SECOND + 123_456_789;

fn id(tgid: u32) -> ProcessId {
    ProcessId::new(tgid, u64::from(tgid) * 1000)
}

fn entry(tgid: u32, exit_ns: u64) -> Unreaped {
    Unreaped::new(id(tgid), exit_ns, 0)
}

fn epochs(entries: &[Unreaped]) -> [u64; EPOCHS] {
    let mut epochs = [0; EPOCHS];
    for entry in entries {
        epochs[cell(entry.exit_ns)] += 1;
    }
    epochs
}

fn reaped(tgid: u32, exit_ns: u64) -> Reaped {
    Reaped { id: id(tgid), exit_ns, free_ns: exit_ns + 5 * SECOND, ..Reaped::default() }
}

#[test]
fn a_finding_is_opened_once_and_closed_once() {
    let mut ledger = Ledger::new(SECOND);
    let entries = [entry(7, T)];
    let epochs = epochs(&entries);
    assert!(!ledger.has_unknown(&epochs, T + SECOND / 2), "within the grace period nothing is looked for");
    let now = T + SECOND + 1;
    assert!(ledger.has_unknown(&epochs, now));
    ledger.walk(&entries, now);
    assert_eq!(ledger.all_due(now), [Due { id: id(7), exit_ns: Some(T), is_reported: false }]);
    ledger.settle(&id(7), Settled::Reported, now);
    assert!(ledger.all_due(now + SECOND).is_empty());
    assert!(!ledger.has_unknown(&epochs, now + SECOND), "an open finding costs no more walks");
    ledger.walk(&entries, now + SECOND);
    assert_eq!(ledger.take_found(), 0, "its exit was seen");
    assert_eq!(ledger.reaped(&reaped(7, T)), Some(Was::Reported));
    assert_eq!(ledger.reaped(&reaped(7, T)), None);
    assert!(!ledger.has_unreported(&[0; EPOCHS]));
}

#[test]
fn an_unwanted_process_is_due_once_and_its_end_is_not_reported() {
    let mut ledger = Ledger::new(SECOND);
    let entries = [entry(7, T)];
    let now = T + SECOND + 1;
    ledger.walk(&entries, now);
    ledger.settle(&id(7), Settled::Unwanted, now);
    assert!(ledger.all_due(now + 600 * SECOND).is_empty());
    assert!(!ledger.has_unknown(&epochs(&entries), now + SECOND), "it costs no more walks");
    assert_eq!(ledger.reaped(&reaped(7, T)), None);
    assert!(!ledger.has_unreported(&[0; EPOCHS]));
}

#[test]
fn a_walk_is_needed_as_soon_as_the_grace_period_is_over() {
    let ledger = Ledger::new(SECOND);
    let epochs = epochs(&[entry(7, T)]);
    assert!(ledger.has_unknown(&epochs, T + SECOND), "it is looked for as soon as the grace period is over");
}

#[test]
fn a_process_that_is_no_zombie_is_inspected_again_after_longer_and_longer_times() {
    let mut ledger = Ledger::new(SECOND);
    let mut now = T + SECOND;
    ledger.walk(&[entry(7, T)], now);
    let mut looks = 0;
    while now < T + 61 * SECOND {
        if !ledger.all_due(now).is_empty() {
            looks += 1;
            ledger.settle(&id(7), Settled::NotYet, now);
        }
        now += SECOND / 4;
    }
    assert!((8..=16).contains(&looks), "{looks} looks in a minute");
    assert_eq!(ledger.reaped(&reaped(7, T)), None, "never reported, so nothing closes");
    assert!(ledger.all_due(now + 100 * SECOND).is_empty());
}

#[test]
fn a_process_with_an_unknown_exit_time_gets_the_whole_grace_period() {
    let mut ledger = Ledger::new(SECOND);
    let entries = [entry(7, 0)];
    assert!(ledger.has_unknown(&epochs(&entries), T));
    ledger.walk(&entries, T);
    assert!(ledger.all_due(T + SECOND - 1).is_empty());
    assert_eq!(ledger.all_due(T + SECOND), [Due { id: id(7), exit_ns: None, is_reported: false }]);
}

#[test]
fn each_missed_exit_is_counted_once_whichever_walk_finds_it() {
    let mut ledger = Ledger::new(SECOND);
    ledger.begin([id(6)]);
    ledger.walk(&[entry(6, 0), entry(7, T), entry(8, 0)], T + SECOND);
    ledger.walk(&[entry(6, 0), entry(8, 0), entry(9, 0)], T + 2 * SECOND);
    assert_eq!(ledger.take_found(), 2, "8 and 9: the exit of 7 was seen, and 6 exited before the watch");
    ledger.walk(&[entry(6, 0), entry(8, 0), entry(9, 0)], T + 3 * SECOND);
    assert_eq!(ledger.take_found(), 0);
}

#[test]
fn long_grace_periods_wait_without_walks() {
    let mut ledger = Ledger::new(600 * SECOND);
    assert_eq!(ledger.report_after_ns(), MAX_REPORT_AFTER_NS);
    let entries = [entry(7, T)];
    ledger.walk(&entries, T + 31 * SECOND);
    assert!(!ledger.has_unknown(&epochs(&entries), T + 60 * SECOND));
    assert!(ledger.all_due(T + 599 * SECOND).is_empty());
    assert_eq!(ledger.all_due(T + 600 * SECOND).len(), 1);
}

#[test]
fn a_reported_process_is_inspected_again_after_longer_and_longer_times() {
    let mut ledger = Ledger::new(SECOND);
    let mut now = T + 2 * SECOND;
    ledger.walk(&[entry(7, T)], now);
    ledger.settle(&id(7), Settled::Reported, now);
    let mut looks = 0;
    while now < T + 3600 * SECOND {
        if let [due] = ledger.all_due(now)[..] {
            assert!(due.is_reported);
            looks += 1;
            ledger.settle(&id(7), if looks % 2 == 0 { Settled::Reported } else { Settled::NotYet }, now);
        }
        now += SECOND / 4;
    }
    assert!((15..=25).contains(&looks), "{looks} looks in an hour");
    assert_eq!(ledger.reaped(&reaped(7, T)), Some(Was::Reported), "reported once, it closes");
}

#[test]
fn a_process_stuck_in_exit_and_a_zombie_are_reported_separately() {
    let mut ledger = Ledger::new(SECOND);
    let now = T + 2 * SECOND;
    ledger.walk(&[entry(7, T), entry(8, T)], now);
    ledger.settle(&id(7), Settled::Stuck, now);
    ledger.settle(&id(8), Settled::Stuck, now);
    ledger.settle(&id(7), Settled::NotYet, now + SECOND / 4);
    assert_eq!(ledger.reaped(&reaped(7, T)), Some(Was::Stuck));
    // The other one can finish, and then stays a zombie.
    let released = now + 5 * SECOND;
    assert!(ledger.release(&id(8), released));
    assert!(!ledger.release(&id(8), released + SECOND / 2), "that is reported once");
    assert!(!ledger.has_waited(&id(8), released), "its parent could not reap it before");
    assert!(!ledger.has_waited(&id(8), released + SECOND / 2));
    let later = released + SECOND;
    assert!(ledger.has_waited(&id(8), later));
    ledger.settle(&id(8), Settled::Reported, later);
    assert_eq!(ledger.reaped(&reaped(8, T)), Some(Was::Reported));
}

#[test]
fn a_finding_whose_reap_was_lost_is_closed_by_the_second_reconciliation() {
    let mut ledger = Ledger::new(SECOND);
    let now = T + 2 * SECOND;
    ledger.walk(&[entry(7, T), entry(8, T)], now);
    for tgid in [7, 8] {
        ledger.settle(&id(tgid), Settled::Reported, now);
    }
    let left = [entry(8, T)];
    assert!(ledger.has_unreported(&epochs(&left)));
    assert!(ledger.reconcile(&present(&[8]), &left).is_empty(), "its event may be on the way");
    assert!(ledger.is_reconciling());
    assert_eq!(ledger.reconcile(&present(&[8]), &left), [(id(7), Was::Reported)]);
    assert!(!ledger.is_reconciling());
    assert!(!ledger.has_unreported(&epochs(&left)));
    assert_eq!((ledger.reported(), ledger.stale_entries()), (1, 0));
}

#[test]
fn a_finding_whose_free_was_missed_is_closed_and_its_entry_is_stale() {
    let mut ledger = Ledger::new(SECOND);
    let now = T + 2 * SECOND;
    let stale = [entry(7, T)];
    ledger.walk(&stale, now);
    ledger.settle(&id(7), Settled::Reported, now);
    assert!(ledger.reconcile(&present(&[]), &stale).is_empty());
    assert_eq!(ledger.reconcile(&present(&[]), &stale), [(id(7), Was::Reported)]);
    assert_eq!((ledger.reported(), ledger.stale_entries()), (0, 1));
    assert!(!ledger.is_reconciling());
    assert!(!ledger.has_unknown(&epochs(&stale), now), "a stale entry costs no walks");
    ledger.walk(&stale, now);
    assert!(ledger.all_due(now + 10 * SECOND).is_empty(), "and is never reported again");
    assert!(ledger.reconcile(&present(&[]), &stale).is_empty());
    assert!(!ledger.is_reconciling());
    // The next process that exits in this slot replaces the stale entry.
    let reused = [entry(9, now)];
    assert!(ledger.has_unreported(&epochs(&reused)));
    ledger.reconcile(&present(&[9]), &reused);
    ledger.reconcile(&present(&[9]), &reused);
    assert_eq!(ledger.stale_entries(), 0);
    assert!(!ledger.has_unreported(&epochs(&reused)));
}

fn present(tgids: &[u32]) -> HashSet<ProcessId> {
    tgids.iter().map(|tgid| id(*tgid)).collect()
}

impl Ledger {
    /// All candidates that are due, without a limit.
    pub(super) fn all_due(&mut self, now_ns: u64) -> Vec<Due> {
        self.due(now_ns, usize::MAX)
    }

    fn stale_entries(&self) -> usize {
        self.candidates.values().filter(|candidate| candidate.state == State::Stale).count()
    }

    fn reported(&self) -> usize {
        self.candidates.values().filter(|candidate| candidate.state == State::Reported).count()
    }
}

#[test]
fn a_reused_pid_is_another_process() {
    let mut ledger = Ledger::new(SECOND);
    let now = T + 2 * SECOND;
    ledger.walk(&[entry(7, T)], now);
    ledger.settle(&id(7), Settled::Reported, now);
    let successor = ProcessId::new(7, T);
    let event = Reaped { id: successor, exit_ns: now, free_ns: now + 3 * SECOND, ..Reaped::default() };
    assert_eq!(ledger.reaped(&event), None, "the successor's reap does not close the finding");
    assert_eq!(ledger.reported(), 1);
}

#[test]
fn a_decrement_that_overtakes_its_increment_causes_no_walk() {
    let ledger = Ledger::new(SECOND);
    let mut epochs = [0; EPOCHS];
    epochs[cell(T)] = u64::MAX;
    assert!(!ledger.has_unknown(&epochs, T + 2 * SECOND));
}

#[test]
fn the_grace_period_begins_when_the_process_is_a_zombie() {
    let mut ledger = Ledger::new(SECOND);
    ledger.walk(&[entry(7, T)], T + SECOND);
    let slow = T + SECOND + SECOND / 2;
    ledger.settle(&id(7), Settled::NotYet, slow);
    let now = slow + SECOND / 4;
    assert_eq!(ledger.all_due(now).len(), 1);
    assert!(!ledger.has_waited(&id(7), now), "it was no zombie a quarter of a second ago");
    assert!(ledger.all_due(slow + SECOND - 1).is_empty());
    assert_eq!(ledger.all_due(slow + SECOND).len(), 1);
    assert!(ledger.has_waited(&id(7), slow + SECOND));
}

#[test]
fn the_number_of_reviews_is_bounded_and_each_reported_process_gets_its_turn() {
    let mut ledger = Ledger::new(SECOND);
    let now = T + 2 * SECOND;
    let entries: Vec<Unreaped> = (1..=10).map(|tgid| entry(tgid, T)).collect();
    ledger.walk(&entries, now);
    for (id, wait) in (1..=10).map(id).zip(0..) {
        ledger.settle(&id, Settled::Reported, now + wait);
    }
    ledger.walk(&[entry(11, T)], now);
    let mut later = now + 10 * SECOND;
    assert_eq!(
        ledger.due(later, 0),
        [Due { id: id(11), exit_ns: Some(T), is_reported: false }],
        "what is new has no limit"
    );
    ledger.settle(&id(11), Settled::Reported, later);
    let mut reviewed = Vec::new();
    for _ in 0..4 {
        let due = ledger.due(later, 3);
        for Due { id, .. } in due {
            reviewed.push(id.tgid);
            ledger.settle(&id, Settled::Reported, later);
        }
        later += 1;
    }
    assert_eq!(reviewed, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert!(ledger.due(later, 3).is_empty());
}
