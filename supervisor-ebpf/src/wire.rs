//! The wire types: map keys, map values, ring events and iterator records.

/// Longest name that the kernel keeps for a task (`TASK_COMM_LEN`), including the terminating NUL.
pub const COMM_LEN: usize = 16;
/// Bytes that are stored of the name of an executed file, including the terminating NUL.
pub const FILENAME_LEN: usize = 256;
/// Bytes that are stored of the file name of the exec *before* the last one (runtimes re-execute themselves),
/// including the terminating NUL.
pub const PREVIOUS_FILENAME_LEN: usize = 128;
/// Bytes that are stored of an argument vector.
pub const ARGV_LEN: usize = 1024;
/// PID namespace levels whose pids are recorded, including the initial namespace.
pub const PID_LEVELS: usize = 8;
/// Components that are stored of a cgroup path, innermost first.
pub const CGROUP_DEPTH: usize = 6;
/// Bytes that are stored of one component of a cgroup path, including the terminating NUL.
pub const CGROUP_NAME_LEN: usize = 128;
/// Inode number of the initial PID namespace: `PROC_PID_INIT_INO`, `include/linux/proc_ns.h`.
pub const INITIAL_PID_NS_INO: u32 = 0xEFFF_FFFC;

/// Slots in a block of `UNREAPED`. User space reads one block with each call. A power of two.
pub const BLOCK: u32 = 64;
/// Blocks in `UNREAPED`. A power of two. At most `BLOCKS * BLOCK` processes can be unreaped at once; their
/// entries take 4 MiB.
pub const BLOCKS: u32 = 1_024;
/// Slots in `PROCESSES`, for living processes and for released creators of living processes. A power of two,
/// and the usual `kernel.pid_max`.
pub const PROCESSES_ENTRIES: u32 = 32_768;
/// Bound of `DISPLACED`: processes that have no slot in `PROCESSES`, because another process has it.
pub const DISPLACED_ENTRIES: u32 = 16_384;
/// Bound of `EXECS`: processes with a record that have called exec.
pub const EXECS_ENTRIES: u32 = 8_192;
/// Bound of `KILLS`: the processes that were killed last and were not freed.
pub const KILLS_ENTRIES: u32 = 1_024;
/// Bound of `ENDS`: released processes whose records a child needs.
pub const ENDS_ENTRIES: u32 = 4_096;
/// Bytes of the ring `EVENTS`.
pub const EVENTS_BYTES: u32 = 256 * 1024;

/// Exits are counted by epoch. An epoch is `exit_ns >> EPOCH_SHIFT`, about 268 ms.
pub const EPOCH_SHIFT: u32 = 28;
/// Cells of the epoch table. The cell of an epoch is `epoch % EPOCHS`, so epochs that are 69 s apart share a
/// cell.
pub const EPOCHS: usize = 256;

/// Identifies one process for its whole life. A pid alone is reused; a pid with its start time is not.
///
/// `start_ns` is `task_struct::start_boottime` of the thread-group leader. An `execve` from another thread
/// gives both the pid and the start time to the new leader (`de_thread()`, `fs/exec.c`). So the identity stays
/// the same after it. All zero means "not known".
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
pub struct ProcessId {
    /// Thread-group id in the initial PID namespace.
    pub tgid: u32,
    /// Always zero.
    #[cfg_attr(feature = "user", serde(skip))]
    pub pad: u32,
    /// Start time of the process.
    pub start_ns: u64,
}

impl ProcessId {
    /// The process `tgid` that started at `start_ns`.
    #[must_use]
    pub const fn new(tgid: u32, start_ns: u64) -> Self {
        Self { tgid, pad: 0, start_ns }
    }

    /// Whether this identifies a process. The idle task (tgid 0) is no such process, because nothing can wait
    /// for it.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.tgid != 0
    }
}

/// A slot in `UNREAPED`: a process whose last thread has exited, and that was not freed yet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unreaped {
    /// Start time of the process that all fields are about. A hook stores it last, and user space reads it
    /// first, because the kernel copies a value to user space from its beginning on.
    pub whole_ns: u64,
    /// When its last thread passed `sched_process_exit`. `0` if the iterator has found the process and no hook
    /// has seen the exit.
    pub exit_ns: u64,
    /// When it was released. `0` if it was not released, or if no hook has seen the release.
    pub release_ns: u64,
    /// The process that has released it. Not known without `release_ns`.
    pub reaper: ProcessId,
    /// Number of the last pass of the iterator that has seen it.
    pub seen: u32,
    /// Always zero.
    pub pad: u32,
    /// The process. The slot is free if the start time is 0.
    pub id: ProcessId,
}

