//! A process exits: it is unreaped from here on.

use aya_ebpf::{Global, macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::{debug, warn};
use supervisor_ebpf::Unreaped;

use crate::{
    kernel::{self, Ptr},
    maps::{EEXIST, count, count_epoch, is_lost},
    unreaped,
};

/// For tests: one in so many exits is not seen.
#[unsafe(no_mangle)]
static LOST_EXITS: Global<u32> = Global::new(0);

/// Since 6.16: `void sched_process_exit(struct task_struct *p, bool group_dead)`; before, without the second.
///
/// Fires in `do_exit()` (`kernel/exit.c`) for every thread, before the process is a zombie. The exit of a
/// process is that of its last thread, which need not be the leader.
#[btf_tracepoint(function = "sched_process_exit")]
fn sched_process_exit(ctx: BtfTracePointContext) {
    let task: Ptr = ctx.arg(0);
    if !kernel::is_last_exit(task, || ctx.arg(1)) || is_lost(&LOST_EXITS) {
        return;
    }
    let id = kernel::process_id(task);
    let exit_ns = kernel::now_ns();
    match unreaped::insert(&Unreaped::new(id, exit_ns, 0)) {
        Ok(()) => {
            count!(exits);
            count_epoch(exit_ns, 1);
            debug!(&ctx, "process {} exits", id.tgid);
        }
        // Without `group_dead`, two last threads can both see that none is live: then the first has done it. One that
        // the scan found while it was exiting is there too, and keeps its unknown time.
        Err(EEXIST) => {}
        Err(error) => {
            count!(lost_exits);
            warn!(&ctx, "there is no room for process {}: {}", id.tgid, error);
        }
    }
}
