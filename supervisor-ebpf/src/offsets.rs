//! The one list of kernel structure offsets: user space resolves each from the running kernel's BTF, the
//! programs read each from a read-only global of the same name.
//!
//! rustc writes no CO-RE relocations, and these offsets differ on every kernel build.

/// Calls `$callback!` with the list of `NAME: kind "type" "member path";` entries. A member path may offer
/// alternatives, separated by `|`, for fields that were renamed.
#[macro_export]
macro_rules! for_each_offset {
    ($callback:ident) => {
        $callback! {
            /// The thread's id.
            TASK_PID: field "task_struct" "pid";
            /// The process's id.
            TASK_TGID: field "task_struct" "tgid";
            /// The thread-group leader.
            TASK_LEADER: field "task_struct" "group_leader";
            /// Who must wait for it; a tracer does not change it.
            TASK_REAL_PARENT: field "task_struct" "real_parent";
            /// Start time by `CLOCK_BOOTTIME`.
            TASK_START: field "task_struct" "start_boottime";
            /// Name.
            TASK_COMM: field "task_struct" "comm";
            /// State of the thread group.
            TASK_SIGNAL: field "task_struct" "signal";
            /// `EXIT_ZOMBIE` and `EXIT_DEAD`.
            TASK_EXIT_STATE: field "task_struct" "exit_state";
            /// Signal that the exit sends to the parent.
            TASK_EXIT_SIGNAL: field "task_struct" "exit_signal";
            /// Status of the thread's own exit, as `wait(2)` gives it.
            TASK_EXIT_CODE: field "task_struct" "exit_code";
            /// Its credentials.
            TASK_CRED: field "task_struct" "real_cred";
            /// Real user id.
            CRED_UID: field "cred" "uid";
            /// Not zero while it is traced.
            TASK_PTRACE: field "task_struct" "ptrace";
            /// Its `struct pid`; NULL once it was released.
            TASK_THREAD_PID: field "task_struct" "thread_pid";
            /// Its control groups.
            TASK_CGROUPS: field "task_struct" "cgroups";
            /// Its memory, NULL once it has passed `exit_mm()`.
            TASK_MM: field "task_struct" "mm";
            /// What its signals do.
            TASK_SIGHAND: field "task_struct" "sighand";
            /// One `struct k_sigaction` a signal.
            SIGHAND_ACTION: field "sighand_struct" "action";
            /// Size of an element of `sighand_struct::action`.
            SIGACTION_SIZE: size "k_sigaction" "";
            /// `SA_*` of a signal.
            SIGACTION_FLAGS: field "k_sigaction" "sa.sa_flags";
            /// Threads that have not begun to exit.
            SIGNAL_LIVE: field "signal_struct" "live";
            /// Threads that were not released.
            SIGNAL_THREADS: field "signal_struct" "nr_threads";
            /// `SIGNAL_*` flags.
            SIGNAL_FLAGS: field "signal_struct" "flags";
            /// Status of the whole group's exit, where a thread or a signal has ended them all.
            SIGNAL_GROUP_EXIT_CODE: field "signal_struct" "group_exit_code";
            /// Bit offset of the flag that `PR_SET_CHILD_SUBREAPER` sets.
            SIGNAL_SUBREAPER_BIT: bit "signal_struct" "is_child_subreaper";
            /// Depth of the innermost PID namespace.
            PID_LEVEL: field "pid" "level";
            /// One `struct upid` a level.
            PID_NUMBERS: field "pid" "numbers";
            /// The number at that level.
            UPID_NR: field "upid" "nr";
            /// The namespace of that level.
            UPID_NS: field "upid" "ns";
            /// Size of an element of `pid::numbers`.
            UPID_SIZE: size "upid" "";
            /// Inode number of a PID namespace.
            PID_NS_INUM: field "pid_namespace" "ns.inum";
            /// The namespace's PID 1.
            PID_NS_INIT: field "pid_namespace" "child_reaper";
            /// First byte of the argument vector.
            MM_ARG_START: field "mm_struct" "arg_start";
            /// The byte after its last.
            MM_ARG_END: field "mm_struct" "arg_end";
            /// The file that is executed, as it was named.
            BPRM_FILENAME: field "linux_binprm" "filename";
            /// The cgroup in the unified hierarchy.
            CSS_SET_DFL_CGRP: field "css_set" "dfl_cgrp";
            /// The state for each controller.
            CSS_SET_SUBSYS: field "css_set" "subsys";
            /// Index of the pids controller in `css_set::subsys`.
            CGROUP_PIDS: enumerator "cgroup_subsys_id" "pids_cgrp_id";
            /// Index of the memory controller.
            CGROUP_MEMORY: enumerator "cgroup_subsys_id" "memory_cgrp_id";
            /// The cgroup of a controller's state.
            CSS_CGROUP: field "cgroup_subsys_state" "cgroup";
            /// The directory of a cgroup.
            CGROUP_KN: field "cgroup" "kn";
            /// The directory's inode number.
            KN_ID: field "kernfs_node" "id";
            /// The directory above; renamed in 6.15.
            KN_PARENT: field "kernfs_node" "__parent|parent";
            /// The directory's name.
            KN_NAME: field "kernfs_node" "name";
            /// Number of arguments of `sched_process_exit`: since 6.16 the second is `group_dead`.
            EXIT_ARGS: arguments "btf_trace_sched_process_exit" "";
            /// Number of the syscall that the task is in (`orig_ax`).
            REGS_SYSCALL: field "pt_regs" "orig_ax";
            /// First argument of a syscall.
            REGS_ARG0: field "pt_regs" "di";
            /// Second.
            REGS_ARG1: field "pt_regs" "si";
            /// Third.
            REGS_ARG2: field "pt_regs" "dx";
            /// Fourth.
            REGS_ARG3: field "pt_regs" "r10";
        }
    };
}

/// How a value is found in BTF.
#[cfg(feature = "user")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetKind {
    /// Byte offset of a struct member.
    Field,
    /// Bit offset of a one-bit struct member.
    Bit,
    /// Size of a struct.
    Size,
    /// Value of an enumerator; [`u32::MAX`] where the kernel was built without it.
    Enumerator,
    /// Number of arguments of a tracepoint's typedef, the private data pointer not counted.
    Arguments,
}

/// One entry of the list.
#[cfg(feature = "user")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// Name of the global in the BPF object.
    pub global: &'static str,
    /// How it is found.
    pub kind: OffsetKind,
    /// BTF type that it is found in.
    pub type_name: &'static str,
    /// Member path, with `|` between alternatives; or an enumerator; or empty.
    pub member: &'static str,
}

#[cfg(feature = "user")]
macro_rules! list {
    ($($(#[$doc:meta])* $name:ident: $kind:ident $type_name:literal $member:literal;)*) => {
        /// Every offset that the programs need.
        pub const OFFSETS: &[Offset] = &[$(Offset {
            global: stringify!($name),
            kind: list!(@kind $kind),
            type_name: $type_name,
            member: $member,
        }),*];
    };
    (@kind field) => { OffsetKind::Field };
    (@kind bit) => { OffsetKind::Bit };
    (@kind size) => { OffsetKind::Size };
    (@kind enumerator) => { OffsetKind::Enumerator };
    (@kind arguments) => { OffsetKind::Arguments };
}

#[cfg(feature = "user")]
for_each_offset!(list);
