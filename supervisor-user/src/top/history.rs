//! Keeps the newest events, and collects all of them that are about one finding.

use std::collections::VecDeque;

use supervisor_model::event::{Event, EventKind};
use supervisor_render::{story, style::Style, text};

use super::View;

/// At most this many events are kept.
const EVENTS: usize = 500;

/// One event that has happened.
#[derive(Debug)]
pub(super) struct Happened {
    /// Its number.
    pub(super) id: String,
    /// The event in one line.
    pub(super) line: String,
    /// The finding that it is about.
    pub(super) finding: Option<String>,
    /// The host pid of that finding's process.
    pub(super) pid: Option<u32>,
    /// The whole event, if it is of this host.
    event: Option<Box<Event>>,
}

/// The newest events.
#[derive(Debug, Default)]
pub(super) struct History {
    events: VecDeque<Happened>,
    count: u64,
}

impl History {
    /// Adds an event of this host.
    pub(super) fn add(&mut self, event: &Event) {
        let text = text::event(event, Style::PLAIN);
        let finding = event.kind.finding().map(|(id, _)| id.to_owned());
        let pid = event.kind.process().map(|finding| finding.process.pid);
        let line = text.lines().next().unwrap_or_default().to_owned();
        self.push(line, finding, pid, Some(Box::new(event.clone())));
    }

    /// Adds an event of another host.
    pub(super) fn add_line(&mut self, line: String, finding: Option<String>) {
        self.push(line, finding, None, None);
    }

    fn push(&mut self, line: String, finding: Option<String>, pid: Option<u32>, event: Option<Box<Event>>) {
        if self.events.len() >= EVENTS {
            self.events.pop_front();
        }
        self.count += 1;
        self.events.push_back(Happened { id: self.count.to_string(), line, finding, pid, event });
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// The event at an index; 0 is the newest.
    pub(super) fn newest(&self, index: usize) -> Option<&Happened> {
        self.events.get(self.events.len().checked_sub(index + 1)?)
    }

    /// All events of a finding, then its story: as it is now, or as it was known last.
    pub(super) fn story(&self, finding: &str, view: &dyn View, columns: usize, now_ns: u64) -> String {
        let about: Vec<&Happened> =
            self.events.iter().filter(|it| it.finding.as_deref() == Some(finding)).collect();
        let mut out = String::from("What has happened\n");
        if self.count > EVENTS as u64 && !about.first().is_some_and(|it| it.opens()) {
            out.push_str("  events before these are not kept\n");
        }
        for happened in &about {
            out.push_str("  ");
            out.push_str(&happened.line);
            out.push('\n');
        }
        if let Some(story) = view.story(finding, columns, now_ns) {
            out.push_str("\nHow it is now\n\n");
            out.push_str(&story.text);
        } else if let Some(story) = about.iter().rev().find_map(|it| it.story(columns)) {
            out.push_str("\nWhat was known of it last\n\n");
            out.push_str(&story);
        }
        out
    }
}

impl Happened {
    /// Whether it is the first event of a finding.
    fn opens(&self) -> bool {
        let finding = self.event.as_deref().and_then(|event| event.kind.finding());
        finding.is_some_and(|(_, state)| state == supervisor_model::event::State::Open)
    }

    /// The story of its finding, as it was known then.
    fn story(&self, columns: usize) -> Option<String> {
        let style = Style { columns, ..Style::PLAIN };
        match &self.event.as_deref()?.kind {
            EventKind::Blocked { namespace, .. } | EventKind::Released { namespace, .. } => {
                Some(story::namespace(namespace, style))
            }
            kind => kind.process().map(|finding| story::process(finding, style)),
        }
    }
}
