//! Lists for people.

pub(super) use crate::report::columns::{named, unknown};

/// Aligned columns.
pub(super) fn table<const N: usize>(
    out: &mut String,
    header: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let header = header.map(str::to_owned).to_vec();
    align(out, &[header].into_iter().chain(rows.map(Vec::from)).collect::<Vec<_>>());
}

/// The same of rows that are as long as each other.
pub(super) fn align(out: &mut String, rows: &[Vec<String>]) {
    let widths = widths(rows);
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        out.push_str(cells.collect::<Vec<_>>().join(GAP).trim_end());
        out.push('\n');
    }
}

/// What is between columns.
const GAP: &str = "  ";

/// How many columns of a terminal they take.
pub(super) fn width(rows: &[Vec<String>]) -> usize {
    let widths = widths(rows);
    widths.iter().sum::<usize>() + widths.len().saturating_sub(1) * GAP.len()
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    (0..columns).map(width).collect()
}
