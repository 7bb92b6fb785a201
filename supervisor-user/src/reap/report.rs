//! What is written of a zombie that was to be freed: a line for people, and an audit event for machines.

use std::{env, fmt::Write as _, fs, time::Duration};

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    decision::{Decision, Risk},
    plan::Outcome,
};
use crate::{
    finding::{Block, Finding},
    words::{clean, duration},
};

/// A zombie that was to be freed, and what became of that.
#[derive(Debug)]
pub struct Entry {
    /// The zombie.
    pub finding: Finding,
    /// What was decided.
    pub decision: Decision,
    /// What was done; nothing if that was only asked for, or not allowed.
    pub outcome: Option<Outcome>,
    /// Whether the reaper got a SIGCHLD first.
    pub is_nudged: bool,
    /// How long the reaper was stopped when it was made to wait for this one.
    pub stopped_for: Option<Duration>,
}

impl Entry {
    /// For a decision of which nothing is done yet.
    #[must_use]
    pub fn new(finding: Finding, decision: Decision) -> Self {
        Self { finding, decision, outcome: None, is_nudged: false, stopped_for: None }
    }

    /// Whether it may be freed.
    #[must_use]
    pub fn is_allowed(&self, is_forced: bool) -> bool {
        match &self.decision {
            Decision::Reap => true,
            Decision::NeedsForce(_) => is_forced,
            Decision::Refused(_) => false,
        }
    }

    /// Host pid of the reaper; 0 if it is not known.
    #[must_use]
    pub fn reaper(&self) -> u32 {
        self.finding.reaper.as_ref().map_or(0, |reaper| reaper.process.pid)
    }

    fn risks(&self) -> &[Risk] {
        match &self.decision {
            Decision::NeedsForce(risks) => risks,
            _ => &[],
        }
    }

    /// What is said to a person, in lines.
    #[must_use]
    pub fn text(&self, is_forced: bool) -> String {
        let process = &self.finding.process;
        let of = self.finding.reaper.as_ref().map_or_else(String::new, |reaper| {
            format!(" of {}[{}]", clean(&reaper.process.name), reaper.process.pid)
        });
        let which = format!("{}[{}]{of}", clean(&process.name), process.pid);
        let mut out = match (&self.outcome, &self.decision) {
            (Some(Outcome::Freed), _) => format!("freed        {which}\n"),
            (Some(Outcome::FreedByNudge), _) => format!("freed        {which}, which a SIGCHLD made wait\n"),
            (Some(Outcome::Gone), _) => format!("gone         {which}: it was reaped meanwhile\n"),
            (Some(Outcome::Failed(reason)), _) => format!("not freed    {which}: {reason}\n"),
            (None, Decision::Reap) => format!("can be freed {which}\n"),
            (None, Decision::NeedsForce(_)) if is_forced => format!("forced       {which}\n"),
            (None, Decision::NeedsForce(_)) => format!("needs force  {which}\n"),
            (None, Decision::Refused(obstacle)) => format!("refused      {which}: {}\n", obstacle.text()),
        };
        if self.outcome.is_none() {
            for risk in self.risks() {
                let _infallible = writeln!(out, "             {}", risk.text());
            }
        }
        out
    }
}

/// How one reaper was stopped, in a line.
#[must_use]
pub fn stops_text(reaper: &str, stops: &[Duration]) -> Option<String> {
    let longest = stops.iter().max()?;
    let total: Duration = stops.iter().sum();
    let ns = |it: Duration| duration(it.as_nanos() as u64);
    Some(match stops.len() {
        1 => format!("stopped      {reaper} once, for {}\n", ns(total)),
        count => {
            format!(
                "stopped      {reaper} {count} times, for {} at most and {} in all\n",
                ns(*longest),
                ns(total)
            )
        }
    })
}

/// A PID namespace that could end, in a line.
#[must_use]
pub fn released_text(block: &Block) -> String {
    format!("released     PID namespace {} of {}[{}]\n", block.ino, clean(&block.init_name), block.init_pid)
}

/// Who has asked for it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RequestedBy {
    /// Real user id.
    pub uid: u32,
    /// User id at login, which `su` and `sudo` do not change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login_uid: Option<u32>,
    /// User id of who called `sudo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sudo_uid: Option<u32>,
    /// Host pid of the process that started `supervisor`.
    pub pid: u32,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl RequestedBy {
    /// Who has started this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        /// What an unset login user id reads as.
        const UNSET: u32 = u32::MAX;
        let pid = rustix::process::getppid().map_or(0, |pid| pid.as_raw_pid() as u32);
        let number = |text: String| text.trim().parse().ok();
        let comm = fs::read(format!("/proc/{pid}/comm")).ok();
        Self {
            uid: rustix::process::getuid().as_raw(),
            login_uid: fs::read_to_string("/proc/self/loginuid")
                .ok()
                .and_then(number)
                .filter(|uid| *uid != UNSET),
            sudo_uid: env::var("SUDO_UID").ok().and_then(number),
            pid,
            name: comm.map(|name| String::from_utf8_lossy(&name).trim_end().to_owned()),
        }
    }
}

