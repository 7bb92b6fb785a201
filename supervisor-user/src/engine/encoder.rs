//! Encodes one event in each format that a sink wants, each format once.

use std::sync::Arc;

use anyhow::Result;
use supervisor_deliver::{
    config::SinkConfig,
    sink::{FindingState, Head, Message},
};
use supervisor_model::{
    clock::Wall,
    event::{Event, State},
};
use supervisor_render::{Context, Format, encode, event_id, sentence::sentence, style::Style};

use crate::console;

/// How an event looks in a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The event in this format. It has several lines only where lines may follow each other.
    Block(Format, Style),
    /// Text in one line.
    Sentence,
}

impl Look {
    /// How events look in the sink of a configuration.
    pub(super) fn of(config: &SinkConfig) -> Self {
        match config.format {
            Format::Text if config.stdout.is_some() => Self::Block(Format::Text, console::style()),
            Format::Text if config.file.is_none() => Self::Sentence,
            format => Self::Block(format, Style::PLAIN),
        }
    }

    /// The style of text that a person reads as it comes; `None` if the output is for machines.
    pub(super) fn style_of_screen(self) -> Option<Style> {
        match self {
            Self::Block(Format::Text, style) => Some(style),
            Self::Block(..) | Self::Sentence => None,
        }
    }
}

/// Text for a person that is about no single event; `None` if the text is empty.
pub(super) fn text(wall: Wall, now_ns: u64, text: &str) -> Option<Message> {
    let head = Head {
        id: String::new(),
        action: String::new(),
        at: wall.timestamp(now_ns),
        severity: 1,
        finding: None,
        is_news: true,
        sentence: String::new(),
    };
    with_text(head, text)
}

/// A message that is only text; `None` if the text is empty.
fn with_text(head: Head, text: &str) -> Option<Message> {
    let payload: Arc<[u8]> = text.trim_end_matches('\n').as_bytes().into();
    (!payload.is_empty()).then(|| Message { head, ecs: Arc::clone(&payload), payload })
}

/// Encodes one event, once for each look.
pub(super) struct Encoder<'a> {
    event: &'a Event,
    context: &'a Context,
    sequence: u64,
    head: Option<Head>,
    encoded: Vec<(Look, Arc<[u8]>)>,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(event: &'a Event, context: &'a Context, sequence: u64) -> Self {
        Self { event, context, sequence, head: None, encoded: Vec::new() }
    }

    /// The message of the event for one sink. The list of open findings, if the sink keeps one, is always in ECS.
    pub(super) fn message(&mut self, look: Look, keeps_findings: bool) -> Result<Message> {
        let payload = self.encoded(look)?;
        let ecs = if keeps_findings {
            self.encoded(Look::Block(Format::Ecs, Style::PLAIN))?
        } else {
            Arc::clone(&payload)
        };
        let head = self.head.get_or_insert_with(|| head(self.event, self.context, self.sequence)).clone();
        Ok(Message { head, payload, ecs })
    }

    /// The event as this text; `None` if the text is empty.
    pub(super) fn text(&mut self, text: &str) -> Option<Message> {
        let head = self.head.get_or_insert_with(|| head(self.event, self.context, self.sequence)).clone();
        with_text(head, text)
    }

    fn encoded(&mut self, look: Look) -> Result<Arc<[u8]>> {
        if let Some((_, encoded)) = self.encoded.iter().find(|(of, _)| *of == look) {
            return Ok(Arc::clone(encoded));
        }
        let text = match look {
            Look::Block(format, style) => encode(self.event, self.context, self.sequence, format, style)?,
            Look::Sentence => sentence(self.event),
        };
        let encoded: Arc<[u8]> = text.into_bytes().into();
        self.encoded.push((look, Arc::clone(&encoded)));
        Ok(encoded)
    }
}

fn head(event: &Event, context: &Context, sequence: u64) -> Head {
    let at = event.wall.timestamp(event.at_ns);
    let finding = event.kind.finding();
    Head {
        id: event_id(event, context, sequence),
        action: event.kind.action().as_str().to_owned(),
        at,
        severity: event.kind.severity(),
        finding: finding.map(|(id, state)| FindingState {
            id: id.to_owned(),
            is_open: matches!(state, State::Open | State::Updated),
        }),
        is_news: true,
        sentence: sentence(event),
    }
}
