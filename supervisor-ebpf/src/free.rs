//! A process is freed: it was reaped, by whatever path.

use aya_ebpf::{Global, macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::debug;
use supervisor_ebpf::{End, Kill, Process, ProcessId, Reaped, Unreaped};

use crate::{
    kernel::{self, Ptr},
    kill,
    maps::{ANY, CONTROL, ENDS, EVENTS, EXECS, KILLS, add, count, fetch_add, is_lost},
    processes, unreaped,
};

/// A process that was unreaped for longer than this may have been reported, so its reap is told.
#[unsafe(no_mangle)]
pub(crate) static GRACE_NS: Global<u64> = Global::new(1_000_000_000);

/// For tests: one in so many frees is not seen.
#[unsafe(no_mangle)]
static LOST_FREES: Global<u32> = Global::new(0);

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
    let id = kernel::process_id(task);
    let mut exited_ns = free_ns;
    if let Some(Unreaped { exit_ns, release_ns, reaper, .. }) = unreaped::remove(id) {
        debug!(&ctx, "process {} is freed", id.tgid);
        if exit_ns != 0 {
            exited_ns = exit_ns;
        }
        if free_ns.saturating_sub(exit_ns) >= GRACE_NS.load() {
            tell(&Reaped { id, exit_ns, free_ns, release_ns, reaper });
        }
    }
    forget(task, id, exited_ns, free_ns);
    kill::forget(task, id);
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

/// Drops what is remembered of a process, unless a living or remembered child needs it for its descent: then it says how
/// the process ended.
#[inline(always)]
fn forget(task: Ptr, id: ProcessId, exit_ns: u64, free_ns: u64) {
    let Some(record) = processes::get(id) else {
        if CONTROL.get(0).is_some_and(|control| control.seeded_ns != 0 && id.start_ns > control.seeded_ns) {
            count!(evicted);
        }
        let _absent = EXECS.remove(id);
        return;
    };
    // SAFETY (here and below): fields of a live map value.
    let (creator, parent, is_needed) = unsafe {
        ((*record).creator, (*record).parent, (&raw const (*record).children).read_volatile() != 0)
    };
    if creator == parent
        && let Some(creator) = processes::get(creator)
    {
        reaped(creator, free_ns);
    }
    if is_needed {
        let status = kernel::exit_status(task);
        let kill = if status & 0x7f == kill::SIGKILL as u32 { KILLS.get_ptr(id) } else { None };
        // SAFETY: as above. The first `SIGKILL` is written once.
        let kill = kill.map_or_else(Kill::default, |kill| unsafe { *kill });
        let end = End { exit_ns, status: status.cast_signed(), pad: 0, kill };
        // If there is no room, how it ended is not known.
        let _ = ENDS.insert(id, &end, ANY);
        // A stage of a runtime names itself without exec: keep its last name.
        unsafe { (*record).comm = kernel::comm(task) };
    }
    // The mark comes before the count is read, and a child does it the other way round. Both are full barriers, so that one
    // of them sees that nobody needs the record any more.
    let children = unsafe {
        (*record).released = 1;
        fetch_add(&raw mut (*record).children, 0)
    };
    if children == 0 {
        if is_needed {
            let _ = ENDS.remove(id);
        }
        processes::drop_unneeded(id, record);
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
