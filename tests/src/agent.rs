//! A running `supervisor run`.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use supervisor_user::scenario::{Lines, Owned};

use crate::{Event, supervisor_bin};

/// How long attaching and ending may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// The agent. It is killed when this is dropped.
#[derive(Debug)]
pub struct Agent {
    process: Owned,
    stdout: Lines,
    stderr: Lines,
}

impl Agent {
    /// Starts one with this configuration and these options, and waits until it is attached.
    pub fn start(config: &Path, options: &[&str]) -> Result<Self> {
        let mut command = Command::new(supervisor_bin()?);
        command.arg("run").arg("--config").arg(config).args(options);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Owned::start(&mut command)?;
        let child = process.child();
        let (stdout, stderr) = child.stdout.take().zip(child.stderr.take()).context("it has no pipes")?;
        let agent = Self { process, stdout: Lines::of(stdout), stderr: Lines::of(stderr) };
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| line.starts_with("watching")) {
            match agent.stderr.next("supervisor run to attach", LIMIT)? {
                Some(line) => said.push(line),
                None => bail!("supervisor run has ended at once: {}", said.join("\n")),
            }
        }
        Ok(agent)
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The next event of its sink for standard output. `what` completes "gave up waiting for …".
    pub fn event(&self, what: &str, limit: Duration) -> Result<Event> {
        let line = self.stdout.next(what, limit)?.with_context(|| format!("it ended before {what}"))?;
        Ok(Event(serde_json::from_str(&line)?))
    }

    /// What it has said on standard error and was not read yet.
    pub fn said(&self) -> Result<Vec<String>> {
        let mut said = Vec::new();
        while let Some(line) = self.stderr.next_within(Duration::from_millis(50))? {
            said.push(line);
        }
        Ok(said)
    }

    /// Kills it without giving it a chance to do anything. What it had printed can still be read.
    pub fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.end(LIMIT)?;
        Ok(())
    }
}
