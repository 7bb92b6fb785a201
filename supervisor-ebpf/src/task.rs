//! The task iterator: reports processes as they are now, each time that user space reads it.
//!
//! User space reads it in these cases:
//!
//! - At the start, it finds the processes that exited before the hooks were attached.
//! - After a loss, it finds the processes that the hooks missed.
//! - For a candidate, it reports facts that `/proc` does not show: whether the reaper is a subreaper, the
//!   `SIGCHLD` handler of the reaper, the other processes in its PID namespace, and on cgroup v1 the cgroup.
//!
//! For a zombie, it also reports the facts that `/proc` shows. So user space can inspect thousands of zombies
//! without opening files of each.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_seq_write;
use supervisor_ebpf::{
    COMM_LEN, CgroupPath, HEARD_OF, PID_LEVELS, Process, ProcessId, SCAN_EXITED, SCAN_RECONCILE, SCAN_SEED,
    TASK_ENDING, TASK_EXITING, TASK_HAS_CGROUP, TASK_PARENT_IS_SUBREAPER, TASK_PARENT_NOCLDWAIT,
    TASK_PARENT_NOCLDWAIT_UNKNOWN, TASK_PARENT_SIGINFO, TASK_PARENT_SUBREAPER_UNKNOWN, TASK_WHOLE,
    TASK_ZOMBIE, TaskRecord, Unreaped,
};

use crate::{
    cgroup,
    kernel::{self, Ptr, probe},
    maps::{CGROUP_SCRATCH, CONTROL, TASK_SCRATCH, count, count_epoch},
    processes, unreaped,
};

/// `EXIT_ZOMBIE`, `include/linux/sched.h`.
const EXIT_ZOMBIE: i32 = 0x20;

/// `struct bpf_iter__task`, `kernel/bpf/task_iter.c`. Both members are padded to 8 bytes. `meta` begins with
/// the `struct seq_file *`.
#[repr(C)]
struct IterTask {
    meta: *const *mut c_void,
    task: Ptr,
}

