//! What the tool says about it: `supervisor watch` and `supervisor explain` as a person would start them.

use std::{
    io::{self, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use supervisor_lab::{LIMIT, Lines, Owned};
use supervisor_model::words::in_ascii;

use crate::console::{COLUMNS_VARIABLE, columns, is_utf8};

/// `watch` reports what is unreaped for this long.
const GRACE: &str = "1s";
/// Grace period and report of a finding, had there been one.
const SILENCE: Duration = Duration::from_millis(2500);
/// The lines of one finding come together; after this much silence there are no more.
const PAUSE_IN_OUTPUT: Duration = Duration::from_millis(150);
/// What stands before each line of it.
const BEFORE: &str = "   │ ";

/// `supervisor watch`; what it prints is shown.
pub(super) struct Watch {
    process: Owned,
    findings: Lines,
    messages: Lines,
}

impl Watch {
    /// Starts it with a filter, and waits until it is attached.
    pub(super) fn start(binary: &Path, filter: &[&str; 2]) -> Result<Self> {
        let mut command = program(binary);
        command.args(["watch", "--long", "--verbose", "--grace", GRACE]).args(filter);
        say(&format!("   supervisor watch --long --verbose --grace {GRACE} {}", filter.join(" ")))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Owned::start(&mut command)?;
        let child = process.child();
        let (findings, messages) =
            child.stdout.take().zip(child.stderr.take()).context("supervisor watch has no pipes")?;
        let watch = Self { process, findings: Lines::of(findings), messages: Lines::of(messages) };
        loop {
            let line = watch.messages.next("supervisor watch to attach", LIMIT)?;
            let line = line.context("supervisor watch has ended at once")?;
            show(&line)?;
            if line.starts_with("watching") {
                return Ok(watch);
            }
        }
    }

    /// Shows and returns what it prints next about a process.
    pub(super) fn next_about(&self, pid: u32, word: &str) -> Result<String> {
        let pid = pid.to_string();
        let deadline = Instant::now() + LIMIT;
        let mut text = String::new();
        while !(text.contains(&pid) && text.to_lowercase().contains(word)) {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.findings.next(&format!("supervisor watch to report pid {pid}"), left)?;
            take(&mut text, &line.context("supervisor watch has ended")?)?;
        }
        while let Some(line) = self.findings.next_within(PAUSE_IN_OUTPUT)? {
            take(&mut text, &line)?;
        }
        Ok(text)
    }

    /// Fails if it prints a finding for as long as one would have taken. A loss report of the host is shown, and is no
    /// finding.
    pub(super) fn is_silent(&self) -> Result<()> {
        let deadline = Instant::now() + SILENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let Some(line) = self.findings.next_within(left.min(PAUSE_IN_OUTPUT))? else { continue };
            show(&line)?;
            if !is_loss(&line) {
                bail!("supervisor watch was to say nothing, and said: {line}");
            }
        }
    }

    /// Ends it as Ctrl-C would, and returns its summary.
    pub(super) fn stop(&mut self) -> Result<Vec<String>> {
        self.process.signal(Signal::INT)?;
        let status = self.process.end(LIMIT)?;
        let mut summary = Vec::new();
        while let Some(line) = self.messages.next_within(PAUSE_IN_OUTPUT)? {
            summary.push(line);
        }
        ensure!(status.success(), "supervisor watch ended with {status}: {}", summary.join(" "));
        Ok(summary)
    }
}

/// Whether a line of `watch` reports lost events.
fn is_loss(line: &str) -> bool {
    line.split_whitespace().nth(1) == Some("LOST")
}

/// Shows what `supervisor explain` tells of a process, and returns it.
pub(super) fn explain(binary: &Path, pid: u32) -> Result<String> {
    let pid = pid.to_string();
    say(&format!("   supervisor explain {pid}"))?;
    let mut command = program(binary);
    let mut process =
        Owned::start(command.args(["explain", &pid]).stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let lines = Lines::of(process.child().stdout.take().context("supervisor explain has no pipe")?);
    let mut text = String::new();
    while let Some(line) = lines.next("supervisor explain to end", LIMIT)? {
        take(&mut text, &line)?;
    }
    process.end(LIMIT)?;
    Ok(text)
}

/// This program, whose lines are to fit behind [`BEFORE`].
fn program(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    if let Some(columns) = columns() {
        command.env(COLUMNS_VARIABLE, columns.saturating_sub(BEFORE.chars().count()).to_string());
    }
    command
}

/// Fails if what was said does not name all of this.
pub(super) fn names(said: &str, facts: &[String]) -> Result<()> {
    // Lines are wrapped anywhere.
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let missing = facts.iter().find(|fact| !said.contains(*fact));
    missing.map_or(Ok(()), |fact| bail!("what it says does not name {fact}"))
}

/// Shows a line and adds it to what was shown.
fn take(text: &mut String, line: &str) -> Result<()> {
    text.push_str(line);
    text.push('\n');
    show(line)
}

/// A line of what the tool prints.
pub(super) fn show(line: &str) -> Result<()> {
    let line = format!("{BEFORE}{line}");
    say(if is_utf8() { line.trim_end().to_owned() } else { in_ascii(line.trim_end()) }.as_str())
}

/// A line of the demo's own.
pub(super) fn say(line: &str) -> Result<()> {
    writeln!(io::stdout(), "{line}").context("standard output cannot be written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_no_finding() {
        assert!(is_loss("00:37:35  LOST      events were lost in the last 3.9 s: 6 fork records"));
        assert!(!is_loss("00:37:35  UNREAPED  crun[7] of LOST[8]"));
    }

    #[test]
    fn another_family_than_the_announced_one_fails() {
        let said = "why  it never waits for\n     it [F1,\n     high]";
        assert!(names(said, &["[F1, ".to_owned(), "waits for it".to_owned()]).is_ok());
        assert!(names(said, &["[F11, ".to_owned()]).is_err());
    }
}
