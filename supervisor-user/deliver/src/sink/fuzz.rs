//! The functions that fuzz targets call for frames, entries and shortened messages. Nothing else calls them.

use std::sync::Arc;

use super::{Head, Message, journald, shorten::shorten, spool, syslog};

/// Names of the fields of a journal entry.
const FIELDS: [&str; 7] = [
    "MESSAGE",
    "PRIORITY",
    "SYSLOG_IDENTIFIER",
    "SUPERVISOR_ID",
    "SUPERVISOR_ACTION",
    "SUPERVISOR_TIMESTAMP",
    "SUPERVISOR_EVENT",
];

/// Sends a payload to each destination that has a syntax of its own. `limit` is the most that a destination takes. An
/// event of ours fits into it. Another JSON document can have long text where an event has an id.
///
/// # Panics
///
/// If the result is longer than the limit, breaks the syntax, or is no JSON any more.
pub fn send(payload: &[u8], is_ours: bool, text: &str, limit: usize) {
    let is_json = serde_json::from_slice::<serde_json::Value>(payload).is_ok_and(|it| it.is_object());
    let payload: Arc<[u8]> = payload.into();
    let head = Head {
        id: text.to_owned(),
        action: "zombie-detected".to_owned(),
        at: jiff::Timestamp::UNIX_EPOCH,
        severity: text.len() as u8,
        finding: None,
        is_news: true,
        sentence: text.to_owned(),
    };
    let message = Message { head, ecs: Arc::clone(&payload), payload };
    let limit = limit.max(480);
    let frame = syslog::framed(&message, text, limit);
    let fits = frame.len() <= limit;
    assert!(fits || is_json && !is_ours, "a frame of {} bytes, and {limit} are allowed", frame.len());
    // Six words, a structured element of two, and the content.
    let spaces = frame.iter().enumerate().filter(|(_, byte)| **byte == b' ');
    let content = spaces.map(|(at, _)| at + 1).nth(7).expect("a header");
    assert!(
        frame[..content].iter().all(|byte| matches!(byte, b' '..=b'~')),
        "the header has more than one line"
    );
    if is_json && message.payload.starts_with(b"{") {
        let json = &frame[content..];
        serde_json::from_slice::<serde::de::IgnoredAny>(json).expect("the frame's content is no JSON");
    }
    assert_fields(&journald::entry(&message));
    let short = shorten(&message.payload, limit);
    let fits = short.len() <= limit;
    assert!(fits || is_json && !is_ours, "a message of {} bytes, and {limit} are allowed", short.len());
}

/// Fails unless an entry has exactly these fields.
fn assert_fields(entry: &[u8]) {
    let mut rest = entry;
    for name in FIELDS {
        rest = rest.strip_prefix(name.as_bytes()).expect("another field");
        let (value, length) = if let Some(value) = rest.strip_prefix(b"=") {
            (value, value.iter().position(|byte| *byte == b'\n').expect("an end of the line"))
        } else {
            let (length, value) = rest[1..].split_first_chunk().expect("a length");
            (value, u64::from_le_bytes(*length) as usize)
        };
        rest = value[length..].strip_prefix(b"\n").expect("a newline behind the value");
    }
    assert!(rest.is_empty(), "there are more fields");
}

/// Reads a frame of a spool.
///
/// # Panics
///
/// If the message changes when it is written and read again.
pub fn spooled(body: &[u8]) {
    if let Some((message, again)) = spool::decode_again(body) {
        assert_eq!(message, again);
    }
}
