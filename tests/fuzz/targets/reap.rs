//! What a reaper shows of itself before a call is injected: the path of a mapped file, a thread's status, and its code.

#![no_main]

use libfuzzer_sys::fuzz_target;
use supervisor_reap::fuzz::of_target;

// The three parts, with a NUL between them. Code can have NULs too.
fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    of_target(part(), part(), part());
});