impl Unreaped {
    /// A process that exited at `exit_ns`, or that pass number `pass` of the iterator has found.
    #[must_use]
    pub const fn new(id: ProcessId, exit_ns: u64, pass: u32) -> Self {
        let reaper = ProcessId::new(0, 0);
        Self { whole_ns: id.start_ns, exit_ns, release_ns: 0, reaper, seen: pass, pad: 0, id }
    }

    /// Whether the slot has the complete entry of one process. False if the slot is free, or if a hook is just
    /// taking it.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.id.start_ns != 0 && self.whole_ns == self.id.start_ns
    }
}

/// Element of `UNREAPED`: a row of slots.
pub type UnreapedBlock = [Unreaped; BLOCK as usize];

/// Index of the slot in `PROCESSES` of the process `tgid`.
#[must_use]
pub const fn place_of(tgid: u32) -> u32 {
    tgid % PROCESSES_ENTRIES
}

/// Element of `PROCESSES`: a slot. If another process has the slot of a process, the record of that process is
/// in `DISPLACED`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// The process. The slot is free if the start time is 0.
    pub id: ProcessId,
    /// The record of the process.
    pub process: Process,
}

/// The record of a process: facts about it and its ancestry that the kernel does not keep. Value of
/// `DISPLACED`; the key is its [`ProcessId`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// The process whose thread called fork. Not known for a process that is older than the programs.
    pub creator: ProcessId,
    /// The real parent at the fork, or at the scan. After `CLONE_PARENT` it is another process than the
    /// creator.
    pub parent: ProcessId,
    /// How many living or recorded processes have this process as their creator.
    pub children: u64,
    /// How many of the children that it forked were reaped while it lived.
    pub reaped: u64,
    /// When the last of them was freed.
    pub reaped_ns: u64,
    /// Name at the last fork, exec or release.
    pub comm: [u8; COMM_LEN],
    /// Inode of its innermost PID namespace.
    pub pid_ns: u32,
    /// Level of that namespace; the initial one is 0.
    pub level: u32,
    /// Its pid in that namespace.
    pub vpid: u32,
    /// `0` while it runs the file of its creator. `1` after its first exec, and for a process that is older
    /// than the programs. Or [`HEARD_OF`].
    pub execed: u8,
    /// Number of the last pass of the iterator that has seen it, modulo 256.
    pub seen: u8,
    /// `1` once it was reaped. The record stays while a child needs it.
    pub released: u8,
    /// `1` if `children` in the record of its creator counts it.
    pub counted: u8,
    /// Its last wait syscall.
    pub wait: Wait,
}

/// Value of `ENDS`: how a process ended that was reaped and whose record a child still needs. The key is its
/// [`ProcessId`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// When its last thread exited. If no hook has seen the exit, when it was freed.
    pub exit_ns: u64,
    /// Exit status in the encoding of `wait(2)`.
    pub status: i32,
    /// Always zero.
    pub pad: u32,
    /// The SIGKILL that ended it. All zero if no SIGKILL ended it, or if no hook has seen it.
    pub kill: Kill,
}

/// Value of [`Process::execed`]: the record of the host's PID 1, if the iterator has left out PID 1. Other
/// processes have named it as the PID 1 of their namespace. A kernel whose iterator left out PID 1 also ran no
/// program in the threads of PID 1. So the actions of this PID 1 are not known.
pub const HEARD_OF: u8 = 2;

/// A user that is not known. No user has this id (`uid_valid()`, `include/linux/uidgid.h`).
pub const UNKNOWN_USER: u32 = u32::MAX;

/// Value of `EXECS`: the last exec of a process. The key is its [`ProcessId`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exec {
    /// When it happened.
    pub at_ns: u64,
    /// When the exec before this one happened. `0` if there was none, or if it was before the watch. If that
    /// exec was not stored, this is equal to `at_ns`, and `previous` is empty.
    pub previous_ns: u64,
    /// Bytes of the whole argument vector. If it is more than [`ARGV_LEN`], `argv` is only the head of the
    /// vector.
    pub argv_total: u32,
    /// Bytes of `argv` that are set.
    pub argv_len: u32,
    /// Real user id of the process, in the numbers of the initial user namespace, or [`UNKNOWN_USER`]. A
    /// set-user-ID file does not change it.
    pub uid: u32,
    /// Level of the innermost PID namespace of the process; the initial one is 0.
    pub level: u32,
    /// The file name that was passed to exec, NUL-terminated.
    pub filename: [u8; FILENAME_LEN],
    /// The file name of the exec before this one, NUL-terminated. Empty if there was none, or if it is not
    /// known.
    pub previous: [u8; PREVIOUS_FILENAME_LEN],
    /// NUL-separated arguments.
    pub argv: [u8; ARGV_LEN],
}

