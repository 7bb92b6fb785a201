//! What is said to the person at the terminal.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;

use crate::{
    finding::Event,
    report::{Context, Format, encode, text::Colour},
    trace::tree::Lines,
};

/// A line for people, on standard error. That nobody reads it is no error.
pub fn say(line: &str) {
    let _unread = writeln!(io::stderr(), "{line}");
}

/// Writes to standard output. A reader that has gone away has seen enough.
///
/// # Errors
///
/// If it cannot be written for another reason.
pub fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Colour only on a terminal, and not with `NO_COLOR`.
#[must_use]
pub fn colour() -> Colour {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stdout().is_terminal() && !plain { Colour::Always } else { Colour::Never }
}

/// Box-drawing characters only where the locale has them.
#[must_use]
pub fn strokes() -> Lines {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|it| !it.is_empty()));
    let is_utf8 = locale.is_some_and(|it| it.to_ascii_lowercase().replace('-', "").ends_with("utf8"));
    if is_utf8 { Lines::Unicode } else { Lines::Ascii }
}

/// Writes the events of one look to standard output.
#[derive(Debug)]
pub struct Printer {
    format: Format,
    context: Context,
    sequence: u64,
}

impl Printer {
    /// For events of this run.
    #[must_use]
    pub fn new(format: Format, context: Context) -> Self {
        Self { format, context, sequence: 0 }
    }

    /// Writes one event, in one write.
    ///
    /// # Errors
    ///
    /// If standard output cannot be written, but for want of a reader.
    pub fn write(&mut self, event: &Event) -> anyhow::Result<()> {
        self.sequence += 1;
        print(&format!("{}\n", encode(event, &self.context, self.sequence, self.format, colour())?))
    }
}
