//! Styles for colours, and numbers with their sign.

use ratatui::style::{Color, Modifier, Style};

use super::trend::Trend;

/// Whether the screen has colours.
#[derive(Clone, Copy)]
pub(super) struct Look {
    /// Whether colours are off.
    pub(super) plain: bool,
}

impl Look {
    pub(super) fn colour(self, colour: Color) -> Style {
        if self.plain { Style::new() } else { Style::new().fg(colour) }
    }

    pub(super) fn bold(self, colour: Color) -> Style {
        self.colour(colour).add_modifier(Modifier::BOLD)
    }
}

/// The change of a count, with its sign.
pub(super) fn change(trend: &Trend) -> String {
    match trend.change() {
        0 => "+0".to_owned(),
        change => format!("{change:+}"),
    }
}