/// Value of `KILLS`: the first SIGKILL of a process. The key is its [`ProcessId`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kill {
    /// The process that sent it. Not known if the kernel sent it, for example because memory was short.
    pub by: ProcessId,
    /// When it was sent.
    pub at_ns: u64,
    /// Name of the sender at that time.
    pub comm: [u8; COMM_LEN],
}

/// The waits of a process: its last wait syscall, and a summary of the earlier ones. `count` is 0 if it has
/// made none since it is watched.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub struct Wait {
    /// When it was entered.
    pub at_ns: u64,
    /// How many wait calls it has made since it is watched.
    pub count: u64,
    /// The request of the last wait ([`Wait::pack`]). It is one word, so that two waiting threads cannot mix
    /// their requests.
    pub request: u64,
    /// When it last waited for any exited child ([`Wait::takes_any`]). `0` if it never has.
    pub any_ns: u64,
    /// Gap between the last round of such waits and the round before it. `0` if there was no round before.
    /// Waits that are less than [`WAIT_ROUND_NS`] apart belong to one round.
    pub any_gap_ns: u64,
    /// `sa_handler` of `SIGCHLD` at the last such wait: an address, or `SIG_DFL` (0) or `SIG_IGN` (1).
    /// Recordings do not hold it, because it is an address. The evidence holds only whether the handler is
    /// still the same.
    #[cfg_attr(feature = "user", serde(skip))]
    pub any_handler: u64,
    /// `WAITED_*` bits of all its wait calls since the watch began, or since its last exec ([`Wait::kind`]).
    pub kinds: u32,
    /// Always zero.
    #[cfg_attr(feature = "user", serde(skip))]
    pub pad: u32,
}

/// It has made a wait that any exited child satisfies ([`Wait::takes_any`]).
pub const WAITED_ANY: u32 = 1;
/// It has waited for a child by its pid.
pub const WAITED_PID: u32 = 2;
/// It has waited for a process group.
pub const WAITED_PGID: u32 = 4;
/// It has waited for a child by a pidfd.
pub const WAITED_PIDFD: u32 = 8;
/// It has waited with `WNOWAIT`, which reaps nothing.
pub const WAITED_PEEK: u32 = 16;
/// It has waited for any child with `__WNOTHREAD`, or with `__WCLONE` and without `__WALL`. Such a wait leaves
/// out some children.
pub const WAITED_NARROW: u32 = 32;
/// It has made a wait call that was not decoded.
pub const WAITED_UNKNOWN: u32 = 64;

/// Two waits for any child belong to one round if they are less than this apart.
pub const WAIT_ROUND_NS: u64 = 100_000_000;

/// `wait4(2)`.
pub const CALL_WAIT4: u8 = 1;
/// `waitid(2)`.
pub const CALL_WAITID: u8 = 2;
/// `idtype` of a wait for any child: `P_ALL`, `include/uapi/linux/wait.h`.
pub const WAIT_ANY: u8 = 0;
/// `idtype` of a wait for one pid: `P_PID`.
pub const WAIT_PID: u8 = 1;
/// `idtype` of a wait for a process group: `P_PGID`.
pub const WAIT_PGID: u8 = 2;
/// `idtype` of a wait for a pidfd: `P_PIDFD`.
pub const WAIT_PIDFD: u8 = 3;

/// Wait options in the order of their bits in a packed request: kernel value and name
/// (`include/uapi/linux/wait.h`).
pub const WAIT_FLAGS: [(u32, &str); 8] = [
    (0x0000_0001, "WNOHANG"),
    (0x0000_0002, "WSTOPPED"),
    (0x0000_0004, "WEXITED"),
    (0x0000_0008, "WCONTINUED"),
    (0x0100_0000, "WNOWAIT"),
    (0x2000_0000, "__WNOTHREAD"),
    (0x4000_0000, "__WALL"),
    (0x8000_0000, "__WCLONE"),
];

