//! Messages of other processes and hosts: notices of `supervisor reap`, marks of tests, the first line of a broker, and
//! heartbeats.

#![no_main]

use libfuzzer_sys::fuzz_target;
use supervisor_deliver::{fleet::fuzz::heartbeat, nats::fuzz::info};
use supervisor_model::notice::Notice;
use supervisor_user::commands::leaks::fuzz::mark;

// The first line is the name of a host.
fuzz_target!(|data: &[u8]| {
    if let Ok(notice) = Notice::read(data) {
        let written = serde_json::to_vec(&notice).expect("it can be written");
        assert_eq!(Notice::read(&written).expect("it can be read again"), notice);
    }
    let text = String::from_utf8_lossy(data);
    mark(&text);
    info(data);
    let (host, value) = text.split_once('\n').unwrap_or_default();
    heartbeat(value.as_bytes(), host, 60 * data.len() as u32);
});
