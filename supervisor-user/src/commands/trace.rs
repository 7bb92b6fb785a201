//! `supervisor trace`: every fork, exec, exit, wait and reap as it happens.

use std::{
    ffi::OsString,
    io::{self, StdoutLock, Write as _},
    process::{Child, Command},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use caps::Capability;
use clap::{Args, ValueEnum};
use rustix::process::{Pid, Signal, kill_process};
use supervisor_collect::{
    decoder::Decoder,
    host::{Host as _, Proc},
    kernel::{Trace, TraceOptions, TraceRecord},
    privileges,
};
use supervisor_deliver::say::say;
use supervisor_ebpf::{COMM_LEN, Exec, TraceFilter, Traced};
use supervisor_model::{
    arguments,
    clock::{self, Wall},
    redact::{RedactArgs, Redactor},
    trace::{Cgroup, TraceKind},
    values,
    words::{clean, in_ascii},
};
use supervisor_render::{
    Context as Said, ecs, ocsf,
    trace::{
        text::{TimeFormat, TraceLines},
        tree::Tree,
    },
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::{
    console::{colour, columns, is_utf8},
    engine,
};

/// How often the records of the kernel side are read.
const TICK: Duration = Duration::from_millis(50);
/// How long after the end of the command its reap may be reported. If the kernel side does not see the reap itself, the
/// report comes after an RCU grace period.
const SETTLE: Duration = Duration::from_millis(300);
/// How long a command may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(3);
/// The exit code of a command that a signal has ended is this plus the number of the signal, as in shells.
const SIGNALED: u8 = 128;

/// How a trace is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A line for each event
    #[default]
    Text,
    /// A tree of all processes, at the end
    Tree,
    /// One JSON object a line, in the names of the Elastic Common Schema
    Json,
    /// One JSON object a line, in the names of the Open Cybersecurity Schema Framework
    Ocsf,
}

/// Arguments of `supervisor trace`.
#[derive(Args, Clone, Debug)]
pub struct TraceArgs {
    /// How it is written
    #[arg(short, long, default_value = "text", value_name = "FORMAT")]
    output: Output,
    /// Only these: fork, exec, exit, wait, reap
    #[arg(long, value_name = "KIND,…", value_delimiter = ',', value_enum, hide_possible_values = true)]
    only: Vec<TraceKind>,
    /// How times are written in text
    #[arg(long, default_value = "relative", value_name = "HOW")]
    time: TimeFormat,
    /// End after this long
    #[arg(long, value_name = "TIME")]
    duration: Option<values::Time>,
    /// For tests: bytes of the ring
    #[arg(long, hide = true, value_name = "BYTES")]
    ring: Option<u32>,
    /// Only the process with this host pid and its descendants
    #[arg(long, value_name = "PID", help_heading = "Filters", conflicts_with = "command")]
    #[arg(value_parser = arguments::pid)]
    pid: Option<u32>,
    /// Only processes with this name (as in /proc/PID/comm, at most 15 bytes)
    #[arg(long, value_name = "NAME", help_heading = "Filters", value_parser = comm)]
    comm: Option<String>,
    /// Only processes in the PID namespace with this inode number (readlink /proc/PID/ns/pid)
    #[arg(long, value_name = "INO", help_heading = "Filters", value_parser = arguments::pid_namespace)]
    pidns: Option<u32>,
    /// Only processes of the container with this id, or the beginning of its id
    #[arg(long, value_name = "ID", help_heading = "Filters")]
    container: Option<String>,
    /// Only processes whose control group's path contains this
    #[arg(long, value_name = "TEXT", help_heading = "Filters")]
    cgroup: Option<String>,
    #[command(flatten)]
    redact: RedactArgs,
    /// A command to run: only it and its descendants are traced, until it ends
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Reads the name of a process.
fn comm(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() >= COMM_LEN {
        return Err(format!("a process's name has 1 to {} bytes", COMM_LEN - 1));
    }
    Ok(text.to_owned())
}

impl TraceArgs {
    fn filter(&self) -> TraceFilter {
        let kinds = self.kinds().iter().fold(0, |bits, kind| bits | 1 << *kind as u32);
        let filter = TraceFilter { pid_ns: self.pidns.unwrap_or(0), kinds, ..TraceFilter::default() };
        filter.with_comm(self.comm.as_deref().unwrap_or_default().as_bytes())
    }

    /// The kinds of events to report.
    fn kinds(&self) -> &[TraceKind] {
        // A tree is built from forks and exits, so it needs them whichever kinds the user has chosen.
        let all = self.only.is_empty() || self.output == Output::Tree;
        if all { TraceKind::value_variants() } else { &self.only }
    }

    fn wants(&self, cgroup: &Cgroup) -> bool {
        self.cgroup.as_ref().is_none_or(|text| cgroup.path.contains(text))
            && self
                .container
                .as_ref()
                .is_none_or(|wanted| cgroup.container.as_ref().is_some_and(|id| id.starts_with(wanted)))
    }
}

/// Traces until it is stopped, the time is up, the command has ended, or nobody reads any more. Returns the exit code.
///
/// # Errors
///
/// If the kernel side cannot be started or read, the command cannot be started, or standard output cannot be written.
pub fn run(args: &TraceArgs) -> Result<u8> {
    engine::block_on(trace(args))
}

#[expect(
    clippy::too_many_lines,
    reason = "the steps of a trace in their order: each must come after the one before"
)]
async fn trace(args: &TraceArgs) -> Result<u8> {
    let (mut stop, _) = engine::signals(false)?;
    let own = std::process::id();
    let roots: Vec<u32> = match args.pid {
        Some(pid) => vec![pid],
        // Our children are followed from their creation.
        None if !args.command.is_empty() => vec![own],
        None => Vec::new(),
    };
    let host = Proc::new().context("cannot read /proc")?;
    if let Some(pid) = args.pid {
        ensure!(host.thread_group(pid) == Some(pid), "there is no process with the pid {pid}");
    }
    let mut options = TraceOptions::new(args.filter());
    options.ring_bytes = args.ring.unwrap_or(options.ring_bytes);
    let mut trace = Trace::start(options, &roots)?;
    if !trace.has_release() {
        say("this kernel does not report who reaps: a reap is printed a little late, and without its reaper");
    }
    let context = engine::context(host.identity(), Some(trace.hooks()));
    let redactor = args.redact.redactor()?;
    let mut writer = Writer::new(args, redactor, context, (!args.command.is_empty()).then_some(own));
    let mut command = match args.command.split_first() {
        Some((program, rest)) => Some(spawn(program, rest)?),
        None => None,
    };
    // The command has started and keeps its capabilities. It may run as another user now: `CAP_KILL` is needed to end
    // it then.
    let may_kill: &[Capability] = if command.is_some() { &[Capability::CAP_KILL] } else { &[] };
    if let Err(error) = privileges::drop_all_but_needed(Some(trace.tracer()), may_kill) {
        if let Some(mut command) = command {
            let _ended_meanwhile = command.kill();
            command.wait()?;
        }
        return Err(error.into());
    }
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut end = args.duration.and_then(|length| Instant::now().checked_add(length.0));
    let mut code = 0;
    let mut is_ending = false;
    loop {
        let is_over = tokio::select! {
            _ = stop.wait_for(|stop| *stop), if !is_ending => true,
            () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => true,
            _ = ticks.tick() => false,
        };
        if !writer.take(&mut trace)? {
            break;
        }
        if let Some(ended) = command.as_mut().map(Child::try_wait).transpose()?.flatten() {
            command = None;
            code = code_of(ended);
            let settled = Instant::now() + SETTLE;
            end = Some(end.map_or(settled, |end| end.min(settled)));
        } else if is_over {
            let Some(command) = command.as_ref().filter(|_| !is_ending) else { break };
            // The trace ends with its command, and the command may have work to do before its end.
            kill_process(Pid::from_child(command), Signal::TERM).ok();
            is_ending = true;
            end = Some(Instant::now() + PATIENCE);
        }
    }
    if let Some(mut command) = command {
        let _ended_meanwhile = command.kill();
        code = code_of(command.wait()?);
    }
    let lost = trace.lost()?;
    writer.end(lost)?;
    Ok(code)
}

