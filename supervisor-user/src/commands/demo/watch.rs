//! Runs `supervisor watch` and `supervisor explain` as a person would start them, and shows their output.

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

/// `watch` reports processes that are unreaped for this long.
const GRACE: &str = "1s";
/// A finding would be reported within this time: the grace period, and the time for the report itself.
const SILENCE: Duration = Duration::from_millis(2500);
/// The lines of one finding come together. After this much silence, no more lines follow.
const PAUSE_IN_OUTPUT: Duration = Duration::from_millis(150);
/// The text before each line of the tool's output.
const BEFORE: &str = "   │ ";

/// A running `supervisor watch`, whose output the demo shows.
pub(super) struct Watch {
    process: Owned,
    findings: Lines,
    messages: Lines,
}

impl Watch {
    /// Starts it with a filter, and waits until its hooks are attached.
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

    /// Shows and returns the next output about a process: it contains the pid and `word`. `word` is in lower case.
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

    /// Fails if it prints a finding within the time that a finding would take. A loss report of the host is shown, but
    /// is no finding.
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

/// Shows the output of `supervisor explain` for a process, and returns it.
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

/// A command of this program. Its lines must fit behind [`BEFORE`].
fn program(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    if let Some(columns) = columns() {
        command.env(COLUMNS_VARIABLE, columns.saturating_sub(BEFORE.chars().count()).to_string());
    }
    command
}

/// Fails if the output does not contain all of these facts.
pub(super) fn names(said: &str, facts: &[String]) -> Result<()> {
    // The tool may break a line at any blank.
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let missing = facts.iter().find(|fact| !said.contains(*fact));
    missing.map_or(Ok(()), |fact| bail!("what it says does not name {fact}"))
}

/// Shows a line and adds it to the text.
fn take(text: &mut String, line: &str) -> Result<()> {
    text.push_str(line);
    text.push('\n');
    show(line)
}

/// Prints a line of the tool's output.
pub(super) fn show(line: &str) -> Result<()> {
    let line = format!("{BEFORE}{line}");
    say(if is_utf8() { line.trim_end().to_owned() } else { in_ascii(line.trim_end()) }.as_str())
}

/// Prints a line of the demo itself.
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
    fn a_finding_of_another_family_fails() {
        let said = "why  it never waits for\n     it [F1,\n     high]";
        assert!(names(said, &["[F1, ".to_owned(), "waits for it".to_owned()]).is_ok());
        assert!(names(said, &["[F11, ".to_owned()]).is_err());
    }
}
