//! What is said to the person at the terminal.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;

use crate::{
    finding::Event,
    report::{
        Context, Format, encode,
        text::{COLUMNS, Colour, Style},
    },
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

/// Says how many columns there are where standard output is no terminal, as to other programs: `demo` shows what we print.
pub const COLUMNS_VARIABLE: &str = "COLUMNS";

/// How many columns the terminal has, if standard output is one.
#[must_use]
pub fn columns() -> Option<usize> {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) => Some(usize::from(size.ws_col)),
        Err(_) => std::env::var(COLUMNS_VARIABLE).ok()?.parse().ok(),
    }
    .filter(|columns| *columns > 0)
}

/// How text is written to standard output.
#[must_use]
pub fn style() -> Style {
    Style { colour: colour(), columns: columns().map_or(COLUMNS, |it| it.min(COLUMNS)), is_ascii: !is_utf8() }
}

/// Whether the locale has box-drawing characters.
#[must_use]
pub fn is_utf8() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|it| !it.is_empty()));
    locale.is_some_and(|it| it.to_ascii_lowercase().replace('-', "").ends_with("utf8"))
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
        print(&format!("{}\n", encode(event, &self.context, self.sequence, self.format, style())?))
    }
}
