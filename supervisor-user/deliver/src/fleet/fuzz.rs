//! The function that a fuzz target calls for heartbeats. Nothing else calls it.

use jiff::{SignedDuration, Timestamp};

use super::{
    HostState,
    state::{Fleet, LONGEST},
};
use crate::nats::{BucketKey, token};

/// Takes a heartbeat under the key of this host. The broker stored it at the epoch, and now it is `later_s` seconds
/// later.
///
/// # Panics
///
/// If the node gets a name that does not fit its key, or reports although it was silent for too long.
pub fn heartbeat(value: &[u8], host: &str, later_s: u32) {
    let stored = Timestamp::UNIX_EPOCH;
    let silent = SignedDuration::from_secs(later_s.into());
    let now = stored.checked_add(silent).expect("32 bits of seconds are in range");
    let key = BucketKey { cluster: "c".to_owned(), host: token(host), finding: None };
    let mut fleet = Fleet::default();
    fleet.take_heartbeat(key.clone(), Some(value), stored, now);
    assert_eq!(fleet.unreadable, usize::from(fleet.interval.is_none()), "it is read, or counted");
    assert!(fleet.interval.is_none_or(|interval| interval <= LONGEST), "the interval is not bounded");
    let node = fleet.hosts.values().next().expect("the node is known");
    assert_eq!(token(&node.name), key.host, "the name is that of another node");
    let is_silent = silent > SignedDuration::from_secs(3 * 3600);
    assert!(!(is_silent && node.state == HostState::Reports), "it is silent for longer than any interval");
    fleet.take_heartbeat(key, None, stored, now);
    assert!(fleet.hosts.is_empty(), "a node without a heartbeat is not expected");
}
