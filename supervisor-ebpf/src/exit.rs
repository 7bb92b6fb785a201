//! A process exits: it is unreaped from here on.

use aya_ebpf::{Global, macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::{debug, warn};
use supervisor_ebpf::Unreaped;

use crate::{
    kernel::{self, Ptr},
    maps::{EEXIST, NOEXIST, UNREAPED, count, count_epoch, is_lost},
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
    let leader: Ptr = kernel::load(task, &kernel::TASK_LEADER);
    let exit_ns = kernel::now_ns();
    let unreaped = Unreaped { id: kernel::process_id(task), exit_ns, ..Unreaped::default() };
    match UNREAPED.insert(leader as u64, unreaped, NOEXIST) {
        Ok(()) => {
            count!(exits);
            count_epoch(exit_ns, 1);
            debug!(&ctx, "process {} exits", unreaped.id.tgid);
        }
        Err(EEXIST) => {
            if replace(leader as u64, &unreaped) {
                count!(exits);
            }
        }
        Err(error) => {
            count!(lost_exits);
            warn!(&ctx, "UNREAPED does not take process {}: {}", unreaped.id.tgid, error);
        }
    }
}

/// The leader's address is in the table already. Without `group_dead`, two last threads can both see that none
/// is live: then the first has done it. A process that the scan found while it was exiting is there too, and
/// keeps its unknown time. Another process's entry is one whose free was not seen: then this is true.
#[inline(always)]
pub(crate) fn replace(key: u64, unreaped: &Unreaped) -> bool {
    let Some(entry) = UNREAPED.get_ptr_mut(key) else { return false };
    // SAFETY: a live map value; its process is gone, so that nobody else writes it.
    unsafe {
        if (*entry).id == unreaped.id {
            return false;
        }
        count_epoch((*entry).exit_ns, -1);
        *entry = *unreaped;
    }
    count_epoch(unreaped.exit_ns, 1);
    count!(lost_frees);
    true
}
