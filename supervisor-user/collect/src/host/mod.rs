//! Reads the host from `/proc`. No other module of this crate reads the files of other processes there; some read those
//! of this process in `/proc/self`. The host is behind a trait: the reader process, the redaction
//! and tests stand in for direct reads.

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

use supervisor_model::facts::{
    ArgsNote, CpuFacts, HostIdentity, NotRead, OciFacts, OciPlaces, PidBudget, PipeWriters, ProcessFacts,
    RemoteMount, ThreadCall, ThreadFacts,
};

pub use proc::DirectProc;
pub use reader::Proc;
pub use reader::{READER, serve};

/// The questions that a host answers.
pub trait Host {
    /// A process without its arguments, or `None` if no process has that pid.
    ///
    /// # Errors
    ///
    /// If `/proc` cannot be read.
    fn process(&self, pid: u32) -> io::Result<Option<ProcessFacts>>;

    /// Whether the last call of [`Host::process`] got no answer in time. Then its `None` does not mean that there is no
    /// such process.
    fn was_not_read(&self) -> bool {
        false
    }

    /// The arguments of the process with that pid and start time: none if it is gone, or has none.
    ///
    /// # Errors
    ///
    /// If they cannot be read in time: they are in the memory of the process itself.
    fn arguments(&self, facts: &ProcessFacts) -> Result<Arguments, NotRead>;

    /// The process that a thread belongs to; `None` if there is no such thread.
    fn thread_group(&self, tid: u32) -> Option<u32>;

    /// Whether the process with that pid and start time still exists. A zombie exists.
    fn is_there(&self, pid: u32, start_ticks: u64) -> bool;

    /// The pids of all processes.
    ///
    /// # Errors
    ///
    /// If `/proc` cannot be read.
    fn pids(&self) -> io::Result<Vec<u32>>;

    /// The threads of a process, at most [`MAX_THREADS`] of them; none if it is gone.
    ///
    /// # Errors
    ///
    /// If `/proc` cannot be read.
    fn threads(&self, pid: u32) -> io::Result<Vec<ThreadFacts>>;

    /// The system calls that the threads of a process are in, at most [`MAX_THREADS`] of them. A call that cannot be
    /// read is left out.
    fn calls(&self, pid: u32) -> Vec<ThreadCall>;

    /// Whether a process has an `io_uring` descriptor; `None` if that is not known.
    fn has_io_uring(&self, pid: u32) -> Option<bool>;

    /// The processes that hold the write ends of pipes. `None` if they could not be read in time.
    fn pipe_writers(&self) -> Option<PipeWriters>;

    /// Path of a process's control group: see [`ProcessFacts::cgroup`].
    fn cgroup(&self, pid: u32) -> Option<String>;

    /// The state file of the frozen control group that a process is in or below: `freezer.state` or `cgroup.events`.
    /// `None` if no such group is frozen.
    fn frozen(&self, pid: u32) -> Option<String>;

    /// The file systems of other servers that a thread can see, at most a few. Those with waiting requests come first.
    /// None if they cannot be read, or if the thread has no mount namespace any more.
    fn remote_mounts(&self, tid: u32) -> Vec<RemoteMount>;
    /// The limits of a process's processor time. `None` if its control groups cannot be read.
    fn cpu(&self, pid: u32) -> Option<CpuFacts>;

    /// The limit of processes that applies to a process: the limit of the tightest limited control group above it, or
    /// the limit of the host. `None` if that cannot be read. `/proc` does not show the version 1 group of a zombie. The
    /// kernel side may know that group, as `v1_group`. Otherwise `neighbour`, the pid of a living process of the same
    /// container, leads to the group.
    fn pid_budget(&self, pid: u32, v1_group: Option<&str>, neighbour: Option<u32>) -> Option<PidBudget>;

    /// The facts in a container's files, from the first of these sets of paths with a file that exists and may be read.
    ///
    /// # Errors
    ///
    /// If they cannot be read in time.
    fn oci(&self, places: &[OciPlaces]) -> Result<Option<OciFacts>, NotRead>;

    /// Whether a path leads to a file that only root can change. `None` if that is not known: the path is not absolute
    /// and plain, or the file does not exist or cannot be opened. False if there is no answer in time.
    fn is_roots_file(&self, path: &str) -> Option<bool>;

    /// The identity of this host.
    fn identity(&self) -> &HostIdentity;

    /// The reads that were lost so far because an answer was late. Call it from time to time.
    fn reads_lost(&self) -> ReadsLost {
        ReadsLost::default()
    }
}

/// Arguments, and a note about the missing part.
pub type Arguments = (Vec<String>, ArgsNote);

/// Reads of other processes that have no result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadsLost {
    /// Reads that were given up because they took too long.
    pub late: u64,
    /// Reads that were not tried because too many were late.
    pub skipped: u64,
    /// Readers that were killed, and that the kernel does not let end: the number of them now.
    pub stuck: u64,
}
