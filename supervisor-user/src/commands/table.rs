//! Lists for people.

/// What is not known.
pub(super) fn unknown() -> String {
    "-".to_owned()
}

/// Aligned columns.
pub(super) fn table<const N: usize>(
    out: &mut String,
    header: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let rows: Vec<[String; N]> = [header.map(str::to_owned)].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
}

/// A process, as lists name it.
pub(super) fn named(name: &str, pid: u32) -> String {
    format!("{}[{pid}]", crate::words::clean(name))
}
