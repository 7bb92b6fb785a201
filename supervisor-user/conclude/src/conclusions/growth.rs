//! Counts the unreaped processes under each limit of pids, and measures how fast their number grows.

use std::collections::HashMap;

use supervisor_model::finding::Finding;

/// A watch that is shorter than this says nothing about an hour.
const ENOUGH_NS: u64 = 10_000_000_000;
/// After this time, the count of the growth starts again.
const WINDOW_NS: u64 = HOUR_NS;
const HOUR_NS: u64 = 3_600_000_000_000;

/// The counts for each limit.
#[derive(Debug, Default)]
pub(super) struct Growth {
    limits: HashMap<String, Count>,
}

#[derive(Debug)]
struct Count {
    unreaped: u64,
    /// The number of unreaped processes when the window began.
    at_first: u64,
    since_ns: u64,
}

impl Growth {
    /// Counts a finding under its limit if it was not counted there, and writes the resulting numbers into the finding.
    /// A process that had exited before the watch is no growth.
    pub(super) fn count(&mut self, finding: &mut Finding, before: Option<&Finding>, existing: bool) {
        let now_ns = finding.looked_ns;
        let source = |finding: &Finding| finding.budget.as_ref().map(|budget| budget.pids.source.clone());
        let is_new = match before {
            None => true,
            // The limit of a finding can change, for example when its control group is removed.
            Some(before) if source(before) != source(finding) => {
                self.uncount(before);
                true
            }
            Some(_) => false,
        };
        let Some(budget) = &mut finding.budget else { return };
        let count = self.limits.entry(budget.pids.source.clone()).or_insert(Count {
            unreaped: 0,
            // The first finding begins the window, and is no growth in it.
            at_first: u64::from(!existing),
            since_ns: now_ns,
        });
        if now_ns.saturating_sub(count.since_ns) > WINDOW_NS {
            *count = Count { at_first: count.unreaped, since_ns: now_ns, ..*count };
        }
        count.unreaped += u64::from(is_new);
        // A finding that only moved to another limit is no growth either.
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

    /// Writes into a finding the present number of unreaped processes under its limit.
    pub(super) fn set_unreaped(&self, finding: &mut Finding) {
        if let Some(budget) = &mut finding.budget {
            budget.unreaped = Some(self.limits.get(&budget.pids.source).map_or(0, |count| count.unreaped));
        }
    }

    /// Removes a closed finding from the counts.
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
