//! Destinations with a syntax of their own, and what a broker says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use supervisor_deliver::{nats::fuzz::broker, sink::fuzz::send};

fuzz_target!(|input: (u16, String, &[u8])| {
    let (limit, text, payload) = input;
    send(payload, false, &text, limit.into());
    // The text as an event, with the fields that are left out and cut first.
    let event = serde_json::json!({
        "message": text,
        "event": { "action": "zombie-detected", "reason": text },
        "host": { "name": text },
        "process": { "args": [text, text], "pid": 1 },
        "supervisor": { "evidence": [text], "creators": [{ "args": [text] }], "finding": { "id": "1" } },
    });
    send(event.to_string().as_bytes(), true, &text, limit.into());
    broker(payload, limit.into());
});
