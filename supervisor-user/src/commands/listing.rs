//! The form of a list of findings: its columns, and the order of its lines.

use clap::Args;
use supervisor_model::finding::Finding;
use supervisor_render::{
    columns::{Column, SortKey},
    style::Colour,
    table::{Gives, HEADER, align, fit},
};

/// The columns if the user chooses none.
const USUAL: [Column; 9] = [
    Column::Pid,
    Column::Name,
    Column::Age,
    Column::Why,
    Column::Reaper,
    Column::Blocks,
    Column::Container,
    Column::Exit,
    Column::Pidns,
];
/// The additional columns of a wide list.
const WIDE: [Column; 6] =
    [Column::Vpid, Column::ReaperIs, Column::State, Column::Runtime, Column::Monitor, Column::Verdict];

/// How a column shrinks on a narrow terminal. Ids that are arguments of other commands are never cut.
fn gives(column: Column) -> Gives {
    match column {
        Column::Exit => Gives::First(1),
        Column::Pidns => Gives::First(0),
        Column::Container | Column::Pod => Gives::Last(0),
        Column::Blocks => Gives::Last(1),
        Column::Age => Gives::Last(2),
        Column::Name => Gives::Last(3),
        Column::Why => Gives::End(16),
        Column::Status => Gives::End(7),
        _ => Gives::Nothing,
    }
}

/// What a list looks like.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "List")]
pub struct Listing {
    /// The columns, such as pid,name,age,why
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',', value_enum)]
    columns: Vec<Column>,
    /// Sort by this column; without it by what is worst: what blocks a PID namespace, then leaked, then late
    #[arg(long, value_name = "COLUMN", value_enum, hide_possible_values = true)]
    sort: Option<Column>,
    /// Sort the other way round
    #[arg(long, requires = "sort")]
    reverse: bool,
    /// Leave the first line out
    #[arg(long)]
    no_headers: bool,
    /// Show more columns, and cut nothing
    #[arg(short, long, conflicts_with = "columns")]
    wide: bool,
}

/// A line of a list.
pub(super) trait Listed {
    /// The text of a column.
    fn cell(&self, column: Column) -> String;
    /// The sort key of the line for a column.
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
    /// Whether the user has chosen columns.
    pub(super) fn is_chosen(&self) -> bool {
        !self.columns.is_empty()
    }

    /// Whether the user has chosen anything about the form of the list.
    pub(super) fn is_shaped(&self) -> bool {
        self.is_chosen() || self.sort.is_some() || self.no_headers || self.wide
    }

    /// Whether to print nothing beside the list, because a program reads it.
    pub(super) fn is_bare(&self) -> bool {
        self.is_chosen() || self.no_headers
    }

    /// Whether nothing is left out or cut.
    pub(super) fn is_wide(&self) -> bool {
        self.wide
    }

    /// Whether the user has chosen this column.
    pub(super) fn names(&self, column: Column) -> bool {
        self.columns.contains(&column)
    }

    /// Writes the list for the time `now_ns`, for a terminal with `room` columns. If the user has chosen no columns, a
    /// narrow terminal gets fewer.
    pub(super) fn list(
        &self,
        room: Option<usize>,
        now_ns: u64,
        out: &mut String,
        findings: &[&Finding],
        colour: Colour,
    ) {
        let lines = findings.iter().map(|finding| At(finding, now_ns)).collect();
        let usual = if self.wide { [&USUAL[..], &WIDE].concat() } else { USUAL.to_vec() };
        self.write(&usual, room, out, lines, colour);
    }

    /// Writes a list of anything, with the `usual` columns if the user has chosen no others.
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
        let first = usize::from(!self.no_headers);
        if !self.is_chosen() {
            let gives: Vec<Gives> = columns.iter().copied().map(gives).collect();
            let left = fit(&mut rows, first, &gives, room.filter(|_| !self.wide));
            columns = left.into_iter().map(|index| columns[index]).collect();
        }
        let paint = |row: usize, column: usize| match row.checked_sub(first) {
            None => Some(HEADER),
            Some(_) => meaning(columns[column], &rows[row][column]),
        };
        align(out, &rows, room.filter(|_| !self.wide), paint, colour);
    }

    fn rows<L: Listed>(&self, columns: &[Column], lines: &[L]) -> Vec<Vec<String>> {
        let header: Vec<String> = columns.iter().map(|column| column.header().to_owned()).collect();
        let rows = lines.iter().map(|line| columns.iter().map(|column| line.cell(*column)).collect());
        (!self.no_headers).then_some(header).into_iter().chain(rows).collect()
    }
}

/// The colour of a cell. A failed exit and a blocked PID namespace are red. A reaper that cannot run and a stale node
/// are yellow. The text of the cell says the same.
fn meaning(column: Column, cell: &str) -> Option<&'static str> {
    match (column, cell) {
        (Column::Exit, "exit 0" | "-") => None,
        (Column::Exit, _) => Some("31"),
        (Column::Blocks, cell) if cell != "-" => Some("31"),
        (Column::State, "D" | "T" | "t" | "Z") => Some("33"),
        (Column::Status, cell) if cell.starts_with("stale") => Some("33"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;
    use supervisor_conclude::attribution::attribute;
    use supervisor_model::evidence::sample::{host, incident};

    use super::*;

    /// Three equal findings, with different pids.
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
        listing.list(None, 0, &mut out, &findings.iter().collect::<Vec<_>>(), Colour::Never);
        out
    }

    #[test]
    fn the_list_has_exactly_the_chosen_columns() {
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
    fn colour_moves_no_column_and_marks_only_meaningful_cells() {
        let listing = Listing { columns: vec![Column::Exit, Column::Pid], ..Listing::default() };
        let plain = listed(&listing);
        let findings = findings();
        let mut painted = String::new();
        listing.list(None, 0, &mut painted, &findings.iter().collect::<Vec<_>>(), Colour::Always);
        assert!(painted.starts_with("\x1b[1mEXIT\x1b[0m"), "{painted:?}");
        let bare = ["\x1b[1m", "\x1b[31m", "\x1b[0m"]
            .iter()
            .fold(painted.clone(), |text, code| text.replace(code, ""));
        assert_eq!(bare, plain);
        let fails = plain.lines().skip(1).filter(|line| !line.starts_with("exit 0")).count();
        assert_eq!(painted.matches("\x1b[31m").count(), fails);
    }

    #[test]
    fn every_column_is_written_on_one_line() {
        let listing = Listing { columns: Column::value_variants().to_vec(), ..Listing::default() };
        let text = listed(&listing);
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.lines().next().is_some_and(|line| line.contains("CGROUP")));
    }
}
