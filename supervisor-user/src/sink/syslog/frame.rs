//! One message of RFC 5424.

use std::borrow::Cow;

use super::shorten::shorten;
use crate::{config::Facility, sink::Message};

/// Sequence numbers end here and begin again (RFC 5424, section 7.3.1).
const MAX_SEQUENCE: u32 = 2_147_483_647;
/// What RFC 5424 wants before text in UTF-8.
const BOM: &[u8] = "\u{feff}".as_bytes();

/// What all messages of this agent say before their content.
#[derive(Debug)]
pub(super) struct Header {
    facility: Facility,
    hostname: String,
    pid: u32,
    /// Of the next message.
    sequence: u32,
}

impl Header {
    pub(super) fn new(facility: Facility, hostname: &str) -> Self {
        Self { facility, hostname: word(hostname, 255), pid: std::process::id(), sequence: 1 }
    }

    /// A message of at most `limit` bytes, with the sequence number that is `ahead` of the next one's.
    pub(super) fn frame(&self, message: &Message, ahead: u32, limit: usize) -> Vec<u8> {
        let head = &message.head;
        let mut frame = format!(
            "<{}>1 {:.6} {} supervisor {} {} [meta sequenceId=\"{}\"] ",
            u32::from(self.facility.code()) * 8 + u32::from(head.syslog_severity()),
            head.at,
            self.hostname,
            self.pid,
            word(&head.action, 32),
            after(self.sequence, ahead),
        )
        .into_bytes();
        let room = limit.saturating_sub(frame.len());
        if message.payload.starts_with(b"{") {
            // Text for programs: JSON must not begin with the mark (RFC 8259, section 8.1), and need not (MSG-ANY).
            frame.extend_from_slice(&json_within(&message.payload, room));
        } else {
            frame.extend_from_slice(&shorten(&one_line(&message.payload), room));
        }
        frame
    }

    /// So many messages were sent.
    pub(super) fn sent(&mut self, count: u32) {
        self.sequence = after(self.sequence, count);
    }
}

fn after(sequence: u32, count: u32) -> u32 {
    (sequence - 1 + count) % MAX_SEQUENCE + 1
}

/// What fits into a field of the header: printable ASCII without spaces, `-` for nothing.
fn word(text: &str, max: usize) -> String {
    let word: String = text.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).take(max).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

/// JSON of at most `room` bytes, escaped.
fn json_within(payload: &[u8], room: usize) -> Vec<u8> {
    let mut aim = room;
    loop {
        let short = shorten(payload, aim);
        let escaped = json(&short);
        let over = escaped.len().saturating_sub(room);
        if over == 0 || aim == 0 {
            return escaped.into_owned();
        }
        aim = aim.saturating_sub(over);
    }
}

/// JSON has no control characters but one, and some servers change that one unless it is escaped.
fn json(payload: &[u8]) -> Cow<'_, [u8]> {
    const DELETE: u8 = 0x7f;
    if !payload.contains(&DELETE) {
        return Cow::Borrowed(payload);
    }
    let escaped = payload.split(|byte| *byte == DELETE).collect::<Vec<_>>();
    Cow::Owned(escaped.join(&b"\\u007f"[..]))
}

/// Text for people in one line: some servers end a message at a newline. The mark comes before it if it needs one.
fn one_line(text: &[u8]) -> Vec<u8> {
    let mark = if text.is_ascii() { &[][..] } else { BOM };
    let line = text.iter().map(|byte| if *byte < b' ' { b' ' } else { *byte });
    mark.iter().copied().chain(line).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sink::Head;

    fn message(payload: &str) -> Message {
        let payload: Arc<[u8]> = payload.as_bytes().into();
        Message {
            head: Head {
                id: "a".into(),
                action: "zombie detected\n".into(),
                at: "2026-01-02T03:04:05.123456789Z".parse().unwrap(),
                severity: 3,
                finding: None,
                is_news: true,
                sentence: "It is not reaped.".into(),
            },
            ecs: Arc::clone(&payload),
            payload,
        }
    }

    fn header() -> Header {
        Header { facility: "local0".parse().unwrap(), hostname: word("my host", 255), pid: 7, sequence: 1 }
    }

    #[test]
    fn the_header_is_as_the_rfc_says() {
        let frame = header().frame(&message("{}"), 1, 480);
        assert_eq!(
            String::from_utf8(frame).unwrap(),
            "<132>1 2026-01-02T03:04:05.123456Z my_host supervisor 7 zombie_detected_ [meta sequenceId=\"2\"] {}"
        );
    }

    #[test]
    fn only_text_that_is_not_ascii_has_the_mark() {
        for (payload, ends) in [
            ("a\nb", "\"] a b"),
            ("名\r", "\"] \u{feff}名 "),
            ("{\"a\":\"名\u{7f}\"}", "\"] {\"a\":\"名\\u007f\"}"),
        ] {
            let frame = String::from_utf8(header().frame(&message(payload), 0, 480)).unwrap();
            assert!(frame.ends_with(ends), "{frame}");
        }
    }

    #[test]
    fn numbers_begin_again_after_the_last() {
        let mut header = header();
        header.sent(MAX_SEQUENCE - 1);
        assert_eq!((header.sequence, after(header.sequence, 1)), (MAX_SEQUENCE, 1));
    }
}
