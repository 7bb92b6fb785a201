//! Optional hook for release: stores the time of a reap and the reaper in the entry of `UNREAPED`.
//!
//! The hook writes only if the process was unreaped for at least the grace period. `free.rs` reports both
//! values later. Without this hook, both are unknown.

use aya_ebpf::{helpers::bpf_get_current_task_btf, macros::fentry, programs::FEntryContext};

use crate::{
    free::GRACE_NS,
    kernel::{self, Ptr},
    unreaped,
};

/// `void release_task(struct task_struct *p)`
///
/// Fires at every reap, because every path that reaps calls this function (`kernel/exit.c`). The current task
/// is the reaper: a task that waits, a task that exits where no zombie is wanted, or the PID 1 that ends its
/// PID namespace.
///
/// The hook does not fire for a leader that this function releases together with the last other thread. Such a
/// leader was never a zombie for long: the kernel releases it as soon as that thread exits.
///
/// The hook is optional, because some kernels do not allow it to be attached. `sched_process_free` reports the
/// reap a little later.
#[fentry(function = "release_task")]
fn release_task(ctx: FEntryContext) {
    let task: Ptr = ctx.arg(0);
    if !kernel::is_leader(task) {
        return;
    }
    let Some(entry) = unreaped::get(kernel::process_id(task)) else { return };
    let now_ns = kernel::now_ns();
    // SAFETY (here and below): fields of a live map value. The entry is removed only at the free of the task,
    // which is later.
    if now_ns.saturating_sub(unsafe { (*entry).exit_ns }) < GRACE_NS.load() {
        return;
    }
    // SAFETY: the helper has no arguments, and its result is never NULL.
    let reaper = kernel::process_id(unsafe { bpf_get_current_task_btf() } as Ptr);
    unsafe {
        (*entry).reaper = reaper;
        (*entry).release_ns = now_ns;
    }
}
