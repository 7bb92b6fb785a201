//! A running `supervisor run` with a configuration of its own.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use supervisor_user::scenario::{Lines, Owned};
use tempfile::TempDir;

use crate::{event::Event, supervisor_bin};

/// How long it may take to start, to end, or to say something, on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// The agent; its state is removed when this is dropped.
#[derive(Debug)]
pub struct Agent {
    process: Owned,
    stdout: Lines,
    stderr: Lines,
    said: Vec<String>,
    _dir: TempDir,
}

impl Agent {
    /// Starts one with this configuration, to which a state directory is added, and waits until it is attached.
    pub fn start(config: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("supervisor.toml");
        let state = dir.path().join("state");
        fs::write(&file, format!("state_dir = \"{}\"\n{config}", state.display()))?;
        let mut command = Command::new(supervisor_bin()?);
        command.arg("run").arg("--config").arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Owned::start(&mut command)?;
        let child = process.child();
        let (stdout, stderr) = child.stdout.take().zip(child.stderr.take()).context("it has no pipes")?;
        let (stdout, stderr) = (Lines::of(stdout), Lines::of(stderr));
        let mut agent = Self { process, stdout, stderr, said: Vec::new(), _dir: dir };
        agent.hears("watching")?;
        Ok(agent)
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The rest of the first line on standard error, so far or to come, that begins so.
    pub fn hears(&mut self, start: &str) -> Result<String> {
        if let Some(rest) = self.said.iter().find_map(|line| line.strip_prefix(start)) {
            return Ok(rest.to_owned());
        }
        loop {
            let Some(line) = self.stderr.next(&format!("the agent to say {start}"), LIMIT)? else {
                bail!("the agent has ended before it said {start}: {}", self.said.join("\n"));
            };
            self.said.push(line);
            if let Some(rest) = self.said.last().and_then(|line| line.strip_prefix(start)) {
                return Ok(rest.to_owned());
            }
        }
    }

    /// The next event on standard output, if one comes within this time.
    pub fn event(&self, within: Duration) -> Result<Option<Event>> {
        let line = self.stdout.next_within(within)?;
        line.map(|line| Ok(Event(serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))?)))
            .transpose()
    }

    /// Ends it with SIGTERM, which has to be a clean end; returns what it has said on standard error.
    pub fn stop(mut self) -> Result<Vec<String>> {
        self.process.signal(Signal::TERM)?;
        while let Some(line) = self.stderr.next("the agent to end", LIMIT)? {
            self.said.push(line);
        }
        let status = self.process.end(LIMIT)?;
        ensure!(status.success(), "the agent ended with {status}: {}", self.said.join("\n"));
        Ok(self.said)
    }
}
