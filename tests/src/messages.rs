//! Messages for sinks: the events of the recordings, and the same with names that a hostile process would choose.

use std::{borrow::Cow, fs, path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use serde_json::Value;
use supervisor_conclude::conclusions::Conclusions;
use supervisor_deliver::sink::{FindingState, Head, Message};
use supervisor_model::{
    filter::Filter,
    observation::Observation,
    recording::{Header, RecordingReader},
};
use supervisor_render::{Context, Format, encode, style::Style};

use crate::Event;

/// What a process may call itself and be started with, as it comes from the kernel side, where invalid UTF-8 has been
/// replaced: a newline, an ANSI escape, quotes, NUL, a right-to-left override, what frames and syslog use themselves.
pub const HOSTILE: &str =
    "a\nb\r\u{1b}[31m\"'\\\0\u{202e}\u{fffd}]<13>1 - \u{2028}名\u{7f} \u{feff}{\"x\":1}\t";

/// The events of all recordings in ECS, in the order of their names.
pub fn recorded() -> Result<Vec<Message>> {
    events_of(Format::Ecs, |value| value)
}

/// The same, in which every name and argument that a process, an engine or a person chose is hostile, some of 4 kB, and
/// the arguments of what was not reaped are 32 kB.
pub fn hostile() -> Result<Vec<Message>> {
    hostile_in(Format::Ecs)
}

/// The same in any format.
pub fn hostile_in(format: Format) -> Result<Vec<Message>> {
    let long = format!("{HOSTILE}{}", "x".repeat(4096 - HOSTILE.len()));
    events_of(format, |mut value| {
        spoil(&mut value);
        if let Some(evidence) = value.get_mut("evidence") {
            for (path, spoilt) in [
                ("/exec/args", Value::from(vec![&*long; 8])),
                ("/facts/cgroup", format!("/{long}").into()),
                ("/task/cgroup", Value::from(vec![HOSTILE, &long])),
                ("/reaper/facts/exe", format!("/{long}").into()),
            ] {
                if let Some(field) = evidence.pointer_mut(path) {
                    *field = spoilt;
                }
            }
        }
        value
    })
}

/// N messages, each with its own id and sequence number, made of the recorded ones.
pub fn repeated(count: usize) -> Result<Vec<Message>> {
    let recorded = recorded()?;
    (recorded.iter().cycle().take(count).enumerate())
        .map(|(i, message)| {
            let mut event: Value = serde_json::from_slice(&message.ecs)?;
            event["event"]["sequence"] = (i + 1).into();
            message_of(&event.to_string())
        })
        .collect()
}

/// A message whose payload is this ECS document.
pub fn message(event: &Value) -> Result<Message> {
    message_of(&event.to_string())
}

/// The events in whole syslog frames that are octet-counted (RFC 6587), and how many bytes those are.
pub fn octet_counted(bytes: &[u8]) -> Result<(Vec<Event>, usize)> {
    let mut events = Vec::new();
    let mut at = 0;
    while let Some(space) = bytes[at..].iter().position(|byte| *byte == b' ') {
        let count: usize = std::str::from_utf8(&bytes[at..at + space])?.parse()?;
        let Some(frame) = bytes.get(at + space + 1..at + space + 1 + count) else { break };
        let json = frame.iter().position(|byte| *byte == b'{').context("a frame without JSON")?;
        events.push(Event(serde_json::from_slice(&frame[json..])?));
        at += space + 1 + count;
    }
    Ok((events, at))
}

fn message_of(line: &str) -> Result<Message> {
    let event = Event(serde_json::from_str(line)?);
    let finding = match event.get("supervisor.finding.id") {
        Some(_) => Some(FindingState {
            id: event.text("supervisor.finding.id")?.to_owned(),
            is_open: event.text("supervisor.finding.state")? != "closed",
        }),
        None => None,
    };
    let payload: Arc<[u8]> = line.as_bytes().into();
    Ok(Message {
        head: Head {
            id: format!("{}-{}", event.action(), event.number("event.sequence")?),
            action: event.action().to_owned(),
            at: event.text("@timestamp")?.parse()?,
            severity: event.number("event.severity")?.try_into()?,
            finding,
            is_news: true,
            sentence: event.text("message")?.to_owned(),
        },
        ecs: Arc::clone(&payload),
        payload,
    })
}

fn events_of(format: Format, change: impl Fn(Value) -> Value) -> Result<Vec<Message>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings");
    let mut paths = fs::read_dir(&dir)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|it| it == "zst"));
    paths.sort();
    let mut messages = Vec::new();
    for path in paths {
        let mut reader = RecordingReader::open(&path)?;
        let Header { host, grace_ns, hooks, agent_id, .. } = reader.header().clone();
        let mut conclusions = Conclusions::new(host.clone(), grace_ns, Filter::default());
        let context = Context { host, agent_id, hooks: hooks.map(Cow::Owned) };
        for observation in reader.by_ref() {
            let value = change(serde_json::to_value(observation?)?);
            let observation: Observation =
                serde_json::from_value(value).with_context(|| path.display().to_string())?;
            for event in conclusions.take(&observation) {
                let encoded =
                    |format| encode(&event, &context, messages.len() as u64 + 1, format, Style::PLAIN);
                let message = message_of(&encoded(Format::Ecs)?)?;
                let payload = encoded(format)?.into_bytes().into();
                messages.push(Message { payload, ..message });
            }
        }
    }
    Ok(messages)
}

fn spoil(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(spoil),
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                match &**name {
                    "comm" if field.is_string() => {
                        *field = HOSTILE.chars().take(15).collect::<String>().into();
                    }
                    "filename" | "exe" | "previous" | "cgroup" if field.is_string() => {
                        *field = format!("/{HOSTILE}").into();
                    }
                    "args" if field.is_array() => *field = Value::from(vec![HOSTILE]),
                    _ => spoil(field),
                }
            }
        }
        _ => {}
    }
}
