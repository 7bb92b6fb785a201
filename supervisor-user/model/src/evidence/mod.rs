//! The evidence about one process: all observed facts, before any conclusion. It is plain data, which a recording also
//! holds.

#[cfg(any(test, feature = "sample"))]
pub mod sample;

use serde::{Deserialize, Serialize};
use supervisor_ebpf::{Exec, ProcessId, TaskRecord, UNKNOWN_USER, Wait};

use crate::{
    facts::{
        ArgsNote, CpuFacts, OciFacts, PidBudget, PipeFacts, ProcessFacts, RemoteMount, ThreadCall,
        ThreadFacts,
    },
    shared::Shared,
};

/// All observed facts about one process. A fact that could not be seen is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// When it was gathered.
    pub at_ns: u64,
    /// The process in `/proc`.
    pub facts: ProcessFacts,
    /// Its threads, if it has more than one.
    pub threads: Vec<ThreadFacts>,
    /// When its last thread exited.
    pub exit_ns: Option<u64>,
    /// Its exact identity, if the kernel side reported it.
    pub id: Option<ProcessId>,
    /// The record of the task iterator.
    pub task: Option<Task>,
    /// Its own exec. If it has made none, the exec of its nearest ancestor.
    pub exec: Option<ExecFacts>,
    /// The process that must reap it.
    pub reaper: Option<Shared<ReaperFacts>>,
    /// The tracer of the process, or of one of its threads.
    pub tracer: Option<TracerFacts>,
    /// Its creators, nearest first.
    pub creators: Shared<Vec<CreatorFacts>>,
    /// Its real parent when it was forked. After `CLONE_PARENT` this is not the creator.
    pub first_parent: Option<ProcessId>,
    /// Whether it has living or remembered children of its own.
    pub has_children: bool,
    /// PID 1 of its namespace.
    pub ns_init: Option<Shared<ProcessFacts>>,
    /// Control groups of the processes that live in its PID namespace, if that is not the initial one.
    pub ns_groups: Vec<String>,
    /// The time since which all wait calls of the reaper are seen. `None` if some can have been forgotten.
    pub waits_known_since_ns: Option<u64>,
    /// The facts from the files of its container.
    pub oci: Option<OciFacts>,
    /// The facts from the files of its pod's sandbox, if its container's files name no pod. Recordings of older
    /// versions do not have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<OciFacts>,
    /// Whether its container's files could not be read in time. They may then contradict the claims of other sources.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oci_not_read: bool,
    /// The number of tasks and their limit, for the group of tasks that the process belongs to.
    pub budget: Option<PidBudget>,
    /// The facts about its exit, if it was told to exit and is no zombie yet. Recordings of older versions do not have
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<EndingFacts>,
    /// The pipe that a thread of the reaper reads, and the relation of its writers to this process. Recordings of older
    /// versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reaper_pipe: Option<PipeFacts>,
}

/// The facts about the exit of a process that was told to exit and is no zombie yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndingFacts {
    /// When it got its first SIGKILL. If that was not seen, when its last thread exited, if that was seen.
    pub since_ns: Option<u64>,
    /// The sender of that SIGKILL, if it was seen and it was not the kernel: pid and name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed_by: Option<(u32, String)>,
    /// The file that shows that its control group is frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<String>,
    /// Mounts of file systems that another program or host serves. One of the process's threads can wait for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<RemoteMount>,
}

/// An exec, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecFacts {
    /// The time of the exec; 0 if it was before the watch.
    pub at_ns: u64,
    /// The path of the file, as it was passed to exec.
    pub filename: String,
    /// The file of the exec before, if there was one.
    pub previous: Option<String>,
    /// The time of the exec before; 0 if it was before the watch. If `previous` is `None`, that exec was not kept, and
    /// it was at this time or earlier. `None` if there was no exec before. Recordings of older versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_ns: Option<u64>,
    /// The arguments that are complete in the first [`supervisor_ebpf::ARGV_LEN`] bytes.
    pub args: Vec<String>,
    /// The number of arguments, and whether some are missing.
    #[serde(default, skip_serializing_if = "ArgsNote::is_empty")]
    pub args_note: ArgsNote,
    /// Whether it was the process's own exec, and not an ancestor's.
    pub own: bool,
    /// Real user id of the process that made the exec. Recordings of older versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Level of the PID namespace of that process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<u32>,
    /// Whether only root can change the file at that path on the host. It is checked for runtimes, monitors and engines
    /// only. It is not known for a relative path, or for a path that leads to no file now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots_file: Option<bool>,
}