/// One line of `supervisor reap -o json`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "A line of `supervisor reap -o json`")]
pub struct ReapEvent<'a> {
    /// When it was written.
    #[serde(rename = "@timestamp")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    timestamp: String,
    /// What happened.
    event: EventFields,
    /// The host.
    host: HostFields<'a>,
    /// The zombie.
    process: ProcessFields<'a>,
    /// The rest.
    supervisor: SupervisorFields<'a>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct EventFields {
    /// `event`
    kind: EventKindWord,
    /// `process`
    category: [CategoryWord; 1],
    /// `change`
    r#type: [TypeWord; 1],
    /// `reap-requested`
    action: ActionWord,
    /// `success` if the zombie is gone, `failure` if it is not, `unknown` if nothing was tried.
    outcome: OutcomeWord,
    /// Why it is not gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum EventKindWord {
    Event,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum CategoryWord {
    Process,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum TypeWord {
    Change,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum ActionWord {
    ReapRequested,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum OutcomeWord {
    Success,
    Failure,
    Unknown,
}

#[derive(Debug, Serialize, JsonSchema)]
struct HostFields<'a> {
    /// Its name.
    name: &'a str,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ProcessFields<'a> {
    /// Host pid.
    pid: u32,
    /// Name.
    name: &'a str,
}

#[derive(Debug, Serialize, JsonSchema)]
struct SupervisorFields<'a> {
    /// What was asked for, and what was done.
    reap: ReapFields<'a>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ReapFields<'a> {
    /// Who has asked for it.
    requested_by: &'a RequestedBy,
    /// `reap`, `needs-force` or `refused`.
    decision: &'static str,
    /// Why force is needed: `own-child`, `waited-for`, `asked-for`, `late`, `prognosis-unknown`, `position-unknown` or
    /// `host-init`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    risks: Vec<&'static str>,
    /// Whether `--force` was given.
    forced: bool,
    /// What became of it: `freed`, `freed-by-sigchld`, `gone` or `failed`. Absent if nothing was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    /// Who must reap it, and was made to.
    #[serde(skip_serializing_if = "Option::is_none")]
    reaper: Option<ProcessFields<'a>>,
    /// Whether the reaper got a SIGCHLD first.
    nudged: bool,
    /// How long the reaper was stopped when it was made to wait for this one, in microseconds. Others may have been freed in the
    /// same stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped_us: Option<u64>,
    /// PID namespaces that it has blocked, and that could end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    released: Vec<ReleasedFields<'a>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ReleasedFields<'a> {
    /// Inode number.
    ino: u32,
    /// Its PID 1.
    init: ProcessFields<'a>,
}

impl<'a> ReapEvent<'a> {
    /// The event of an entry.
    #[must_use]
    pub fn new(
        entry: &'a Entry,
        requested_by: &'a RequestedBy,
        host: &'a str,
        forced: bool,
        released: &'a [Block],
    ) -> Self {
        let (decision, refusal) = match &entry.decision {
            Decision::Reap => ("reap", None),
            Decision::NeedsForce(_) => ("needs-force", None),
            Decision::Refused(obstacle) => ("refused", Some(obstacle.text())),
        };
        let (outcome, reason) = match &entry.outcome {
            None => (OutcomeWord::Unknown, refusal),
            Some(Outcome::Failed(reason)) => (OutcomeWord::Failure, Some(reason.clone())),
            Some(_) => (OutcomeWord::Success, None),
        };
        let of_this = |block: &&Block| entry.finding.blocks.iter().any(|it| it.ino == block.ino);
        let event = EventFields {
            kind: EventKindWord::Event,
            category: [CategoryWord::Process],
            r#type: [TypeWord::Change],
            action: ActionWord::ReapRequested,
            outcome,
            reason,
        };
        let reap = ReapFields {
            requested_by,
            decision,
            risks: entry.risks().iter().map(|risk| risk.as_str()).collect(),
            forced,
            outcome: entry.outcome.as_ref().map(Outcome::as_str),
            reaper: entry.finding.reaper.as_ref().map(|it| named(it.process.pid, &it.process.name)),
            nudged: entry.is_nudged,
            stopped_us: entry.stopped_for.map(|it| it.as_micros() as u64),
            released: released
                .iter()
                .filter(of_this)
                .map(|it| ReleasedFields { ino: it.ino, init: named(it.init_pid, &it.init_name) })
                .collect(),
        };
        Self {
            timestamp: jiff::Timestamp::now().to_string(),
            event,
            host: HostFields { name: host },
            process: named(entry.finding.process.pid, &entry.finding.process.name),
            supervisor: SupervisorFields { reap },
        }
    }
}

fn named(pid: u32, name: &str) -> ProcessFields<'_> {
    ProcessFields { pid, name }
}
