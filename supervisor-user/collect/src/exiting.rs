//! Remembers the processes that were told to exit and have not, and decides when to inspect each. Pure: the caller
//! passes in each observation and its time.
//!
//! Almost every process exits at once. So a process counts only if it is still there after a grace period, and if two
//! inspections find each of its threads asleep in the same kernel function.

use std::collections::HashMap;

use supervisor_ebpf::ProcessId;
use supervisor_model::evidence::Evidence;

/// The second inspection comes this long after the first.
const CONFIRM_NS: u64 = 500_000_000;
/// A process that runs, so that it may end by itself, is inspected again after this long.
const RUNNING_NS: u64 = 1_000_000_000;
/// PID 1 of a PID namespace that waits for the others in it is inspected again after this long.
const NAMESPACE_NS: u64 = 30_000_000_000;
/// A scan searches for the end of a reported process this often.
const END_NS: u64 = 1_000_000_000;
/// A reported process is inspected again after this time; the time doubles after each inspection.
const REVIEW_NS: u64 = 2_000_000_000;
/// The upper bound of that time.
const REVIEW_MAX_NS: u64 = 300_000_000_000;
/// Scans of all processes are at least this far apart.
const SCAN_PAUSE_NS: u64 = 250_000_000;
/// They are also at least this many times as far apart as the tick takes up to the result of the scan. So this part
/// takes 2 % of a processor at most. The bound does not include the scan and the inspections that follow if a process
/// is due.
const SCAN_PAUSE: u64 = 50;
/// How many processes are remembered at most. Others are remembered later, when some of these are gone.
const MAX_KNOWN: usize = 4096;
/// How many processes are inspected after one scan at most; the others stay due.
const MAX_DUE: usize = 64;

/// Processes that were told to exit and have not.
#[derive(Debug)]
pub struct Exiting {
    grace_ns: u64,
    known: HashMap<ProcessId, Known>,
    /// When the next scan is needed.
    scan_ns: u64,
    /// No scan comes before this.
    pause_ns: u64,
}

#[derive(Debug)]
struct Known {
    /// When it was told to exit, if that was seen.
    since_ns: Option<u64>,
    next_ns: u64,
    review_ns: u64,
    place: Option<SleepingThreads>,
    is_reported: bool,
}

/// Where the threads of a process sleep: thread id, state and kernel function of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SleepingThreads(Vec<(u32, char, Option<String>)>);

/// The result of an inspection.
#[derive(Debug)]
pub enum Inspected {
    /// No thread can run.
    Asleep(SleepingThreads),
    /// A thread runs, or the process dumps core, so it may end by itself. Or the process has just ended.
    Running,
    /// It is PID 1 of a PID namespace and waits for the others in it, which is another finding.
    HoldsNamespace,
}

/// The conclusion from an inspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitVerdict {
    /// It cannot exit.
    Stuck,
    /// It was reported, and is now found to wait for the others in its PID namespace, which is another finding. A
    /// reported process that runs again gets [`ExitVerdict::Nothing`], and [`Exiting::scanned`] returns a reported process
    /// that is gone.
    Finished,
    /// Nothing yet, or nothing new.
    Nothing,
}

impl Exiting {
    /// Starts without processes. A process is stuck if it does not exit for `grace_ns`.
    #[must_use]
    pub fn new(grace_ns: u64) -> Self {
        Self { grace_ns, known: HashMap::new(), scan_ns: u64::MAX, pause_ns: 0 }
    }

    /// Notes that a process was killed at this time: a scan must search for it once the grace period is over.
    pub fn killed(&mut self, at_ns: u64) {
        self.scan_ns = self.scan_ns.min(at_ns.saturating_add(self.grace_ns));
    }

    /// Adds a process that was told to exit and has not; `since_ns` is when it was told, if that is known.
    pub fn seen(&mut self, id: ProcessId, since_ns: Option<u64>, now_ns: u64) {
        if self.known.contains_key(&id) || self.known.len() >= MAX_KNOWN {
            return;
        }
        let next_ns = since_ns.unwrap_or(now_ns).saturating_add(self.grace_ns);
        self.known
            .insert(id, Known { since_ns, next_ns, review_ns: REVIEW_NS, place: None, is_reported: false });
        self.scan_ns = self.scan_ns.min(next_ns);
    }