impl Wait {
    /// Packs a request: `target` in bits 0–31, the options (in the order of [`WAIT_FLAGS`]) in 32–39, `idtype`
    /// in 40–47, `call` in 48–55. A `call` of 0 is a wait that no wait syscall made.
    #[must_use]
    pub const fn pack(call: u8, idtype: u8, target: u32, options: u32) -> u64 {
        let flags = (options & 0xF) | ((options >> 20) & 0x10) | ((options >> 24) & 0xE0);
        (target as u64) | ((flags as u64) << 32) | ((idtype as u64) << 40) | ((call as u64) << 48)
    }

    /// Packs a request of `wait4(2)`. -1 is any child, 0 is the group of the caller, below -1 is another group.
    #[must_use]
    pub const fn pack_wait4(pid: i32, options: u32) -> u64 {
        if pid == -1 {
            Self::pack(CALL_WAIT4, WAIT_ANY, 0, options)
        } else if pid > 0 {
            Self::pack(CALL_WAIT4, WAIT_PID, pid as u32, options)
        } else {
            Self::pack(CALL_WAIT4, WAIT_PGID, pid.wrapping_neg() as u32, options)
        }
    }

    /// Whether a request reaps any child that has exited.
    #[must_use]
    pub const fn takes_any(request: u64) -> bool {
        Self::kind(request) == WAITED_ANY
    }

    /// The `WAITED_*` bit of a request. A wait for any child that asks only for stopped children has no bit: it
    /// neither reaps an exited child nor sees one.
    #[must_use]
    pub const fn kind(request: u64) -> u32 {
        const WEXITED: u64 = 1 << (32 + 2);
        const WNOWAIT: u64 = 1 << (32 + 4);
        const WNOTHREAD: u64 = 1 << (32 + 5);
        const WALL: u64 = 1 << (32 + 6);
        const WCLONE: u64 = 1 << (32 + 7);
        let call = (request >> 48) as u8;
        if call != CALL_WAIT4 && call != CALL_WAITID {
            return WAITED_UNKNOWN;
        }
        if request & WNOWAIT != 0 {
            return WAITED_PEEK;
        }
        match (request >> 40) as u8 {
            WAIT_PID => WAITED_PID,
            WAIT_PGID => WAITED_PGID,
            WAIT_PIDFD => WAITED_PIDFD,
            // `eligible_child()`, `kernel/exit.c`: `__WALL` outweighs `__WCLONE`.
            WAIT_ANY if request & WNOTHREAD != 0 || request & (WCLONE | WALL) == WCLONE => WAITED_NARROW,
            WAIT_ANY if call == CALL_WAIT4 || request & WEXITED != 0 => WAITED_ANY,
            WAIT_ANY => 0,
            // The kernel refuses other kinds with EINVAL before the hook fires.
            _ => WAITED_UNKNOWN,
        }
    }

    /// The call: [`CALL_WAIT4`], [`CALL_WAITID`] or 0.
    #[must_use]
    pub const fn call(&self) -> u8 {
        (self.request >> 48) as u8
    }

    /// The kind of target: [`WAIT_ANY`], [`WAIT_PID`], [`WAIT_PGID`] or [`WAIT_PIDFD`].
    #[must_use]
    pub const fn idtype(&self) -> u8 {
        (self.request >> 40) as u8
    }

    /// The pid, process group or file descriptor. Pids are in the numbers of the caller's own PID namespace.
    #[must_use]
    pub const fn target(&self) -> u32 {
        self.request as u32
    }

    /// The names of the options that were set.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        let bits = (self.request >> 32) as u8;
        WAIT_FLAGS.iter().enumerate().filter(move |(i, _)| bits & (1 << i) != 0).map(|(_, (_, name))| *name)
    }
}

/// Event of the ring `EVENTS`: a process was freed that had been unreaped for at least the grace period.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// The process.
    pub id: ProcessId,
    /// As in [`Unreaped`].
    pub exit_ns: u64,
    /// When `sched_process_free` fired: an RCU grace period after the reap itself.
    pub free_ns: u64,
    /// As in [`Unreaped`].
    pub release_ns: u64,
    /// As in [`Unreaped`].
    pub reaper: ProcessId,
}

