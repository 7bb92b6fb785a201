//! Lays out lists for people: aligns columns, and drops or cuts them on a narrow terminal.

pub use crate::columns::{named, unknown};
use supervisor_model::words::{self, cut, wrap};

use crate::style::Colour;

/// The ANSI code of headers: bold.
pub const HEADER: &str = "1";

/// How a column gets narrower on a narrow terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    /// It does not: people copy its cells into other commands.
    Nothing,
    /// The column is left out before any other column is cut; the smallest number first.
    First(u8),
    /// The column is left out if cutting other columns is not enough; the smallest number first.
    Last(u8),
    /// The ends of its cells are cut; this many columns are kept at least.
    End(usize),
}

/// A list with a header, as wide as a terminal of `room` columns. Columns without a known value are left out.
pub fn table<const N: usize>(
    out: &mut String,
    header: &[(&str, Gives); N],
    rows: impl Iterator<Item = [String; N]>,
    room: Option<usize>,
    colour: Colour,
) {
    let gives: Vec<Gives> = header.iter().map(|(_, gives)| *gives).collect();
    let header = header.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut rows: Vec<Vec<String>> = [header].into_iter().chain(rows.map(Vec::from)).collect();
    fit(&mut rows, 1, &gives, room);
    align(out, &rows, room, |row, _| (row == 0).then_some(HEADER), colour);
}

/// Leaves columns out and cuts others until the rows are as wide as a terminal of `room` columns. The first `headers`
/// rows hold no data. Returns the columns that are left.
pub fn fit(rows: &mut [Vec<String>], headers: usize, gives: &[Gives], room: Option<usize>) -> Vec<usize> {
    let mut left: Vec<usize> = (0..gives.len()).collect();
    let is_known = |column: usize| rows.iter().skip(headers).any(|row| row[column] != unknown());
    left.retain(|column| is_known(*column));
    if let Some(room) = room {
        let widths = widths(rows);
        leave_out(
            &mut left,
            gives,
            |left| total(left, |column| widths[column]) > room,
            |it| match it {
                Gives::First(rank) => Some(rank),
                _ => None,
            },
        );
        let least = |column: usize| match gives[column] {
            Gives::End(least) => widths[column].min(least),
            _ => widths[column],
        };
        leave_out(
            &mut left,
            gives,
            |left| total(left, least) > room,
            |it| match it {
                Gives::Last(rank) => Some(rank),
                _ => None,
            },
        );
        let mut excess = total(&left, |column| widths[column]).saturating_sub(room);
        for &column in &left {
            let gone = excess.min(widths[column] - least(column));
            excess -= gone;
            if gone > 0 {
                for row in &mut *rows {
                    row[column] = cut(&row[column], widths[column] - gone);
                }
            }
        }
    }
    for row in rows {
        let mut column = 0..;
        row.retain(|_| column.next().is_some_and(|column| left.contains(&column)));
    }
    left
}

/// Leaves out the columns that have a rank, the smallest first, as long as the rest is too wide.
fn leave_out(
    left: &mut Vec<usize>,
    gives: &[Gives],
    is_too_wide: impl Fn(&[usize]) -> bool,
    rank: impl Fn(Gives) -> Option<u8>,
) {
    while is_too_wide(left) {
        let ranked = left.iter().filter_map(|column| Some((rank(gives[*column])?, *column)));
        let Some((_, first)) = ranked.min() else { break };
        left.retain(|column| *column != first);
    }
}

/// The width of these columns and the gaps between them on a terminal.
fn total(columns: &[usize], width: impl Fn(usize) -> usize) -> usize {
    let cells: usize = columns.iter().map(|column| width(*column)).sum();
    cells + columns.len().saturating_sub(1) * GAP.len()
}

