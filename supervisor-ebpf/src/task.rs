//! The task iterator: every process as it is now, when user space reads it.
//!
//! At the start it finds what exited before the hooks were attached; after a loss it finds what they missed;
//! and for a leftover it tells what `/proc` does not: the reaper's subreaper flag and `SIGCHLD` handler, who else
//! is in its PID namespace, and on cgroup v1 the cgroup. Of a zombie it also tells what `/proc` does, so that
//! thousands can be looked at without opening files of each.

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

/// `struct bpf_iter__task`, `kernel/bpf/task_iter.c`: both are padded to 8 bytes. `meta` begins with the
/// `struct seq_file *`.
#[repr(C)]
struct IterTask {
    meta: *const *mut c_void,
    task: Ptr,
}

/// `int bpf_iter_task(struct bpf_iter_meta *meta, struct task_struct *task)`
///
/// Runs for every thread, and once more with a NULL task. It is one RCU read section (`bpf_iter_run_prog()`,
/// `kernel/bpf/bpf_iter.c`), and `sched_process_free` comes from an RCU callback that is queued when a
/// process is released. So if a process is seen unreleased here, its free comes after the insertion below,
/// and no entry can be left behind.
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
        // Released, or about to be.
        _ => return 0,
    };
    let (scan, pass) = CONTROL.get(0).map_or((SCAN_EXITED, 0), |control| (control.scan, control.pass));
    if scan == SCAN_RECONCILE {
        processes::mark(kernel::process_id(task), pass);
        // The iterator was seen to leave out the host's PID 1.
        processes::mark(kernel::pid_ns_init(task), pass);
    }
    if state == 0 && matches!(scan, SCAN_EXITED | SCAN_RECONCILE) {
        return 0;
    }
    let ns = kernel::pid_ns(task);
    if ns.ino == 0 {
        return 0;
    }
    let Some(record) = TASK_SCRATCH.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's map value of that type; passes do not migrate, and one is made at a time.
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
    record.flags |= is_subreaper(parent);
    sigchld(parent, record);
    if scan == SCAN_SEED {
        seed(task, record, ns.vpid);
    }
    if state & (TASK_ZOMBIE | TASK_EXITING) != 0 {
        // Of one that is still exiting, the exit hook will tell, unless it was not attached yet.
        if !unreaped::mark(record.id, pass) && (state == TASK_ZOMBIE || scan == SCAN_SEED) {
            found(record.id, pass);
        }
        if state == TASK_ZOMBIE {
            whole(task, record);
        }
        if kernel::has(&kernel::TASK_CGROUPS)
            && let Some(path) = CGROUP_SCRATCH.get_ptr_mut(0)
        {
            let (directory, version) = cgroup::directory_of(task);
            record.flags |= TASK_HAS_CGROUP | version;
            // SAFETY: this CPU's map value of that type.
            unsafe { cgroup::path_of(directory, path) };
            write(meta, (&raw const *record).cast(), size_of::<TaskRecord>());
            write(meta, path.cast_const().cast(), size_of::<CgroupPath>());
            return 0;
        }
    }
    write(meta, (&raw const *record).cast(), size_of::<TaskRecord>());
    0
}

/// Says of a zombie what `/proc` would, if it is the last of its process and nobody traces it. By the helper: for each
/// direct load the verifier looks up types by their names.
#[inline(always)]
fn whole(task: Ptr, record: &mut TaskRecord) {
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

/// Appends to what user space reads. If the buffer is full, the kernel throws this task's part away and runs
/// the program for it again (`bpf_seq_read()`), so the error needs no handling.
#[inline(always)]
fn write(meta: *const *mut c_void, data: *const c_void, len: usize) {
    // SAFETY: the seq_file of this context; data and length are those of a record.
    unsafe { bpf_seq_write((*meta).cast(), data, len as u32) };
}

/// Remembers a process that is older than the hooks, and that there is a PID 1 of the host, which the iterator was seen to
/// leave out; where it does not, that one comes first. Their creators are not known.
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
    remember(record.id, &process);
    if record.level == 0 && record.ns_init.is_known() {
        (process.parent, process.comm) = (ProcessId::default(), [0; COMM_LEN]);
        (process.vpid, process.execed) = (1, HEARD_OF);
        remember(record.ns_init, &process);
    }
}

#[inline(always)]
fn remember(id: ProcessId, process: &Process) {
    if processes::insert_absent(id, process).is_err() {
        count!(lost_forks);
    }
}

/// Puts a process that has exited unseen among the unreaped, with an unknown exit time. If there is no room,
/// user space sees that it has the record and not the entry.
#[inline(always)]
fn found(id: ProcessId, pass: u32) {
    if unreaped::insert(&Unreaped::new(id, 0, pass)).is_ok() {
        count_epoch(0, 1);
    }
}

/// Whether a task's process is a subreaper, as a flag of a child's record; `/proc` does not tell.
#[inline(always)]
fn is_subreaper(task: Ptr) -> u32 {
    if !kernel::has(&kernel::SIGNAL_SUBREAPER_BIT) {
        return TASK_PARENT_SUBREAPER_UNKNOWN;
    }
    let bit = kernel::SIGNAL_SUBREAPER_BIT.load();
    let signal: Ptr = kernel::load(task, &kernel::TASK_SIGNAL);
    let is_set = probe::<u8>(signal, bit as usize / 8) >> (bit % 8) & 1;
    u32::from(is_set) * TASK_PARENT_IS_SUBREAPER
}

/// Adds to a child's record what `SIGCHLD` does to a task's process; `/proc` shows less of it.
#[inline(always)]
fn sigchld(task: Ptr, record: &mut TaskRecord) {
    /// `include/uapi/asm-generic/signal-defs.h`
    const SA_NOCLDWAIT: u64 = 2;
    /// Same file.
    const SA_SIGINFO: u64 = 4;
    /// Same file. Whatever is larger is the address of a handler.
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
