//! What is known of an exit that was not seen: it was before a watch began.

use supervisor_model::finding::Finding;

use super::Conclusions;

impl Conclusions {
    /// Another watch has seen every exit since then: what it has not seen exit had exited before.
    pub fn set_watched_since(&mut self, at_ns: Option<u64>) {
        self.watched_since_ns = at_ns;
    }

    /// Since when every exit was seen, as far as is known.
    #[must_use]
    pub fn watched_since_ns(&self) -> Option<u64> {
        self.watched_since_ns
    }

    /// Writes into a finding whose exit was not seen what is known of its time.
    pub(super) fn exited_before(&self, finding: &mut Finding) {
        if finding.exit_ns.is_none() {
            let is_older = |at_ns: &u64| finding.process.start_ns.is_some_and(|start_ns| start_ns < *at_ns);
            let watched = self.watched_since_ns.filter(is_older);
            finding.exited_before_ns = Some(watched.unwrap_or(finding.seen_ns).min(finding.seen_ns));
        }
    }
}
