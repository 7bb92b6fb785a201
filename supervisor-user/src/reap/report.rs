//! A zombie that was to be freed, and the outcome: what the command prints, and what the audit event is made of.

use std::{env, fmt::Write as _, fs, time::Duration};

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    decision::{Decision, Risk},
    plan::Outcome,
};
use crate::{
    finding::{Block, Finding},
    words::{clean, short_duration},
};

/// A zombie that was to be freed, and what became of that.
#[derive(Clone, Debug, PartialEq)]
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

    /// Why force is needed.
    #[must_use]
    pub fn risks(&self) -> &[Risk] {
        match &self.decision {
            Decision::NeedsForce(risks) => risks,
            _ => &[],
        }
    }

    /// What is said to a person, in lines.
    #[must_use]
    pub fn text(&self, is_forced: bool) -> String {
        self.text_with(&[], is_forced)
    }

    /// The same of this one and of others of which the same is said.
    fn text_with(&self, others: &[u32], is_forced: bool) -> String {
        let process = &self.finding.process;
        let of = self.finding.reaper.as_ref().map_or_else(String::new, |reaper| {
            format!(" of {}[{}]", clean(&reaper.process.name), reaper.process.pid)
        });
        let name = clean(&process.name);
        let (word, rest) = self.verdict(is_forced);
        let mut out = if others.is_empty() {
            format!("{word:<12} {name}[{}]{of}{rest}\n", process.pid)
        } else {
            let mut pids: Vec<String> =
                [process.pid].iter().chain(others).take(PIDS).map(u32::to_string).collect();
            let count = others.len() + 1;
            if count > PIDS {
                pids.push(format!("{} more", count - PIDS));
            }
            format!("{word:<12} {count} x {name}{of}{rest}\n             pids {}\n", pids.join(", "))
        };
        if self.outcome.is_none() {
            for risk in self.risks() {
                let _infallible = writeln!(out, "             {}", risk.text());
            }
        }
        out
    }

    /// What is said of it, and what of it after its name.
    fn verdict(&self, is_forced: bool) -> (&'static str, String) {
        match (&self.outcome, &self.decision) {
            (Some(Outcome::Freed), _) => ("freed", String::new()),
            (Some(Outcome::FreedByNudge), _) => ("freed", ", which a SIGCHLD made wait".to_owned()),
            (Some(Outcome::Gone), _) => ("gone", ": it was reaped meanwhile".to_owned()),
            (Some(Outcome::Failed(reason)), _) => ("not freed", format!(": {reason}")),
            (None, Decision::Reap) => ("can be freed", String::new()),
            (None, Decision::NeedsForce(_)) if is_forced => ("forced", String::new()),
            (None, Decision::NeedsForce(_)) => ("needs force", String::new()),
            (None, Decision::Refused(obstacle)) => ("refused", format!(": {}", obstacle.text())),
        }
    }
}

/// So many pids of one group are named.
const PIDS: usize = 8;

/// The lines for several zombies of one reaper. Zombies with the same name, decision and outcome share one entry; those that
/// can be freed come first.
#[must_use]
pub fn text_of_all(entries: &[&Entry], is_forced: bool) -> String {
    let mut sorted = entries.to_vec();
    sorted.sort_by_key(|entry| !(entry.outcome.is_some() || entry.is_allowed(is_forced)));
    let mut groups: Vec<(&Entry, Vec<u32>)> = Vec::new();
    for entry in sorted {
        let is_same = |one: &Entry| {
            one.finding.process.name == entry.finding.process.name
                && one.decision == entry.decision
                && one.outcome == entry.outcome
        };
        match groups.iter_mut().find(|(first, _)| is_same(first)) {
            Some((_, others)) => others.push(entry.finding.process.pid),
            None => groups.push((entry, Vec::new())),
        }
    }
    groups.iter().map(|(first, others)| first.text_with(others, is_forced)).collect()
}

/// How one reaper was stopped, in a line.
#[must_use]
pub fn stops_text(reaper: &str, stops: &[Duration]) -> Option<String> {
    let longest = stops.iter().max()?;
    let total: Duration = stops.iter().sum();
    let ns = |it: Duration| short_duration(it.as_nanos() as u64);
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

/// One request to free a zombie, which an audit event reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The zombie, the decision, and the outcome.
    pub entry: Entry,
    /// Who has asked.
    pub requested_by: RequestedBy,
    /// Whether `--force` was given.
    pub is_forced: bool,
    /// PID namespaces that the zombie had blocked and that could end.
    pub released: Vec<Block>,
}

