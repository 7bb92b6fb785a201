//! Reads kernel structures. The offsets come from read-only globals, the pointers from hook arguments.

use core::{ffi::c_void, mem};

use aya_ebpf::{Global, helpers};
use supervisor_ebpf::{
    COMM_LEN, CommWords, INITIAL_PID_NS_INO, MISSING, PID_LEVELS, ProcessId, for_each_offset,
};

macro_rules! globals {
    ($($(#[$doc:meta])* $name:ident: $kind:ident $type_name:literal $member:literal, $need:ident;)*) => {
        $(
            $(#[$doc])*
            #[unsafe(no_mangle)]
            pub(crate) static $name: Global<u32> = Global::new(0);
        )*
    };
}
for_each_offset!(globals);

/// A kernel address.
pub(crate) type Ptr = *const c_void;

/// Whether the running kernel has an optional field. The global is constant when the verifier reads it. So the
/// verifier drops the branch that is never taken, and with it a load that it would refuse.
#[inline(always)]
pub(crate) fn has(offset: &Global<u32>) -> bool {
    offset.load() != MISSING
}

/// Loads a member of a kernel structure directly. The verifier allows this on a pointer that is a hook
/// argument, or that such a load has returned. A load from a bad address returns zero.
#[inline(always)]
pub(crate) fn load<T: Copy>(base: Ptr, offset: &Global<u32>) -> T {
    // SAFETY: the verifier checks the base, the offset and the size against the BTF of the kernel before the
    // program runs.
    unsafe { base.byte_add(offset.load() as usize).cast::<T>().read_volatile() }
}

/// Reads a member with the probe helper, for an address whose type the verifier does not know. Returns zero if
/// the member cannot be read.
#[inline(always)]
pub(crate) fn probe<T: Copy + Default>(base: Ptr, offset: usize) -> T {
    let mut value = T::default();
    // The helper zeroes memory that it cannot read. The result is ignored, because this saves the verifier a
    // branch.
    // SAFETY: the helper checks the address, and writes at most the size of a value.
    unsafe {
        helpers::generated::bpf_probe_read_kernel(
            (&raw mut value).cast(),
            size_of::<T>() as u32,
            base.wrapping_byte_add(offset),
        );
    }
    value
}

/// The present time, by the clock of [`ProcessId::start_ns`].
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: the helper has no arguments.
    unsafe { helpers::bpf_ktime_get_boot_ns() }
}

/// The process that a task belongs to.
#[inline(always)]
pub(crate) fn process_id(task: Ptr) -> ProcessId {
    let leader: Ptr = load(task, &TASK_LEADER);
    ProcessId::new(load(task, &TASK_TGID), load(leader, &TASK_START))
}

/// The name of a task. It is loaded as words, because a load of bytes takes one instruction for each byte.
#[inline(always)]
pub(crate) fn comm(task: Ptr) -> [u8; COMM_LEN] {
    // SAFETY: the result is an array of bytes of equal size.
    unsafe { mem::transmute(comm_words(task)) }
}

/// The name of a task as words, as it is loaded. Before Linux 5.17, bytes of an older name can follow the NUL
/// (`__set_task_comm()`, `fs/exec.c`).
#[inline(always)]
pub(crate) fn comm_words(task: Ptr) -> CommWords {
    load(task, &TASK_COMM)
}

/// Whether a task is the leader of its process. After an `execve` from another thread, the old leader has the
/// pid of that thread, and is no longer a leader.
#[inline(always)]
pub(crate) fn is_leader(task: Ptr) -> bool {
    load::<u32>(task, &TASK_PID) == load::<u32>(task, &TASK_TGID)
}

/// Whether all threads of the process of a task have begun to exit.
#[inline(always)]
pub(crate) fn is_group_dead(task: Ptr) -> bool {
    let signal: Ptr = load(task, &TASK_SIGNAL);
    load::<i32>(signal, &SIGNAL_LIVE) == 0
}

/// Whether this run of `sched_process_exit` is for the last thread of the process. `group_dead` reads the
/// second argument of the hook, on kernels that have one.
#[inline(always)]
pub(crate) fn is_last_exit(task: Ptr, group_dead: impl FnOnce() -> u64) -> bool {
    if EXIT_ARGS.load() >= 2 { group_dead() & 1 == 1 } else { is_group_dead(task) }
}

/// `include/linux/sched/signal.h`
const SIGNAL_GROUP_EXIT: u32 = 4;

/// Whether all threads of the process of a task must exit. It uses the probe helper, because for each direct
/// load the verifier looks up types by their names.
#[inline(always)]
pub(crate) fn is_ending(task: Ptr) -> bool {
    let signal: Ptr = load(task, &TASK_SIGNAL);
    probe::<u32>(signal, SIGNAL_FLAGS.load() as usize) & SIGNAL_GROUP_EXIT != 0
}

/// The signal handlers of a task (`struct sighand_struct`), which its threads share. `None` if the BTF of the
/// running kernel does not describe them.
#[inline(always)]
pub(crate) fn sighand(task: Ptr) -> Option<Ptr> {
    has(&TASK_SIGHAND).then(|| load(task, &TASK_SIGHAND))
}

/// Offset of the action of `SIGCHLD` in `struct sighand_struct`.
#[inline(always)]
pub(crate) fn sigchld_action() -> usize {
    const SIGCHLD: usize = 17;
    SIGHAND_ACTION.load() as usize + (SIGCHLD - 1) * SIGACTION_SIZE.load() as usize
}

/// The `SIGCHLD` handler of the process of a task, as `Wait::any_handler` stores it. 0 if the BTF of the
/// running kernel does not describe handlers; the flags of the task iterator report that case. It is a direct
/// load, because it runs at each wait for any child.
#[inline(always)]
pub(crate) fn sigchld_handler(task: Ptr) -> u64 {
    sighand(task).map_or(0, |sighand| load(sighand.wrapping_byte_add(sigchld_action()), &SIGACTION_HANDLER))
}

/// The exit status of a process, as `wait(2)` will return it (`wait_task_zombie()`, `kernel/exit.c`).
#[inline(always)]
pub(crate) fn exit_status(leader: Ptr) -> u32 {
    let signal: Ptr = load(leader, &TASK_SIGNAL);
    // Both codes are loaded unconditionally. Otherwise the compiler merges the loads, and the verifier of Linux
    // 6.1 merges the pointers.
    let flags: u32 = load(signal, &SIGNAL_FLAGS);
    let of_group: u32 = load(signal, &SIGNAL_GROUP_EXIT_CODE);
    let own: u32 = load(leader, &TASK_EXIT_CODE);
    if flags & SIGNAL_GROUP_EXIT != 0 { of_group } else { own }
}

/// The innermost PID namespace of a task, and the pid of the task in it.
pub(crate) struct PidNs {
    pub(crate) ino: u32,
    pub(crate) level: u32,
    pub(crate) vpid: u32,
}

/// Offset of the entry of a level in `struct pid`. The mask bounds the offset for the verifier of Linux 6.1,
/// which forgets the bounds of a product. There are at most 33 levels.
#[inline(always)]
fn upid_offset(level: u32) -> usize {
    PID_NUMBERS.load() as usize + (level as usize * UPID_SIZE.load() as usize & 0xfff)
}

/// Reads the innermost PID namespace of a task that was not released yet.
#[inline(always)]
pub(crate) fn pid_ns(task: Ptr) -> PidNs {
    let pid: Ptr = load(task, &TASK_THREAD_PID);
    let level: u32 = load(pid, &PID_LEVEL);
    if level == 0 {
        return PidNs { ino: INITIAL_PID_NS_INO, level, vpid: load(task, &TASK_PID) };
    }
    let upid = upid_offset(level);
    let ns: u64 = probe(pid, upid + UPID_NS.load() as usize);
    PidNs {
        ino: probe(ns as Ptr, PID_NS_INUM.load() as usize),
        level,
        vpid: probe(pid, upid + UPID_NR.load() as usize),
    }
}

/// PID 1 of the innermost PID namespace of a task.
#[inline(always)]
pub(crate) fn pid_ns_init(task: Ptr) -> ProcessId {
    let pid: Ptr = load(task, &TASK_THREAD_PID);
    let level: u32 = load(pid, &PID_LEVEL);
    let upid = upid_offset(level);
    let ns: u64 = probe(pid, upid + UPID_NS.load() as usize);
    let init = probe::<u64>(ns as Ptr, PID_NS_INIT.load() as usize) as Ptr;
    let leader = probe::<u64>(init, TASK_LEADER.load() as usize) as Ptr;
    let tgid = probe(init, TASK_TGID.load() as usize);
    ProcessId::new(tgid, probe(leader, TASK_START.load() as usize))
}

/// Reads the pid of a task and the inode of its PID namespace at every level, outermost first.
#[inline(always)]
pub(crate) fn pids(task: Ptr, pids: &mut [u32; PID_LEVELS], inos: &mut [u32; PID_LEVELS]) {
    let pid: Ptr = load(task, &TASK_THREAD_PID);
    let level: u32 = load(pid, &PID_LEVEL);
    for (i, (nr, ino)) in pids.iter_mut().zip(inos).enumerate() {
        if i as u32 > level {
            break;
        }
        let upid = upid_offset(i as u32);
        *nr = probe(pid, upid + UPID_NR.load() as usize);
        let ns = probe::<u64>(pid, upid + UPID_NS.load() as usize) as Ptr;
        *ino = probe(ns, PID_NS_INUM.load() as usize);
    }
}