/// A reaper as observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaperFacts {
    /// In `/proc`.
    pub facts: ProcessFacts,
    /// Its threads.
    pub threads: Vec<ThreadFacts>,
    /// The file that shows that its control group is frozen.
    pub frozen: Option<String>,
    /// Its identity, if the kernel side reported it.
    pub id: Option<ProcessId>,
    /// Its exec.
    pub exec: Option<ExecFacts>,
    /// Whether it is a subreaper.
    pub is_subreaper: Option<bool>,
    /// Whether it has set `SA_NOCLDWAIT`.
    pub no_cld_wait: Option<bool>,
    /// Its last wait call.
    pub wait: Option<Wait>,
    /// The number of its own children that were reaped since the hooks were attached, and the time of the last reap.
    pub reaped: Option<(u64, u64)>,
    /// The number of its unreaped processes now, this one included.
    pub held: Option<u64>,
    /// The system calls that its threads are in, as far as they could be read. Recordings of older versions have
    /// neither this field nor any field below it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ThreadCall>,
    /// Pid and name of its parent, if the parent created it and also blocks `SIGCHLD`. It may have inherited the mask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_blocks_sigchld: Option<(u32, String)>,
    /// Whether it has an `io_uring` descriptor. Waits through an `io_uring` pass no hook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_io_uring: Option<bool>,
    /// Limits of its processor time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuFacts>,
    /// Whether its `SIGCHLD` handler has changed since it last waited for any child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler_changed: Option<bool>,
    /// Whether its `SIGCHLD` handler takes a `siginfo_t`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes_siginfo: Option<bool>,
    /// The tracer of the process, or of one of its threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracer: Option<TracerFacts>,
}

/// A tracer as observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracerFacts {
    /// The thread that it traces.
    pub tid: u32,
    /// Its host pid.
    pub pid: u32,
    /// Its name, if it can be read.
    pub comm: Option<String>,
    /// Its state, if it can be read. Recordings of older versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<char>,
}

/// A creator as observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatorFacts {
    /// Its identity.
    pub id: ProcessId,
    /// Its name.
    pub comm: String,
    /// The exec of the program that it ran when it forked the next process. This is its own exec, or the exec of the
    /// ancestor that it was forked from.
    pub exec: Option<ExecFacts>,
    /// Whether it has executed another program since that fork.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_executed_since: bool,
    /// Inode of its innermost PID namespace.
    pub pid_ns: u32,
    /// Level of that namespace.
    pub level: u32,
    /// Its pid in that namespace.
    pub vpid: u32,
    /// Whether it does not exist any more.
    pub gone: bool,
    /// How it ended, if that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<EndFacts>,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndFacts {
    /// Exit status in the encoding of `wait(2)`.
    pub status: i32,
    /// When its last thread exited. If the exit was not seen: when the process was freed.
    pub at_ns: u64,
    /// The sender of the signal that ended it: pid and name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed_by: Option<(u32, String)>,
}

/// A PID namespace whose init has exited and cannot finish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceEvidence {
    /// Its init.
    pub init: Evidence,
    /// The other processes that have a pid in it.
    pub members: Vec<Member>,
    /// The number of further processes that were not inspected.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub members_left_out: u64,
}

/// A process in a PID namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The process.
    pub id: ProcessId,
    /// In `/proc`.
    pub facts: ProcessFacts,
    /// Its threads, if it has more than one.
    pub threads: Vec<ThreadFacts>,
    /// The process that must reap it: pid and name.
    pub reaper: Option<(u32, String)>,
    /// The tracer of the process, or of one of its threads.
    pub tracer: Option<TracerFacts>,
    /// The file of the frozen control group that it is in or below, if it has not exited. Recordings of older versions
    /// have neither this field nor any field below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<String>,
    /// The system calls that its threads are in, if it has not exited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ThreadCall>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl ExecFacts {
    /// The same exec, for a process that was forked from the process that made the exec.
    #[must_use]
    pub fn inherited(self) -> Self {
        Self { own: false, ..self }
    }

    /// The exec before this one. Only its file is known.
    #[must_use]
    pub fn before(&self) -> Option<Self> {
        Some(Self {
            at_ns: self.previous_ns?,
            filename: self.previous.clone()?,
            args_note: ArgsNote { is_cut: true, ..ArgsNote::default() },
            own: self.own,
            // The user can have changed since then. So no user is known as the author of this exec's arguments.
            uid: Some(UNKNOWN_USER),
            level: self.level,
            ..Self::default()
        })
    }

    /// Whether this exec was stored when the watch began, and the arguments of its process could not be read then.
    #[must_use]
    pub fn lacks_arguments(&self) -> bool {
        self.at_ns == 0 && self.args.is_empty() && self.args_note.count.is_none()
    }
}

impl From<&Exec> for ExecFacts {
    fn from(exec: &Exec) -> Self {
        let previous = text(&exec.previous);
        let bytes = &exec.argv[..(exec.argv_len as usize).min(exec.argv.len())];
        let mut args = split_arguments(bytes);
        let is_cut = exec.argv_total > exec.argv_len;
        if is_cut {
            // The last argument was cut. Half an id is a wrong id, and half a secret is not recognised as a secret.
            args.pop();
        }
        Self {
            at_ns: exec.at_ns,
            filename: text(&exec.filename),
            previous_ns: (!previous.is_empty() || exec.previous_ns != 0).then_some(exec.previous_ns),
            previous: (!previous.is_empty()).then_some(previous),
            args_note: ArgsNote::of(&args, is_cut),
            args,
            own: true,
            uid: Some(exec.uid),
            level: Some(exec.level),
            roots_file: None,
        }
    }
}

/// A NUL-terminated string of the kernel side.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// A process that has exited and is not freed, as the task iterator saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The fixed part.
    pub record: TaskRecord,
    /// The innermost components of its cgroup path, outermost first.
    pub cgroup: Option<Shared<Vec<String>>>,
}

/// NUL-separated arguments.
#[must_use]
pub fn split_arguments(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|byte| *byte == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
}
