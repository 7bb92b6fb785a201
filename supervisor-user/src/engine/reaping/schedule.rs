//! Decides which zombies `[reap]` frees, and when. Pure.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::Duration,
};

use supervisor_conclude::decision::decide;
use supervisor_ebpf::ProcessId;
use supervisor_model::{
    decision::{Decision, Risk},
    finding::Finding,
};

use crate::config::ReapConfig;

/// At most this many zombies of one reaper are inspected and freed at once, so that neither takes long.
const AT_ONCE: usize = 64;
/// After each failure the pause before the next attempt is twice as long, but no longer than this. If `reap.every` is
/// longer than this, the pause is as long as `reap.every`.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// The zombies that are freed next.
#[derive(Debug)]
pub(super) struct Schedule {
    config: ReapConfig,
    /// The agent's own pid: a process never reaps its own children through this schedule.
    agent: u32,
    /// When the next round begins.
    next_ns: u64,
    /// Each entry has zombies of one reaper.
    queue: VecDeque<Vec<ProcessId>>,
    /// Zombies that could not be freed.
    pauses: HashMap<ProcessId, Pause>,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    until_ns: u64,
    length_ns: u64,
}

impl Schedule {
    pub(super) fn new(config: ReapConfig, agent: u32, now_ns: u64) -> Self {
        let next_ns = now_ns + nanos(config.every.0);
        Self { config, agent, next_ns, queue: VecDeque::new(), pauses: HashMap::new() }
    }

    /// Applies other settings.
    pub(super) fn reconfigure(&mut self, config: ReapConfig, now_ns: u64) {
        self.next_ns = self.next_ns.min(now_ns + nanos(config.every.0));
        self.queue.clear();
        self.config = config;
    }

    /// Whether a worker first sends a SIGCHLD.
    pub(super) fn nudges(&self) -> bool {
        self.config.nudge
    }

    /// Whether it is time for [`Schedule::plan`].
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        self.config.enabled && now_ns >= self.next_ns && self.queue.is_empty()
    }

    /// Begins a round. It selects the zombies that have waited longest first, and those of unknown prognosis last. The
    /// zombies of one reaper come together, in this order. The reapers come in the order of their pids.
    pub(super) fn plan<'a>(
        &mut self,
        findings: impl Iterator<Item = (&'a ProcessId, &'a Finding)>,
        now_ns: u64,
    ) {
        self.next_ns = now_ns + nanos(self.config.every.0);
        let mut open = HashSet::new();
        let mut meant: BTreeMap<u32, Vec<(bool, u64, ProcessId)>> = BTreeMap::new();
        for (id, finding) in findings {
            open.insert(*id);
            let is_paused = self.pauses.get(id).is_some_and(|pause| now_ns < pause.until_ns);
            if let Some(reaper) = &finding.reaper
                && !is_paused
                && self.is_candidate(finding, now_ns)
            {
                let is_uncertain = decide(finding) != Decision::Reap;
                let zombies = meant.entry(reaper.process.pid).or_default();
                zombies.push((is_uncertain, known_since(finding), *id));
            }
        }
        self.pauses.retain(|id, _| open.contains(id));
        let mut chosen = Vec::new();
        for (reaper, mut zombies) in meant {
            zombies.sort_unstable();
            zombies.truncate(self.config.per_reaper as usize);
            chosen.extend(zombies.into_iter().map(|(last, since_ns, id)| (last, since_ns, reaper, id)));
        }
        chosen.sort_unstable();
        chosen.truncate(self.config.in_all as usize);
        chosen.sort_by_key(|(_, _, reaper, _)| *reaper);
        for of_one in chosen.chunk_by(|(_, _, one, _), (_, _, next, _)| one == next) {
            let parts = of_one.chunks(AT_ONCE);
            self.queue.extend(parts.map(|part| part.iter().map(|(.., id)| *id).collect()));
        }
    }

    /// Zombies of one reaper that are to be inspected again, and then freed.
    pub(super) fn next(&mut self) -> Option<Vec<ProcessId>> {
        self.queue.pop_front()
    }

    /// Zombies that are to be freed later in this round.
    pub(super) fn put_back(&mut self, ids: Vec<ProcessId>) {
        self.queue.push_back(ids);
    }

    /// How many reapers, or parts of one reaper's zombies, wait in this round.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Whether a zombie may be freed without force, is old enough, and is of a selected family.
    pub(super) fn is_meant(&self, finding: &Finding, now_ns: u64) -> bool {
        let is_of_family = finding.diagnosis.family.is_some_and(|it| self.config.families.contains(&it));
        is_of_family && self.is_old_enough(finding, now_ns) && decide(finding) == Decision::Reap
    }

    /// Like [`Schedule::is_meant`], but the prognosis, and with it the family, may be unknown: the last inspection can
    /// be minutes ago, and the next one may find them.
    fn is_candidate(&self, finding: &Finding, now_ns: u64) -> bool {
        let is_unknown = decide(finding) == Decision::NeedsForce(vec![Risk::PrognosisUnknown]);
        self.is_meant(finding, now_ns) || (is_unknown && self.is_old_enough(finding, now_ns))
    }

    fn is_old_enough(&self, finding: &Finding, now_ns: u64) -> bool {
        let is_old = now_ns.saturating_sub(known_since(finding)) >= nanos(self.config.min_age.0);
        let is_ours = finding.reaper.as_ref().is_some_and(|reaper| reaper.process.pid == self.agent);
        self.config.enabled && is_old && !is_ours
    }

    /// Pauses a zombie that could not be freed, before the next attempt.
    pub(super) fn was_not_freed(&mut self, id: ProcessId, now_ns: u64) {
        let every_ns = nanos(self.config.every.0);
        let before = self.pauses.get(&id).map_or(every_ns, |pause| pause.length_ns * 2);
        let length_ns = before.min(nanos(LONGEST_PAUSE)).max(every_ns);
        self.pauses.insert(id, Pause { until_ns: now_ns + length_ns, length_ns });
    }
}

