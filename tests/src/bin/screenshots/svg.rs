//! A screen as a picture: one text for each run of cells that look the same.

use std::fmt::Write as _;

use vt100::{Color, Screen};

/// Size of a cell, and the space around all of them, in pixels.
const WIDTH: usize = 8;
const HEIGHT: usize = 18;
const MARGIN: usize = 14;
/// Where letters stand in a cell.
const BASELINE: usize = 13;

const INK: &str = "#d4d7dd";
const PAPER: &str = "#1b1e24";
/// The sixteen colours that have names.
const NAMED: [&str; 16] = [
    "#3b4048", "#e86671", "#8cc265", "#d8b05f", "#4fa6ed", "#bf68d9", "#42b3c2", "#d4d7dd", "#6b717d",
    "#ff7b86", "#a5e075", "#f0c674", "#6cb8ff", "#de8cf2", "#5fd0df", "#ffffff",
];
/// How bright the steps of the other colours' cube are.
const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// What cells look like.
#[derive(Clone, PartialEq, Eq)]
struct Look {
    ink: String,
    paper: Option<String>,
    is_bold: bool,
    is_dim: bool,
    is_underlined: bool,
}

/// Draws the first rows of a screen, with other texts for some.
pub(crate) fn draw(screen: &Screen, rows: usize, title: &str, others: &[(String, String)]) -> String {
    let columns = screen.size().1;
    let (width, height) = (at(usize::from(columns)) + MARGIN, rows * HEIGHT + 2 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\" aria-label=\"{title}\">\n<title>{title}</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{PAPER}\"/>\n\
         <g font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"13.3\">\n",
        title = escaped(title)
    );
    for row in 0..rows {
        for (start, text, look) in runs(screen, row as u16, columns) {
            let text = others.iter().fold(text, |text, (this, other)| text.replace(this, other));
            run(&mut out, row, start, &text, &look);
        }
    }
    out + "</g>\n</svg>\n"
}

/// Where a column begins.
fn at(column: usize) -> usize {
    MARGIN + column * WIDTH
}

/// The runs of a row: the column that each begins at, and its text.
fn runs(screen: &Screen, row: u16, columns: u16) -> Vec<(usize, String, Look)> {
    let mut runs: Vec<(usize, String, Look)> = Vec::new();
    for column in 0..columns {
        let Some(cell) = screen.cell(row, column).filter(|cell| !cell.is_wide_continuation()) else {
            continue;
        };
        let (ink, paper) = match (colour(cell.fgcolor()), colour(cell.bgcolor())) {
            (ink, paper) if cell.inverse() => {
                (Some(paper.unwrap_or(PAPER.to_owned())), ink.or(Some(INK.to_owned())))
            }
            looks => looks,
        };
        let look = Look {
            ink: ink.unwrap_or(INK.to_owned()),
            paper,
            is_bold: cell.bold(),
            is_dim: cell.dim(),
            is_underlined: cell.underline(),
        };
        let text = if cell.has_contents() { cell.contents() } else { " " };
        match runs.last_mut() {
            Some((_, before, same)) if *same == look => before.push_str(text),
            _ => runs.push((usize::from(column), text.to_owned(), look)),
        }
    }
    runs
}

/// Draws a run. Its length is given, so that columns are below each other whatever the font.
fn run(out: &mut String, row: usize, start: usize, text: &str, look: &Look) {
    let top = MARGIN + row * HEIGHT;
    if let Some(paper) = &look.paper {
        let width = text.chars().count() * WIDTH;
        let _infallible = writeln!(
            out,
            "<rect x=\"{}\" y=\"{top}\" width=\"{width}\" height=\"{HEIGHT}\" fill=\"{paper}\"/>",
            at(start)
        );
    }
    let blank = text.chars().take_while(|it| *it == ' ').count();
    let shown = text.trim_matches(' ');
    if shown.is_empty() {
        return;
    }
    let _infallible = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" textLength=\"{}\" lengthAdjust=\"spacingAndGlyphs\" fill=\"{}\"{}{}{}>{}</text>",
        at(start + blank),
        top + BASELINE,
        shown.chars().count() * WIDTH,
        look.ink,
        if look.is_bold { " font-weight=\"bold\"" } else { "" },
        if look.is_dim { " opacity=\"0.65\"" } else { "" },
        if look.is_underlined { " text-decoration=\"underline\"" } else { "" },
        // Several spaces are one to a browser, which would then stretch what is left to the given length.
        escaped(shown).replace(' ', "\u{a0}")
    );
}

/// A colour of a terminal; none for its own.
fn colour(colour: Color) -> Option<String> {
    match colour {
        Color::Default => None,
        Color::Idx(index @ 0..16) => Some(NAMED[usize::from(index)].to_owned()),
        Color::Idx(index @ 16..232) => {
            let step = |of: u8| STEPS[usize::from((index - 16) / of % 6)];
            Some(format!("#{:02x}{:02x}{:02x}", step(36), step(6), step(1)))
        }
        Color::Idx(index) => {
            let grey = 8 + 10 * (index - 232);
            Some(format!("#{grey:02x}{grey:02x}{grey:02x}"))
        }
        Color::Rgb(red, green, blue) => Some(format!("#{red:02x}{green:02x}{blue:02x}")),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
