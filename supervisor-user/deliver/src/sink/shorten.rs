//! Shortens events that are larger than a receiver takes: a syslog server or a NATS broker. An event must not be refused,
//! because the arguments of a process must not stop the stream. Of a JSON object, whole parts are left out, so it stays JSON.
//! If that is not enough, the sentence in it is cut. Any other text is cut at its end.

use std::borrow::Cow;

use serde_json::{Map, Value, json};
use supervisor_model::words::harmless_json;

/// The parts that are left out, one after the other, until the rest is small enough. A part of a list is left out of
/// each element. In OCSF, `supervisor` here means `unmapped.supervisor`.
const OPTIONAL: [&str; 18] = [
    "supervisor.creators.args",
    "process.parent.args",
    "process.args",
    "evidences.process.parent_process",
    "evidences.process.cmd_line",
    "supervisor.evidence",
    "supervisor.wont_help",
    "supervisor.pid_ns.containers",
    "supervisor.creators",
    "supervisor.blockers",
    "supervisor.blocks",
    "supervisor.remedies",
    "remediation",
    "supervisor.cgroup",
    "supervisor.claims",
    "resources",
    "evidences",
    "supervisor.budget",
];

/// The parts that stay of an event that is too large even then: which event it is, what happened, and the sentence.
const ESSENTIAL: [&str; 19] = [
    "@timestamp",
    "message",
    "event.action",
    "event.kind",
    "event.sequence",
    "event.severity",
    "host.id",
    "process.pid",
    "supervisor.finding",
    "time",
    "activity_id",
    "class_uid",
    "type_uid",
    "severity_id",
    "status_id",
    "finding_info.uid",
    "metadata.version",
    "metadata.event_code",
    "metadata.uid",
];

/// A payload of at most `room` bytes. `supervisor.shortened` lists the parts that were left out; `*` means everything
/// that is not essential.
pub(super) fn shorten(payload: &[u8], room: usize) -> Cow<'_, [u8]> {
    if payload.len() <= room {
        return Cow::Borrowed(payload);
    }
    match serde_json::from_slice(payload) {
        Ok(Value::Object(event)) => Cow::Owned(event_within(Value::Object(event), room)),
        _ => Cow::Owned(cut(&String::from_utf8_lossy(payload), room).into_bytes()),
    }
}

fn event_within(mut event: Value, room: usize) -> Vec<u8> {
    let prefix = if event.get("class_uid").is_some() { "unmapped." } else { "" };
    let mut left_out = Vec::new();
    for name in OPTIONAL {
        let path = if name.starts_with("supervisor.") { format!("{prefix}{name}") } else { name.to_owned() };
        if !remove(&mut event, &path) {
            continue;
        }
        left_out.push(path);
        set(&mut event, &format!("{prefix}supervisor.shortened"), json!(left_out));
        let short = harmless_json(event.to_string());
        if short.len() <= room {
            return short.into_bytes();
        }
    }
    let mut rest = Value::Object(Map::new());
    for path in ESSENTIAL {
        if let Some(value) = path.split('.').try_fold(&event, |value, key| value.get(key)) {
            set(&mut rest, path, value.clone());
        }
    }
    set(&mut rest, &format!("{prefix}supervisor.shortened"), json!(["*"]));
    let mut text = cut_message(rest.clone(), room);
    rest["message"] = "".into();
    for path in LEAST_ESSENTIAL {
        if text.len() <= room {
            break;
        }
        remove(&mut rest, path);
        text = harmless_json(rest.to_string()).into_bytes();
    }
    text
}

/// Keeps as much of the sentence as there is room for.
fn cut_message(mut event: Value, room: usize) -> Vec<u8> {
    let message = event.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut length = message.len();
    loop {
        let text = harmless_json(event.to_string());
        if text.len() <= room || length == 0 {
            return text.into_bytes();
        }
        // One byte of the sentence has at most six bytes when it is escaped. So at least a sixth of the excess has to
        // go.
        length = length.saturating_sub((text.len() - room).div_ceil(6).max(1));
        event["message"] = cut(&message, length).into();
    }
}

/// The parts that go, one after the other, if there is no room for all of that even without the sentence: a host name
/// can be long. The finding's id, the action and the list of shortened parts stay.
const LEAST_ESSENTIAL: [&str; 11] = [
    "event.severity",
    "event.kind",
    "process",
    "host",
    "severity_id",
    "status_id",
    "activity_id",
    "class_uid",
    "metadata.version",
    "event.sequence",
    "type_uid",
];