/// `int bpf_iter_task(struct bpf_iter_meta *meta, struct task_struct *task)`
///
/// Runs for every thread, and once more with a NULL task. Each run is one RCU read section
/// (`bpf_iter_run_prog()`, `kernel/bpf/bpf_iter.c`). `sched_process_free` fires in an RCU callback, which is
/// queued when a process is released. So if this run sees that a process is not released, the free of that
/// process comes after the insertion below. The insertion therefore leaves no stale entry behind.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn task(ctx: *const IterTask) -> i32 {
    // SAFETY: the kernel passes this context.
    let (task, meta) = unsafe { ((*ctx).task, (*ctx).meta) };
    if task.is_null() || !kernel::is_leader(task) {
        return 0;
    }
    let exit_state: i32 = kernel::load(task, &kernel::TASK_EXIT_STATE);
    let state = match exit_state {
        EXIT_ZOMBIE if kernel::is_group_dead(task) => TASK_ZOMBIE,
        0 if kernel::is_group_dead(task) => TASK_EXITING,
        0 | EXIT_ZOMBIE if kernel::is_ending(task) => TASK_ENDING,
        0 | EXIT_ZOMBIE => 0,
        // The task is released, or is about to be released.
        _ => return 0,
    };
    let (scan, pass) = CONTROL.get(0).map_or((SCAN_EXITED, 0), |control| (control.scan, control.pass));
    if scan == SCAN_RECONCILE {
        processes::mark_seen(kernel::process_id(task), pass);
        // On some kernels the iterator leaves out the host's PID 1.
        processes::mark_seen(kernel::pid_ns_init(task), pass);
    }
    if state == 0 && matches!(scan, SCAN_EXITED | SCAN_RECONCILE) {
        return 0;
    }
    let ns = kernel::pid_ns(task);
    if ns.ino == 0 {
        return 0;
    }
    let Some(record) = TASK_SCRATCH.get_ptr_mut(0) else { return 0 };
    // SAFETY: the map value of this CPU has this type. Passes do not migrate, and there is only one pass at a
    // time.
    let record = unsafe { &mut *record };
    let parent: Ptr = kernel::load(task, &kernel::TASK_REAL_PARENT);
    *record = TaskRecord {
        id: kernel::process_id(task),
        parent: kernel::process_id(parent),
        ns_init: kernel::pid_ns_init(task),
        flags: state,
        pid_ns: ns.ino,
        level: ns.level,
        exit_signal: kernel::load(task, &kernel::TASK_EXIT_SIGNAL),
        pids: [0; PID_LEVELS],
        pid_nss: [0; PID_LEVELS],
        css_set: 0,
        parent_handler: 0,
        comm: [0; COMM_LEN],
        uid: 0,
        exit_status: 0,
        pgrp: 0,
        pad: 0,
    };
    kernel::pids(task, &mut record.pids, &mut record.pid_nss);
    record.flags |= subreaper_flag(parent);
    add_sigchld(parent, record);
    if scan == SCAN_SEED {
        seed(task, record, ns.vpid);
    }
    if state & (TASK_ZOMBIE | TASK_EXITING) != 0 {
        // The exit hook inserts a process that is still exiting, unless the hook was not attached yet.
        if !unreaped::mark_seen(record.id, pass) && (state == TASK_ZOMBIE || scan == SCAN_SEED) {
            insert_found(record.id, pass);
        }
        if state == TASK_ZOMBIE {
            add_proc_facts(task, record);
        }
        if kernel::has(&kernel::TASK_CGROUPS)
            && let Some(path) = CGROUP_SCRATCH.get_ptr_mut(0)
        {
            let (directory, version) = cgroup::directory_of(task);
            record.flags |= TASK_HAS_CGROUP | version;
            // SAFETY: the map value of this CPU has this type.
            unsafe { cgroup::path_of(directory, path) };
            write(meta, (&raw const *record).cast(), size_of::<TaskRecord>());
            write(meta, path.cast_const().cast(), size_of::<CgroupPath>());
            return 0;
        }
    }
    write(meta, (&raw const *record).cast(), size_of::<TaskRecord>());
    0
}

/// Adds the facts that `/proc` shows to the record of a zombie, if the zombie is the last task of its process
/// and is not traced. It uses the probe helper, because for each direct load the verifier looks up types by
/// their names.
#[inline(always)]
fn add_proc_facts(task: Ptr, record: &mut TaskRecord) {
    let needs = [&kernel::TASK_CRED, &kernel::TASK_CGROUPS, &kernel::TASK_PTRACE];
    if !needs.into_iter().all(kernel::has) {
        return;
    }
    let signal = probe::<u64>(task, kernel::TASK_SIGNAL.load() as usize) as Ptr;
    let threads: u32 = probe(signal, kernel::SIGNAL_THREADS.load() as usize);
    let ptrace: u32 = probe(task, kernel::TASK_PTRACE.load() as usize);
    if threads != 1 || ptrace != 0 {
        return;
    }
    let cred = probe::<u64>(task, kernel::TASK_CRED.load() as usize) as Ptr;
    record.flags |= TASK_WHOLE;
    record.css_set = probe(task, kernel::TASK_CGROUPS.load() as usize);
    record.comm = probe(task, kernel::TASK_COMM.load() as usize);
    record.uid = probe(cred, kernel::CRED_UID.load() as usize);
    record.exit_status = kernel::exit_status(task).cast_signed();
    let groups = kernel::SIGNAL_PIDS.load() as usize;
    let group = groups + kernel::PIDTYPE_PGID.load() as usize * size_of::<Ptr>();
    let group = probe::<u64>(signal, group) as Ptr;
    record.pgrp = probe(group, kernel::PID_NUMBERS.load() as usize + kernel::UPID_NR.load() as usize);
}

