//! The list of kernel structure offsets. User space resolves each offset from the BTF of the running kernel.
//! The programs read each offset from a read-only global of the same name.
//!
//! rustc writes no CO-RE relocations, and these offsets differ between kernel builds.

/// Value of an offset that the running kernel does not have.
pub const MISSING: u32 = u32::MAX;

/// A helper that the programs call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Helper {
    /// Its name, without `BPF_FUNC_`.
    pub name: &'static str,
    /// The first Linux version that has it. Distributions backport helpers, so the BTF of the kernel decides,
    /// not its version.
    pub since: &'static str,
}

/// The newest helpers that the programs call. A kernel without one of them is too old.
pub const HELPERS: [Helper; 2] =
    [Helper { name: "get_current_task_btf", since: "5.11" }, Helper { name: "task_pt_regs", since: "5.15" }];

/// Calls `$callback!` with the list of `NAME: kind "type" "member path", need;` entries. A member path can have
/// alternatives for renamed fields, separated by `|`. The need is `required`, or names the facts that are lost
/// if the kernel does not have the field (`Need`).
#[macro_export]
macro_rules! for_each_offset {
    ($callback:ident) => {
        $callback! {
            /// The thread's id.
            TASK_PID: field "task_struct" "pid", required;
            /// The process's id.
            TASK_TGID: field "task_struct" "tgid", required;
            /// The thread-group leader.
            TASK_LEADER: field "task_struct" "group_leader", required;
            /// The process that must wait for it. A ptrace tracer does not change it.
            TASK_REAL_PARENT: field "task_struct" "real_parent", required;
            /// Start time by `CLOCK_BOOTTIME`.
            TASK_START: field "task_struct" "start_boottime", required;
            /// Name.
            TASK_COMM: field "task_struct" "comm", required;
            /// State of the thread group.
            TASK_SIGNAL: field "task_struct" "signal", required;
            /// `EXIT_ZOMBIE` and `EXIT_DEAD`.
            TASK_EXIT_STATE: field "task_struct" "exit_state", required;
            /// Signal that the exit sends to the parent.
            TASK_EXIT_SIGNAL: field "task_struct" "exit_signal", required;
            /// Status of the thread's own exit, as `wait(2)` gives it.
            TASK_EXIT_CODE: field "task_struct" "exit_code", required;
            /// Its credentials.
            TASK_CRED: field "task_struct" "real_cred", user;
            /// Real user id.
            CRED_UID: field "cred" "uid", user;
            /// Not zero while it is traced.
            TASK_PTRACE: field "task_struct" "ptrace", zombie;
            /// Its `struct pid`. NULL once it was released.
            TASK_THREAD_PID: field "task_struct" "thread_pid", required;
            /// Its control groups.
            TASK_CGROUPS: field "task_struct" "cgroups", cgroup;
            /// Its memory. NULL once it has passed `exit_mm()`.
            TASK_MM: field "task_struct" "mm", arguments;
            /// Its signal handlers (`struct sighand_struct`).
            TASK_SIGHAND: field "task_struct" "sighand", sigchld;
            /// One `struct k_sigaction` for each signal.
            SIGHAND_ACTION: field "sighand_struct" "action", sigchld;
            /// Size of an element of `sighand_struct::action`.
            SIGACTION_SIZE: size "k_sigaction" "", sigchld;
            /// The action of a signal: the address of its handler, `SIG_DFL` or `SIG_IGN`.
            SIGACTION_HANDLER: field "k_sigaction" "sa.sa_handler", sigchld;
            /// The `SA_*` flags of a signal.
            SIGACTION_FLAGS: field "k_sigaction" "sa.sa_flags", sigchld;
            /// Threads that have not begun to exit.
            SIGNAL_LIVE: field "signal_struct" "live", required;
            /// Threads that were not released.
            SIGNAL_THREADS: field "signal_struct" "nr_threads", zombie;
            /// Pointers to the `struct pid` of each kind of group that the process is in.
            SIGNAL_PIDS: field "signal_struct" "pids", zombie;
            /// Index of the process group among them.
            PIDTYPE_PGID: enumerator "pid_type" "PIDTYPE_PGID", zombie;
            /// `SIGNAL_*` flags.
            SIGNAL_FLAGS: field "signal_struct" "flags", required;
            /// Exit status of the whole thread group, if a thread or a signal has ended all threads.
            SIGNAL_GROUP_EXIT_CODE: field "signal_struct" "group_exit_code", required;
            /// Bit offset of the flag that `PR_SET_CHILD_SUBREAPER` sets.
            SIGNAL_SUBREAPER_BIT: bit "signal_struct" "is_child_subreaper", subreaper;
            /// Depth of the innermost PID namespace.
            PID_LEVEL: field "pid" "level", required;
            /// One `struct upid` for each level.
            PID_NUMBERS: field "pid" "numbers", required;
            /// The number at that level.
            UPID_NR: field "upid" "nr", required;
            /// The namespace of that level.
            UPID_NS: field "upid" "ns", required;
            /// Size of an element of `pid::numbers`.
            UPID_SIZE: size "upid" "", required;
            /// Inode number of a PID namespace.
            PID_NS_INUM: field "pid_namespace" "ns.inum", required;
            /// The namespace's PID 1.
            PID_NS_INIT: field "pid_namespace" "child_reaper", required;
            /// First byte of the argument vector.
            MM_ARG_START: field "mm_struct" "arg_start", arguments;
            /// The byte after its last.
            MM_ARG_END: field "mm_struct" "arg_end", arguments;
            /// The executed file, by the name that was passed to exec.
            BPRM_FILENAME: field "linux_binprm" "filename", filename;
            /// The cgroup in the unified hierarchy.
            CSS_SET_DFL_CGRP: field "css_set" "dfl_cgrp", cgroup;
            /// The state for each controller.
            CSS_SET_SUBSYS: field "css_set" "subsys", cgroup;
            /// Index of the pids controller in `css_set::subsys`.
            CGROUP_PIDS: enumerator "cgroup_subsys_id" "pids_cgrp_id", cgroup;
            /// Index of the memory controller.
            CGROUP_MEMORY: enumerator "cgroup_subsys_id" "memory_cgrp_id", cgroup;
            /// The cgroup of a controller's state.
            CSS_CGROUP: field "cgroup_subsys_state" "cgroup", cgroup;
            /// The directory of a cgroup.
            CGROUP_KN: field "cgroup" "kn", cgroup;
            /// The directory's inode number.
            KN_ID: field "kernfs_node" "id", cgroup;
            /// The parent directory. The field was renamed in 6.15.
            KN_PARENT: field "kernfs_node" "__parent|parent", cgroup;
            /// The directory's name.
            KN_NAME: field "kernfs_node" "name", cgroup;
            /// Number of arguments of `sched_process_exit`. Since 6.16 the second argument is `group_dead`.
            EXIT_ARGS: arguments "btf_trace_sched_process_exit" "", required;
            /// Number of the syscall in which the task is. The first name is that of x86-64, the second that of
            /// arm64. The arguments below have the same order.
            REGS_SYSCALL: field "pt_regs" "orig_ax|syscallno", wait_request;
            /// First argument of a syscall.
            REGS_ARG0: field "pt_regs" "di|orig_x0", wait_request;
            /// Second argument of a syscall.
            REGS_ARG1: field "pt_regs" "si|regs[1]", wait_request;
            /// Third argument of a syscall.
            REGS_ARG2: field "pt_regs" "dx|regs[2]", wait_request;
            /// Fourth argument of a syscall.
            REGS_ARG3: field "pt_regs" "r10|regs[3]", wait_request;
            /// First argument of a 32-bit syscall. The third argument is at [`REGS_ARG2`].
            REGS_COMPAT_ARG0: field "pt_regs" "bx|orig_x0", wait_request;
            /// Second argument of a 32-bit syscall.
            REGS_COMPAT_ARG1: field "pt_regs" "cx|regs[1]", wait_request;
            /// Fourth argument of a 32-bit syscall.
            REGS_COMPAT_ARG3: field "pt_regs" "si|regs[3]", wait_request;
        }
    };
}

