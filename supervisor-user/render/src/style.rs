//! How text looks: colours, width, and what a terminal can show.

use supervisor_model::words::in_ascii;

/// Whether to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Never,
    /// ANSI colours.
    Always,
}

impl Colour {
    /// Text in a colour.
    #[must_use]
    pub fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Never => text.to_owned(),
            Self::Always => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// What text looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether it is coloured.
    pub colour: Colour,
    /// How long its lines are at most, as far as it can be wrapped.
    pub columns: usize,
    /// Whether the reader's terminal has only ASCII.
    pub is_ascii: bool,
}

impl Style {
    /// Of what is no terminal.
    pub const PLAIN: Self = Self { colour: Colour::Never, columns: COLUMNS, is_ascii: false };

    /// The text as the reader's terminal can show it.
    pub(crate) fn shown(self, text: String) -> String {
        if self.is_ascii { in_ascii(&text) } else { text }
    }
}

/// Longer lines are hard to read.
pub const COLUMNS: usize = 110;
