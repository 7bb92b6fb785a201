//! A finding as the rules ask about it.

use crate::{
    finding::{Finding, Process, Reaper, Role},
    words::{clean, duration},
};

/// What never helps.
pub(super) const SIGKILL: &str = "SIGKILL to it: it is dead already, and only its reaper can end the zombie";

/// A finding, and what its reaper's waits amount to.
pub(super) struct Case<'a> {
    pub(super) finding: &'a Finding,
    pub(super) reaper: Option<&'a Reaper>,
}

/// What was seen of a reaper's waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// It made no wait call while it was watched.
    Never,
    /// It waits, but only for children that it names.
    ByName,
    /// It waited for any child, the last time before this one was a zombie.
    Before {
        /// How long ago.
        ago_ns: u64,
        /// How long before that the time before was.
        gap_ns: Option<u64>,
    },
    /// It waited for any child after this one was a zombie, and did not get it.
    After,
    /// It was not watched.
    Unknown,
}

impl<'a> Case<'a> {
    pub(super) fn new(finding: &'a Finding) -> Self {
        Self { finding, reaper: finding.reaper.as_ref() }
    }

    /// Whether it is the reaper's own child, and not an adopted one. A process that is neither a subreaper nor a
    /// PID 1 adopts nothing.
    pub(super) fn is_own(&self) -> Option<bool> {
        let reaper = self.reaper?;
        match (reaper.adopted, reaper.is_subreaper, reaper.is_pidns_init) {
            (Some(adopted), ..) => Some(!adopted),
            (None, Some(false), Some(false)) => Some(true),
            _ => None,
        }
    }

    /// The same, where the fork was seen, or the start times prove it.
    pub(super) fn is_seen_own(&self) -> bool {
        self.reaper.is_some_and(|reaper| reaper.adopted == Some(false))
    }

    pub(super) fn habit(&self) -> Habit {
        let Some(reaper) = self.reaper else { return Habit::Unknown };
        // Since when it certainly was one to be waited for.
        let zombie_ns = self.finding.exit_ns.unwrap_or(self.finding.seen_ns);
        match (reaper.any_wait_ns, &reaper.last_wait) {
            (Some(at_ns), _) if at_ns >= zombie_ns => Habit::After,
            (Some(at_ns), _) => Habit::Before {
                ago_ns: self.finding.looked_ns.saturating_sub(at_ns),
                gap_ns: reaper.any_wait_gap_ns,
            },
            (None, Some(_)) => Habit::ByName,
            (None, None) if reaper.never_waited_since_ns.is_some() => Habit::Never,
            (None, None) => Habit::Unknown,
        }
    }

    /// What the reaper does instead of reaping, as the end of a sentence about it.
    pub(super) fn instead(&self) -> String {
        match self.habit() {
            Habit::Never => "never waits for any child".to_owned(),
            Habit::ByName => {
                "waits only for the children that it names, which are those it started".to_owned()
            }
            Habit::Before { .. } => "has waited for no child since".to_owned(),
            Habit::After | Habit::Unknown => "does not reap it".to_owned(),
        }
    }

    /// Whether the reaper reaps anything at all, as far as was seen.
    pub(super) fn reaps_others(&self) -> bool {
        self.reaper
            .is_some_and(|reaper| reaper.ever_reaped || reaper.reaped.is_some_and(|(count, _)| count > 0))
    }

    /// The nearest creator that the reaper's children became orphans by: the one that was its parent at first.
    pub(super) fn lost_parent(&self) -> Option<&'a Process> {
        self.finding.creators.first().filter(|creator| creator.gone).map(|creator| &creator.process)
    }

    pub(super) fn has_role(&self, role: Role) -> bool {
        self.finding.role == role
    }
}

/// A process in a sentence.
pub(super) fn name(process: &Process) -> String {
    format!("{} (pid {})", clean(&process.name), process.pid)
}

/// About how long.
pub(super) fn about(ns: u64) -> String {
    duration(ns)
}
