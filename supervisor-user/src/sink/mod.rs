//! Where events go.

use std::io::{self, IsTerminal as _, Write as _};

use crate::{
    finding::Event,
    report::{Context, ecs, text},
};

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
