//! Files of a control group, whose owner can be a user.

#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use supervisor_collect::host::fuzz::control_group;
use tempfile::TempDir;

/// The files that are read.
const FILES: [&str; 10] = [
    "cgroup.events",
    "cgroup.freeze",
    "freezer.state",
    "pids.max",
    "pids.current",
    "pids.events",
    "cpu.max",
    "cpu.stat",
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
];

thread_local! {
    static DIR: TempDir = tempfile::tempdir_in("/dev/shm").expect("there is a place for files");
}

// The content of each file, with a NUL between them. A file without content is missing.
fuzz_target!(|data: &[u8]| {
    DIR.with(|dir| {
        let group = dir.path().join("group");
        fs::create_dir_all(&group).expect("it can be made");
        let mut parts = data.split(|byte| *byte == 0);
        for name in FILES {
            let file = group.join(name);
            match parts.next().filter(|it| !it.is_empty()) {
                Some(content) => fs::write(file, content).expect("it can be written"),
                None => drop(fs::remove_file(file)),
            }
        }
        control_group(dir.path());
    });
});
