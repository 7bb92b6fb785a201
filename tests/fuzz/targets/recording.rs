//! A recording that somebody sends: what is in it, and all that follows from that.

#![no_main]

use std::io::Cursor;

use libfuzzer_sys::{Corpus, fuzz_target};
use supervisor_fuzz::Teller;
use supervisor_model::recording::RecordingReader;

// The lines of a recording; a fuzzer would never get beyond the checksum of what packs them.
fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(packed) = zstd::encode_all(data, 1) else { return Corpus::Reject };
    let Ok(reader) = RecordingReader::new("fuzz", Cursor::new(packed)) else { return Corpus::Reject };
    let header = reader.header().clone();
    let mut teller = Teller::new(header.host, header.grace_ns);
    for observation in reader.map_while(Result::ok) {
        teller.tell(&observation);
    }
    Corpus::Keep
});