/// Value of the per-CPU `COUNTERS`: the events that the hooks have seen, and the data that they could not
/// store.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Processes forked.
    pub forks: u64,
    /// Threads created in an existing process.
    pub thread_forks: u64,
    /// Execs.
    pub execs: u64,
    /// Processes whose last thread exited.
    pub exits: u64,
    /// Wait syscalls entered.
    pub waits: u64,
    /// Processes freed.
    pub frees: u64,
    /// Events emitted to the ring `EVENTS`.
    pub events: u64,
    /// Exits for which `UNREAPED` had no slot.
    pub lost_exits: u64,
    /// Reaps of candidates that were lost because the ring had no space.
    pub lost_events: u64,
    /// Frees that no hook has seen. They are counted when the slot of a stale entry goes to another process.
    pub lost_frees: u64,
    /// Forks that neither `PROCESSES` nor `DISPLACED` could store.
    pub lost_forks: u64,
    /// Execs that `EXECS` could not store.
    pub lost_execs: u64,
    /// Waits of processes whose record was lost.
    pub lost_waits: u64,
    /// Records that an LRU map had dropped when a hook needed them.
    pub evicted: u64,
    /// SIGKILLs that were sent.
    pub kills: u64,
    /// Senders of SIGKILL that `KILLS` could not store.
    pub lost_kills: u64,
}

#[cfg(feature = "user")]
impl core::ops::Add for Counters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            forks: self.forks + other.forks,
            thread_forks: self.thread_forks + other.thread_forks,
            execs: self.execs + other.execs,
            exits: self.exits + other.exits,
            waits: self.waits + other.waits,
            frees: self.frees + other.frees,
            events: self.events + other.events,
            lost_exits: self.lost_exits + other.lost_exits,
            lost_events: self.lost_events + other.lost_events,
            lost_frees: self.lost_frees + other.lost_frees,
            lost_forks: self.lost_forks + other.lost_forks,
            lost_execs: self.lost_execs + other.lost_execs,
            lost_waits: self.lost_waits + other.lost_waits,
            evicted: self.evicted + other.evicted,
            kills: self.kills + other.kills,
            lost_kills: self.lost_kills + other.lost_kills,
        }
    }
}

/// The task is a zombie: it has exited, all its threads are gone, and it was not reaped.
pub const TASK_ZOMBIE: u32 = 1;
/// The whole process is exiting and is not a zombie yet.
pub const TASK_EXITING: u32 = 2;
/// `signal_struct::is_child_subreaper` of its real parent's process.
pub const TASK_PARENT_IS_SUBREAPER: u32 = 4;
/// A [`CgroupPath`] follows the record.
pub const TASK_HAS_CGROUP: u32 = 8;
/// The path in the [`CgroupPath`] is of a version 1 controller, because the task is in the root of the unified
/// hierarchy.
pub const TASK_CGROUP_V1: u32 = 16;
/// Its real parent has set `SA_NOCLDWAIT` for `SIGCHLD`.
pub const TASK_PARENT_NOCLDWAIT: u32 = 32;
/// The task is a zombie, is the last task of its process, and is not traced. The record has everything that
/// `/proc` would show, except the path of its control group.
pub const TASK_WHOLE: u32 = 64;

/// The BTF of this kernel does not show whether [`TASK_PARENT_IS_SUBREAPER`] is true.
pub const TASK_PARENT_SUBREAPER_UNKNOWN: u32 = 128;
/// The BTF of this kernel does not describe the `SIGCHLD` action of the real parent. So
/// [`TASK_PARENT_NOCLDWAIT`], [`TASK_PARENT_SIGINFO`] and [`TaskRecord::parent_handler`] are not known.
pub const TASK_PARENT_NOCLDWAIT_UNKNOWN: u32 = 256;

/// Its real parent has a `SIGCHLD` handler that takes a `siginfo_t`: `SA_SIGINFO`.
pub const TASK_PARENT_SIGINFO: u32 = 512;

/// All threads of the process must exit, because of SIGKILL, another signal or `exit_group`
/// (`SIGNAL_GROUP_EXIT`), and not all of them have begun to exit.
pub const TASK_ENDING: u32 = 1024;