    /// Takes over a process that an earlier run has reported. Returns false if the process is gone.
    pub fn take_over(&mut self, id: &ProcessId, since_ns: Option<u64>) -> bool {
        let Some(known) = self.known.get_mut(id) else { return false };
        (known.since_ns, known.next_ns, known.is_reported) = (since_ns.or(known.since_ns), 0, true);
        self.scan_ns = 0;
        true
    }

    /// How long a process must not have exited to be stuck.
    #[must_use]
    pub fn grace_ns(&self) -> u64 {
        self.grace_ns
    }

    /// Whether no process is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether the processes are to be scanned now.
    #[must_use]
    pub fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.scan_ns.max(self.pause_ns)
    }

    /// Takes the result of a scan: all processes that were told to exit and have not, each with the time when it was
    /// told, if that is known. Returns the reported processes that are not among them. `took_ns` is how long the caller
    /// took up to this result; it sets the pause before the next scan.
    pub fn scanned(
        &mut self,
        present: &[(ProcessId, Option<u64>)],
        now_ns: u64,
        took_ns: u64,
    ) -> Vec<ProcessId> {
        let mut finished = Vec::new();
        self.known.retain(|id, known| {
            let stays = present.iter().any(|(other, _)| other == id);
            if !stays && known.is_reported {
                finished.push(*id);
            }
            stays
        });
        for (id, since_ns) in present {
            self.seen(*id, *since_ns, now_ns);
        }
        self.pause_ns = now_ns + SCAN_PAUSE_NS.max(took_ns.saturating_mul(SCAN_PAUSE));
        self.plan(now_ns);
        finished.sort_unstable();
        finished
    }

    /// The processes to inspect now, each with the time when it was told to exit.
    #[must_use]
    pub fn due(&self, now_ns: u64) -> Vec<(ProcessId, Option<u64>)> {
        let mut due: Vec<_> = self
            .known
            .iter()
            .filter(|(_, known)| known.next_ns <= now_ns)
            .map(|(id, known)| (known.next_ns, *id, known.since_ns))
            .collect();
        due.sort_unstable();
        due.truncate(MAX_DUE);
        due.into_iter().map(|(_, id, since_ns)| (id, since_ns)).collect()
    }

    /// The processes that were found to be stuck, each with the time when it was told to exit.
    pub fn stuck(&self) -> impl Iterator<Item = (ProcessId, Option<u64>)> {
        self.known.iter().filter(|(_, known)| known.is_reported).map(|(id, known)| (*id, known.since_ns))
    }

    /// Whether no more can be learned about the known processes before `until_ns`.
    #[must_use]
    pub fn is_settled(&self, until_ns: u64) -> bool {
        self.known.values().all(|known| known.is_reported || known.next_ns > until_ns)
    }

    /// Takes the result of an inspection.
    pub fn settle(&mut self, id: &ProcessId, inspected: Inspected, now_ns: u64) -> ExitVerdict {
        let Some(known) = self.known.get_mut(id) else { return ExitVerdict::Nothing };
        let verdict = match inspected {
            Inspected::Running => {
                known.place = None;
                known.next_ns = now_ns + RUNNING_NS;
                ExitVerdict::Nothing
            }
            Inspected::HoldsNamespace => {
                known.place = None;
                known.next_ns = now_ns + NAMESPACE_NS;
                if std::mem::take(&mut known.is_reported) {
                    ExitVerdict::Finished
                } else {
                    ExitVerdict::Nothing
                }
            }
            Inspected::Asleep(place) if known.is_reported || known.place.as_ref() == Some(&place) => {
                known.place = Some(place);
                known.is_reported = true;
                known.next_ns = now_ns + known.review_ns;
                known.review_ns = (known.review_ns * 2).min(REVIEW_MAX_NS);
                ExitVerdict::Stuck
            }
            Inspected::Asleep(place) => {
                known.place = Some(place);
                known.next_ns = now_ns + CONFIRM_NS;
                ExitVerdict::Nothing
            }
        };
        self.plan(now_ns);
        verdict
    }

    /// Sets when the next scan is needed.
    fn plan(&mut self, now_ns: u64) {
        let next = |known: &Known| {
            if known.is_reported { known.next_ns.min(now_ns + END_NS) } else { known.next_ns }
        };
        self.scan_ns = self.known.values().map(next).min().unwrap_or(u64::MAX);
    }
}

