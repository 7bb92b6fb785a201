//! Hook for exit: when the last thread of a process exits, inserts the process into `UNREAPED`.
//!
//! The entry stays until `free.rs` removes it. A healthy process is removed within the grace period.

use aya_ebpf::{Global, macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::{debug, warn};
use supervisor_ebpf::Unreaped;

use crate::{
    kernel::{self, Ptr},
    maps::{EEXIST, count, count_epoch, is_simulated_loss},
    unreaped,
};

/// For tests: the hook ignores one exit in this many, at random. 0 means that it ignores none.
#[unsafe(no_mangle)]
static LOST_EXITS: Global<u32> = Global::new(0);

/// Since 6.16: `void sched_process_exit(struct task_struct *p, bool group_dead)`. Older kernels do not have the
/// second argument.
///
/// Fires in `do_exit()` (`kernel/exit.c`) for every thread, before the process is a zombie. A process exits
/// when its last thread exits, and the last thread need not be the leader.
#[btf_tracepoint(function = "sched_process_exit")]
fn sched_process_exit(ctx: BtfTracePointContext) {
    let task: Ptr = ctx.arg(0);
    if !kernel::is_last_exit(task, || ctx.arg(1)) || is_simulated_loss(&LOST_EXITS) {
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
        // The process has an entry in two cases. Without `group_dead`, two last threads can both see
        // `signal->live == 0`; the first one has inserted the entry. Or the iterator has inserted it while the
        // process was exiting; that entry keeps its unknown exit time.
        Err(EEXIST) => {}
        Err(error) => {
            count!(lost_exits);
            warn!(&ctx, "there is no room for process {}: {}", id.tgid, error);
        }
    }
}