fn spawn(program: &OsString, rest: &[OsString]) -> Result<Child> {
    Command::new(program)
        .args(rest)
        .spawn()
        .with_context(|| format!("cannot start {}", clean(&program.to_string_lossy())))
}

fn code_of(status: std::process::ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let by_signal = || status.signal().map_or(1, |number| SIGNALED.wrapping_add(number as u8));
    status.code().map_or_else(by_signal, |code| code as u8)
}

/// Writes the events to standard output.
struct Writer<'a> {
    args: &'a TraceArgs,
    decoder: Decoder,
    lines: TraceLines,
    tree: Tree,
    context: Said,
    wall: Wall,
    started_ns: u64,
    sequence: u64,
    /// Our own pid, if our own events are to be left out.
    own: Option<u32>,
    out: String,
    stdout: StdoutLock<'static>,
}

impl<'a> Writer<'a> {
    fn new(args: &'a TraceArgs, redactor: Redactor, context: Said, own: Option<u32>) -> Self {
        let (wall, started_ns) = (Wall::now(), clock::now_ns());
        let lines = TraceLines::new(args.time, colour(), wall, started_ns);
        let out = if args.output == Output::Text { lines.header() } else { String::new() };
        Self {
            args,
            decoder: Decoder::of(args.kinds(), redactor),
            lines,
            tree: Tree::default(),
            context,
            wall,
            started_ns,
            sequence: 0,
            own,
            out,
            stdout: io::stdout().lock(),
        }
    }

