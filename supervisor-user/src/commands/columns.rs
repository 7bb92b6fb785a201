//! Which columns a list of findings has, and in which order its lines are.

use std::{cmp::Ordering, io};

use clap::{Args, ValueEnum};

use super::table::{align, named, unknown, width};
use crate::{
    clock,
    finding::Finding,
    report::text::short_exit,
    words::{clean, duration},
};

/// Something that is said of each finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Column {
    /// Pid on the host
    Pid,
    /// Its name
    Name,
    /// How it ended
    Exit,
    /// Time since then, if it was seen
    Age,
    /// Class of cause
    Family,
    /// Why, in one sentence
    Why,
    /// Who must reap it
    Reaper,
    /// Whether that is an init or a subreaper
    ReaperIs,
    /// The reaper's state
    State,
    /// Inode number of its PID namespace
    Pidns,
    /// Pid in there
    Vpid,
    /// Container id
    Container,
    /// Kubernetes pod
    Pod,
    /// Container runtime
    Runtime,
    /// Container monitor
    Monitor,
    /// Control group
    Cgroup,
}

/// What is listed without being asked for.
const USUAL: [Column; 10] = [
    Column::Pid,
    Column::Name,
    Column::Exit,
    Column::Family,
    Column::Reaper,
    Column::ReaperIs,
    Column::State,
    Column::Pidns,
    Column::Vpid,
    Column::Container,
];
/// Those of them that are left out first where a terminal is narrow.
const SPARED: [Column; 5] = [Column::Vpid, Column::State, Column::ReaperIs, Column::Pidns, Column::Container];

impl Column {
    fn header(self) -> &'static str {
        match self {
            Self::Pid => "PID",
            Self::Name => "NAME",
            Self::Exit => "EXIT",
            Self::Age => "AGE",
            Self::Family => "FAMILY",
            Self::Why => "WHY",
            Self::Reaper => "REAPER",
            Self::ReaperIs => "REAPER IS",
            Self::State => "STATE",
            Self::Pidns => "PID NS",
            Self::Vpid => "VPID",
            Self::Container => "CONTAINER",
            Self::Pod => "POD",
            Self::Runtime => "RUNTIME",
            Self::Monitor => "MONITOR",
            Self::Cgroup => "CGROUP",
        }
    }

    /// What it says of a finding.
    pub(super) fn cell(self, finding: &Finding) -> String {
        let reaper = finding.reaper.as_ref();
        let known = match self {
            Self::Pid => Some(finding.process.pid.to_string()),
            Self::Name => Some(clean(&finding.process.name)),
            Self::Exit => finding.exit.map(short_exit),
            Self::Age => finding.exit_ns.map(|at_ns| duration(clock::now_ns().saturating_sub(at_ns))),
            Self::Family => finding.diagnosis.family.map(|family| family.to_string()),
            Self::Why => Some(clean(&finding.diagnosis.verdict)),
            Self::Reaper => reaper.map(|reaper| named(&reaper.process.name, reaper.process.pid)),
            Self::ReaperIs => reaper.and_then(|reaper| {
                let is = [(reaper.is_pidns_init, "init"), (reaper.is_subreaper, "subreaper")];
                let is: Vec<&str> =
                    is.iter().filter(|(is, _)| *is == Some(true)).map(|(_, word)| *word).collect();
                (!is.is_empty()).then(|| is.join(","))
            }),
            Self::State => reaper.and_then(|reaper| reaper.state).map(|state| state.to_string()),
            Self::Pidns => finding.pid_ns.as_ref().map(|ns| ns.ino.to_string()),
            Self::Vpid => finding.process.vpid.map(|vpid| vpid.to_string()),
            Self::Container => finding.container.as_ref().map(|container| clean(&container.id)),
            Self::Pod => finding.orchestrator.as_ref().and_then(|it| it.pod_name.as_deref()).map(clean),
            Self::Runtime => finding.runtime.as_ref().map(|runtime| clean(&runtime.name)),
            Self::Monitor => finding.monitor.as_ref().map(|monitor| named(&monitor.name, monitor.pid)),
            Self::Cgroup => finding.cgroup.as_deref().map(clean),
        };
        known.unwrap_or_else(unknown)
    }

    /// The order of two findings: of numbers by their values.
    fn compare(self, one: &Finding, other: &Finding) -> Ordering {
        if self == Self::Age {
            // The oldest first.
            return one.exit_ns.unwrap_or(0).cmp(&other.exit_ns.unwrap_or(0));
        }
        let (one, other) = (self.cell(one), self.cell(other));
        match (one.parse::<u64>(), other.parse::<u64>()) {
            (Ok(one), Ok(other)) => one.cmp(&other),
            _ => one.cmp(&other),
        }
    }
}

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

impl Listing {
    /// Whether somebody has asked for columns.
    pub(super) fn is_chosen(&self) -> bool {
        !self.columns.is_empty()
    }

    /// Writes the list. Where nobody has asked for columns, a narrow terminal gets fewer.
    pub(super) fn list(&self, out: &mut String, findings: &[&Finding]) {
        let mut findings = findings.to_vec();
        if let Some(column) = self.sort {
            findings.sort_by(|one, other| column.compare(one, other));
        }
        if self.reverse {
            findings.reverse();
        }
        let mut columns = if self.is_chosen() { self.columns.clone() } else { USUAL.to_vec() };
        let mut rows = self.rows(&columns, &findings);
        if let Some(room) = room().filter(|_| !self.is_chosen()) {
            for spared in SPARED {
                if width(&rows) <= room {
                    break;
                }
                columns.retain(|column| *column != spared);
                rows = self.rows(&columns, &findings);
            }
        }
        align(out, &rows);
    }

    fn rows(&self, columns: &[Column], findings: &[&Finding]) -> Vec<Vec<String>> {
        let header: Vec<String> = columns.iter().map(|column| column.header().to_owned()).collect();
        let rows = findings.iter().map(|finding| columns.iter().map(|column| column.cell(finding)).collect());
        (!self.no_headers).then_some(header).into_iter().chain(rows).collect()
    }
}

/// How many columns the terminal has, if standard output is one.
fn room() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

#[cfg(test)]
mod tests {
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
        listing.list(&mut out, &findings.iter().collect::<Vec<_>>());
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
    fn every_column_says_something_in_one_line() {
        let listing = Listing { columns: Column::value_variants().to_vec(), ..Listing::default() };
        let text = listed(&listing);
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.lines().next().is_some_and(|line| line.contains("CGROUP")));
    }
}
