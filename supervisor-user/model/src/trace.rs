//! The events of a trace: a fork, exec, exit, wait or reap, with its known data.

use std::rc::Rc;

use supervisor_ebpf::{ProcessId, TRACE_EXEC, TRACE_EXIT, TRACE_FORK, TRACE_REAP, TRACE_WAIT};

use crate::{
    evidence::text,
    finding::{Exit, LastWait},
    words::clean,
};

/// The kinds of events in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
#[repr(u32)]
pub enum TraceKind {
    /// A process is forked
    Fork = TRACE_FORK,
    /// It executes a file
    Exec = TRACE_EXEC,
    /// Its last thread exits
    Exit = TRACE_EXIT,
    /// It waits for children
    Wait = TRACE_WAIT,
    /// It is reaped
    Reap = TRACE_REAP,
}

/// Something that happened to a process.
#[derive(Clone, Debug)]
pub struct TraceEvent {
    /// The time of the event.
    pub at_ns: u64,
    /// The process.
    pub process: NamedProcess,
    /// Its pid in its PID namespace, if it was seen.
    pub pid_ns: Option<PidInNamespace>,
    /// Its control group, if it was reported.
    pub cgroup: Option<Rc<Cgroup>>,
    /// The event.
    pub what: What,
}

/// The kind of an event in a trace, with its data.
#[derive(Clone, Debug)]
pub enum What {
    /// This process has forked it.
    Forked(NamedProcess),
    /// It has executed a file.
    Executed {
        /// The path of the file, as it was passed to exec.
        file: String,
        /// The arguments, as far as they are kept.
        args: Vec<String>,
        /// The number of arguments, if it is known.
        args_count: Option<u32>,
        /// Whether there were more arguments than are here.
        args_cut: bool,
    },
    /// It has exited, and this process must reap it.
    Exited(Exit, NamedProcess),
    /// It waits.
    Waits(LastWait),
    /// It was reaped.
    Reaped {
        /// The process that reaped it, if that is seen.
        by: Option<NamedProcess>,
        /// How long after its exit, if that was seen.
        after_ns: Option<u64>,
    },
}

impl What {
    /// The kind, without the data.
    #[must_use]
    pub fn kind(&self) -> TraceKind {
        match self {
            Self::Forked(_) => TraceKind::Fork,
            Self::Executed { .. } => TraceKind::Exec,
            Self::Exited(..) => TraceKind::Exit,
            Self::Waits(_) => TraceKind::Wait,
            Self::Reaped { .. } => TraceKind::Reap,
        }
    }
}

/// A process by its pid and its name at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedProcess {
    /// The process.
    pub id: ProcessId,
    /// The name as the kernel stores it: up to 15 bytes and a NUL.
    pub comm: [u8; 16],
}

impl NamedProcess {
    /// Its name, unchanged.
    #[must_use]
    pub fn name(&self) -> String {
        text(&self.comm)
    }

    /// Its name, harmless for a terminal.
    #[must_use]
    pub fn shown(&self) -> String {
        clean(&self.name())
    }
}

/// A PID namespace, and the pid of a process in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidInNamespace {
    /// Inode number.
    pub ino: u32,
    /// Depth; the initial one is 0.
    pub level: u32,
    /// The pid in this namespace.
    pub vpid: u32,
}

/// A control group.
#[derive(Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Its path. If the path is deep, only the innermost part, after `…`.
    pub path: String,
    /// The container that it belongs to.
    pub container: Option<String>,
}
