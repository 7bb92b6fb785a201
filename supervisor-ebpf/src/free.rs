//! A process is freed: it was reaped, by whatever path.

use aya_ebpf::{Global, macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::debug;
use supervisor_ebpf::{ProcessId, Reaped};

use crate::{
    kernel::{self, Ptr},
    maps::{EVENTS, EXECS, PROCESSES, UNREAPED, WAITS, add, count, count_epoch},
};

/// A process that was unreaped for longer than this may have been reported, so its reap is told.
#[unsafe(no_mangle)]
static GRACE_NS: Global<u64> = Global::new(1_000_000_000);

/// How many generations of forgotten creators one free cleans up.
const GENERATIONS: u32 = 4;

/// `void sched_process_free(struct task_struct *p)`
///
/// Fires in `delayed_put_task_struct()` (`kernel/exit.c`) for every task, an RCU grace period after
/// `release_task()`. The current task is any; the pid may be in use again; the structure is still whole.
#[btf_tracepoint(function = "sched_process_free")]
fn sched_process_free(ctx: BtfTracePointContext) {
    let task: Ptr = ctx.arg(0);
    if !kernel::is_leader(task) {
        return;
    }
    count!(frees);
    let key = task as u64;
    // SAFETY: the element can only be removed here, and a task is freed once.
    if let Some(unreaped) = unsafe { UNREAPED.get(key) } {
        let unreaped = *unreaped;
        if UNREAPED.remove(key).is_ok() {
            count_epoch(unreaped.exit_ns, -1);
        } else {
            count!(lost_frees);
        }
        let free_ns = kernel::now_ns();
        debug!(&ctx, "process {} is freed", unreaped.id.tgid);
        if free_ns.saturating_sub(unreaped.exit_ns) >= GRACE_NS.load() {
            tell(&Reaped { id: unreaped.id, exit_ns: unreaped.exit_ns, free_ns });
        }
    }
    forget(task, kernel::process_id(task));
}

/// Sends the one event that there is.
#[inline(always)]
fn tell(reaped: &Reaped) {
    if EVENTS.output::<Reaped>(reaped, 0).is_ok() {
        count!(events);
    } else {
        count!(lost_events);
    }
}

/// Drops what is remembered of a process, unless a living or remembered child needs it for its descent. So
/// short-lived processes never push out the records of long-lived ones.
#[inline(always)]
fn forget(task: Ptr, id: ProcessId) {
    let Some(record) = PROCESSES.get_ptr_mut(id) else {
        if WAITS.remove(id).is_ok() {
            count!(waits_removed);
        }
        let _absent = EXECS.remove(id);
        return;
    };
    // SAFETY (here and below): fields of a live map value; if the LRU reuses it meanwhile, a record stays
    // until the LRU takes it, or the removal below fails.
    let waited = unsafe { (*record).waited } == 1;
    if waited && WAITS.remove(id).is_ok() {
        count!(waits_removed);
    }
    // SAFETY: as above. The mark comes before the count is read, and a child does it the other way round.
    let children = unsafe {
        (*record).released = 1;
        (&raw const (*record).children).read_volatile()
    };
    if children != 0 {
        // SAFETY: as above. A stage of a runtime names itself without exec: keep its last name.
        unsafe { (*record).comm = kernel::load(task, &kernel::TASK_COMM) };
        return;
    }
    let mut gone = id;
    for _ in 0..GENERATIONS {
        let Some(creator) = drop_record(gone) else { return };
        let Some(record) = PROCESSES.get_ptr_mut(creator) else { return };
        // SAFETY: as above.
        let (released, children) = unsafe {
            add(&raw mut (*record).children, -1);
            ((&raw const (*record).released).read_volatile(), (&raw const (*record).children).read_volatile())
        };
        if released == 0 || children != 0 {
            return;
        }
        gone = creator;
    }
}

/// Removes a record; returns the creator in whose record it was counted. Of two that try, one gets it.
#[inline(always)]
fn drop_record(id: ProcessId) -> Option<ProcessId> {
    let record = PROCESSES.get_ptr(id)?;
    // SAFETY: fields of a live map value, read before it is removed.
    let (creator, counted, execed) = unsafe { ((*record).creator, (*record).counted, (*record).execed) };
    if PROCESSES.remove(id).is_err() {
        return None;
    }
    if execed == 1 {
        let _absent = EXECS.remove(id);
    }
    (counted == 1).then_some(creator)
}
