//! What is measured: `supervisor`, the alternatives, and programs that do nothing.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use supervisor_lab::{Owned, until};
use supervisor_tests::supervisor_bin;
use tempfile::TempDir;

use crate::load::{Load, fixture};

/// How long it may take to attach, and to end.
const LIMIT: Duration = Duration::from_secs(30);

/// Who traces exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// Empty eBPF programs on the hooks of `supervisor`.
    Floor,
    /// `supervisor watch`.
    Supervisor,
    /// `supervisor trace` of exits, as the others do, to a file.
    Trace,
    /// The same of everything.
    TraceAll,
    /// The one-liner on `sched_process_exit`.
    Bpftrace,
    /// libbpf-tools' `exitsnoop`.
    Exitsnoop,
    /// The process connector's events, by `forkstat`.
    Forkstat,
    /// `perf record` of forks, exits and waits.
    Perf,
    /// `ps` once a second.
    Poll,
}

impl Contender {
    /// All of them, the floor first.
    pub(crate) const ALL: [Self; 9] = [
        Self::Floor,
        Self::Supervisor,
        Self::Trace,
        Self::TraceAll,
        Self::Bpftrace,
        Self::Exitsnoop,
        Self::Forkstat,
        Self::Perf,
        Self::Poll,
    ];

    /// As it is called in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "empty programs",
            Self::Supervisor => "supervisor watch",
            Self::Trace => "supervisor trace of exits",
            Self::TraceAll => "supervisor trace",
            Self::Bpftrace => "bpftrace one-liner",
            Self::Exitsnoop => "exitsnoop",
            Self::Forkstat => "forkstat",
            Self::Perf => "perf record",
            Self::Poll => "ps every second",
        }
    }

    fn command(self, data: &str) -> Result<Command> {
        let command = |words: &[&str]| {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]);
            command
        };
        // Some of them say nothing at all if these are not mounted.
        let traced = |words: &[&str]| {
            let mount = "mount -t debugfs debugfs /sys/kernel/debug; mount -t tracefs tracefs /sys/kernel/tracing; \
                         exec \"$@\"";
            let mut wrapped = command(&["unshare", "-m", "sh", "-c", mount, "sh"]);
            wrapped.args(words);
            wrapped
        };
        Ok(match self {
            Self::Floor => {
                let mut floor = Command::new(fixture()?);
                floor.arg("floor");
                floor
            }
            Self::Supervisor => {
                let mut watch = Command::new(supervisor_bin()?);
                watch.args(["watch", "-o", "json"]);
                watch
            }
            Self::Trace | Self::TraceAll => {
                let mut trace = Command::new(supervisor_bin()?);
                trace.arg("trace");
                if self == Self::Trace {
                    trace.args(["--only", "exit"]);
                }
                trace
            }
            Self::Bpftrace => traced(&[
                "bpftrace",
                "-e",
                r#"tracepoint:sched:sched_process_exit { printf("%d %s\n", pid, comm); }"#,
            ]),
            Self::Exitsnoop => traced(&["exitsnoop"]),
            Self::Forkstat => command(&["forkstat", "-l", "-e", "exit"]),
            Self::Perf => {
                let events = "sched:sched_process_fork,sched:sched_process_exit,sched:sched_process_wait";
                traced(&["perf", "record", "-q", "-a", "-e", events, "-o", data])
            }
            Self::Poll => command(&["sh", "-c", "while ps -eo pid,ppid,stat,comm; do sleep 1; done"]),
        })
    }
}

/// One that is attached. It is ended when this is dropped.
pub(crate) struct Running {
    process: Owned,
    dir: TempDir,
}

impl Running {
    /// Starts it, and waits until it sees what the load does.
    pub(crate) fn start(contender: Contender, load: &mut Load) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let data = dir.path().join("perf.data");
        let mut command = contender.command(&data.to_string_lossy())?;
        command.stdin(Stdio::piped());
        command.stdout(File::create(dir.path().join("out"))?).stderr(File::create(dir.path().join("err"))?);
        let mut running = Self { process: Owned::start(&mut command)?, dir };
        until(&format!("{} to attach", contender.name()), LIMIT, || {
            let ended = running.process.child().try_wait()?;
            ensure!(ended.is_none(), "{} has ended: {}", contender.name(), running.said("err")?);
            load.run("vfork 10")?;
            Ok(match contender {
                Contender::Floor => running.said("out")?.contains("attached"),
                Contender::Supervisor => running.said("err")?.contains("watching"),
                Contender::Perf => fs::metadata(&data).is_ok_and(|it| it.len() > 0),
                Contender::Poll => true,
                _ => running.said("out")?.contains("fixture"),
            }
            .then_some(()))
        })
        .with_context(|| running.said("err").unwrap_or_default())?;
        Ok(running)
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it writes what it has to say.
    pub(crate) fn output(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn said(&self, file: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.dir.path().join(file))?).into_owned())
    }

    /// Ends it.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::INT)?;
        self.process.signal(Signal::TERM)?;
        drop(self.process.child().stdin.take());
        self.process.end(LIMIT)?;
        Ok(())
    }
}