/// Record of the task iterator: one process as the kernel knows it now.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
pub struct TaskRecord {
    /// The process.
    pub id: ProcessId,
    /// Its real parent now, which must reap it.
    pub parent: ProcessId,
    /// PID 1 of its innermost PID namespace.
    pub ns_init: ProcessId,
    /// `TASK_*` bits.
    pub flags: u32,
    /// Inode of its innermost PID namespace.
    pub pid_ns: u32,
    /// Level of that namespace; the initial one is 0.
    pub level: u32,
    /// `task_struct::exit_signal`: the signal that its exit sends to its parent.
    pub exit_signal: i32,
    /// Its pid at each level, outermost first. Levels beyond [`PID_LEVELS`] are not recorded.
    pub pids: [u32; PID_LEVELS],
    /// Inode of its PID namespace at each of these levels.
    pub pid_nss: [u32; PID_LEVELS],
    /// Address of its `css_set`. Tasks with equal addresses are in the same control groups. Recordings do not
    /// hold it, because it would disclose where the kernel keeps its data.
    #[cfg_attr(feature = "user", serde(skip))]
    pub css_set: u64,
    /// `sa_handler` of `SIGCHLD` of its real parent now, in the form of [`Wait::any_handler`].
    #[cfg_attr(feature = "user", serde(skip))]
    pub parent_handler: u64,
    /// Name. This field and all fields below are set only with [`TASK_WHOLE`]. A recording holds them as if
    /// they came from `/proc`.
    #[cfg_attr(feature = "user", serde(skip))]
    pub comm: [u8; COMM_LEN],
    /// Real user id.
    #[cfg_attr(feature = "user", serde(skip))]
    pub uid: u32,
    /// Exit status in the encoding of `wait(2)`.
    #[cfg_attr(feature = "user", serde(skip))]
    pub exit_status: i32,
    /// Process group, in the numbers of the initial PID namespace.
    #[cfg_attr(feature = "user", serde(skip))]
    pub pgrp: u32,
    /// Always zero.
    #[cfg_attr(feature = "user", serde(skip))]
    pub pad: u32,
}

/// The innermost components of a cgroup path, innermost first. Each is NUL-terminated; unused ones are empty.
pub type CgroupPath = [[u8; CGROUP_NAME_LEN]; CGROUP_DEPTH];

/// Element of `CONTROL`, a one-element array. User space sets it to control the iterator.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// One of `SCAN_*`.
    pub scan: u32,
    /// Number of the present or last pass by [`SCAN_RECONCILE`].
    pub pass: u32,
    /// The time from which on every process has a record; `0` before that.
    pub seeded_ns: u64,
    /// When the last complete pass began. If a process is older, and neither that pass nor the present one has
    /// seen it, its free was not seen.
    pub passed_ns: u64,
}

/// The iterator returns a record for each process that has exited or must exit.
pub const SCAN_EXITED: u32 = 0;
/// The iterator returns a record for every process, and stores a [`Process`] record for it.
pub const SCAN_SEED: u32 = 1;
/// The iterator returns a record for every process.
pub const SCAN_ALL: u32 = 2;
/// As [`SCAN_EXITED`]. The iterator also marks the [`Process`] record of every process as seen.
pub const SCAN_RECONCILE: u32 = 3;

const _: () = {
    assert!(size_of::<ProcessId>() == 16);
    assert!(size_of::<Unreaped>() == 64);
    assert!(size_of::<Process>() == 144);
    assert!(size_of::<Placed>() == 160);
    assert!(PROCESSES_ENTRIES.is_power_of_two() && BLOCK.is_power_of_two() && BLOCKS.is_power_of_two());
    assert!(size_of::<Exec>() == 32 + FILENAME_LEN + PREVIOUS_FILENAME_LEN + ARGV_LEN);
    assert!(size_of::<Wait>() == 56);
    assert!(size_of::<Kill>() == 40);
    assert!((core::mem::offset_of!(Process, wait) + core::mem::offset_of!(Wait, kinds)).is_multiple_of(8));
    assert!(size_of::<Reaped>() == 56);
    assert!(size_of::<End>() == 16 + size_of::<Kill>());
    assert!(size_of::<Counters>() == 16 * 8);
    assert!(size_of::<TaskRecord>() == 176);
    assert!(size_of::<CgroupPath>() == CGROUP_DEPTH * CGROUP_NAME_LEN);
    assert!(size_of::<Control>() == 24);
};

#[cfg(feature = "user")]
mod pod {
    use super::{
        Control, Counters, End, Exec, Kill, Placed, Process, ProcessId, Reaped, TaskRecord, Unreaped,
    };