/// Appends to the data that user space reads. If the buffer is full, the kernel discards the data of this task
/// and runs the program for it again (`bpf_seq_read()`). So the error needs no handling.
#[inline(always)]
fn write(meta: *const *mut c_void, data: *const c_void, len: usize) {
    // SAFETY: the `seq_file` is that of this context. The data and the length are those of a record.
    unsafe { bpf_seq_write((*meta).cast(), data, len as u32) };
}

/// Stores a record for a process that is older than the hooks, and one for the host's PID 1. The iterator of
/// some kernels leaves out PID 1. On other kernels it reports PID 1 first, so PID 1 has its own record already.
/// The creators of these processes are not known.
#[inline(always)]
fn seed(task: Ptr, record: &TaskRecord, vpid: u32) {
    let mut process = Process {
        parent: record.parent,
        comm: kernel::comm(task),
        pid_ns: record.pid_ns,
        level: record.level,
        vpid,
        execed: 1,
        ..Process::default()
    };
    insert_record(record.id, &process);
    if record.level == 0 && record.ns_init.is_known() {
        (process.parent, process.comm) = (ProcessId::default(), [0; COMM_LEN]);
        (process.vpid, process.execed) = (1, HEARD_OF);
        insert_record(record.ns_init, &process);
    }
}

#[inline(always)]
fn insert_record(id: ProcessId, process: &Process) {
    if processes::insert_absent(id, process).is_err() {
        count!(lost_forks);
    }
}

/// Inserts a process whose exit was not seen into `UNREAPED`, with an unknown exit time. If the table has no
/// free slot for it, user space sees that the iterator reports the process and that its entry is missing.
#[inline(always)]
fn insert_found(id: ProcessId, pass: u32) {
    if unreaped::insert(&Unreaped::new(id, 0, pass)).is_ok() {
        count_epoch(0, 1);
    }
}

/// Whether the process of a task is a subreaper, as a flag for the record of its child. `/proc` does not show
/// this.
#[inline(always)]
fn subreaper_flag(task: Ptr) -> u32 {
    if !kernel::has(&kernel::SIGNAL_SUBREAPER_BIT) {
        return TASK_PARENT_SUBREAPER_UNKNOWN;
    }
    let bit = kernel::SIGNAL_SUBREAPER_BIT.load();
    let signal: Ptr = kernel::load(task, &kernel::TASK_SIGNAL);
    let is_set = probe::<u8>(signal, bit as usize / 8) >> (bit % 8) & 1;
    u32::from(is_set) * TASK_PARENT_IS_SUBREAPER
}

/// Adds the `SIGCHLD` action of the process of a task to the record of its child. `/proc` shows less of it.
#[inline(always)]
fn add_sigchld(task: Ptr, record: &mut TaskRecord) {
    /// `include/uapi/asm-generic/signal-defs.h`
    const SA_NOCLDWAIT: u64 = 2;
    /// Same file as `SA_NOCLDWAIT`.
    const SA_SIGINFO: u64 = 4;
    /// Same file as `SA_NOCLDWAIT`. A larger value is the address of a handler.
    const SIG_IGN: u64 = 1;
    let sighand = kernel::sighand(task).filter(|sighand| !sighand.is_null());
    let Some(sighand) = sighand else {
        record.flags |= TASK_PARENT_NOCLDWAIT_UNKNOWN;
        return;
    };
    let action = kernel::sigchld_action();
    let flags: u64 = probe(sighand, action + kernel::SIGACTION_FLAGS.load() as usize);
    record.parent_handler = probe(sighand, action + kernel::SIGACTION_HANDLER.load() as usize);
    let takes_info = record.parent_handler > SIG_IGN && flags & SA_SIGINFO != 0;
    record.flags |= u32::from(flags & SA_NOCLDWAIT != 0) * TASK_PARENT_NOCLDWAIT
        | u32::from(takes_info) * TASK_PARENT_SIGINFO;
}
