//! What the threads of a process do in the kernel, and what they wait for there.

use serde::{Deserialize, Serialize};

/// What one thread does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadCall {
    /// Host thread id.
    pub tid: u32,
    /// The system call that it is in.
    pub call: Call,
}

/// A system call that a thread is in, from `/proc/PID/task/TID/syscall`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// It runs, or is about to.
    Running,
    /// `wait4` or `waitid`, packed as [`supervisor_ebpf::Wait::pack`] does.
    Wait(u64),
    /// It reads a descriptor: `read`, `readv`, `recvfrom`, `recvmsg` and their kin.
    Read {
        /// The descriptor.
        fd: u32,
        /// What it leads to.
        file: OpenFile,
    },
    /// It waits for one of several descriptors: `poll`, `select`, `epoll_wait` and their kin.
    Poll,
    /// It waits for a signal: `pause`, `rt_sigsuspend`, `rt_sigtimedwait`.
    Signal,
    /// It sleeps for a time.
    Sleep,
    /// It waits for another thread: `futex`.
    Futex,
    /// It waits for completions of an io_uring.
    Uring,
    /// Another call, by its number on this architecture.
    Other(u64),
}

/// What a descriptor leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenFile {
    /// A pipe or FIFO with that inode number.
    Pipe(u64),
    /// A socket.
    Socket,
    /// Anything else, or it could not be read.
    Other,
}

/// A pipe that a process reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipeFacts {
    /// Its inode number.
    pub ino: u64,
    /// Other processes that hold its write end open, at most [`MAX_WRITERS`].
    pub writers: Vec<Writer>,
    /// Whether all processes were looked at. If not, there may be more writers.
    pub is_complete: bool,
}

/// More writers of one pipe than this are not named.
pub const MAX_WRITERS: usize = 4;

/// A process that holds the write end of a pipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// Host pid.
    pub pid: u32,
    /// Name.
    pub comm: String,
    /// Whether the unreaped process is among its ancestors, if its creators are known.
    pub is_descendant: Option<bool>,
    /// Its process group, as the initial PID namespace counts.
    pub pgrp: u32,
}

/// Limits of a process's processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuFacts {
    /// How often the tightest control group above it was throttled (`nr_throttled` of `cpu.stat`).
    pub throttled: u64,
    /// `cpu.max` in thousandths of a processor, if there is a limit.
    pub limit_millis: Option<u64>,
}
