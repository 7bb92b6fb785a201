//! Hook for fork: stores a record of each new process, with its creator and its parent.
//!
//! The kernel does not keep the creator: after the death of the parent, a process has another parent. New
//! threads are only counted.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use supervisor_ebpf::{Process, Wait};

use crate::{
    kernel::{self, Ptr},
    maps::{count, zero},
    processes,
};

/// `void sched_process_fork(struct task_struct *parent, struct task_struct *child)`
///
/// Fires before the child runs. `parent` is the calling thread, also with `CLONE_PARENT` (`kernel/fork.c`,
/// `kernel_clone()`).
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
    let counted = processes::add_child(creator);
    let ns = kernel::pid_ns(child);
    let zero = zero();
    let process = Process {
        creator,
        parent: kernel::process_id(kernel::load(child, &kernel::TASK_REAL_PARENT)),
        children: zero,
        reaped: zero,
        reaped_ns: zero,
        comm: kernel::comm(child),
        pid_ns: ns.ino,
        level: ns.level,
        vpid: ns.vpid,
        execed: 0,
        seen: 0,
        released: 0,
        counted: u8::from(counted),
        wait: Wait {
            at_ns: zero,
            count: zero,
            request: zero,
            any_ns: zero,
            any_gap_ns: zero,
            any_handler: zero,
            kinds: 0,
            pad: 0,
        },
    };
    if processes::insert(kernel::process_id(child), &process).is_err() {
        count!(lost_forks);
    }
}
