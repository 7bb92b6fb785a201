//! Formats one message of RFC 5424.

use std::borrow::Cow;

use super::LEAST;
use crate::{
    config::Facility,
    sink::{Message, shorten::shorten},
};

/// The largest sequence number. The numbers then begin again (RFC 5424, section 7.3.1).
const MAX_SEQUENCE: u32 = 2_147_483_647;
/// The byte order mark, which RFC 5424 wants before text in UTF-8.
const BOM: &[u8] = "\u{feff}".as_bytes();

/// The bytes of a frame without its host name. So the smallest limit has room for a name of 64 bytes.
const REST: usize = LEAST - 64;

/// The fields that all messages of this agent have before their content.
#[derive(Debug)]
pub(super) struct Header {
    facility: Facility,
    hostname: String,
    pid: u32,
    /// The sequence number of the next message.
    sequence: u32,
}

impl Header {
    pub(super) fn new(facility: Facility, hostname: &str) -> Self {
        Self { facility, hostname: word(hostname, 255), pid: std::process::id(), sequence: 1 }
    }

    /// A message of at most `limit` bytes, with the sequence number that is `ahead` of the next one's. If the limit is
    /// small, a host name that is longer than Linux allows is cut.
    pub(super) fn frame(&self, message: &Message, ahead: u32, limit: usize) -> Vec<u8> {
        let head = &message.head;
        let hostname = &self.hostname[..self.hostname.len().min(limit.saturating_sub(REST))];
        let mut frame = format!(
            "<{}>1 {:.6} {} supervisor {} {} [meta sequenceId=\"{}\"] ",
            u32::from(self.facility.code()) * 8 + u32::from(head.syslog_severity()),
            head.at,
            hostname,
            self.pid,
            word(&head.action, 32),
            after(self.sequence, ahead),
        )
        .into_bytes();
        let room = limit.saturating_sub(frame.len());
        if message.payload.starts_with(b"{") {
            // This is text for programs. JSON must not begin with the mark (RFC 8259, section 8.1), and need not
            // (MSG-ANY).
            frame.extend_from_slice(&json_within(&message.payload, room));
        } else {
            frame.extend_from_slice(&shorten(&one_line(&message.payload), room));
        }
        frame
    }

    /// Records that `count` messages were sent.
    pub(super) fn sent(&mut self, count: u32) {
        self.sequence = after(self.sequence, count);
    }
}

fn after(sequence: u32, count: u32) -> u32 {
    (sequence - 1 + count) % MAX_SEQUENCE + 1
}

/// The text as a field of the header: printable ASCII without spaces, `-` for nothing.
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

/// JSON has no control characters except DELETE, and some servers change DELETE unless it is escaped.
fn json(payload: &[u8]) -> Cow<'_, [u8]> {
    const DELETE: u8 = 0x7f;
    if !payload.contains(&DELETE) {
        return Cow::Borrowed(payload);
    }
    let escaped = payload.split(|byte| *byte == DELETE).collect::<Vec<_>>();
    Cow::Owned(escaped.join(&b"\\u007f"[..]))
}

/// Text for people in one line: some servers end a message at a newline. The byte order mark comes first if the text
/// needs it.
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
    fn only_text_that_is_not_ascii_has_a_byte_order_mark() {
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
    fn the_smallest_frame_has_an_id_and_an_action_whatever_the_header() {
        let long = "\u{7f}\n\"".repeat(500);
        let id = "f8541ce4-0a09-8d55-b182-92b75efc01c6";
        let ecs = serde_json::json!({
            "@timestamp": "2026-11-24T20:52:12.702386696Z", "message": long, "process": { "pid": 4_194_304, "args": [long] },
            "event": { "action": "namespace-released", "kind": "pipeline_error", "sequence": u64::MAX, "severity": 5 },
            "host": { "id": "f".repeat(32), "hostname": "h".repeat(255) },
            "supervisor": { "finding": { "id": id, "kind": "namespace", "state": "updated" }, "verdict": long },
        });
        let ocsf = serde_json::json!({
            "time": i64::MAX, "message": long, "activity_id": 99, "class_uid": 2004, "type_uid": 200_499,
            "severity_id": 99, "status_id": 99, "finding_info": { "uid": id, "title": long },
            "metadata": { "version": "1.8.0", "event_code": "namespace-released", "uid": format!("{id}.updated.99") },
            "unmapped": { "supervisor": { "verdict": long } },
        });
        let paths = [
            (ecs, ["/supervisor/finding/id", "/event/action", "/supervisor/shortened/0"]),
            (ocsf, ["/finding_info/uid", "/metadata/event_code", "/unmapped/supervisor/shortened/0"]),
        ];
        for hostname in ["h".repeat(64), "h".repeat(255)] {
            let header = Header { hostname, pid: 4_194_304, sequence: MAX_SEQUENCE, ..header() };
            for (event, paths) in &paths {
                let mut message = message(&event.to_string());
                message.head.action = "a".repeat(40);
                for limit in LEAST..2 * LEAST {
                    let frame = String::from_utf8(header.frame(&message, 0, limit)).unwrap();
                    assert!(
                        frame.len() <= limit && !frame.contains('\u{7f}'),
                        "{} of {limit}: {frame}",
                        frame.len()
                    );
                    let (head, json) = frame.split_once("\"] ").unwrap();
                    assert!(head.contains(&"h".repeat(64)), "{head}");
                    let short: serde_json::Value = serde_json::from_str(json).unwrap();
                    let values = paths.map(|path| short.pointer(path).and_then(serde_json::Value::as_str));
                    assert_eq!(values, [Some(id), Some("namespace-released"), Some("*")], "{frame}");
                }
            }
        }
    }

    #[test]
    fn sequence_numbers_begin_again_after_the_largest() {
        let mut header = header();
        header.sent(MAX_SEQUENCE - 1);
        assert_eq!((header.sequence, after(header.sequence, 1)), (MAX_SEQUENCE, 1));
    }
}
