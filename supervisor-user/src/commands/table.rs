//! Lists for people.

pub(super) use crate::report::columns::{named, unknown};
use crate::{
    report::text::Colour,
    words::{self, wrap},
};

/// How headers are painted: bold.
pub(super) const HEADER: &str = "1";

/// Aligned columns.
pub(super) fn table<const N: usize>(
    out: &mut String,
    header: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
    colour: Colour,
) {
    let header = header.map(str::to_owned).to_vec();
    let rows: Vec<_> = [header].into_iter().chain(rows.map(Vec::from)).collect();
    align(out, &rows, None, |row, _| (row == 0).then_some(HEADER), colour);
}

/// The same of rows that are as long as each other. On a terminal of `room` columns the last of them is wrapped.
/// `paint` says which ANSI code a cell is painted with, by its row and column.
pub(super) fn align(
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
        // What follows the last word of a line is nothing.
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

/// A cell in lines of so many columns, the further ones indented.
fn wrapped(cell: &str, columns: usize, indent: usize) -> String {
    let mut lines = String::new();
    wrap(&mut lines, cell, "", "", columns);
    lines.trim_end().replace('\n', &format!("\n{}", " ".repeat(indent)))
}

/// A column that has less room is not wrapped: that would make more lines than sense.
const WRAPPED: usize = 24;
/// What is between columns.
const GAP: &str = "  ";

/// How many columns of a terminal they take.
pub(super) fn width(rows: &[Vec<String>]) -> usize {
    let widths = widths(rows);
    widths.iter().sum::<usize>() + widths.len().saturating_sub(1) * GAP.len()
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| words::width(&row[column])).max().unwrap_or(0);
    (0..columns).map(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_whatever_the_names() {
        let rows = ["a", "名前", "🦀", "e\u{301}"].map(|name| [name.to_owned(), "1".to_owned()]);
        let mut out = String::new();
        table(&mut out, &["NAME", "PID"], rows.into_iter(), Colour::Never);
        let at: Vec<usize> = out
            .lines()
            .map(|line| words::width(&line[..line.find(['P', '1']).expect("a second column")]))
            .collect();
        assert_eq!(at, [6; 5], "{out}");
    }
}
