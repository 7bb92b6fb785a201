//! A running `supervisor watch -o json`.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use supervisor_lab::{Lines, Owned};
use supervisor_model::recording::Counted;

use crate::{
    Fixture, WAIT_LIMIT,
    contract::Contract,
    event::Event,
    process::freeze,
    recorded::{Kept, Recorded},
    supervisor_bin,
};

/// The watch; every line of its output is held against the contract as it comes.
#[derive(Debug)]
pub struct Watch {
    process: Owned,
    stdout: Lines,
    stderr: Lines,
    contract: Contract,
    seen: Vec<Event>,
    lines: Vec<String>,
    messages: Vec<String>,
    recorded: Option<Recorded>,
    kept: Kept,
}

/// What a watch has said by its end.
#[derive(Debug)]
pub struct Outcome {
    /// Every event.
    pub events: Vec<Event>,
    /// The same as they were printed.
    pub lines: Vec<String>,
    /// Standard error.
    pub messages: Vec<String>,
}

impl Watch {
    /// Starts one with a grace period of a second, and waits until it is attached.
    pub fn start(filters: &[&str]) -> Result<Self> {
        Self::start_by(Command::new(supervisor_bin()?), filters)
    }

    /// The same by a command that runs `supervisor` with the arguments that are added to it, as another user perhaps.
    pub fn start_by(mut command: Command, filters: &[&str]) -> Result<Self> {
        command.arg("watch");
        Self::started(command, filters)
    }

    /// The same, and what it observes of the processes to [`Watch::keep`] is the recording `recordings/NAME.zst`,
    /// which is recreated if `UPDATE_RECORDINGS` is set.
    pub fn recorded(name: &str) -> Result<Self> {
        let Some(recorded) = Recorded::new(name)? else { return Self::start(&[]) };
        let mut watch = Self::record(&recorded.file(), &["--anonymous"])?;
        watch.recorded = Some(recorded);
        Ok(watch)
    }

    /// Keeps in the recording what is observed of these processes, and of those that they have to reap.
    pub fn keep(&mut self, pids: &[u32]) {
        self.kept.wanted.extend(pids);
    }

    /// Leaves a process out of the recording.
    pub fn leave_out(&mut self, pid: u32) {
        self.kept.unwanted.push(pid);
    }

    /// The same with `supervisor record`.
    pub fn record(file: &Path, options: &[&str]) -> Result<Self> {
        let mut command = Command::new(supervisor_bin()?);
        command.arg("record").arg(file);
        Self::started(command, options)
    }

    fn started(mut command: Command, options: &[&str]) -> Result<Self> {
        command.args(["-o", "json", "--grace", "1s", "--verbose"]).args(options);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Owned::start(&mut command)?;
        let child = process.child();
        let (stdout, stderr) = child.stdout.take().zip(child.stderr.take()).context("watch has no pipes")?;
        let mut watch = Self {
            process,
            stdout: Lines::of(stdout),
            stderr: Lines::of(stderr),
            contract: Contract::default(),
            seen: Vec::new(),
            lines: Vec::new(),
            messages: Vec::new(),
            recorded: None,
            kept: Kept::default(),
        };
        while !watch.messages.last().is_some_and(|line| line.starts_with("watching")) {
            match watch.stderr.next("supervisor watch to attach", WAIT_LIMIT)? {
                Some(line) => watch.messages.push(line),
                None => bail!("supervisor watch has ended at once: {}", watch.messages.join("\n")),
            }
        }
        Ok(watch)
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The first event so far, or to come, that fits. `what` completes "gave up waiting for …".
    pub fn wait_for(&mut self, what: &str, fits: impl Fn(&Event) -> bool) -> Result<Event> {
        if let Some(event) = self.seen.iter().find(|event| fits(event)) {
            return Ok(event.clone());
        }
        let deadline = Instant::now() + WAIT_LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.stdout.next(what, left).with_context(|| format!("seen: {:#?}", self.seen))?;
            let line = line.with_context(|| format!("supervisor watch ended before {what}"))?;
            let event = self.take(&line)?;
            if fits(&event) {
                return Ok(event);
            }
        }
    }

