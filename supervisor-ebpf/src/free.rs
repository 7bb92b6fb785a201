//! Hook for free: the kernel frees a process, so it was reaped, by whatever path.
//!
//! The hook does three things:
//!
//! - It removes the entry in `UNREAPED`. If the process was unreaped for at least the grace period, the hook
//!   emits a [`Reaped`] event.
//! - It removes the record and the exec of the process, unless a child needs the record for its ancestry. In
//!   that case it stores in `ENDS` how the process ended.
//! - It removes the entry in `KILLS`, if a SIGKILL has ended the process.

use aya_ebpf::{Global, macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::debug;
use supervisor_ebpf::{End, Kill, Process, ProcessId, Reaped, Unreaped};

use crate::{
    kernel::{self, Ptr},
    kill,
    maps::{ANY, CONTROL, ENDS, EVENTS, EXECS, KILLS, add, count, fetch_add, is_simulated_loss},
    processes, unreaped,
};

/// The grace period. A process that was unreaped for at least this time may have been reported, so the hook
/// emits its reap.
#[unsafe(no_mangle)]
pub(crate) static GRACE_NS: Global<u64> = Global::new(1_000_000_000);

/// For tests: the hook ignores one free in this many, at random. 0 means that it ignores none.
#[unsafe(no_mangle)]
static LOST_FREES: Global<u32> = Global::new(0);

/// `void sched_process_free(struct task_struct *p)`
///
/// Fires in `delayed_put_task_struct()` (`kernel/exit.c`) for every task, an RCU grace period after
/// `release_task()`. The current task can be any task. The pid may be in use again. The `task_struct` is still
/// complete.
#[btf_tracepoint(function = "sched_process_free")]
fn sched_process_free(ctx: BtfTracePointContext) {
    let task: Ptr = ctx.arg(0);
    if !kernel::is_leader(task) || is_simulated_loss(&LOST_FREES) {
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
            emit_reaped(&Reaped { id, exit_ns, free_ns, release_ns, reaper });
        }
    }
    release_record(task, id, exited_ns, free_ns);
    kill::remove(task, id);
}

/// Emits the only event of the ring `EVENTS`.
#[inline(always)]
fn emit_reaped(reaped: &Reaped) {
    if EVENTS.output::<Reaped>(reaped, 0).is_ok() {
        count!(events);
    } else {
        count!(lost_events);
    }
}

/// Removes the record and the exec of a freed process. If a living or recorded child needs the record for its
/// ancestry, the record stays, and `ENDS` gets how the process ended.
#[inline(always)]
fn release_record(task: Ptr, id: ProcessId, exit_ns: u64, free_ns: u64) {
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
        count_reaped_child(creator, free_ns);
    }
    if is_needed {
        let status = kernel::exit_status(task);
        let kill = if status & 0x7f == kill::SIGKILL as u32 { KILLS.get_ptr(id) } else { None };
        // SAFETY: as above. Only the first `SIGKILL` is stored, and it is written once.
        let kill = kill.map_or_else(Kill::default, |kill| unsafe { *kill });
        let end = End { exit_ns, status: status.cast_signed(), pad: 0, kill };
        // If the insertion fails, it stays unknown how the process ended.
        let _ = ENDS.insert(id, &end, ANY);
        // A stage of a container runtime changes its name without exec, so the record gets its last name.
        unsafe { (*record).comm = kernel::comm(task) };
    }
    // This hook stores `released` before it reads `children`. The hook at the free of a child does the opposite
    // (`drop_unneeded()` in `processes.rs`): it changes `children` before it reads `released`. Both
    // `fetch_add()` calls are full barriers. So at least one of the two hooks sees that no child needs the
    // record any more.
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

/// Counts a reaped child in the record of its creator. The caller has checked that the creator was also the
/// parent at the fork. If the creator has died meanwhile, another process has reaped the child; the count is
/// then wrong, but nothing reads the count of a dead creator.
#[inline(always)]
fn count_reaped_child(creator: *mut Process, free_ns: u64) {
    // SAFETY: fields of a live map value. If two CPUs write the time at once, both values are correct.
    unsafe {
        add(&raw mut (*creator).reaped, 1);
        (*creator).reaped_ns = free_ns;
    }
}