/// Cuts a text to at most `max` bytes.
fn cut(text: &str, max: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= max {
        return text.to_owned();
    }
    match max.checked_sub(MARK.len()) {
        Some(length) => format!("{}{MARK}", &text[..text.floor_char_boundary(length)]),
        None => String::new(),
    }
}

/// Leaves out a field. Returns whether there was one.
fn remove(value: &mut Value, path: &str) -> bool {
    match (value, path.split_once('.')) {
        (Value::Array(list), _) => {
            list.iter_mut().filter_map(|it| remove(it, path).then_some(())).count() > 0
        }
        // These lists are in every event: the first one is emptied, and the other one keeps only the process.
        (Value::Object(fields), None) if path == "evidence" => shorten_list(fields, path, 0),
        (Value::Object(fields), None) if path == "evidences" => shorten_list(fields, path, 1),
        (Value::Object(fields), None) => fields.remove(path).is_some(),
        (Value::Object(fields), Some((first, rest))) => {
            fields.get_mut(first).is_some_and(|value| remove(value, rest))
        }
        _ => false,
    }
}

/// Leaves `keep` elements of a list. Returns whether there were more.
fn shorten_list(fields: &mut Map<String, Value>, name: &str, keep: usize) -> bool {
    match fields.get_mut(name) {
        Some(Value::Array(list)) if list.len() > keep => {
            list.truncate(keep);
            true
        }
        _ => false,
    }
}

/// Sets a field, and makes the objects that it is in.
fn set(value: &mut Value, path: &str, new: Value) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match rest {
        None => value[first] = new,
        Some(rest) => set(&mut value[first], rest, new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Value {
        json!({
            "@timestamp": "2026-01-01T00:00:00Z",
            "message": "\"It\" is not\tr\u{e9}aped. ".repeat(20),
            "event": { "action": "zombie-detected" },
            "process": { "pid": 5, "args": ["x".repeat(1000)], "executable": "/x".repeat(300) },
            "supervisor": {
                "finding": { "id": "f1" },
                "creators": [{ "pid": 1, "args": ["y".repeat(1000)] }, { "pid": 2 }],
                "evidence": [{ "text": "z".repeat(1000) }],
            },
        })
    }

    #[test]
    fn parts_are_left_out_in_order_and_listed() {
        let whole = event().to_string();
        assert_eq!(*shorten(whole.as_bytes(), whole.len()), *whole.as_bytes());
        for (room, left_out) in [
            (3600, json!(["supervisor.creators.args"])),
            (2500, json!(["supervisor.creators.args", "process.args"])),
            (1500, json!(["supervisor.creators.args", "process.args", "supervisor.evidence"])),
            (700, json!(["*"])),
        ] {
            let short = shorten(whole.as_bytes(), room);
            assert!(short.len() <= room);
            let short: Value = serde_json::from_slice(&short).unwrap();
            assert_eq!(short["supervisor"]["shortened"], left_out, "{room}");
            assert_eq!(short["supervisor"]["finding"]["id"], "f1");
            assert_eq!(short["message"], event()["message"]);
        }
    }

    #[test]
    fn the_sentence_is_cut_last() {
        let whole = event().to_string();
        for room in 170..500 {
            let short = shorten(whole.as_bytes(), room);
            assert!(short.len() <= room, "{} > {room}", short.len());
            let short: Value = serde_json::from_slice(&short).unwrap();
            assert_eq!(short["event"]["action"], "zombie-detected");
        }
        assert_eq!(cut("réaped", 5), "r…");
        assert_eq!(cut("réaped", 2), "");
    }

    #[test]
    fn parts_under_unmapped_in_ocsf_are_left_out_too() {
        let whole = json!({
            "class_uid": 2004, "time": 5, "finding_info": { "uid": "f1" },
            "unmapped": { "supervisor": { "creators": [{ "args": ["y".repeat(1000)] }] } },
        });
        let short: Value = serde_json::from_slice(&shorten(whole.to_string().as_bytes(), 300)).unwrap();
        assert_eq!(
            short["unmapped"]["supervisor"]["shortened"],
            json!(["unmapped.supervisor.creators.args"])
        );
        assert_eq!(short["unmapped"]["supervisor"]["creators"], json!([{}]));
    }

    #[test]
    fn text_is_cut() {
        assert_eq!(*shorten("a\u{e9}bcd".as_bytes(), 5), *"a…".as_bytes());
    }
}
