//! What is told of the end of a finding that only an earlier run has told.

use supervisor_conclude::conclusions::Conclusions;
use supervisor_model::{event::Event, facts::HostIdentity, filter::Filter, observation::Observation};

/// What is told of the end of a finding that only an earlier run has told: its beginning too, unless that was delivered.
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
        // What nothing was seen to hold is told at the second look.
        events = conclusions.take(opening);
    }
    if is_delivered {
        events.clear();
    }
    events.extend(conclusions.take(ended));
    events
}