/// How user space finds a value in BTF.
#[cfg(feature = "user")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetKind {
    /// Byte offset of a struct member.
    Field,
    /// Bit offset of a flag: a one-bit struct member, or a `bool`.
    Bit,
    /// Size of a struct.
    Size,
    /// Value of an enumerator. [`MISSING`] if the kernel was built without it.
    Enumerator,
    /// Number of arguments of the typedef of a tracepoint, without the private data pointer.
    Arguments,
}

/// Whether the programs work without an offset, and which facts are then unknown. If one offset of a need is
/// missing, user space sets all offsets of that need to [`MISSING`]. So a program checks only one of them.
#[cfg(feature = "user")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing works without it.
    Required,
    /// Whether a reaper is a subreaper.
    Subreaper,
    /// The `SIGCHLD` action of a reaper.
    SigChld,
    /// The control group of a task.
    Cgroup,
    /// The children that a wait call asks for.
    WaitRequest,
    /// The arguments of an exec.
    Arguments,
    /// The file of an exec.
    Filename,
    /// The user of a process.
    User,
    /// Everything about a zombie that `/proc` shows too.
    Zombie,
}

#[cfg(feature = "user")]
impl Need {
    /// The facts that are unknown, or the extra cost, if the kernel does not have this.
    #[must_use]
    pub const fn loss(self) -> &'static str {
        match self {
            Self::Required => "nothing works without it",
            Self::Subreaper => "it is not known whether a reaper is a subreaper",
            Self::SigChld => {
                "it is not known whether a reaper has set SA_NOCLDWAIT or has replaced its SIGCHLD handler"
            }
            Self::Cgroup => {
                "the control group of a zombie is not known on cgroup version 1, and `trace` shows none"
            }
            Self::WaitRequest => "it is not known which children a wait call asks for",
            Self::Arguments => "the arguments of processes that have exited are not known",
            Self::Filename => "the executed files of processes that have exited are not known",
            Self::User => {
                "the users of processes that have exited are not known, so their arguments do not count as root's"
            }
            Self::Zombie => "each zombie is read from /proc, which takes longer if there are thousands",
        }
    }
}

