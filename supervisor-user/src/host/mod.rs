//! The host as `/proc` shows it: the only place that reads it. Behind a trait, so that a recording can stand
//! in for the real one.

mod calls;
mod cgroup;
mod compat;
mod descriptors;
mod files;
#[doc(hidden)]
pub mod fuzz;
mod mounts;
mod oci;
mod proc;
mod reader;

use std::io;

pub use calls::{Call, ThreadCall};
pub use cgroup::{CpuFacts, PidBudget};
pub use descriptors::{MAX_WRITERS, OpenFile, PipeFacts, PipeWriters, Writer};
pub use files::is_plain;
pub use mounts::RemoteMount;
pub use oci::{CRI_SANDBOX_ID, CRIO_CONTAINER_ID, MANAGER, MAX_PLACES, OciFacts, OciPlaces};
pub use proc::DirectProc;
pub(crate) use proc::split_arguments;
pub use reader::Proc;
pub(crate) use reader::{READER, serve};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::evidence::ArgsNote;

/// What can be asked of a host.
pub trait Host {
    /// A process without its arguments, or `None` if there is none of that pid.
    ///
    /// # Errors
    ///
    /// If `/proc` cannot be read.
    fn process(&self, pid: u32) -> io::Result<Option<ProcessFacts>>;

    /// Whether the last [`Host::process`] was not answered in time. Then its `None` does not mean that there is no such
    /// process.
    fn was_not_read(&self) -> bool {
        false
    }

    /// The arguments of the process with that start time: none if it is gone, or has none.
    ///
    /// # Errors
    ///
    /// If they cannot be read in time: they are in the process's own memory.
    fn arguments(&self, facts: &ProcessFacts) -> Result<Arguments, NotRead>;

    /// The process that a thread belongs to; `None` if there is no such thread.
    fn thread_group(&self, tid: u32) -> Option<u32>;

    /// Whether the process that began then is there now, a zombie included.
    fn is_there(&self, pid: u32, start_ticks: u64) -> bool;

    /// All pids that are in use by processes.
    ///
    /// # Errors
    ///
    /// If `/proc` cannot be read.
    fn pids(&self) -> io::Result<Vec<u32>>;

    /// Its threads, at most [`MAX_THREADS`] of them; none if it is gone.
    ///
    /// # Errors
    ///
    /// If `/proc` cannot be read.
    fn threads(&self, pid: u32) -> io::Result<Vec<ThreadFacts>>;

    /// The system calls that its threads are in, at most [`MAX_THREADS`] of them. What cannot be read is left out.
    fn calls(&self, pid: u32) -> Vec<ThreadCall>;

    /// Whether a process has an `io_uring` descriptor, if that can be found out.
    fn has_io_uring(&self, pid: u32) -> Option<bool>;

    /// Which processes hold the write ends of pipes. `None` if that could not be read in time.
    fn pipe_writers(&self) -> Option<PipeWriters>;

    /// Path of a process's control group: see [`ProcessFacts::cgroup`].
    fn cgroup(&self, pid: u32) -> Option<String>;

    /// The file of the frozen control group that a process is in or below: `freezer.state` or `cgroup.events`; `None` if
    /// none is frozen.
    fn frozen(&self, pid: u32) -> Option<String>;

    /// File systems of another server that a thread can see, those with waiting requests first; at most a few. None if they
    /// cannot be read, or if the thread has no mount namespace any more.
    fn remote_mounts(&self, tid: u32) -> Vec<RemoteMount>;
    /// The limits of a process's processor time. `None` if its control groups cannot be read.
    fn cpu(&self, pid: u32) -> Option<CpuFacts>;

    /// How many processes there may be where a process lives: in the tightest limited control group above it, or
    /// on the host. `None` if that cannot be read. Of a zombie, `/proc` does not show the version 1 group: the
    /// kernel side may do, and else `neighbour` has it, the pid of a living process of the same container.
    fn pid_budget(&self, pid: u32, v1_group: Option<&str>, neighbour: Option<u32>) -> Option<PidBudget>;

