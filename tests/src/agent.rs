//! A running `supervisor run` with a configuration of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use supervisor_lab::{Lines, Owned};
use tempfile::TempDir;

use crate::{WAIT_LIMIT, event::Event, supervisor_bin};

/// The agent; its state is removed when this is dropped.
#[derive(Debug)]
pub struct Agent {
    process: Owned,
    stdout: Lines,
    stderr: Lines,
    said: Vec<String>,
    config: PathBuf,
    _dir: Option<TempDir>,
}

impl Agent {
    /// Starts one with this configuration, to which a state directory is added, and waits until it is attached.
    pub fn start(config: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let agent = Self::start_in(dir.path(), config)?;
        Ok(Self { _dir: Some(dir), ..agent })
    }

    /// The same with files in this directory, where those of an earlier one may be.
    pub fn start_in(dir: &Path, config: &str) -> Result<Self> {
        Self::start_by(Command::new(supervisor_bin()?), dir, config)
    }

    /// The same by a command that runs `supervisor` with the arguments that are added to it.
    pub fn start_by(mut command: Command, dir: &Path, config: &str) -> Result<Self> {
        let file = dir.join("supervisor.toml");
        write(&file, config)?;
        command.arg("run").arg("--config").arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Owned::start(&mut command)?;
        let child = process.child();
        let (stdout, stderr) = child.stdout.take().zip(child.stderr.take()).context("it has no pipes")?;
        let (stdout, stderr) = (Lines::of(stdout), Lines::of(stderr));
        let mut agent = Self { process, stdout, stderr, said: Vec::new(), config: file, _dir: None };
        agent.hears("watching")?;
        Ok(agent)
    }

    /// Lets it read another configuration.
    pub fn reconfigure(&mut self, config: &str) -> Result<()> {
        write(&self.config, config)?;
        self.said.clear();
        self.process.signal(Signal::HUP)
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
            let Some(line) = self.stderr.next(&format!("the agent to say {start}"), WAIT_LIMIT)? else {
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

    /// The next event on standard output that is what is wanted.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> Result<Event> {
        let deadline = Instant::now() + WAIT_LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line =
                self.stdout.next(what, left)?.with_context(|| format!("the agent ended before {what}"))?;
            let event = Event(serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))?);
            if wanted(&event) {
                return Ok(event);
            }
        }
    }

    /// Kills it without giving it a chance to do anything. What it had printed can still be read.
    pub fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.end(WAIT_LIMIT)?;
        Ok(())
    }

    /// Ends it with SIGTERM, which has to be a clean end; returns what it has said on standard error.
    pub fn stop(mut self) -> Result<Vec<String>> {
        self.process.signal(Signal::TERM)?;
        while let Some(line) = self.stderr.next("the agent to end", WAIT_LIMIT)? {
            self.said.push(line);
        }
        let status = self.process.end(WAIT_LIMIT)?;
        ensure!(status.success(), "the agent ended with {status}: {}", self.said.join("\n"));
        Ok(self.said)
    }
}

/// Writes a configuration with a state directory beside it.
fn write(file: &Path, config: &str) -> Result<()> {
    let state = file.with_file_name("state");
    Ok(fs::write(file, format!("state_dir = \"{}\"\n{config}", state.display()))?)
}
