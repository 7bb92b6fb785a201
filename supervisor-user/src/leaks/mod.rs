//! The leaks of a command: which processes count as leaked, which test left them, which leaks are known, and how they
//! are reported. The module is pure: `commands/leaks` observes.

pub mod allow;
pub mod github;
pub mod json;
pub mod junit;
pub(crate) mod runners;
#[cfg(test)]
mod sample;
pub mod settling;
pub mod tests;
pub mod text;

use std::collections::BTreeMap;

use allow::Allowed;
use schemars::JsonSchema;
use serde::Serialize;
use supervisor_ebpf::ProcessId;
use supervisor_model::{event::Event, finding::Finding};
use supervisor_render::{columns::named, sentence::sentence};

/// The exit code if the command succeeded and something leaked. `LeakSanitizer` uses the same code.
pub const LEAKED: u8 = 23;
/// The exit code if `supervisor` itself failed. `env` and container engines use the same code.
pub const FAILED: u8 = 125;
/// The exit code if the command was found and could not be started.
pub const NOT_EXECUTABLE: u8 = 126;
/// The exit code if there is no such command.
pub const NOT_FOUND: u8 = 127;

/// How a process is left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeakKind {
    /// It is a PID namespace that cannot end.
    Namespace,
    /// It has exited, and its parent has not reaped it.
    Unreaped,
    /// It still runs.
    Running,
    /// It was a zombie for longer than the grace period while the command ran, and was reaped then.
    Late,
}

impl LeakKind {
    /// The word for it in a report.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Unreaped => "unreaped",
            Self::Running => "running",
            Self::Late => "late",
        }
    }
}

/// One leak.
#[derive(Clone, Debug, PartialEq)]
pub struct Leak {
    /// How it was left behind.
    pub kind: LeakKind,
    /// The test that left it. Several if tests ran at the same time in one process; empty if no test is known.
    pub tests: Vec<String>,
    /// What is known of it: the event that `watch` would report.
    pub event: Event,
    /// The first entry of the allow list that it matches.
    pub allowed: Option<Allowed>,
}

impl Leak {
    /// The process; for a namespace, its PID 1.
    #[must_use]
    pub fn finding(&self) -> Option<&Finding> {
        self.event.kind.process()
    }

    /// The tests that left it, as one name.
    #[must_use]
    pub fn test(&self) -> Option<String> {
        (!self.tests.is_empty()).then(|| self.tests.join(" or "))
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandEnd {
    /// By itself, with this code.
    Code(u8),
    /// By a signal.
    Signal(u8),
}

impl CommandEnd {
    /// The exit code that a shell reports.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(number) => 128 + number,
        }
    }
}

/// How descendants were observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// By hooks in the kernel.
    Ebpf,
    /// In `/proc`, as a subreaper.
    Proc,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The command line.
    pub command: Vec<String>,
    /// How it ended.
    pub ended: CommandEnd,
    /// For how long it ran.
    pub ran_ns: u64,
    /// How descendants were observed.
    pub method: Method,
    /// What could not be observed, in sentences.
    pub unseen: Vec<String>,
    /// What was left behind, the known leaks included.
    pub leaks: Vec<Leak>,
    /// All tests that are known by name.
    pub tests: Vec<String>,
    /// Entries of the allow list that are not the first match of any leak.
    pub unmatched: Vec<Allowed>,
}

impl Report {
    /// The leaks that are not known.
    pub fn news(&self) -> impl Iterator<Item = &Leak> {
        self.leaks.iter().filter(|leak| leak.allowed.is_none())
    }

    /// The exit code: the command's own, or [`LEAKED`] if it succeeded and something leaked.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.ended.code() {
            0 if self.news().next().is_some() => LEAKED,
            code => code,
        }
    }
}

/// The leaks of a run; each process is in it once.
#[derive(Debug, Default)]
pub struct Leaks {
    of: BTreeMap<(ProcessId, bool), Leak>,
}

impl Leaks {
    /// Adds a leak, and returns it. Later facts about a process replace earlier ones; known tests are kept.
    pub fn add(&mut self, id: ProcessId, kind: LeakKind, tests: Vec<String>, event: Event) -> &Leak {
        let is_namespace = kind == LeakKind::Namespace;
        let before = self.of.remove(&(id, is_namespace));
        let tests = before.map(|before| before.tests).filter(|tests| !tests.is_empty()).unwrap_or(tests);
        let leak = Leak { kind, tests, event, allowed: None };
        self.of.entry((id, is_namespace)).or_insert(leak)
    }

    /// Whether this process is among them.
    #[must_use]
    pub fn has(&self, id: &ProcessId) -> bool {
        [false, true].iter().any(|is_namespace| self.of.contains_key(&(*id, *is_namespace)))
    }

    /// All leaks, sorted by kind and pid.
    #[must_use]
    pub fn into_list(self) -> Vec<Leak> {
        let mut all: Vec<Leak> = self.of.into_values().collect();
        all.sort_by_key(|leak| (leak.kind, leak.finding().map(|finding| finding.process.pid)));
        all
    }
}

/// One sentence about a leak.
#[must_use]
pub fn sentence_of(leak: &Leak) -> String {
    let (LeakKind::Running, Some(finding)) = (leak.kind, leak.finding()) else {
        return sentence(&leak.event);
    };
    let adopter = finding.reaper.as_ref().filter(|reaper| reaper.adopted == Some(true));
    let adopter = adopter.map(|it| format!("; adopted by {}", named(&it.process.name, it.process.pid)));
    let process = &finding.process;
    format!("{} still runs{}", named(&process.name, process.pid), adopter.unwrap_or_default())
}
