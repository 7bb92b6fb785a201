//! One line of `supervisor`'s JSON output.

use std::{collections::HashMap, fs, io, path::Path};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// What opens a finding about a process.
const OPENING: [&str; 2] = ["zombie-detected", "zombie-existing"];

/// An event; its fields are found by their dotted names.
#[derive(Clone, Debug, PartialEq)]
pub struct Event(pub Value);

impl Event {
    /// A field, `None` if it is absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        name.split('.').try_fold(&self.0, |value, key| value.get(key))
    }

    /// A field that must be there.
    pub fn field(&self, name: &str) -> Result<&Value> {
        self.get(name).with_context(|| format!("{name} is missing in {}", self.0))
    }

    /// A text field that must be there.
    pub fn text(&self, name: &str) -> Result<&str> {
        self.field(name)?.as_str().with_context(|| format!("{name} is no text in {}", self.0))
    }

    /// A number that must be there.
    pub fn number(&self, name: &str) -> Result<u64> {
        self.field(name)?.as_u64().with_context(|| format!("{name} is no whole number in {}", self.0))
    }

    /// A pid that must be there.
    pub fn pid(&self, name: &str) -> Result<u32> {
        self.number(name)?.try_into().with_context(|| format!("{name} is no pid in {}", self.0))
    }

    /// A truth value that must be there.
    pub fn flag(&self, name: &str) -> Result<bool> {
        self.field(name)?.as_bool().with_context(|| format!("{name} is no truth value in {}", self.0))
    }

    /// A list that must be there, each of its elements as an event of its own.
    pub fn list(&self, name: &str) -> Result<Vec<Self>> {
        let list =
            self.field(name)?.as_array().with_context(|| format!("{name} is no list in {}", self.0))?;
        Ok(list.iter().cloned().map(Self).collect())
    }

    /// What happened.
    #[must_use]
    pub fn action(&self) -> &str {
        self.get("event.action").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether it says this of this process.
    #[must_use]
    pub fn says(&self, action: &str, pid: u32) -> bool {
        self.action() == action && self.is_about(pid)
    }

    /// Whether it is about this process.
    #[must_use]
    pub fn is_about(&self, pid: u32) -> bool {
        self.get("process.pid").and_then(Value::as_u64) == Some(pid.into())
    }

    /// Whether it is about a child of this process.
    #[must_use]
    pub fn is_under(&self, reaper: u32) -> bool {
        self.get("process.parent.pid").and_then(Value::as_u64) == Some(reaper.into())
    }
}

/// The events of a file that grows: there may be no file yet, and a last line that is not whole yet is left out.
pub fn events_in(file: &Path) -> Result<Vec<Event>> {
    let bytes = match fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.with_context(|| file.display().to_string())?,
    };
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let text = std::str::from_utf8(&bytes[..whole])?;
    let event =
        |line| serde_json::from_str(line).map(Event).with_context(|| format!("a broken line: {line}"));
    text.lines().map(event).collect()
}

/// The events about one process.
#[must_use]
pub fn of_process(events: &[Event], pid: u32) -> Vec<&Event> {
    events.iter().filter(|event| event.is_about(pid)).collect()
}

/// The opening and the closing of the one finding about a process, which may have been updated between; an error if
/// there is another number of them.
pub fn finding_of(events: &[Event], pid: u32) -> Result<(&Event, &Event)> {
    finding(pid, &of_process(events, pid))
}

/// The same for each of many processes.
pub fn findings_of<'a>(events: &'a [Event], pids: &[u32]) -> Result<Vec<(&'a Event, &'a Event)>> {
    let mut by_pid: HashMap<u32, Vec<&Event>> = HashMap::new();
    for event in events {
        if let Ok(pid) = event.pid("process.pid") {
            by_pid.entry(pid).or_default().push(event);
        }
    }
    pids.iter().map(|&pid| finding(pid, by_pid.get(&pid).map_or(&[], Vec::as_slice))).collect()
}

fn finding<'a>(pid: u32, events: &[&'a Event]) -> Result<(&'a Event, &'a Event)> {
    match *events {
        [open, ref updates @ .., close]
            if OPENING.contains(&open.action())
                && updates.iter().all(|it| it.action() == "zombie-updated")
                && close.action() == "zombie-reaped" =>
        {
            let opened = open.text("supervisor.finding.id")?;
            for event in updates.iter().chain([&close]) {
                let id = event.text("supervisor.finding.id")?;
                ensure!(id == opened, "finding {opened} of process {pid} goes on as {id}");
            }
            Ok((open, close))
        }
        ref other => bail!("process {pid} was to be opened once and closed once: {other:#?}"),
    }
}
