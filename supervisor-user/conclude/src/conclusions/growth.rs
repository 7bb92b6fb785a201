//! How many unreaped processes there are under each limit of pids, and how fast they grow.

use std::collections::HashMap;

use supervisor_model::finding::Finding;

/// A shorter watch says nothing about an hour.
const ENOUGH_NS: u64 = 10_000_000_000;
/// Growth is counted anew after this long.
const WINDOW_NS: u64 = HOUR_NS;
const HOUR_NS: u64 = 3_600_000_000_000;

/// The counts by limit.
#[derive(Debug, Default)]
pub(super) struct Growth {
    limits: HashMap<String, Count>,
}

#[derive(Debug)]
struct Count {
    unreaped: u64,
    /// How many there were when the window began.
    at_first: u64,
    since_ns: u64,
}

impl Growth {
    /// Counts a finding under its limit if it was not counted there, and writes into it what that makes. One that
    /// had exited before the watch is no growth.
    pub(super) fn count(&mut self, finding: &mut Finding, before: Option<&Finding>, existing: bool) {
        let now_ns = finding.looked_ns;
        let source = |finding: &Finding| finding.budget.as_ref().map(|budget| budget.pids.source.clone());
        let is_new = match before {
            None => true,
            // Its limit can be another one, as when its control group was removed.
            Some(before) if source(before) != source(finding) => {
                self.uncount(before);
                true
            }
            Some(_) => false,
        };
        let Some(budget) = &mut finding.budget else { return };
        let count = self.limits.entry(budget.pids.source.clone()).or_insert(Count {
            unreaped: 0,
            // The first one begins the window, and is no growth in it.
            at_first: u64::from(!existing),
            since_ns: now_ns,
        });
        if now_ns.saturating_sub(count.since_ns) > WINDOW_NS {
            *count = Count { at_first: count.unreaped, since_ns: now_ns, ..*count };
        }
        count.unreaped += u64::from(is_new);
        // One that only came under another limit is no growth either.
        count.at_first += u64::from(is_new && (existing || before.is_some()));
        budget.unreaped = Some(count.unreaped);
        let elapsed_ns = now_ns.saturating_sub(count.since_ns);
        let grown = count.unreaped.saturating_sub(count.at_first);
        if elapsed_ns < ENOUGH_NS || grown < 2 {
            return;
        }
        let left = u128::from(budget.pids.max.saturating_sub(budget.pids.current));
        let per_hour = u128::from(grown) * u128::from(HOUR_NS) / u128::from(elapsed_ns);
        budget.rate_per_hour = Some(per_hour as u64);
        budget.exhausted_in_ns =
            Some((left * u128::from(elapsed_ns) / u128::from(grown)).min(u128::from(u64::MAX)) as u64);
    }

    /// Writes into a finding how many there are under its limit now.
    pub(super) fn tell(&self, finding: &mut Finding) {
        if let Some(budget) = &mut finding.budget {
            budget.unreaped = Some(self.limits.get(&budget.pids.source).map_or(0, |count| count.unreaped));
        }
    }

    /// Takes out a finding that is closed.
    pub(super) fn uncount(&mut self, finding: &Finding) {
        let Some(budget) = &finding.budget else { return };
        if let Some(count) = self.limits.get_mut(&budget.pids.source) {
            count.unreaped = count.unreaped.saturating_sub(1);
            count.at_first = count.at_first.min(count.unreaped);
            if count.unreaped == 0 {
                self.limits.remove(&budget.pids.source);
            }
        }
    }
}
