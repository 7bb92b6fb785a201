//! A process is forked: remember who did it.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use supervisor_ebpf::{Process, ProcessId};

use crate::{
    kernel::{self, Ptr},
    maps::{ANY, PROCESSES, add, count},
};

/// `void sched_process_fork(struct task_struct *parent, struct task_struct *child)`
///
/// `parent` is the calling thread, also with `CLONE_PARENT` (`kernel/fork.c`, `kernel_clone()`).
#[btf_tracepoint(function = "sched_process_fork")]
fn sched_process_fork(ctx: BtfTracePointContext) {
    let caller: Ptr = ctx.arg(0);
    let child: Ptr = ctx.arg(1);
    if !kernel::is_leader(child) {
        count!(thread_forks);
        return;
    }
    count!(forks);

    let creator = kernel::process_id(caller);
    let counted = remember_child(&creator);
    let ns = kernel::pid_ns(child);
    let process = Process {
        creator,
        parent: kernel::process_id(kernel::load(child, &kernel::TASK_REAL_PARENT)),
        children: 0,
        reaped: 0,
        reaped_ns: 0,
        comm: kernel::load(child, &kernel::TASK_COMM),
        pid_ns: ns.ino,
        level: ns.level,
        vpid: ns.vpid,
        execed: 0,
        waited: 0,
        released: 0,
        counted: u8::from(counted),
    };
    if PROCESSES.insert(kernel::process_id(child), process, ANY).is_err() {
        count!(lost_forks);
    }
}

/// Counts a child in its creator's record, so that the record outlives the creator. False if there is none.
#[inline(always)]
fn remember_child(creator: &ProcessId) -> bool {
    let Some(record) = PROCESSES.get_ptr_mut(creator) else { return false };
    // SAFETY: a field of a live map value. If the LRU reuses it meanwhile, a stranger's count is one too
    // high, and its record stays until the LRU takes it.
    unsafe { add(&raw mut (*record).children, 1) };
    true
}
