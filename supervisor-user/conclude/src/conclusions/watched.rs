//! The latest possible time of an exit that was not seen: the start of the watch, or else the first observation.

use supervisor_model::finding::Finding;

use super::Conclusions;

impl Conclusions {
    /// Sets the time since which another watch has seen every exit. A zombie whose exit that watch did not see had
    /// exited before.
    pub fn set_watched_since(&mut self, at_ns: Option<u64>) {
        self.watched_since_ns = at_ns;
    }

    /// The time since which every exit was seen, as far as is known.
    #[must_use]
    pub fn watched_since_ns(&self) -> Option<u64> {
        self.watched_since_ns
    }

    /// Writes the latest possible exit time into a finding whose exit was not seen.
    pub(super) fn exited_before(&self, finding: &mut Finding) {
        if finding.exit_ns.is_none() {
            let is_older = |at_ns: &u64| finding.process.start_ns.is_some_and(|start_ns| start_ns < *at_ns);
            let watched = self.watched_since_ns.filter(is_older);
            finding.exited_before_ns = Some(watched.unwrap_or(finding.seen_ns).min(finding.seen_ns));
        }
    }
}
