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

use supervisor_model::facts::{
    ArgsNote, CpuFacts, HostIdentity, NotRead, OciFacts, OciPlaces, PidBudget, PipeWriters, ProcessFacts,
    RemoteMount, ThreadCall, ThreadFacts,
};

pub use proc::DirectProc;
pub use reader::Proc;
pub use reader::{READER, serve};

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