/// Appends aligned rows; all rows have the same number of cells. On a terminal of `room` columns the last column is
/// wrapped. `paint` returns the ANSI code of a cell by its row and column.
pub fn align(
    out: &mut String,
    rows: &[Vec<String>],
    room: Option<usize>,
    paint: impl Fn(usize, usize) -> Option<&'static str>,
    colour: Colour,
) {
    let widths = widths(rows);
    let before: usize = widths.iter().rev().skip(1).map(|width| width + GAP.len()).sum();
    let left = room.map(|room| room.saturating_sub(before)).filter(|left| *left >= WRAPPED);
    for (i, row) in rows.iter().enumerate() {
        // Empty cells at the end of a row write nothing.
        let last = row.iter().rposition(|cell| !cell.is_empty()).map_or(0, |last| last + 1);
        for (j, (cell, width)) in row[..last].iter().zip(&widths).enumerate() {
            let shown = match left.filter(|_| j + 1 == row.len()) {
                Some(left) => wrapped(cell, left, before),
                None => cell.clone(),
            };
            out.push_str(&paint(i, j).map_or_else(|| shown.clone(), |code| colour.paint(code, &shown)));
            if j + 1 < last {
                out.extend(std::iter::repeat_n(' ', width - words::width(cell)));
                out.push_str(GAP);
            }
        }
        out.push('\n');
    }
}

/// A cell in lines of at most `columns` columns. The lines after the first are indented.
fn wrapped(cell: &str, columns: usize, indent: usize) -> String {
    let mut lines = String::new();
    wrap(&mut lines, cell, "", "", columns);
    lines.trim_end().replace('\n', &format!("\n{}", " ".repeat(indent)))
}

/// A narrower last column is not wrapped: its many short lines would be hard to read.
const WRAPPED: usize = 24;
/// The gap between columns.
const GAP: &str = "  ";

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| words::width(&row[column])).max().unwrap_or(0);
    (0..columns).map(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_for_names_of_any_width() {
        let rows = ["a", "名前", "🦀", "e\u{301}"].map(|name| [name.to_owned(), "1".to_owned()]);
        let mut out = String::new();
        let header = [("NAME", Gives::End(8)), ("PID", Gives::Nothing)];
        table(&mut out, &header, rows.into_iter(), None, Colour::Never);
        let at: Vec<usize> = out
            .lines()
            .map(|line| words::width(&line[..line.find(['P', '1']).expect("a second column")]))
            .collect();
        assert_eq!(at, [6; 5], "{out}");
    }

    /// The table of these rows on a terminal of `room` columns.
    fn shown(room: usize) -> String {
        let header = [
            ("PID", Gives::Nothing),
            ("NAME", Gives::Last(0)),
            ("WHY", Gives::End(6)),
            ("NOTHING", Gives::Nothing),
            ("NS", Gives::First(1)),
            ("EXIT", Gives::First(0)),
        ];
        let row = |pid: &str, why: &str| [pid, "crun", why, "-", "4026531836", "exit 1"].map(str::to_owned);
        let mut out = String::new();
        table(
            &mut out,
            &header,
            [row("1", "never waits"), row("20", "-")].into_iter(),
            Some(room),
            Colour::Never,
        );
        out
    }

    #[test]
    fn a_narrow_terminal_drops_columns_by_rank_and_cuts_cells() {
        for (room, header) in [
            (80, "PID  NAME  WHY          NS          EXIT"),
            (42, "PID  NAME  WHY          NS          EXIT"),
            (41, "PID  NAME  WHY          NS"),
            (33, "PID  NAME  WHY"),
            (21, "PID  NAME  WHY"),
            (17, "PID  NAME  WHY"),
            (16, "PID  WHY"),
            (3, "PID  WHY"),
        ] {
            let text = shown(room);
            assert_eq!(text.lines().next(), Some(header), "{room}: {text}");
            let widest = text.lines().map(words::width).max().unwrap_or(0);
            assert!(widest <= room.max(11), "{room}: {text}");
        }
        assert!(shown(21).contains("never wai…"), "{}", shown(21));
        assert!(!shown(80).contains("NOTHING"), "no column says nothing in every row");
    }
}
