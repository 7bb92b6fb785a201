//! A container monitor like conmon-rs before 0.6.6: a subreaper that waits for the processes that it started, and never
//! for the processes that it adopts.

use std::{
    fmt::{self, Display, Formatter},
    fs::File,
    io::{self, BufRead, Write},
    path::Path,
    process::{ChildStdin, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, WaitOptions, WaitStatus, getpid, set_child_subreaper, wait, waitpid};
use serde::{Deserialize, Serialize};

use super::{
    lab::{Lab, private_cgroup2},
    owned::{Lines, Owned, bound_to_parent},
    wait::LIMIT,
};

pub(super) const ROLE: &str = "monitor";
/// The name of the monitor's process.
const NAME: &str = "demo-monitor";

/// A request to the monitor: one JSON object a line on its standard input.
#[derive(Debug, Serialize, Deserialize)]
enum Request {
    /// Starts a command, and waits for the pid of that command.
    Run { argv: Vec<String>, cgroup2: bool, log: String },
    /// Waits for every child that has exited, including adopted ones.
    Reap,
}

/// An answer of the monitor on its standard output.
#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Ready,
    Ran(Finished),
    Reaped(Vec<u32>),
    Failed(String),
}

/// A command that the monitor ran and waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// Its pid.
    pub pid: u32,
    /// How it ended.
    pub exit: ExitState,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitState {
    /// The process ended by itself, with this status.
    Code(i32),
    /// This signal ended the process.
    Signal(i32),
}

impl Display for ExitState {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

impl From<WaitStatus> for ExitState {
    fn from(status: WaitStatus) -> Self {
        match status.terminating_signal() {
            Some(signal) => Self::Signal(signal),
            None => Self::Code(status.exit_status().unwrap_or_default()),
        }
    }
}

/// A running monitor. When this is dropped, the monitor reaps its adopted children and ends.
#[derive(Debug)]
pub struct Monitor {
    replies: Lines,
    requests: Option<ChildStdin>,
    process: Owned,
}

impl Monitor {
    /// Starts a monitor.
    pub fn start(lab: &Lab) -> Result<Self> {
        let mut command = lab.actor(NAME, &[ROLE])?;
        let mut process = Owned::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let child = process.child();
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (requests, replies) = pipes.context("the monitor has no pipes")?;
        let monitor = Self { replies: Lines::of(replies), requests: Some(requests), process };
        match monitor.reply()? {
            Reply::Ready => Ok(monitor),
            other => bail!("the monitor said {other:?}"),
        }
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Runs a command under the monitor. The output of the command goes to the file `log`.
    pub fn run(&mut self, command: &Command, cgroup2: bool, log: &Path) -> Result<Finished> {
        let argv = [command.get_program()].into_iter().chain(command.get_args());
        let argv = argv.map(|arg| arg.to_string_lossy().into_owned()).collect();
        match self.ask(&Request::Run { argv, cgroup2, log: log.to_string_lossy().into_owned() })? {
            Reply::Ran(finished) => Ok(finished),
            other => bail!("the monitor said {other:?}"),
        }
    }

    /// Makes the monitor reap all exited children, as it should do by itself. Returns the pids that it reaped.
    pub fn reap(&mut self) -> Result<Vec<u32>> {
        match self.ask(&Request::Reap)? {
            Reply::Reaped(pids) => Ok(pids),
            other => bail!("the monitor said {other:?}"),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Reply> {
        let mut pipe = self.requests.as_ref().context("the monitor has ended")?;
        pipe.write_all(format!("{}\n", serde_json::to_string(request)?).as_bytes())?;
        self.reply()
    }

    fn reply(&self) -> Result<Reply> {
        let line = self.replies.next("the monitor's answer", LIMIT)?.context("the monitor has ended")?;
        match serde_json::from_str(&line)? {
            Reply::Failed(error) => bail!("the monitor: {error}"),
            reply => Ok(reply),
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        drop(self.requests.take());
        // If the monitor does not end by itself, dropping the process kills it, and init adopts its children.
        let _ = self.process.end(Duration::from_secs(2));
    }
}

/// The part of the monitor: answers requests until its input ends, then reaps everything.
pub(super) fn play() -> Result<()> {
    set_child_subreaper(Some(getpid()))?;
    say(&Reply::Ready)?;
    for line in io::stdin().lock().lines() {
        let reply = match serde_json::from_str(&line?)? {
            Request::Run { argv, cgroup2, log } => run(&argv, cgroup2, &log).map(Reply::Ran),
            Request::Reap => reap().map(Reply::Reaped),
        };
        say(&reply.unwrap_or_else(|error| Reply::Failed(format!("{error:#}"))))?;
    }
    reap().map(drop)
}

fn say(reply: &Reply) -> Result<()> {
    Ok(writeln!(io::stdout(), "{}", serde_json::to_string(reply)?)?)
}

fn run(argv: &[String], cgroup2: bool, log: &str) -> Result<Finished> {
    let (program, arguments) = argv.split_first().context("no command")?;
    let log = File::create(log)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    bound_to_parent(&mut command);
    if cgroup2 {
        private_cgroup2(&mut command);
    }
    let pid = Pid::from_child(&command.spawn().with_context(|| format!("{program} cannot be started"))?);
    let (_, status) = waitpid(Some(pid), WaitOptions::empty())?.context("wait4 returned nothing")?;
    Ok(Finished { pid: pid.as_raw_nonzero().get() as u32, exit: status.into() })
}

fn reap() -> Result<Vec<u32>> {
    let mut pids = Vec::new();
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, _))) => pids.push(pid.as_raw_nonzero().get() as u32),
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(pids),
            Err(error) => return Err(error.into()),
        }
    }
}
