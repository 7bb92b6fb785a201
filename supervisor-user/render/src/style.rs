//! The appearance of text: colours, width, and the characters that a terminal can show.

use supervisor_model::words::in_ascii;

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Never,
    /// ANSI colours.
    Always,
}

impl Colour {
    /// Text, painted with an ANSI code if colours are on.
    #[must_use]
    pub fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Never => text.to_owned(),
            Self::Always => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// The appearance of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether it is coloured.
    pub colour: Colour,
    /// The longest line, as far as text can be wrapped.
    pub columns: usize,
    /// Whether the reader's terminal has only ASCII.
    pub is_ascii: bool,
}

impl Style {
    /// The style for output that is no terminal.
    pub const PLAIN: Self = Self { colour: Colour::Never, columns: COLUMNS, is_ascii: false };

    /// The text as the reader's terminal can show it.
    pub(crate) fn shown(self, text: String) -> String {
        if self.is_ascii { in_ascii(&text) } else { text }
    }
}

/// Longer lines are hard to read.
pub const COLUMNS: usize = 110;