    // SAFETY: each is `repr(C)`, holds only integers and arrays of them, and has no implicit padding: the size
    // assertions above are the sums of the fields.
    unsafe impl aya::Pod for ProcessId {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Unreaped {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Process {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Exec {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Placed {}
    // SAFETY: as above.
    unsafe impl aya::Pod for End {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Reaped {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Kill {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Counters {}
    // SAFETY: as above.
    unsafe impl aya::Pod for TaskRecord {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Control {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wait_flag_survives_packing() {
        for (bit, name) in WAIT_FLAGS {
            let wait = Wait { request: Wait::pack(CALL_WAITID, WAIT_PIDFD, 7, bit), ..Wait::default() };
            assert!(wait.flags().eq([name]), "{name}");
            assert_eq!((wait.call(), wait.idtype(), wait.target()), (CALL_WAITID, WAIT_PIDFD, 7));
        }
        let all = WAIT_FLAGS.iter().fold(0, |all, (bit, _)| all | bit);
        let wait = Wait { request: Wait::pack(CALL_WAIT4, WAIT_ANY, u32::MAX, all), ..Wait::default() };
        assert_eq!(wait.flags().count(), WAIT_FLAGS.len());
        assert_eq!((wait.call(), wait.idtype(), wait.target()), (CALL_WAIT4, WAIT_ANY, u32::MAX));
    }

    #[test]
    fn only_some_waits_take_any_child() {
        const WNOHANG: u32 = 1;
        const WEXITED: u32 = 4;
        const WNOWAIT: u32 = 0x0100_0000;
        const WNOTHREAD: u32 = 0x2000_0000;
        const WALL: u32 = 0x4000_0000;
        const WCLONE: u32 = 0x8000_0000;
        for (call, idtype, options, takes) in [
            (CALL_WAIT4, WAIT_ANY, 0, true),
            (CALL_WAIT4, WAIT_ANY, WNOHANG | WALL, true),
            (CALL_WAIT4, WAIT_ANY, WCLONE, false),
            (CALL_WAIT4, WAIT_ANY, WCLONE | WALL, true),
            (CALL_WAIT4, WAIT_ANY, WNOTHREAD, false),
            (CALL_WAIT4, WAIT_PID, 0, false),
            (CALL_WAIT4, WAIT_PGID, 0, false),
            (CALL_WAITID, WAIT_ANY, WEXITED, true),
            (CALL_WAITID, WAIT_ANY, WEXITED | WNOWAIT, false),
            (CALL_WAITID, WAIT_ANY, 2, false),
            (0, WAIT_ANY, 0, false),
        ] {
            assert_eq!(
                Wait::takes_any(Wait::pack(call, idtype, 0, options)),
                takes,
                "{call} {idtype} {options:x}"
            );
        }
    }

    #[test]
    fn each_wait_has_one_kind() {
        const WSTOPPED: u32 = 2;
        const WEXITED: u32 = 4;
        const WNOWAIT: u32 = 0x0100_0000;
        const WNOTHREAD: u32 = 0x2000_0000;
        const WALL: u32 = 0x4000_0000;
        const WCLONE: u32 = 0x8000_0000;
        for (call, idtype, options, kind) in [
            (CALL_WAIT4, WAIT_ANY, WALL, WAITED_ANY),
            (CALL_WAITID, WAIT_ANY, WEXITED | WSTOPPED, WAITED_ANY),
            (CALL_WAITID, WAIT_ANY, WSTOPPED, 0),
            (CALL_WAIT4, WAIT_PID, WNOTHREAD, WAITED_PID),
            (CALL_WAIT4, WAIT_PGID, 0, WAITED_PGID),
            (CALL_WAITID, WAIT_PIDFD, WEXITED, WAITED_PIDFD),
            (CALL_WAITID, WAIT_ANY, WEXITED | WNOWAIT, WAITED_PEEK),
            (CALL_WAITID, WAIT_PID, WEXITED | WNOWAIT, WAITED_PEEK),
            (CALL_WAIT4, WAIT_ANY, WNOTHREAD | WALL, WAITED_NARROW),
            (CALL_WAIT4, WAIT_ANY, WCLONE, WAITED_NARROW),
            (CALL_WAITID, 9, WEXITED, WAITED_UNKNOWN),
            (0, WAIT_ANY, 0, WAITED_UNKNOWN),
        ] {
            let found = Wait::kind(Wait::pack(call, idtype, 0, options));
            assert_eq!(found, kind, "{call} {idtype} {options:x}");
        }
    }
}
