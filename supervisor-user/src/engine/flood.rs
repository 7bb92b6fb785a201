//! Limits the events of one reaper: a reaper that leaves thousands of zombies must not flood the readers of events.
//! Pure.

use std::collections::{HashMap, hash_map::Entry};

use supervisor_model::{
    event::{EventKind, Suppressed},
    finding::Finding,
};

use crate::config::FloodConfig;

/// How many reapers are counted separately. All further reapers are counted as one.
const MAX_REAPERS: usize = 4096;

/// Counts the events that each reaper causes.
#[derive(Debug)]
pub(super) struct Flood {
    config: FloodConfig,
    reapers: HashMap<u32, Reaper>,
}

#[derive(Debug)]
struct Reaper {
    name: String,
    /// When the period began in which its events are counted.
    since_ns: u64,
    passed: u32,
    suppressed: u64,
}

impl Flood {
    pub(super) fn new(config: FloodConfig) -> Self {
        Self { config, reapers: HashMap::new() }
    }

    /// Applies other limits.
    pub(super) fn reconfigure(&mut self, config: FloodConfig) {
        self.config = config;
    }

    /// Whether an event is to be reported. Closes, blocked namespaces and losses always are.
    pub(super) fn lets_through(&mut self, event: &EventKind, now_ns: u64) -> bool {
        let (EventKind::Detected(finding)
        | EventKind::Existing(finding)
        | EventKind::Updated(finding)
        | EventKind::ExitBlocked { finding, .. }) = event
        else {
            return true;
        };
        if self.config.per_reaper == 0 {
            return true;
        }
        let (pid, name) = reaper_of(finding);
        let is_full = self.reapers.len() >= MAX_REAPERS;
        let reaper = match self.reapers.entry(pid) {
            Entry::Vacant(_) if is_full => {
                self.reapers.entry(0).or_insert_with(|| Reaper::new("one of many reapers", now_ns))
            }
            entry => entry.or_insert_with(|| Reaper::new(name, now_ns)),
        };
        if reaper.passed < self.config.per_reaper {
            reaper.passed += 1;
            return true;
        }
        reaper.suppressed += 1;
        false
    }

    /// The suppressed events of periods that are over.
    pub(super) fn due(&mut self, now_ns: u64) -> Vec<Suppressed> {
        let per_ns = self.config.per.0.as_nanos() as u64;
        let mut due = self.take(|reaper| now_ns.saturating_sub(reaper.since_ns) >= per_ns);
        due.sort_by_key(|suppressed| suppressed.reaper_pid);
        due
    }

    /// The suppressed events that were not reported yet, for the end.
    pub(super) fn rest(&mut self) -> Vec<Suppressed> {
        self.take(|_| true)
    }

    fn take(&mut self, is_over: impl Fn(&Reaper) -> bool) -> Vec<Suppressed> {
        self.reapers
            .extract_if(|_, reaper| is_over(reaper))
            .filter(|(_, reaper)| reaper.suppressed > 0)
            .map(|(reaper_pid, reaper)| Suppressed {
                reaper_pid,
                reaper_name: reaper.name,
                count: reaper.suppressed,
                since_ns: reaper.since_ns,
            })
            .collect()
    }
}

impl Reaper {
    fn new(name: &str, since_ns: u64) -> Self {
        Self { name: name.to_owned(), since_ns, passed: 0, suppressed: 0 }
    }
}

fn reaper_of(finding: &Finding) -> (u32, &str) {
    finding
        .reaper
        .as_ref()
        .map_or((0, "unknown"), |reaper| (reaper.process.pid, reaper.process.name.as_str()))
}

#[cfg(test)]
mod tests {
    use supervisor_conclude::attribution::attribute;
    use supervisor_model::{
        evidence::sample::{host, incident},
        values::Time,
    };

    use super::*;

    const S: u64 = 1_000_000_000;

    fn of(reaper: u32) -> Box<Finding> {
        let mut finding = attribute(&incident(), &host(), S);
        if let Some(known) = &mut finding.reaper {
            known.process.pid = reaper;
        }
        Box::new(finding)
    }

    fn flood(per_reaper: u32) -> Flood {
        Flood::new(FloodConfig { per_reaper, per: Time::from_secs(60) })
    }

    #[test]
    fn one_reaper_is_limited_and_another_is_not() {
        let mut flood = flood(2);
        let passed: Vec<bool> =
            (0..5).map(|i| flood.lets_through(&EventKind::Detected(of(10)), i * S)).collect();
        assert_eq!(passed, [true, true, false, false, false]);
        assert!(flood.lets_through(&EventKind::Updated(of(11)), 5 * S));
        assert!(flood.due(59 * S).is_empty());
        let due = flood.due(60 * S);
        assert_eq!(
            due.iter().map(|it| (it.reaper_pid, it.count, it.since_ns)).collect::<Vec<_>>(),
            [(10, 3, 0)]
        );
        assert!(flood.due(61 * S).is_empty(), "it is reported once");
        assert!(flood.lets_through(&EventKind::Detected(of(10)), 61 * S), "the next minute begins");
    }

    #[test]
    fn closes_are_always_reported() {
        let mut flood = flood(1);
        for _ in 0..3 {
            assert!(flood.lets_through(&EventKind::Reaped { finding: of(10), dwell_ns: None, by: None }, S));
        }
        assert!(flood.lets_through(&EventKind::Detected(of(10)), S), "they do not count");
        assert!(flood.rest().is_empty());
    }

    #[test]
    fn without_a_limit_every_event_is_reported_and_memory_is_bounded() {
        let mut none = flood(0);
        assert!((0..1000).all(|_| none.lets_through(&EventKind::Detected(of(10)), S)));
        let mut flood = flood(1);
        for pid in 1..=2 * MAX_REAPERS as u32 {
            flood.lets_through(&EventKind::Detected(of(pid)), S);
        }
        assert_eq!(flood.reapers.len(), MAX_REAPERS + 1);
        let rest: u64 = flood.rest().iter().map(|it| it.count).sum();
        assert_eq!(rest, MAX_REAPERS as u64 - 1, "none is left out");
    }
}
