//! Where events go: one file for each kind of place. What is common to all, buffering and trying again, comes
//! before them.

pub mod message;
pub mod nats;

use std::io::{self, IsTerminal as _, Write as _};

use crate::{
    finding::Event,
    report::{Context, ecs, text},
};

pub use message::{FindingState, Head, Message};

/// What a sink has made of a batch of messages.
#[derive(Debug)]
pub struct Delivered {
    /// So many from its beginning are safe, in order; they are not given to the sink again.
    pub count: usize,
    /// Why it stopped there. The rest is tried again, later.
    pub error: Option<SinkError>,
}

/// Why a message could not be delivered, in one sentence: what, and why.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The place could not be reached, or has not taken it.
    #[error("{what}: {source}")]
    Unavailable {
        /// What was tried, with the place's name.
        what: String,
        /// What the place or the kernel says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nobody will ever read from there again: a pipe without a reader.
    #[error("the reader of {0} is gone")]
    Closed(String),
}

impl SinkError {
    /// With the error that was met.
    pub fn unavailable(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { what: what.into(), source: source.into() }
    }
}

/// What events look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// One JSON object a line (Elastic Common Schema)
    Json,
}

/// Standard output.
#[derive(Debug)]
pub struct Stdout {
    format: Format,
    colour: text::Colour,
    sequence: u64,
}

impl Stdout {
    /// Colour only on a terminal, and not with `NO_COLOR`.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour =
            if io::stdout().is_terminal() && !plain { text::Colour::Always } else { text::Colour::Never };
        Self { format, colour, sequence: 0 }
    }

    /// Whether what is written here is coloured.
    #[must_use]
    pub fn colour(&self) -> text::Colour {
        self.colour
    }

    /// Writes one event, in one write.
    ///
    /// # Errors
    ///
    /// If standard output cannot be written, as when its reader is gone.
    pub fn write(&mut self, event: &Event, context: &Context) -> io::Result<()> {
        self.sequence += 1;
        let text = match self.format {
            Format::Json => format!("{}\n", ecs::line(event, context, self.sequence)?),
            Format::Text => text::event(event, self.colour),
        };
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }
}
