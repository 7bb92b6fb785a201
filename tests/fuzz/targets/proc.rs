//! Files of `/proc` that are about a process, and the protocol by which they come to the collector.

#![no_main]

use libfuzzer_sys::fuzz_target;
use supervisor_collect::host::fuzz::{proc_file, reader_stream};

fuzz_target!(|data: &[u8]| {
    proc_file(data);
    reader_stream(data);
});
