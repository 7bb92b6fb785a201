//! What was observed of one process, before anything is concluded from it: plain data that a recording holds too.

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

/// Everything observed of one process. Absent is what could not be seen.
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
    /// Its exact identity, where the kernel side told it.
    pub id: Option<ProcessId>,
    /// What the task iterator says.
    pub task: Option<Task>,
    /// Its own exec, or its nearest forebear's if it has made none.
    pub exec: Option<ExecFacts>,
    /// Who must reap it.
    pub reaper: Option<Shared<ReaperFacts>>,
    /// Who traces it, or one of its threads.
    pub tracer: Option<TracerFacts>,
    /// Who created it, nearest first.
    pub creators: Shared<Vec<CreatorFacts>>,
    /// Its real parent when it was forked: not the creator after `CLONE_PARENT`.
    pub first_parent: Option<ProcessId>,
    /// Whether it has living or remembered children of its own.
    pub has_children: bool,
    /// PID 1 of its namespace.
    pub ns_init: Option<Shared<ProcessFacts>>,
    /// Control groups of the processes that live in its PID namespace, if that is not the initial one.
    pub ns_groups: Vec<String>,
    /// Since when the reaper's wait calls are seen, if none can have been forgotten.
    pub waits_known_since_ns: Option<u64>,
    /// What its container's files say.
    pub oci: Option<OciFacts>,
    /// What the files of its pod's sandbox say, where its container's files name no pod. Recordings of older versions do
    /// not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<OciFacts>,
    /// Whether its container's files could not be read in time, so that they may contradict what others claim.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oci_not_read: bool,
    /// How many tasks there are, and may be, where it lives.
    pub budget: Option<PidBudget>,
    /// Of one that was told to exit and is no zombie yet. Recordings of older versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<EndingFacts>,
    /// The pipe that a thread of the reaper reads, and what its writers are to this process. Recordings of older versions do
    /// not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reaper_pipe: Option<PipeFacts>,
}

/// What is known of a process that was told to exit and is no zombie yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndingFacts {
    /// When it got its first SIGKILL, or else its last thread exited, if either was seen.
    pub since_ns: Option<u64>,
    /// Who sent that SIGKILL, if that was seen and it was not the kernel: pid and name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed_by: Option<(u32, String)>,
    /// The file that says that its control group is frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<String>,
    /// File systems of other servers that one of its threads can wait for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<RemoteMount>,
}

/// An exec, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecFacts {
    /// When; 0 if it was before the watch.
    pub at_ns: u64,
    /// The file as it was named.
    pub filename: String,
    /// The file of the exec before, if there was one.
    pub previous: Option<String>,
    /// When that exec was; 0 if it was before the watch. Without a file: it was until then, and was not kept. `None` if
    /// there was none. Recordings of older versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_ns: Option<u64>,
    /// Those arguments that are whole in the first [`supervisor_ebpf::ARGV_LEN`] bytes.
    pub args: Vec<String>,
    /// How many there were, and whether some are missing.
    #[serde(default, skip_serializing_if = "ArgsNote::is_empty")]
    pub args_note: ArgsNote,
    /// Whether it was the process's own exec, and not a forebear's.
    pub own: bool,
    /// Real user id of the process that made the exec. Recordings of older versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Level of the PID namespace of that process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<u32>,
    /// Whether only root can change the file at that path on the host. It is asked of runtimes, monitors and engines
    /// only, and not known of a relative path, nor of one that leads to no file now.
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
    /// The file that says that its control group is frozen.
    pub frozen: Option<String>,
    /// Its identity, where the kernel side told it.
    pub id: Option<ProcessId>,
    /// Its exec.
    pub exec: Option<ExecFacts>,
    /// Whether it is a subreaper.
    pub is_subreaper: Option<bool>,
    /// Whether it has set `SA_NOCLDWAIT`.
    pub no_cld_wait: Option<bool>,
    /// Its last wait call.
    pub wait: Option<Wait>,
    /// How many of its own children were reaped since the hooks were attached, and when the last.
    pub reaped: Option<(u64, u64)>,
    /// How many unreaped processes it has now, this one included.
    pub held: Option<u64>,
    /// What its threads do in the kernel, as far as it could be read. Recordings of older versions have none of what is
    /// from here on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ThreadCall>,
    /// Its parent, pid and name, if that created it and blocks `SIGCHLD` as it does: it may have its mask from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_blocks_sigchld: Option<(u32, String)>,
    /// Whether it has an `io_uring` descriptor: waits through it pass no hook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_io_uring: Option<bool>,
    /// Limits of its processor time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuFacts>,
    /// Whether its `SIGCHLD` handler is another one than when it last waited for any child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler_changed: Option<bool>,
    /// Whether its `SIGCHLD` handler takes a `siginfo_t`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes_siginfo: Option<bool>,
    /// Who traces it, or one of its threads.
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
    /// The exec of the program that it ran when it forked the next one: its own exec, or the one of the ancestor that it was
    /// forked from.
    pub exec: Option<ExecFacts>,
    /// Whether it has executed another program since that fork.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_executed_since: bool,
    /// Inode of its innermost PID namespace.
    pub pid_ns: u32,
    /// Level of that.
    pub level: u32,
    /// Its pid there.
    pub vpid: u32,
    /// Whether it exists no more.
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
    /// When its last thread exited; of one whose exit was not seen, when it was freed.
    pub at_ns: u64,
    /// Who sent it the signal that ended it: pid and name.
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
    /// How many more there are: they were not looked at.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub members_left_out: u64,
}

/// A process in a PID namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which.
    pub id: ProcessId,
    /// In `/proc`.
    pub facts: ProcessFacts,
    /// Its threads, if it has more than one.
    pub threads: Vec<ThreadFacts>,
    /// Who must reap it: pid and name.
    pub reaper: Option<(u32, String)>,
    /// Who traces it, or one of its threads.
    pub tracer: Option<TracerFacts>,
    /// The file of the frozen control group that it is in or below, if it has not exited. Recordings of older versions have
    /// none of what is from here on.
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
    /// The same exec, as that of a process which was forked from the one that made it.
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
            // The user can have changed since: the arguments of this exec are nobody's word.
            uid: Some(UNKNOWN_USER),
            level: self.level,
            ..Self::default()
        })
    }

    /// Whether it was stored when the watch began, from a process whose arguments could not be read then.
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
            // The last one was cut: half an id is a wrong id, and half a secret is not known for one.
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