impl Inspected {
    /// Reads the result from the evidence. The process must not be a PID 1 that waits for the others in its PID
    /// namespace.
    #[must_use]
    pub fn of(evidence: &Evidence) -> Self {
        let facts = &evidence.facts;
        let own = [(facts.pid, facts.state, facts.wchan.clone())];
        let threads = evidence.threads.iter().map(|it| (it.tid, it.state, it.wchan.clone()));
        let mut live: Vec<_> =
            own.into_iter().chain(threads).filter(|(_, state, _)| !matches!(state, 'Z' | 'X')).collect();
        live.sort_unstable();
        live.dedup();
        if facts.dumps_core || live.is_empty() || live.iter().any(|(_, state, _)| *state == 'R') {
            return Self::Running;
        }
        Self::Asleep(SleepingThreads(live))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const ID: ProcessId = ProcessId::new(7, 70);

    fn asleep(wchan: &str) -> Inspected {
        Inspected::Asleep(SleepingThreads(vec![(7, 'D', Some(wchan.to_owned()))]))
    }

    fn inspect(exiting: &mut Exiting, inspected: Inspected, now_ns: u64) -> ExitVerdict {
        assert_eq!(exiting.due(now_ns).len(), 1, "it is due");
        exiting.settle(&ID, inspected, now_ns)
    }

    #[test]
    fn nothing_is_scanned_before_the_grace_period_of_a_kill_is_over() {
        let mut exiting = Exiting::new(5 * S);
        assert!(!exiting.is_due(100 * S), "nothing was killed");
        exiting.killed(100 * S);
        assert!(!exiting.is_due(104 * S));
        assert!(exiting.is_due(105 * S));
        assert!(exiting.scanned(&[], 105 * S, 0).is_empty());
        assert!(!exiting.is_due(200 * S), "it has exited");
    }

    #[test]
    fn a_process_is_stuck_only_if_two_inspections_find_it_asleep_in_the_same_function() {
        let mut exiting = Exiting::new(5 * S);
        exiting.scanned(&[(ID, Some(100 * S))], 105 * S, 0);
        assert_eq!(inspect(&mut exiting, asleep("a"), 105 * S), ExitVerdict::Nothing);
        assert_eq!(inspect(&mut exiting, asleep("b"), 106 * S), ExitVerdict::Nothing);
        assert_eq!(inspect(&mut exiting, Inspected::Running, 107 * S), ExitVerdict::Nothing);
        assert_eq!(inspect(&mut exiting, asleep("b"), 108 * S), ExitVerdict::Nothing);
        assert_eq!(inspect(&mut exiting, asleep("b"), 109 * S), ExitVerdict::Stuck);
        assert_eq!(exiting.stuck().collect::<Vec<_>>(), [(ID, Some(100 * S))]);
        assert_eq!(exiting.scanned(&[], 110 * S, 0), [ID]);
        assert!(exiting.is_empty());
    }

    #[test]
    fn an_init_that_waits_for_its_pid_namespace_is_not_stuck() {
        let mut exiting = Exiting::new(0);
        exiting.scanned(&[(ID, Some(S))], S, 0);
        assert_eq!(inspect(&mut exiting, asleep("a"), S), ExitVerdict::Nothing);
        assert_eq!(inspect(&mut exiting, asleep("a"), 2 * S), ExitVerdict::Stuck);
        assert_eq!(inspect(&mut exiting, Inspected::HoldsNamespace, 9 * S), ExitVerdict::Finished);
        assert_eq!(inspect(&mut exiting, Inspected::HoldsNamespace, 39 * S), ExitVerdict::Nothing);
        assert!(exiting.scanned(&[], 40 * S, 0).is_empty(), "its end was reported");
    }

    #[test]
    fn scans_take_a_small_part_of_the_time() {
        let mut exiting = Exiting::new(0);
        exiting.scanned(&[(ID, Some(S))], S, S / 10);
        assert!(!exiting.is_due(5 * S));
        assert!(exiting.is_due(6 * S));
    }
}