    /// What a container's files say, of the first of these places where one is there and may be read.
    ///
    /// # Errors
    ///
    /// If they cannot be read in time.
    fn oci(&self, places: &[OciPlaces]) -> Result<Option<OciFacts>, NotRead>;

    /// Whether a path leads to a file that only root can change; `None` if it leads to none. False if that cannot be found
    /// out in time.
    fn is_roots_file(&self, path: &str) -> Option<bool>;

    /// Which host this is.
    fn identity(&self) -> &HostIdentity;

    /// What was not read so far because an answer was late. Call it now and then.
    fn reads_lost(&self) -> ReadsLost {
        ReadsLost::default()
    }
}

/// Arguments, and what is missing of them.
pub type Arguments = (Vec<String>, ArgsNote);

/// More threads of one process than this are not looked at.
pub const MAX_THREADS: usize = 64;

/// Reads of other processes that have no result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadsLost {
    /// Reads that were given up because they took too long.
    pub late: u64,
    /// Reads that were not tried because too many were late.
    pub skipped: u64,
    /// Processes that read for us, were killed, and are kept by the kernel: how many there are now.
    pub stuck: u64,
}

/// Why something was not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotRead {
    /// It took too long, now or a short while ago.
    Late {
        /// The kernel function that the one who read slept in.
        wchan: Option<String>,
    },
    /// Too many reads were late.
    Skipped,
}

impl NotRead {
    /// Whether the reader slept where it waits for the memory map of another process. `/proc/PID/wchan` leaves out the
    /// functions of the scheduler and of locks, so that it mostly names the caller of `down_read()`.
    #[must_use]
    pub fn is_memory_locked(&self) -> bool {
        let Self::Late { wchan: Some(wchan) } = self else { return false };
        ["access_remote_vm", "__access_remote_vm", "mmap_read_lock", "rwsem_down_read_slowpath", "down_read"]
            .iter()
            .any(|function| wchan.starts_with(function))
    }
}

/// Which host, which boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostIdentity {
    /// `/etc/machine-id`, or what stands for it.
    pub id: Option<String>,
    /// Host name.
    pub hostname: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Kernel release.
    pub kernel: String,
    /// Clock ticks a second of `/proc` times.
    pub ticks_per_second: u64,
}

impl HostIdentity {
    /// The same without what tells this host from others: for recordings that are given away.
    #[must_use]
    pub fn anonymous(&self) -> Self {
        let numbers =
            self.kernel.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(self.kernel.len());
        Self {
            id: Some("0".repeat(32)),
            hostname: "anonymous".to_owned(),
            boot_id: uuid::Uuid::nil().to_string(),
            kernel: self.kernel[..numbers].to_owned(),
            ticks_per_second: self.ticks_per_second,
        }
    }
}

/// One process as `/proc` shows it. What is absent could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFacts {
    /// Host pid.
    pub pid: u32,
    /// Host pid of the real parent; 0 if it has none.
    pub ppid: u32,
    /// Name.
    pub comm: String,
    /// State letter: `Z` is a zombie.
    #[serde(deserialize_with = "letter")]
    pub state: char,
    /// Start time in clock ticks since boot.
    pub start_ticks: u64,
    /// Exit status in the encoding of `wait(2)`; 0 while it lives.
    pub exit_status: Option<i32>,
    /// Its pid at every namespace level, outermost first.
    pub ns_pids: Vec<u32>,
    /// Inode of its PID namespace.
    pub pid_ns: Option<u32>,
    /// Real user id.
    pub uid: Option<u32>,
    /// 0 if all its threads are dead or zombies. A process with one that is not has not exited.
    pub live_threads: usize,
    /// Threads that there are.
    pub threads: u64,
    /// Host pid of the process that traces its leader.
    pub tracer: Option<u32>,
    /// Minor page faults of the children that it has waited for in all its life.
    pub child_faults: u64,
    /// Whether a `SIGCHLD` is pending.
    pub sigchld_pending: bool,
    /// Whether it dumps core. Recordings of older versions do not have it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dumps_core: bool,
    /// Its process group at every namespace level, outermost first; 0 where the group has no number. Recordings of older
    /// versions do not have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ns_pgrps: Vec<u32>,
    /// Kernel function that it sleeps in.
    pub wchan: Option<String>,
    /// What `SIGCHLD` does to it.
    pub sigchld: Option<SigChld>,
    /// Whether it has a handler for `SIGCHLD`, blocked or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sigchld_caught: Option<bool>,
    /// Path of its executable.
    pub exe: Option<String>,
    /// Arguments, where they are wanted: they are not read if its exec was seen.
    pub args: Vec<String>,
    /// How many there were, and whether some are missing.
    #[serde(default, skip_serializing_if = "ArgsNote::is_empty")]
    pub args_note: ArgsNote,
    /// Why its arguments are not known, although they are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args_not_read: Option<NotRead>,
    /// Path of its control group: of the unified hierarchy, or if that is its root, of the version 1 pids or
    /// memory controller.
    pub cgroup: Option<String>,
}

