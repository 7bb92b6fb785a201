//! The system calls that threads are in, and their names.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use supervisor_ebpf::CALL_WAITID;

use crate::facts::OpenFile;

/// A thread, and the system call that it is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadCall {
    /// Host thread id.
    pub tid: u32,
    /// The system call that it is in.
    pub call: Call,
    /// The maximum time that it sleeps in the call, in nanoseconds. `None` if there is no limit, or if the limit is not
    /// known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ns: Option<u64>,
}

/// A system call that a thread is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// It runs, or is about to run.
    Running,
    /// It sleeps outside a system call: it waits for a page, or is stopped.
    Outside,
    /// `wait4` or `waitid`, packed as [`supervisor_ebpf::Wait::pack`] does.
    Wait(u64),
    /// It reads a descriptor: `read`, `readv`, `recvfrom`, `recvmsg`, `recvmmsg`, `splice`.
    Read {
        /// The descriptor.
        fd: u32,
        /// The file that the descriptor leads to.
        file: OpenFile,
    },
    /// It waits for one of several descriptors: `poll`, `select`, `epoll_wait` and their variants.
    Poll,
    /// It waits for a signal: `pause`, `rt_sigsuspend`, `rt_sigtimedwait`.
    Signal,
    /// It sleeps for a time.
    Sleep,
    /// It waits for another thread: `futex`.
    Futex,
    /// It waits for completions of an `io_uring`.
    Uring,
    /// Another call, by its number on this architecture.
    Other(u64),
    /// A call of a 32-bit program. `supervisor` does not know which call it is.
    Compat,
}

/// Calls that sleep until a resource is available: a lock, a peer, storage, space in a pipe. No server waits for its
/// next request in one of them.
const RESOURCE: &[i64] = &[
    libc::SYS_connect,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pwrite64,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_write,
    libc::SYS_writev,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
];

/// Names of other calls in which a thread can sleep for long.
const NAMES: &[(i64, &str)] = &[
    (libc::SYS_close, "close"),
    (libc::SYS_connect, "connect"),
    (libc::SYS_execve, "execve"),
    (libc::SYS_exit_group, "exit_group"),
    (libc::SYS_fcntl, "fcntl"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_flock, "flock"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_getdents64, "getdents64"),
    (libc::SYS_ioctl, "ioctl"),
    (libc::SYS_munmap, "munmap"),
    (libc::SYS_newfstatat, "newfstatat"),
    (libc::SYS_openat, "openat"),
    (libc::SYS_openat2, "openat2"),
    (libc::SYS_pwrite64, "pwrite64"),
    (libc::SYS_sendmsg, "sendmsg"),
    (libc::SYS_sendto, "sendto"),
    (libc::SYS_statx, "statx"),
    (libc::SYS_umount2, "umount2"),
    (libc::SYS_unlinkat, "unlinkat"),
    (libc::SYS_write, "write"),
    (libc::SYS_writev, "writev"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, "open"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_stat, "stat"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, "unlink"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_vfork, "vfork"),
];

impl Call {
    /// Whether the thread sleeps until a resource is available: a lock, a peer, storage, space in a pipe.
    #[must_use]
    pub fn is_for_resource(&self) -> bool {
        matches!(self, Self::Other(number) if RESOURCE.contains(&number.cast_signed()))
    }

    /// The name of the call, or its number. `None` if the thread is in no system call.
    #[must_use]
    pub fn name(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::Running | Self::Outside => return None,
            Self::Wait(request) if (request >> 48) as u8 == CALL_WAITID => "waitid",
            Self::Wait(_) => "wait4",
            Self::Read { .. } => "read",
            Self::Poll => "poll",
            Self::Signal => "sigsuspend",
            Self::Sleep => "nanosleep",
            Self::Futex => "futex",
            Self::Uring => "io_uring_enter",
            Self::Compat => "(32-bit)",
            Self::Other(number) => match NAMES.iter().find(|(of, _)| of.cast_unsigned() == *number) {
                Some((_, name)) => name,
                None => return Some(Cow::Owned(number.to_string())),
            },
        }))
    }
}