/// One entry of the list.
#[cfg(feature = "user")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// Name of the global in the BPF object.
    pub global: &'static str,
    /// How user space finds it.
    pub kind: OffsetKind,
    /// BTF type in which user space finds it.
    pub type_name: &'static str,
    /// Member path, with `|` between alternatives; or an enumerator; or empty.
    pub member: &'static str,
    /// Whether the programs work without it.
    pub need: Need,
}

#[cfg(feature = "user")]
macro_rules! list {
    ($($(#[$doc:meta])* $name:ident: $kind:ident $type_name:literal $member:literal, $need:ident;)*) => {
        /// Every offset that the programs read.
        pub const OFFSETS: &[Offset] = &[$(Offset {
            global: stringify!($name),
            kind: list!(@kind $kind),
            type_name: $type_name,
            member: $member,
            need: list!(@need $need),
        }),*];
    };
    (@kind field) => { OffsetKind::Field };
    (@kind bit) => { OffsetKind::Bit };
    (@kind size) => { OffsetKind::Size };
    (@kind enumerator) => { OffsetKind::Enumerator };
    (@kind arguments) => { OffsetKind::Arguments };
    (@need required) => { Need::Required };
    (@need subreaper) => { Need::Subreaper };
    (@need sigchld) => { Need::SigChld };
    (@need cgroup) => { Need::Cgroup };
    (@need wait_request) => { Need::WaitRequest };
    (@need arguments) => { Need::Arguments };
    (@need filename) => { Need::Filename };
    (@need user) => { Need::User };
    (@need zombie) => { Need::Zombie };
}

#[cfg(feature = "user")]
for_each_offset!(list);
