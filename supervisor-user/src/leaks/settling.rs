//! Decides when a remaining process counts as left behind: how long processes may take to end.

use std::collections::HashMap;

use supervisor_ebpf::ProcessId;

/// A process that became a zombie only recently gets this much time to be reaped.
const YOUNG_NS: u64 = 1_000_000_000;
/// Under a process that still runs and forks, zombies come and go. After this much more time, young zombies are
/// ignored.
const PATIENCE_NS: u64 = 3 * YOUNG_NS;

/// A descendant that exists now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// The process itself, then its creators: the nearest first, the command last.
    pub line: Vec<ProcessId>,
    /// Whether it has exited.
    pub is_zombie: bool,
}

impl Present {
    /// The process's id.
    #[must_use]
    pub fn id(&self) -> ProcessId {
        self.line[0]
    }
}

/// The wait for processes to end, after the end of a command or a test.
#[derive(Debug)]
pub struct Settling {
    until_ns: u64,
    /// When each zombie was first seen as one.
    zombies: HashMap<ProcessId, u64>,
}

impl Settling {
    /// Begins now. It lasts as long as processes may take to end.
    #[must_use]
    pub fn new(now_ns: u64, settle_ns: u64) -> Self {
        Self { until_ns: now_ns.saturating_add(settle_ns), zombies: HashMap::new() }
    }

    /// Takes the processes that exist now. Returns those that are left behind, once that is decided.
    pub fn settle(&mut self, now_ns: u64, present: &[Present]) -> Option<Vec<ProcessId>> {
        if present.is_empty() {
            return Some(Vec::new());
        }
        for process in present.iter().filter(|process| process.is_zombie) {
            self.zombies.entry(process.id()).or_insert(now_ns);
        }
        if now_ns < self.until_ns {
            return None;
        }
        let is_young = |process: &&Present| {
            let since_ns = self.zombies.get(&process.id());
            since_ns.is_some_and(|since_ns| now_ns.saturating_sub(*since_ns) < YOUNG_NS)
        };
        if present.iter().any(|process| is_young(&process)) && now_ns < self.until_ns + PATIENCE_NS {
            return None;
        }
        Some(present.iter().filter(|process| !is_young(process)).map(Present::id).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn present(pid: u32, is_zombie: bool) -> Present {
        Present { line: vec![ProcessId::new(pid, 1)], is_zombie }
    }

    #[test]
    fn settling_ends_at_once_when_no_process_is_left() {
        let mut settling = Settling::new(0, 2 * SECOND);
        assert_eq!(settling.settle(1, &[present(1, false)]), None);
        assert_eq!(settling.settle(2, &[]), Some(Vec::new()));
    }

    #[test]
    fn a_process_that_still_runs_at_the_end_is_left_behind() {
        let mut settling = Settling::new(0, 2 * SECOND);
        assert_eq!(settling.settle(2 * SECOND - 1, &[present(1, false)]), None);
        assert_eq!(settling.settle(2 * SECOND, &[present(1, false)]), Some(vec![ProcessId::new(1, 1)]));
    }

    #[test]
    fn a_new_zombie_gets_time_to_be_reaped() {
        let mut settling = Settling::new(0, 2 * SECOND);
        let now = 2 * SECOND - 1;
        assert_eq!(settling.settle(now, &[present(1, true)]), None);
        assert_eq!(settling.settle(now + SECOND - 1, &[present(1, true)]), None);
        assert_eq!(settling.settle(now + SECOND, &[present(1, true)]), Some(vec![ProcessId::new(1, 1)]));
    }

    #[test]
    fn zombies_that_come_and_go_do_not_delay_the_end() {
        let mut settling = Settling::new(0, 0);
        let forks = present(1, false);
        for second in 0..3 {
            let young = present(10 + second as u32, true);
            assert_eq!(settling.settle(second * SECOND, &[forks.clone(), young]), None);
        }
        let left = settling.settle(3 * SECOND, &[forks, present(20, true)]);
        assert_eq!(left, Some(vec![ProcessId::new(1, 1)]));
    }
}
