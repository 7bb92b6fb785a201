//! The columns of lists: the cell that each of them has for a finding.

use clap::ValueEnum;
use supervisor_model::{
    diagnosis::{Cause, Diagnosis, Prognosis},
    family::Family,
    finding::Finding,
    names::Names,
    words::{age, clean, duration},
};

use crate::parts::short_exit;

/// Something that is said of each finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Column {
    /// Node; only with --from
    Host,
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
    /// What the reaper does instead of reaping
    Cause,
    /// Whether it will go away by itself
    Prognosis,
    /// Why: family, prognosis and cause in a few words
    Why,
    /// Why, in one sentence
    Verdict,
    /// Who must reap it
    Reaper,
    /// PID 1 of the PID namespace that cannot end before it is reaped
    Blocks,
    /// Whether the reaper is an init or a subreaper
    ReaperIs,
    /// The reaper's state
    State,
    /// Inode number of its PID namespace
    Pidns,
    /// Pid in there
    Vpid,
    /// Pod and container, or the container's short id
    Container,
    /// Kubernetes pod
    Pod,
    /// Container runtime
    Runtime,
    /// Container monitor
    Monitor,
    /// Control group
    Cgroup,
    /// Whether the node reports; only with --from
    Status,
}

impl Column {
    /// Its heading.
    #[must_use]
    pub fn header(self) -> &'static str {
        match self {
            Self::Host => "HOST",
            Self::Pid => "PID",
            Self::Name => "NAME",
            Self::Exit => "EXIT",
            Self::Age => "AGE",
            Self::Family => "FAMILY",
            Self::Cause => "CAUSE",
            Self::Prognosis => "PROGNOSIS",
            Self::Why => "WHY",
            Self::Verdict => "VERDICT",
            Self::Reaper => "REAPER",
            Self::Blocks => "BLOCKS",
            Self::ReaperIs => "REAPER IS",
            Self::State => "STATE",
            Self::Pidns => "PID NS",
            Self::Vpid => "VPID",
            Self::Container => "CONTAINER",
            Self::Pod => "POD",
            Self::Runtime => "RUNTIME",
            Self::Monitor => "MONITOR",
            Self::Cgroup => "CGROUP",
            Self::Status => "STATUS",
        }
    }

    /// The cell for a finding at that time.
    pub fn cell(self, finding: &Finding, now_ns: u64) -> String {
        let reaper = finding.reaper.as_ref();
        let known = match self {
            Self::Pid => Some(finding.process.pid.to_string()),
            Self::Name => Some(clean(&finding.process.name)),
            Self::Exit => finding.exit.map(short_exit),
            Self::Age => age_cell(finding, now_ns),
            Self::Family => finding.diagnosis.family.map(|family| family.to_string()),
            Self::Cause => finding.diagnosis.cause.map(|cause| cause.as_str().to_owned()),
            Self::Prognosis => Some(finding.diagnosis.prognosis.as_str().to_owned()),
            Self::Why => why(&finding.diagnosis),
            Self::Verdict => Some(clean(&finding.diagnosis.verdict)),
            Self::Reaper => reaper.map(|reaper| named(&reaper.process.name, reaper.process.pid)),
            Self::Blocks => blocks(finding),
            Self::ReaperIs => reaper.and_then(|reaper| reaper_is(reaper.is_pidns_init, reaper.is_subreaper)),
            Self::State => reaper.and_then(|reaper| reaper.state).map(|state| state.to_string()),
            Self::Pidns => finding.pid_ns.as_ref().map(|ns| ns.ino.to_string()),
            Self::Vpid => finding.process.vpid.map(|vpid| vpid.to_string()),
            Self::Container => Names::of(finding).map(|names| names.label()),
            Self::Pod => finding.orchestrator.as_ref().and_then(|it| it.pod_name.as_deref()).map(clean),
            Self::Runtime => finding.runtime.as_ref().map(|runtime| clean(&runtime.name)),
            Self::Monitor => finding.monitor.as_ref().map(|monitor| named(&monitor.name, monitor.pid)),
            Self::Cgroup => finding.cgroup.as_deref().map(clean),
            Self::Host | Self::Status => None,
        };
        known.unwrap_or_else(unknown)
    }

    /// The key that findings are sorted by in this column.
    #[must_use]
    pub fn key(self, finding: &Finding) -> SortKey {
        match self {
            // The oldest first.
            Self::Age => SortKey::Number(since_ns(finding).unwrap_or(0).into()),
            _ => SortKey::of(self.cell(finding, 0)),
        }
    }
}

/// When it exited, or a time before which it exited.
fn since_ns(finding: &Finding) -> Option<u64> {
    finding.exit_ns.or(finding.exited_before_ns)
}

