//! Files of the agent: what waits in a spool, the open findings, and what reapers did.

#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use supervisor_deliver::sink::fuzz::spooled;
use supervisor_user::engine::fuzz::state;
use tempfile::TempDir;

thread_local! {
    static DIR: TempDir = tempfile::tempdir_in("/dev/shm").expect("there is a place for files");
}

fuzz_target!(|data: &[u8]| {
    spooled(data);
    DIR.with(|dir| {
        for name in ["open-findings.jsonl", "history.json"] {
            fs::write(dir.path().join(name), data).expect("it can be written");
        }
        state(dir.path());
    });
});