impl ProcessFacts {
    /// Whether it has exited with all threads and waits to be reaped.
    #[must_use]
    pub fn is_unreaped(&self) -> bool {
        self.state == 'Z' && self.live_threads == 0
    }

    /// Its pid in its innermost namespace.
    #[must_use]
    pub fn vpid(&self) -> Option<u32> {
        self.ns_pids.last().copied()
    }

    /// Its process group, as the initial PID namespace counts.
    #[must_use]
    pub fn pgrp(&self) -> Option<u32> {
        self.pgrp_at(0)
    }

    /// Its process group, as the namespace of that level counts.
    #[must_use]
    pub fn pgrp_at(&self, level: u32) -> Option<u32> {
        self.ns_pgrps.get(level as usize).copied().filter(|pgrp| *pgrp != 0)
    }

    /// Depth of its PID namespace; the initial one is 0.
    #[must_use]
    pub fn level(&self) -> Option<u32> {
        self.ns_pids.len().checked_sub(1).map(|level| level as u32)
    }
}

/// Reads a state of a recording. It is printed as it is, so it must not be what can steer a terminal.
fn letter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<char, D::Error> {
    let state = char::deserialize(deserializer)?;
    let wrong = || de::Error::invalid_value(de::Unexpected::Char(state), &"the letter of a state");
    if state.is_ascii_alphabetic() { Ok(state) } else { Err(wrong()) }
}

/// One thread as `/proc` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadFacts {
    /// Host thread id.
    pub tid: u32,
    /// Name.
    pub comm: String,
    /// State letter.
    #[serde(deserialize_with = "letter")]
    pub state: char,
    /// Kernel function that it sleeps in.
    pub wchan: Option<String>,
    /// Host pid of the process that traces it.
    pub tracer: Option<u32>,
}

impl ThreadFacts {
    /// Whether it still runs or could.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

/// What a `SIGCHLD` does to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SigChld {
    /// `SIG_DFL`: nothing, the process may wait.
    Default,
    /// `SIG_IGN`: children reap themselves.
    Ignored,
    /// A handler runs.
    Handled,
    /// It is blocked, for `signalfd` or `sigwait`, or by mistake.
    Blocked,
    /// As `SIG_DFL`, but with `SA_NOCLDWAIT`: children reap themselves. `/proc` does not show it.
    NoCldWait,
}

impl SigChld {
    /// The word of the event contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Ignored => "ignored",
            Self::Handled => "handled",
            Self::Blocked => "blocked",
            Self::NoCldWait => "nocldwait",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::NotRead;

    #[test]
    fn only_a_reader_that_slept_at_the_memory_map_says_that_the_map_is_locked() {
        let late = |wchan: Option<&str>| NotRead::Late { wchan: wchan.map(str::to_owned) };
        assert!(late(Some("__access_remote_vm")).is_memory_locked());
        assert!(late(Some("mmap_read_lock_killable")).is_memory_locked());
        assert!(!late(Some("request_wait_answer")).is_memory_locked());
        assert!(!late(None).is_memory_locked());
        assert!(!NotRead::Skipped.is_memory_locked());
    }
}
