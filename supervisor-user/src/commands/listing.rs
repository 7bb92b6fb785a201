//! Which columns a list of findings has, and in which order its lines are.

use clap::Args;

use super::table::{HEADER, align, width};
use crate::{
    clock, console,
    finding::Finding,
    report::{
        columns::{Column, SortKey},
        text::Colour,
    },
};

/// What is listed without being asked for.
const USUAL: [Column; 13] = [
    Column::Pid,
    Column::Name,
    Column::Exit,
    Column::Age,
    Column::Family,
    Column::Cause,
    Column::Prognosis,
    Column::Reaper,
    Column::ReaperIs,
    Column::State,
    Column::Pidns,
    Column::Vpid,
    Column::Container,
];
/// Those of them that are left out first where a terminal is narrow.
const SPARED: [Column; 7] = [
    Column::Vpid,
    Column::State,
    Column::ReaperIs,
    Column::Pidns,
    Column::Exit,
    Column::Family,
    Column::Container,
];

/// What a list looks like.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "List")]
pub struct Listing {
    /// The columns, such as pid,name,age,why
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',', value_enum)]
    columns: Vec<Column>,
    /// Sort by this column; without it by reaper and pid
    #[arg(long, value_name = "COLUMN", value_enum, hide_possible_values = true)]
    sort: Option<Column>,
    /// Sort the other way round
    #[arg(long, requires = "sort")]
    reverse: bool,
    /// Leave the first line out
    #[arg(long)]
    no_headers: bool,
}

/// A line of a list.
pub(super) trait Listed {
    /// What a column says.
    fn cell(&self, column: Column) -> String;
    /// What the line is sorted by in a column.
    fn key(&self, column: Column) -> SortKey;
}

/// A finding of this host at a time.
struct At<'a>(&'a Finding, u64);

impl Listed for At<'_> {
    fn cell(&self, column: Column) -> String {
        column.cell(self.0, self.1)
    }

    fn key(&self, column: Column) -> SortKey {
        column.key(self.0)
    }
}

impl Listing {
    /// Whether somebody has asked for columns.
    pub(super) fn is_chosen(&self) -> bool {
        !self.columns.is_empty()
    }

    /// Whether somebody has asked for this column.
    pub(super) fn names(&self, column: Column) -> bool {
        self.columns.contains(&column)
    }

    /// Writes the list. Where nobody has asked for columns, a narrow terminal gets fewer.
    pub(super) fn list(&self, out: &mut String, findings: &[&Finding], colour: Colour) {
        self.list_in(console::columns(), clock::now_ns(), out, findings, colour);
    }

    /// The same at a given time, on a terminal of so many columns.
    pub(super) fn list_in(
        &self,
        room: Option<usize>,
        now_ns: u64,
        out: &mut String,
        findings: &[&Finding],
        colour: Colour,
    ) {
        let lines = findings.iter().map(|finding| At(finding, now_ns)).collect();
        self.write(&USUAL, room, out, lines, colour);
    }

    /// Writes a list of anything, with `usual` columns where nobody has asked for others.
    pub(super) fn write<L: Listed>(
        &self,
        usual: &[Column],
        room: Option<usize>,
        out: &mut String,
        mut lines: Vec<L>,
        colour: Colour,
    ) {
        if let Some(column) = self.sort {
            lines.sort_by_cached_key(|line| line.key(column));
        }
        if self.reverse {
            lines.reverse();
        }
        let mut columns = if self.is_chosen() { self.columns.clone() } else { usual.to_vec() };
        let mut rows = self.rows(&columns, &lines);
        if let Some(room) = room.filter(|_| !self.is_chosen()) {
            for spared in SPARED {
                if width(&rows) <= room {
                    break;
                }
                columns.retain(|column| *column != spared);
                rows = self.rows(&columns, &lines);
            }
        }
        let first = usize::from(!self.no_headers);
        let paint = |row: usize, column: usize| match row.checked_sub(first) {
            None => Some(HEADER),
            Some(_) => meaning(columns[column], &rows[row][column]),
        };
        align(out, &rows, room, paint, colour);
    }

    fn rows<L: Listed>(&self, columns: &[Column], lines: &[L]) -> Vec<Vec<String>> {
        let header: Vec<String> = columns.iter().map(|column| column.header().to_owned()).collect();
        let rows = lines.iter().map(|line| columns.iter().map(|column| line.cell(*column)).collect());
        (!self.no_headers).then_some(header).into_iter().chain(rows).collect()
    }
}

/// How a cell is painted: an end that is a failure in red, a reaper that cannot run in yellow. Both are said in words
/// too.
fn meaning(column: Column, cell: &str) -> Option<&'static str> {
    match (column, cell) {
        (Column::Exit, "exit 0" | "-") => None,
        (Column::Exit, _) => Some("31"),
        (Column::State, "D" | "T" | "t" | "Z") => Some("33"),
        (Column::Status, cell) if cell.starts_with("stale") => Some("33"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;
    use crate::{
        attribution::attribute,
        evidence::sample::{host, incident},
    };

    /// Three of the same, with these pids.
    fn findings() -> Vec<Finding> {
        [30, 4, 200]
            .into_iter()
            .map(|pid| {
                let mut finding = attribute(&incident(), &host(), 1_000_000_000);
                finding.process.pid = pid;
                finding
            })
            .collect()
    }

    fn listed(listing: &Listing) -> String {
        let findings = findings();
        let mut out = String::new();
        listing.list(&mut out, &findings.iter().collect::<Vec<_>>(), Colour::Never);
        out
    }

    #[test]
    fn columns_are_those_that_were_asked_for() {
        let listing = Listing { columns: vec![Column::Name, Column::Pid], ..Listing::default() };
        let name = &findings()[0].process.name;
        let width = name.len().max(4);
        let line = |pid: u32| format!("{name:<width$}  {pid}\n");
        assert_eq!(
            listed(&listing),
            format!("{:<width$}  PID\n{}{}{}", "NAME", line(30), line(4), line(200))
        );
    }

    #[test]
    fn pids_are_sorted_as_numbers() {
        let listing = Listing {
            columns: vec![Column::Pid],
            sort: Some(Column::Pid),
            no_headers: true,
            ..Listing::default()
        };
        assert_eq!(listed(&listing), "4\n30\n200\n");
        assert_eq!(listed(&Listing { reverse: true, ..listing }), "200\n30\n4\n");
    }

    #[test]
    fn colour_moves_no_column_and_stands_where_it_means_something() {
        let listing = Listing { columns: vec![Column::Exit, Column::Pid], ..Listing::default() };
        let plain = listed(&listing);
        let findings = findings();
        let mut painted = String::new();
        listing.list(&mut painted, &findings.iter().collect::<Vec<_>>(), Colour::Always);
        assert!(painted.starts_with("\x1b[1mEXIT\x1b[0m"), "{painted:?}");
        let bare = ["\x1b[1m", "\x1b[31m", "\x1b[0m"]
            .iter()
            .fold(painted.clone(), |text, code| text.replace(code, ""));
        assert_eq!(bare, plain);
        let fails = plain.lines().skip(1).filter(|line| !line.starts_with("exit 0")).count();
        assert_eq!(painted.matches("\x1b[31m").count(), fails);
    }

    #[test]
    fn every_column_says_something_in_one_line() {
        let listing = Listing { columns: Column::value_variants().to_vec(), ..Listing::default() };
        let text = listed(&listing);
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.lines().next().is_some_and(|line| line.contains("CGROUP")));
    }
}
