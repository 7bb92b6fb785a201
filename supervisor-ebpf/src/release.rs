//! A process is released: when exactly it is reaped, and by whom.

use aya_ebpf::{helpers::bpf_get_current_task_btf, macros::fentry, programs::FEntryContext};

use crate::{
    free::GRACE_NS,
    kernel::{self, Ptr},
    unreaped,
};

/// `void release_task(struct task_struct *p)`
///
/// Every path that reaps goes through it (`kernel/exit.c`), and the current task is who reaps: who waits, who exits
/// and asked for no zombies, or the PID 1 that ends its PID namespace. A leader that it releases together with the
/// last other thread is never seen, and never was a zombie for long: that is done as soon as that thread exits.
///
/// An extra: not every kernel lets it be attached, and `sched_process_free` says the same a little later.
#[fentry(function = "release_task")]
fn release_task(ctx: FEntryContext) {
    let task: Ptr = ctx.arg(0);
    if !kernel::is_leader(task) {
        return;
    }
    let Some(entry) = unreaped::get(kernel::process_id(task)) else { return };
    let now_ns = kernel::now_ns();
    // SAFETY (here and below): fields of a live map value; it is removed at the task's free only, which is later.
    if now_ns.saturating_sub(unsafe { (*entry).exit_ns }) < GRACE_NS.load() {
        return;
    }
    // SAFETY: no arguments; the result is never NULL.
    let reaper = kernel::process_id(unsafe { bpf_get_current_task_btf() } as Ptr);
    unsafe {
        (*entry).reaper = reaper;
        (*entry).release_ns = now_ns;
    }
}
