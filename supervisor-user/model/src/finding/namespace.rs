//! PID namespaces, and what keeps one from its end.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::Serialize;
use supervisor_ebpf::ProcessId;

use super::Finding;
use crate::{decision::Decision, diagnosis::Diagnosis, facts::Call};

/// A PID namespace whose init has exited and cannot finish.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockedNamespace {
    /// Stable from open to close.
    pub id: String,
    /// A finding about its init: the process, its container, its namespace.
    pub init: Finding,
    /// When the init was first seen stuck in its exit.
    pub since_ns: u64,
    /// All processes that keep the init from its end.
    pub blockers: Vec<Blocker>,
    /// The number of processes that have a pid in it, its PID 1 included.
    pub processes: u64,
    /// The diagnosis of the blocked namespace.
    pub diagnosis: Diagnosis,
}

/// A process that keeps a PID namespace's init from its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// The process. It has a pid in the namespace.
    pub id: ProcessId,
    /// How it blocks the namespace.
    pub kind: BlockerKind,
    /// Its host pid.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// The process that must reap it, or the tracer that must: pid and name.
    pub reaper: Option<(u32, String)>,
    /// State letter. If the process has not ended, it is the state of a thread that cannot end.
    pub state: char,
    /// Kernel function that it sleeps in.
    pub wchan: Option<String>,
    /// The system call that this thread is in.
    pub call: Option<Call>,
    /// The file of the frozen control group that it is in or below.
    pub frozen: Option<String>,
    /// Whether `supervisor reap` frees it. `None` if it is no zombie, or if there is no finding about it.
    pub decision: Option<Decision>,
}

/// The blockers that an event or a story names, at most `most`. One of each reaper comes first.
#[must_use]
pub fn named_blockers(blockers: &[Blocker], most: usize) -> Vec<&Blocker> {
    let mut reapers = HashSet::new();
    let (mut named, others): (Vec<_>, Vec<_>) =
        blockers.iter().partition(|blocker| reapers.insert((blocker.kind, &blocker.reaper)));
    named.extend(others);
    named.truncate(most);
    named
}

/// How a process holds a PID namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BlockerKind {
    /// It is a zombie, and its reaper does not reap.
    Zombie,
    /// It has not ended yet.
    Task,
    /// A tracer must collect it first.
    Tracer,
}

impl BlockerKind {
    /// The word of the event contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zombie => "zombie",
            Self::Task => "task",
            Self::Tracer => "tracer",
        }
    }
}

/// A PID namespace that a process keeps from its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Inode number.
    pub ino: u32,
    /// Host pid of its init.
    pub init_pid: u32,
    /// Name of the init.
    pub init_name: String,
    /// When the init exited. If the exit was not seen: when the init was first seen stuck in its exit.
    pub since_ns: u64,
}

/// A PID namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PidNs {
    /// Inode number.
    pub ino: u32,
    /// Depth; the initial one is 0.
    pub level: Option<u32>,
    /// How the container of the process came to this namespace.
    pub mode: Option<PidNsMode>,
    /// Its PID 1.
    pub init: Option<NsInit>,
    /// Ids of the containers that share it, as far as control groups name them.
    pub containers: Vec<String>,
}

/// How a container came to its PID namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PidNsMode {
    /// It is the initial namespace.
    Host,
    /// The namespace was made for it.
    Own,
    /// It entered one that was there.
    Joined,
}

impl PidNsMode {
    /// The word of the event contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Own => "own",
            Self::Joined => "joined",
        }
    }
}

/// PID 1 of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NsInit {
    /// Host pid.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// State letter.
    pub state: char,
}