/// When the zombie exited, or since when it is known to have exited.
fn known_since(finding: &Finding) -> u64 {
    finding.exit_ns.unwrap_or(finding.seen_ns)
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use supervisor_conclude::{attribution::attribute, diagnosis::diagnose};
    use supervisor_model::{
        diagnosis::{Position, Prognosis},
        evidence::sample::{host, incident},
        family::Family,
        values::Time,
    };

    use super::*;

    const S: u64 = 1_000_000_000;
    const AGENT: u32 = 4_000;

    fn config() -> ReapConfig {
        ReapConfig { enabled: true, ..ReapConfig::default() }
    }

    fn schedule(config: ReapConfig) -> Schedule {
        Schedule::new(config, AGENT, 0)
    }

    /// A zombie that a monitor has adopted and will never wait for.
    fn leaked(pid: u32, reaper: u32, exit_ns: u64) -> (ProcessId, Finding) {
        let mut finding = attribute(&incident(), &host(), S);
        finding.diagnosis = diagnose(&finding);
        finding.diagnosis.family = Some(Family::F1);
        finding.diagnosis.position = Some(Position::AdoptedBySubreaper);
        finding.diagnosis.prognosis = Prognosis::Leaked;
        (finding.process.pid, finding.exit_ns) = (pid, Some(exit_ns));
        finding.reaper.as_mut().expect("it has one").process.pid = reaper;
        (ProcessId::new(pid, 1), finding)
    }

    fn planned(schedule: &mut Schedule, open: &[(ProcessId, Finding)], now_ns: u64) -> Vec<Vec<u32>> {
        schedule.plan(open.iter().map(|(id, finding)| (id, finding)), now_ns);
        let next = std::iter::from_fn(|| schedule.next());
        next.map(|ids| ids.iter().map(|id| id.tgid).collect()).collect()
    }

    #[test]
    fn a_zombie_is_freed_only_if_it_needs_no_force_is_old_and_is_selected() {
        let (_, finding) = leaked(20, 10, 0);
        let mut schedule = schedule(config());
        assert!(schedule.is_meant(&finding, 60 * S));
        assert!(!schedule.is_meant(&finding, 60 * S - 1), "it is too young");
        let changed = |change: fn(&mut Finding)| {
            let mut finding = finding.clone();
            change(&mut finding);
            finding
        };
        for other in [
            changed(|it| it.diagnosis.prognosis = Prognosis::Late),
            changed(|it| it.diagnosis.prognosis = Prognosis::Unknown),
            changed(|it| it.diagnosis.position = Some(Position::OwnChild)),
            changed(|it| it.diagnosis.family = Some(Family::F22)),
            changed(|it| it.diagnosis.family = None),
            changed(|it| it.reaper.as_mut().expect("it has one").process.pid = 1),
            changed(|it| it.reaper.as_mut().expect("it has one").process.pid = AGENT),
            changed(|it| it.state = 'S'),
        ] {
            assert!(!schedule.is_meant(&other, 3600 * S), "{:?}", other.diagnosis);
        }
        let unseen = changed(|it| (it.exit_ns, it.seen_ns) = (None, 30 * S));
        assert!(!schedule.is_meant(&unseen, 89 * S) && schedule.is_meant(&unseen, 90 * S));
        schedule.reconfigure(ReapConfig { enabled: false, ..config() }, 0);
        assert!(!schedule.is_meant(&finding, 3600 * S) && !schedule.is_due(3600 * S));
    }

    #[test]
    fn the_oldest_come_first_and_each_limit_holds() {
        let open = [leaked(20, 10, 5), leaked(21, 10, 1), leaked(22, 11, 3), leaked(23, 10, 2)];
        let mut two = schedule(ReapConfig { per_reaper: 2, ..config() });
        assert_eq!(planned(&mut two, &open, 90 * S), [vec![21, 23], vec![22]]);
        let mut in_all = schedule(ReapConfig { in_all: 2, ..config() });
        assert_eq!(planned(&mut in_all, &open, 90 * S), [vec![21, 23]]);
        let many: Vec<_> = (0..100).map(|pid| leaked(1_000 + pid, 10, 1)).collect();
        let parts = planned(&mut schedule(config()), &many, 90 * S);
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [AT_ONCE, 100 - AT_ONCE]);
    }

    #[test]
    fn a_zombie_of_unknown_prognosis_is_inspected_again_and_a_late_one_is_not() {
        let mut open = [leaked(20, 10, 1), leaked(21, 10, 1)];
        (open[0].1.diagnosis.prognosis, open[0].1.diagnosis.family) = (Prognosis::Unknown, None);
        open[1].1.diagnosis.prognosis = Prognosis::Late;
        let mut schedule = schedule(config());
        assert_eq!(planned(&mut schedule, &open, 90 * S), [[20]]);
        let known = [open[0].clone(), leaked(22, 10, 2)];
        assert_eq!(planned(&mut schedule, &known, 90 * S), [[22, 20]], "it comes last");
        assert!(!schedule.is_meant(&open[0].1, 90 * S));
    }

    #[test]
    fn a_round_begins_every_period_but_not_before_the_last_one_is_over() {
        let open = [leaked(20, 10, 1)];
        let mut schedule = schedule(config());
        assert!(!schedule.is_due(29 * S) && schedule.is_due(30 * S));
        schedule.plan(open.iter().map(|(id, finding)| (id, finding)), 90 * S);
        assert!(!schedule.is_due(500 * S), "one waits");
        schedule.next();
        assert!(!schedule.is_due(119 * S) && schedule.is_due(120 * S));
        let faster = ReapConfig { every: Time::from_secs(5), ..config() };
        schedule.reconfigure(faster, 100 * S);
        assert!(schedule.is_due(105 * S));
    }

    #[test]
    fn each_failure_doubles_the_pause_up_to_an_hour() {
        let open = [leaked(20, 10, 1)];
        let id = open[0].0;
        let mut schedule = schedule(config());
        let mut now_ns = 90 * S;
        for pause in [30, 60, 120, 240, 480, 960, 1920, 3600, 3600] {
            schedule.was_not_freed(id, now_ns);
            assert!(planned(&mut schedule, &open, now_ns + pause * S - 1).is_empty(), "{pause}");
            now_ns += pause * S;
            assert_eq!(planned(&mut schedule, &open, now_ns), [[20]], "{pause}");
        }
        planned(&mut schedule, &[], now_ns);
        assert!(schedule.pauses.is_empty(), "what is not open any more is forgotten");
    }
}