/// Its age, or a lower bound of its age.
fn age_cell(finding: &Finding, now_ns: u64) -> Option<String> {
    /// A lower bound below this says nothing.
    const MOMENT_NS: u64 = 1_000_000_000;
    let age_ns = now_ns.saturating_sub(since_ns(finding)?);
    match finding.exit_ns {
        Some(_) => Some(age(age_ns)),
        None => (age_ns >= MOMENT_NS).then(|| format!(">{}", age(age_ns))),
    }
}

/// Family, prognosis and cause in a few words, such as `F4 leaked: never waits`. The family comes first: a list may cut
/// the end. `None` if nothing is known.
#[must_use]
pub fn why(diagnosis: &Diagnosis) -> Option<String> {
    let prognosis = Some(diagnosis.prognosis).filter(|it| *it != Prognosis::Unknown).map(Prognosis::as_str);
    why_of(diagnosis.family, prognosis, diagnosis.cause)
}

/// The same text, made of its three parts.
pub fn why_of(family: Option<Family>, prognosis: Option<&str>, cause: Option<Cause>) -> Option<String> {
    let what = cause.map(Cause::in_words).or(family.map(Family::title));
    let before = family.map(Family::id).into_iter().chain(prognosis).collect::<Vec<_>>().join(" ");
    match (before.is_empty(), prognosis, what) {
        (true, _, what) => what.map(str::to_owned),
        (false, _, None) => Some(before),
        (false, Some(_), Some(what)) => Some(format!("{before}: {what}")),
        (false, None, Some(what)) => Some(format!("{before} {what}")),
    }
}

/// PID 1 of the first namespace that it blocks, and how many more namespaces it blocks.
fn blocks(finding: &Finding) -> Option<String> {
    let [first, more @ ..] = &*finding.blocks else { return None };
    let more = if more.is_empty() { String::new() } else { format!(" +{}", more.len()) };
    Some(format!("{}{more}", named(&first.init_name, first.init_pid)))
}

/// The headings of a list of processes that cannot exit: see [`exit_cells`].
pub const EXITS: [&str; 7] = ["CANNOT EXIT", "NAME", "STATE", "FOR", "FAMILY", "WAITS IN", "CONTAINER"];

/// The cells for a process that cannot exit. State and kernel function are those of the thread that does not end.
pub fn exit_cells(finding: &Finding, now_ns: u64) -> [String; 7] {
    let (state, wchan) = finding.last_place();
    let since_ns = finding.ending.as_ref().and_then(|ending| ending.since_ns);
    [
        finding.process.pid.to_string(),
        clean(&finding.process.name),
        state.to_string(),
        since_ns.map_or_else(unknown, |since_ns| duration(now_ns.saturating_sub(since_ns))),
        Column::Family.cell(finding, now_ns),
        wchan.map_or_else(unknown, clean),
        Column::Container.cell(finding, now_ns),
    ]
}

/// A key that lines are sorted by: numbers come before text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SortKey {
    /// A number, or a time in nanoseconds.
    Number(i128),
    /// Anything else.
    Text(String),
}

impl SortKey {
    /// The key of a cell.
    #[must_use]
    pub fn of(cell: String) -> Self {
        cell.parse::<u64>().map_or(Self::Text(cell), |number| Self::Number(number.into()))
    }
}

/// Whether a reaper is an init or a subreaper, in words.
#[must_use]
pub fn reaper_is(is_init: Option<bool>, is_subreaper: Option<bool>) -> Option<String> {
    let is = [(is_init, "init"), (is_subreaper, "subreaper")];
    let is: Vec<&str> = is.iter().filter(|(is, _)| *is == Some(true)).map(|(_, word)| *word).collect();
    (!is.is_empty()).then(|| is.join(","))
}

/// The cell for a value that is not known.
#[must_use]
pub fn unknown() -> String {
    "-".to_owned()
}

/// A process by name and pid, as lists show it.
#[must_use]
pub fn named(name: &str, pid: u32) -> String {
    format!("{}[{pid}]", clean(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_begins_with_the_family_id_that_other_commands_take() {
        let why = |family, prognosis, cause| why_of(family, prognosis, cause).unwrap_or_default();
        let (f4, cause) = (Some(Family::F4), Some(Cause::NeverWaits));
        assert_eq!(why(f4, Some("leaked"), cause), "F4 leaked: never waits");
        assert_eq!(why(f4, None, cause), "F4 never waits");
        assert_eq!(why(Some(Family::F7), None, None), "F7 The zombie is a monitor");
        assert_eq!(why(None, None, cause), "never waits");
        assert_eq!(why_of(None, None, None), None);
    }

    #[test]
    fn numbers_are_sorted_before_text_and_by_their_values() {
        let mut cells = ["1a", "10", "-", "9"].map(|cell| SortKey::of(cell.to_owned()));
        cells.sort();
        let text = |cell: &str| SortKey::Text(cell.to_owned());
        assert_eq!(cells, [SortKey::Number(9), SortKey::Number(10), text("-"), text("1a")]);
    }
}