impl Request {
    /// Why the zombie is not gone.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match (&self.entry.outcome, &self.entry.decision) {
            (Some(Outcome::Failed(reason)), _) => Some(reason.clone()),
            (None, Decision::Refused(obstacle)) => Some(obstacle.text()),
            _ => None,
        }
    }

    /// One sentence that stands alone.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Entry { finding, outcome, decision, stopped_for, .. } = &self.entry;
        let zombie = format!("{} (pid {})", clean(&finding.process.name), finding.process.pid);
        let reaper = finding.reaper.as_ref().map_or_else(
            || "its reaper".to_owned(),
            |reaper| format!("{} (pid {})", clean(&reaper.process.name), reaper.process.pid),
        );
        let by = self.requested_by.phrase();
        match (outcome, decision) {
            (Some(Outcome::Freed), _) => {
                let stopped = stopped_for.map(|it| short_duration(it.as_nanos() as u64));
                let stopped = stopped.map(|it| format!(", which was stopped for {it}")).unwrap_or_default();
                format!("{by} freed {zombie} by a wait of {reaper}{stopped}")
            }
            (Some(Outcome::FreedByNudge), _) => {
                format!("{by} sent SIGCHLD to {reaper}, which then reaped {zombie}")
            }
            (Some(Outcome::Gone), _) => format!("{by} was to free {zombie}, which was reaped meanwhile"),
            (Some(Outcome::Failed(reason)), _) => format!("{by} could not free {zombie}: {}", clean(reason)),
            (None, Decision::Refused(obstacle)) => {
                format!("{by} did not free {zombie}: {}", obstacle.text())
            }
            (None, Decision::NeedsForce(_)) if !self.is_forced => {
                format!("{by} did not free {zombie}: that needs --force")
            }
            (None, _) => format!("{by} only asked whether {zombie} can be freed"),
        }
    }
}

/// What has asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Requester {
    /// A person or a program, by `supervisor reap`.
    Command,
    /// The agent, by `[reap]` in its configuration.
    Service,
}

/// Who has asked for it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RequestedBy {
    /// `command`: `supervisor reap`. `service`: the agent's `[reap]`.
    pub kind: Requester,
    /// Real user id.
    pub uid: u32,
    /// User id at login, which `su` and `sudo` do not change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login_uid: Option<u32>,
    /// User id of who called `sudo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sudo_uid: Option<u32>,
    /// Pid of the process that started `supervisor reap`, or of the agent.
    pub pid: u32,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl RequestedBy {
    /// Who has started this command.
    #[must_use]
    pub fn of_command() -> Self {
        let pid = rustix::process::getppid().map_or(0, |pid| pid.as_raw_pid() as u32);
        Self::of(Requester::Command, pid)
    }

    /// This agent.
    #[must_use]
    pub fn of_service() -> Self {
        Self::of(Requester::Service, std::process::id())
    }

    fn of(kind: Requester, pid: u32) -> Self {
        /// What an unset login user id reads as.
        const UNSET: u32 = u32::MAX;
        let number = |text: String| text.trim().parse().ok();
        let comm = fs::read(format!("/proc/{pid}/comm")).ok();
        Self {
            kind,
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

    /// As the subject of a sentence.
    fn phrase(&self) -> String {
        match self.kind {
            Requester::Service => "the agent's [reap]".to_owned(),
            Requester::Command => {
                let user = self.login_uid.or(self.sudo_uid).unwrap_or(self.uid);
                let name = self.name.as_deref().map_or_else(|| "a process".to_owned(), clean);
                format!("`supervisor reap` of user {user}, started by {name} (pid {}),", self.pid)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attribution::attribute,
        evidence::sample::{host, incident},
    };

    fn entry(pid: u32, decision: Decision) -> Entry {
        let mut finding = attribute(&incident(), &host(), 1_000_000_000);
        finding.process.pid = pid;
        Entry::new(finding, decision)
    }

    #[test]
    fn the_same_is_said_once_and_what_can_be_freed_first() {
        let needs_force = |pid| entry(pid, Decision::NeedsForce(vec![Risk::OwnChild]));
        let entries = [needs_force(7), entry(8, Decision::Reap), entry(9, Decision::Reap)];
        let text = text_of_all(&entries.iter().collect::<Vec<_>>(), false);
        let (name, of) = {
            let finding = &entries[0].finding;
            let reaper = &finding.reaper.as_ref().expect("a reaper").process;
            (finding.process.name.clone(), format!("{}[{}]", reaper.name, reaper.pid))
        };
        let said: Vec<&str> = text.lines().collect();
        assert_eq!(said[0], format!("can be freed 2 x {name} of {of}"));
        assert_eq!(said[1], "             pids 8, 9");
        assert_eq!(said[2], format!("needs force  {name}[7] of {of}"));
        assert_eq!(said.len(), 4, "{text}");
    }

    #[test]
    fn no_more_pids_than_fit_in_a_line_are_named() {
        let entries: Vec<Entry> = (1..=300).map(|pid| entry(pid, Decision::Reap)).collect();
        let text = text_of_all(&entries.iter().collect::<Vec<_>>(), false);
        assert!(text.ends_with("             pids 1, 2, 3, 4, 5, 6, 7, 8, 292 more\n"), "{text}");
    }

    #[test]
    fn a_short_stop_is_printed_in_microseconds() {
        let text = stops_text("conmonrs[7]", &[Duration::from_nanos(92_140)]);
        assert_eq!(text.as_deref(), Some("stopped      conmonrs[7] once, for 92.1 us\n"));
        let text = stops_text("conmonrs[7]", &[Duration::from_micros(300), Duration::from_micros(1_200)]);
        assert_eq!(
            text.as_deref(),
            Some("stopped      conmonrs[7] 2 times, for 1.2 ms at most and 1.5 ms in all\n")
        );
        assert_eq!(stops_text("conmonrs[7]", &[]), None);
    }
}