    /// Hands over each event once, those of before first, until this says that it has enough.
    pub fn wait_until(&mut self, what: &str, mut is_enough: impl FnMut(&Event) -> bool) -> Result<()> {
        if self.seen.iter().any(&mut is_enough) {
            return Ok(());
        }
        let deadline = Instant::now() + WAIT_LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line =
                self.stdout.next(what, left).with_context(|| format!("{} events before", self.seen.len()))?;
            let line = line.with_context(|| format!("supervisor watch ended before {what}"))?;
            if is_enough(&self.take(&line)?) {
                return Ok(());
            }
        }
    }

    /// The first event that fits, if there has been one so far.
    pub fn seen(&mut self, fits: impl Fn(&Event) -> bool) -> Result<Option<Event>> {
        while let Some(line) = self.stdout.next_within(Duration::ZERO)? {
            self.take(&line)?;
        }
        Ok(self.seen.iter().find(|event| fits(event)).cloned())
    }

    /// Waits until it has said this of each of these processes.
    pub fn wait_for_all(&mut self, action: &str, pids: &[u32]) -> Result<()> {
        let mut missing: HashSet<u32> = pids.iter().copied().collect();
        for event in self.seen.iter().filter(|event| event.action() == action) {
            missing.remove(&event.pid("process.pid")?);
        }
        let deadline = Instant::now() + WAIT_LIMIT;
        while !missing.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.stdout.next(action, left);
            let line = line.with_context(|| format!("{action} is missing of {missing:?}"))?;
            let event =
                self.take(&line.with_context(|| format!("supervisor watch ended before {action}"))?)?;
            if event.action() == action {
                missing.remove(&event.pid("process.pid")?);
            }
        }
        Ok(())
    }

    /// Waits until everything that exited before this call would have been reported, had it been unreaped:
    /// until a process that becomes a zombie now is. `fixture` is the path of the fixture program.
    pub fn settle(&mut self, fixture: &str) -> Result<()> {
        let mut control = Fixture::start(fixture, &["never-wait", "1"])?;
        let pid = control.fact("zombie")?.pid("pid")?;
        self.wait_for("the control zombie", |event| event.says("zombie-detected", pid))?;
        control.send("reap")?;
        self.wait_for("the control zombie's end", |event| event.says("zombie-reaped", pid))?;
        Ok(())
    }

    /// Sends it a signal that does not end it.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Stops it with SIGSTOP, and waits until it runs no more.
    pub fn freeze(&mut self) -> Result<()> {
        freeze(&mut self.process)
    }

    /// Ends it with SIGTERM.
    pub fn stop(self) -> Result<Outcome> {
        self.stop_with(Signal::TERM)
    }

    /// Ends it with a signal that should end it cleanly.
    pub fn stop_with(mut self, signal: Signal) -> Result<Outcome> {
        self.process.signal(signal)?;
        self.finish()
    }

    /// Waits for its end, which has to be a clean one.
    pub fn finish(mut self) -> Result<Outcome> {
        while let Some(line) = self.stdout.next("the end of supervisor watch's output", WAIT_LIMIT)? {
            self.take(&line)?;
        }
        while let Some(line) = self.stderr.next("the end of supervisor watch's messages", WAIT_LIMIT)? {
            self.messages.push(line);
        }
        let status = self.process.end(WAIT_LIMIT)?;
        ensure!(status.success(), "supervisor watch ended with {status}: {}", self.messages.join("\n"));
        if let Some(recorded) = &self.recorded {
            recorded.publish(&self.kept)?;
        }
        Ok(Outcome { events: self.seen, lines: self.lines, messages: self.messages })
    }

    /// Kills it without giving it a chance to do anything; returns what it has said by then.
    pub fn kill(mut self) -> Result<Vec<Event>> {
        self.process.signal(Signal::KILL)?;
        self.process.end(WAIT_LIMIT)?;
        let mut last = None;
        while let Some(line) = self.stdout.next("the end of its output", WAIT_LIMIT)? {
            if let Some(line) = last.replace(line) {
                self.take(&line)?;
            }
        }
        // The last line may be half of one.
        if let Some(line) = last.filter(|it| serde_json::from_str::<serde_json::Value>(it).is_ok()) {
            self.take(&line)?;
        }
        Ok(self.seen)
    }

    fn take(&mut self, line: &str) -> Result<Event> {
        let value = serde_json::from_str(line)
            .with_context(|| format!("stdout has a line that is no JSON: {line}"))?;
        let event = Event(value);
        self.contract.check(&event)?;
        self.seen.push(event.clone());
        self.lines.push(line.to_owned());
        Ok(event)
    }
}

impl Outcome {
    /// The counts of its summary.
    pub fn counted(&self) -> Result<Counted> {
        counted(&self.messages)
    }
}

/// The counts of the summary that is the end of these messages.
pub fn counted(messages: &[String]) -> Result<Counted> {
    let line = messages.iter().find_map(|line| Some(line.split_once("counted: ")?.1));
    let line = line.with_context(|| format!("the summary has no counts: {}", messages.join("\n")))?;
    let counts: HashMap<&str, &str> =
        line.split_ascii_whitespace().filter_map(|it| it.split_once('=')).collect();
    let count = |name: &str| -> Result<u64> {
        let text = counts.get(name).with_context(|| format!("{name} is missing in: {line}"))?;
        Ok(text.parse()?)
    };
    Ok(Counted {
        forks: count("forks")?,
        threads: count("threads")?,
        execs: count("execs")?,
        exits: count("exits")?,
        waits: count("waits")?,
        reaps: count("reaps")?,
        events: count("events")?,
        lost: count("lost")?,
    })
}

/// One shot of another subcommand: its events, held against the contract, and its exit status.
pub fn run_json(args: &[&str]) -> Result<(Vec<Event>, Option<i32>)> {
    let output = Command::new(supervisor_bin()?).args(args).stdin(Stdio::null()).output()?;
    Ok((events_of(&String::from_utf8(output.stdout)?)?, output.status.code()))
}

/// The events that were printed, one a line, held against the contract.
pub fn events_of(printed: &str) -> Result<Vec<Event>> {
    let mut contract = Contract::default();
    let mut events = Vec::new();
    for line in printed.lines() {
        let value = serde_json::from_str(line)
            .with_context(|| format!("stdout has a line that is no JSON: {line}"))?;
        let event = Event(value);
        contract.check(&event)?;
        events.push(event);
    }
    Ok(events)
}

/// The number of processes and threads that were ever created on this host, as the kernel counts them.
pub fn created_on_host() -> Result<u64> {
    let stat = std::fs::read_to_string(Path::new("/proc/stat"))?;
    let count = stat.lines().find_map(|line| line.strip_prefix("processes "));
    Ok(count.context("/proc/stat has no processes line")?.trim().parse()?)
}
