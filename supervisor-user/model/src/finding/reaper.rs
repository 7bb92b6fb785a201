//! The process that must reap, and its wait calls.

use super::{Process, Role, Tracer};
use crate::{
    facts::{Call, CpuFacts, PipeFacts, SigChld, ThreadCall, ThreadFacts},
    shared::Shared,
};

/// The process that must reap.
#[derive(Clone, Debug, PartialEq)]
pub struct Reaper {
    /// The process. Many findings have the same reaper.
    pub process: Shared<Process>,
    /// Whether the unreaped process had another parent at first. Not known if the fork was not seen.
    pub adopted: Option<bool>,
    /// Whether it forked the unreaped process itself. With `CLONE_PARENT`, another process than the parent may have
    /// forked it.
    pub created: Option<bool>,
    /// Whether it has asked to adopt the orphans of its descendants.
    pub is_subreaper: Option<bool>,
    /// Whether it is PID 1 of a PID namespace.
    pub is_pidns_init: Option<bool>,
    /// Depth of its PID namespace; the initial one is 0.
    pub level: Option<u32>,
    /// State letter.
    pub state: Option<char>,
    /// Kernel function that it sleeps in.
    pub wchan: Option<String>,
    /// Its threads, if it has more than one.
    pub threads: Vec<ThreadFacts>,
    /// The effect of a `SIGCHLD` on it.
    pub sigchld: Option<SigChld>,
    /// Whether a `SIGCHLD` is pending.
    pub sigchld_pending: bool,
    /// The file of the frozen control group that it is in or below.
    pub frozen: Option<String>,
    /// Its role, which follows from its exec.
    pub role: Role,
    /// Its last wait call, if one was seen.
    pub last_wait: Option<LastWait>,
    /// The time of the earliest wait call that an inspection saw as the last one.
    pub first_wait_ns: Option<u64>,
    /// The number of wait calls that it has made since the hooks were attached.
    pub waits: Option<u64>,
    /// The time of its last wait call that accepts any child that has exited.
    pub any_wait_ns: Option<u64>,
    /// The time between that round of such waits and the round before it.
    pub any_wait_gap_ns: Option<u64>,
    /// The time since which it has certainly made no wait call.
    pub never_waited_since_ns: Option<u64>,
    /// The number of its own children that were reaped since the hooks were attached, and the time of the last reap.
    pub reaped: Option<(u64, u64)>,
    /// The number of them that were reaped since the first inspection of the unreaped process.
    pub reaped_since: Option<u64>,
    /// Whether it has ever waited for a child that had a page fault. This includes the time before the watch.
    pub ever_reaped: bool,
    /// The number of its unreaped processes, this one included.
    pub unreaped_held: Option<u64>,
    /// The time since which it was seen in the same state and in the same kernel function, without a wait call.
    pub same_since_ns: u64,
    /// `WAITED_*` bits of all its wait calls since the hooks were attached, or since its last exec if that was later.
    /// It is 0 if no wait call is known.
    pub wait_kinds: u32,
    /// Its process group, as the initial PID namespace counts.
    pub pgrp: Option<u32>,
    /// When it executed its program, if that was seen.
    pub exec_ns: Option<u64>,
    /// The program that it ran before that.
    pub previous_program: Option<String>,
    /// The system calls that its threads are in.
    pub calls: Vec<ThreadCall>,
    /// The pipe that one of them reads.
    pub pipe: Option<PipeFacts>,
    /// Pid and name of its parent, if the parent created it and also blocks `SIGCHLD`. It may have inherited the mask.
    pub parent_blocks_sigchld: Option<(u32, String)>,
    /// Whether it has an `io_uring` descriptor.
    pub has_io_uring: Option<bool>,
    /// Limits of its processor time.
    pub cpu: Option<CpuFacts>,
    /// Whether its `SIGCHLD` handler was replaced since it last waited for any child.
    pub handler_changed: Option<bool>,
    /// Whether its `SIGCHLD` handler takes a `siginfo_t`.
    pub takes_siginfo: Option<bool>,
    /// Whether it has a `SIGCHLD` handler, blocked or not.
    pub sigchld_caught: Option<bool>,
    /// The tracer of the process, or of one of its threads.
    pub tracer: Option<Tracer>,
}

impl Reaper {
    /// Whether it sleeps in `sigtimedwait`. `do_sigtimedwait()`, `kernel/signal.c`, unblocks the signals that it waits for
    /// while it sleeps.
    #[must_use]
    pub fn is_in_sigtimedwait(&self) -> bool {
        self.wchan.as_deref().is_some_and(|wchan| wchan.contains("sigtimedwait"))
    }

    /// The wait calls that its threads are in now.
    #[must_use]
    pub fn waits_in_progress(&self) -> Vec<LastWait> {
        let waits = self.calls.iter().filter_map(|thread| match thread.call {
            Call::Wait(request) => {
                Some(LastWait::of(&supervisor_ebpf::Wait { request, ..Default::default() }))
            }
            _ => None,
        });
        waits.collect()
    }
}

/// A wait call that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastWait {
    /// When it was entered.
    pub at_ns: u64,
    /// `wait4` or `waitid`; none for a call that could not be decoded.
    pub call: Option<&'static str>,
    /// The target of the call. Its pids are those of the caller's namespace.
    pub target: Option<WaitTarget>,
    /// The options that were set.
    pub flags: Vec<&'static str>,
}

impl LastWait {
    /// Decodes a wait call that the kernel side has seen.
    #[must_use]
    pub fn of(wait: &supervisor_ebpf::Wait) -> Self {
        let call = match wait.call() {
            supervisor_ebpf::CALL_WAIT4 => Some("wait4"),
            supervisor_ebpf::CALL_WAITID => Some("waitid"),
            _ => None,
        };
        let target = call.and(match wait.idtype() {
            supervisor_ebpf::WAIT_ANY => Some(WaitTarget::Any),
            supervisor_ebpf::WAIT_PID => Some(WaitTarget::Pid(wait.target())),
            supervisor_ebpf::WAIT_PGID => Some(WaitTarget::Pgid(wait.target())),
            supervisor_ebpf::WAIT_PIDFD => Some(WaitTarget::PidFd(wait.target())),
            _ => None,
        });
        Self {
            at_ns: wait.at_ns,
            call,
            target,
            flags: call.map(|_| wait.flags().collect()).unwrap_or_default(),
        }
    }
}

/// The children that a wait call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitTarget {
    /// Any child.
    Any,
    /// One child.
    Pid(u32),
    /// The children in a process group; 0 is the caller's own group.
    Pgid(u32),
    /// One child by file descriptor.
    PidFd(u32),
}

impl std::fmt::Display for WaitTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Pid(pid) => write!(f, "pid:{pid}"),
            Self::Pgid(pgid) => write!(f, "pgid:{pgid}"),
            Self::PidFd(fd) => write!(f, "pidfd:{fd}"),
        }
    }
}
