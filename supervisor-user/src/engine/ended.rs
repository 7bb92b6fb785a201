//! Makes the events for the end of a finding that only an earlier run has reported.

use supervisor_conclude::conclusions::Conclusions;
use supervisor_model::{event::Event, facts::HostIdentity, filter::Filter, observation::Observation};

/// The events for the end of a finding that only an earlier run has reported. Its beginning is among them, unless that
/// was delivered.
pub(super) fn events(
    host: &HostIdentity,
    grace_ns: u64,
    opening: &Observation,
    ended: &Observation,
    is_delivered: bool,
) -> Vec<Event> {
    let mut conclusions = Conclusions::new(host.clone(), grace_ns, Filter::default());
    let mut events = conclusions.take(opening);
    if events.is_empty() {
        // A blocked namespace without any observed blocker is reported at the second inspection.
        events = conclusions.take(opening);
    }
    if is_delivered {
        events.clear();
    }
    events.extend(conclusions.take(ended));
    events
}