    /// Takes all available records and writes them. Returns false if nobody reads standard output any more.
    fn take(&mut self, trace: &mut Trace) -> Result<bool> {
        /// The number of bytes that are written at once.
        const CHUNK: usize = 256 << 10;
        let mut is_read = true;
        trace.drain(|cgroups, record| {
            match record {
                TraceRecord::Event(event) => self.event(&event, None)?,
                TraceRecord::Exec(record) => self.event(&record.event, Some(&record.exec))?,
                TraceRecord::Cgroup(id, names) => {
                    let cgroup = self.decoder.cgroup(id, &names);
                    if !self.args.wants(&cgroup) {
                        cgroups.refuse(id);
                    }
                }
            }
            if self.out.len() >= CHUNK {
                is_read &= self.flush()?;
            }
            anyhow::Ok(())
        })?;
        Ok(self.flush()? && is_read)
    }

    fn event(&mut self, traced: &Traced, exec: Option<&Exec>) -> Result<()> {
        let lost = self.decoder.lost_before(traced);
        if lost > 0 {
            self.lost(lost, traced.at_ns)?;
        }
        if self.own == Some(traced.id.tgid) {
            return Ok(());
        }
        let Some(event) = self.decoder.event(traced, exec) else { return Ok(()) };
        // The kernel side begins to leave out a refused control group only a moment later.
        if !event.cgroup.as_ref().is_none_or(|cgroup| self.args.wants(cgroup)) {
            return Ok(());
        }
        self.sequence += 1;
        match self.args.output {
            Output::Text => self.lines.event(&event, &mut self.out),
            Output::Tree => self.tree.event(&event),
            Output::Json => self.line(&ecs::traced(&event, &self.context, self.sequence, self.wall)?),
            Output::Ocsf => self.line(&ocsf::traced(&event, &self.context, self.sequence, self.wall)?),
        }
        Ok(())
    }

    fn lost(&mut self, count: u64, at_ns: u64) -> Result<()> {
        self.sequence += 1;
        let (context, sequence, wall) = (&self.context, self.sequence, self.wall);
        match self.args.output {
            Output::Text => self.lines.lost(count, at_ns, &mut self.out),
            Output::Tree => self.tree.lost(count),
            Output::Json => self.line(&ecs::trace_lost(count, at_ns, context, sequence, wall)?),
            Output::Ocsf => self.line(&ocsf::trace_lost(count, at_ns, context, sequence, wall)?),
        }
        Ok(())
    }

    fn line(&mut self, line: &str) {
        self.out.push_str(line);
        self.out.push('\n');
    }

    /// Writes the rest, and the number of events that were lost after the last event.
    fn end(&mut self, lost: u64) -> Result<()> {
        let lost = self.decoder.lost_by(lost);
        if lost > 0 {
            self.lost(lost, clock::now_ns())?;
        }
        if self.args.output == Output::Tree {
            self.out.push_str(&self.tree.draw(self.started_ns, columns(), colour()));
        }
        self.flush()?;
        Ok(())
    }

    /// Writes the buffer. Returns false if nobody reads standard output any more.
    fn flush(&mut self) -> Result<bool> {
        let is_for_people = matches!(self.args.output, Output::Text | Output::Tree);
        if is_for_people && !is_utf8() {
            self.out = in_ascii(&self.out);
        }
        let written = self.stdout.write_all(self.out.as_bytes());
        self.out.clear();
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            written => written.context("cannot write to standard output").map(|()| true),
        }
    }
}
