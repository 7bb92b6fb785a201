//! Destinations with a syntax of their own, and what a broker says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use supervisor_user::{nats::fuzz::broker, sink::fuzz::send};

fuzz_target!(|input: (u16, String, &[u8])| {
    let (limit, text, payload) = input;
    send(payload, &text, limit.into());
    // The text as an event, with the fields that are left out and cut first.
    let event = serde_json::json!({
        "message": text,
        "event": { "action": text },
        "host": { "name": text },
        "process": { "args": [text, text], "pid": 1 },
        "supervisor": { "evidence": [text], "creators": [{ "args": [text] }], "finding": { "id": text } },
    });
    send(event.to_string().as_bytes(), &text, limit.into());
    broker(payload, limit.into());
});
