//! A process is freed: it was reaped, by whatever path.

use aya_ebpf::{Global, macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::debug;
use supervisor_ebpf::{Process, ProcessId, Reaped, Unreaped};

use crate::{
    kernel::{self, Ptr},
    maps::{CONTROL, EVENTS, EXECS, PROCESSES, UNREAPED, WAITS, add, count, count_epoch, is_lost},
};

/// A process that was unreaped for longer than this may have been reported, so its reap is told.
#[unsafe(no_mangle)]
pub(crate) static GRACE_NS: Global<u64> = Global::new(1_000_000_000);

/// For tests: one in so many frees is not seen.
#[unsafe(no_mangle)]
static LOST_FREES: Global<u32> = Global::new(0);

/// How many generations of forgotten creators one free cleans up.
const GENERATIONS: u32 = 4;

/// `void sched_process_free(struct task_struct *p)`
///
/// Fires in `delayed_put_task_struct()` (`kernel/exit.c`) for every task, an RCU grace period after
/// `release_task()`. The current task is any; the pid may be in use again; the structure is still whole.
#[btf_tracepoint(function = "sched_process_free")]
fn sched_process_free(ctx: BtfTracePointContext) {
    let task: Ptr = ctx.arg(0);
    if !kernel::is_leader(task) || is_lost(&LOST_FREES) {
        return;
    }
    count!(frees);
    let free_ns = kernel::now_ns();
    let key = task as u64;
    // SAFETY: the element can only be removed here, and a task is freed once.
    if let Some(unreaped) = unsafe { UNREAPED.get(key) } {
        let unreaped = *unreaped;
        if UNREAPED.remove(key).is_ok() {
            count_epoch(unreaped.exit_ns, -1);
        } else {
            count!(lost_frees);
        }
        debug!(&ctx, "process {} is freed", unreaped.id.tgid);
        if free_ns.saturating_sub(unreaped.exit_ns) >= GRACE_NS.load() {
            let Unreaped { id, exit_ns, release_ns, reaper } = unreaped;
            tell(&Reaped { id, exit_ns, free_ns, release_ns, reaper });
        }
    }
    forget(task, kernel::process_id(task), free_ns);
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
fn forget(task: Ptr, id: ProcessId, free_ns: u64) {
    let Some(record) = PROCESSES.get_ptr_mut(id) else {
        if CONTROL.get(0).is_some_and(|control| control.seeded_ns != 0 && id.start_ns > control.seeded_ns) {
            count!(evicted);
        }
        if WAITS.remove(id).is_ok() {
            count!(waits_removed);
        }
        let _absent = EXECS.remove(id);
        return;
    };
    // SAFETY (here and below): fields of a live map value; if the LRU reuses it meanwhile, a record stays
    // until the LRU takes it, or the removal below fails.
    let waited = unsafe { (*record).waited } == 1;
    if waited {
        if WAITS.remove(id).is_ok() {
            count!(waits_removed);
        } else {
            count!(evicted);
        }
    }
    // SAFETY: as above. The mark comes before the count is read, and a child does it the other way round.
    let children = unsafe {
        (*record).released = 1;
        (&raw const (*record).children).read_volatile()
    };
    if children != 0 {
        // SAFETY: as above. A stage of a runtime names itself without exec: keep its last name.
        let (creator, parent) = unsafe {
            (*record).comm = kernel::load(task, &kernel::TASK_COMM);
            ((*record).creator, (*record).parent)
        };
        if creator == parent
            && let Some(record) = PROCESSES.get_ptr_mut(creator)
        {
            reaped(record, free_ns);
        }
        return;
    }
    let (mut gone, mut record) = (id, record);
    for _ in 0..GENERATIONS {
        let Some(Dropped { creator, is_own }) = drop_record(gone, record) else { return };
        let Some(next) = PROCESSES.get_ptr_mut(creator) else {
            count!(evicted);
            return;
        };
        record = next;
        if is_own && gone == id {
            reaped(record, free_ns);
        }
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

/// Counts, in a creator's record, that a child which it also was the parent of has been reaped. If the creator
/// has died meanwhile, somebody else did it, and nobody asks any more.
#[inline(always)]
fn reaped(creator: *mut Process, free_ns: u64) {
    // SAFETY: fields of a live map value; of two times that are written at once, both are true.
    unsafe {
        add(&raw mut (*creator).reaped, 1);
        (*creator).reaped_ns = free_ns;
    }
}

/// A record that was removed.
struct Dropped {
    creator: ProcessId,
    /// Whether the creator was its parent too.
    is_own: bool,
}

/// Removes a record; returns the creator in whose record it was counted. Of two that try, one gets it.
#[inline(always)]
fn drop_record(id: ProcessId, record: *const Process) -> Option<Dropped> {
    // SAFETY: fields of a live map value, read before it is removed.
    let (creator, counted, execed, is_own) = unsafe {
        ((*record).creator, (*record).counted, (*record).execed, (*record).creator == (*record).parent)
    };
    let is_forked = creator.is_known();
    if PROCESSES.remove(id).is_err() {
        return None;
    }
    // One that was there before the hooks is marked without having called exec.
    if execed == 1 && EXECS.remove(id).is_err() && is_forked {
        count!(evicted);
    }
    (counted == 1).then_some(Dropped { creator, is_own })
}
