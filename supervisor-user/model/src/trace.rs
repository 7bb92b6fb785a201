//! What a trace tells: a fork, exec, exit, wait or reap, with what is known of it.

use std::rc::Rc;

use supervisor_ebpf::{ProcessId, TRACE_EXEC, TRACE_EXIT, TRACE_FORK, TRACE_REAP, TRACE_WAIT};

use crate::{
    evidence::text,
    finding::{Exit, LastWait},
    words::clean,
};

/// What can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
#[repr(u32)]
pub enum Kind {
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
pub struct Event {
    /// When.
    pub at_ns: u64,
    /// The process.
    pub process: Named,
    /// Where it lives, if it was seen to.
    pub pid_ns: Option<PidNs>,
    /// Its control group, if that was told.
    pub cgroup: Option<Rc<Cgroup>>,
    /// What happened.
    pub what: What,
}

/// What happened to a process.
#[derive(Clone, Debug)]
pub enum What {
    /// This one has forked it.
    Forked(Named),
    /// It has executed a file.
    Executed {
        /// As it was named to exec.
        file: String,
        /// The arguments, as far as they are kept.
        args: Vec<String>,
        /// How many there were, if that is known.
        args_count: Option<u32>,
        /// Whether there were more than are here.
        args_cut: bool,
    },
    /// It has exited, and this one must reap it.
    Exited(Exit, Named),
    /// It waits.
    Waits(LastWait),
    /// It was reaped.
    Reaped {
        /// By whom, where that is seen.
        by: Option<Named>,
        /// How long after its exit, if that was seen.
        after_ns: Option<u64>,
    },
}

impl What {
    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Forked(_) => Kind::Fork,
            Self::Executed { .. } => Kind::Exec,
            Self::Exited(..) => Kind::Exit,
            Self::Waits(_) => Kind::Wait,
            Self::Reaped { .. } => Kind::Reap,
        }
    }
}

/// A process by its pid and its name at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Which process.
    pub id: ProcessId,
    /// As the kernel has it: up to 15 bytes and a NUL.
    pub comm: [u8; 16],
}

impl Named {
    /// Its name, as it is.
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

/// A place in a PID namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidNs {
    /// Inode number.
    pub ino: u32,
    /// Depth; the initial one is 0.
    pub level: u32,
    /// The pid there.
    pub vpid: u32,
}

/// A control group.
#[derive(Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Its path; of a deep one the innermost part, after `…`.
    pub path: String,
    /// The container that it is of.
    pub container: Option<String>,
}
