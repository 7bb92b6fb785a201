//! What lists say of a finding, a column each.

use std::cmp::Ordering;

use clap::ValueEnum;

use super::text::short_exit;
use crate::{
    finding::Finding,
    names::Names,
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
}

impl Column {
    pub(crate) fn header(self) -> &'static str {
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

    /// What it says of a finding at that time.
    pub(crate) fn cell(self, finding: &Finding, now_ns: u64) -> String {
        let reaper = finding.reaper.as_ref();
        let known = match self {
            Self::Pid => Some(finding.process.pid.to_string()),
            Self::Name => Some(clean(&finding.process.name)),
            Self::Exit => finding.exit.map(short_exit),
            Self::Age => finding.exit_ns.map(|at_ns| duration(now_ns.saturating_sub(at_ns))),
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
            Self::Container => Names::of(finding).map(|names| names.label()),
            Self::Pod => finding.orchestrator.as_ref().and_then(|it| it.pod_name.as_deref()).map(clean),
            Self::Runtime => finding.runtime.as_ref().map(|runtime| clean(&runtime.name)),
            Self::Monitor => finding.monitor.as_ref().map(|monitor| named(&monitor.name, monitor.pid)),
            Self::Cgroup => finding.cgroup.as_deref().map(clean),
        };
        known.unwrap_or_else(unknown)
    }

    /// The order of two findings: see [`compare_cells`].
    pub(crate) fn compare(self, one: &Finding, other: &Finding) -> Ordering {
        if self == Self::Age {
            // The oldest first.
            return one.exit_ns.unwrap_or(0).cmp(&other.exit_ns.unwrap_or(0));
        }
        compare_cells(&self.cell(one, 0), &self.cell(other, 0))
    }
}

/// The order of two cells: of numbers by their values.
pub(crate) fn compare_cells(one: &str, other: &str) -> Ordering {
    match (one.parse::<u64>(), other.parse::<u64>()) {
        (Ok(one), Ok(other)) => one.cmp(&other),
        _ => one.cmp(other),
    }
}

/// What is not known.
pub(crate) fn unknown() -> String {
    "-".to_owned()
}

/// A process, as lists name it.
pub(crate) fn named(name: &str, pid: u32) -> String {
    format!("{}[{pid}]", clean(name))
}
