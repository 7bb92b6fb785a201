//! The records of processes: their creator, parent, name, PID namespace and last wait.
//!
//! A record is in the array `PROCESSES`, in the slot of its pid: a lookup there costs a hook next to nothing.
//! If another process has that slot, the record is in the LRU map `DISPLACED`.
//!
//! A record that was found is a live map value. While a hook uses it, another hook can remove it and give its
//! slot to another process. Then a number in the record of the other process becomes wrong by one, or the
//! removal of that record fails. No other error is possible.

use supervisor_ebpf::{Placed, Process, ProcessId, place_of};

use crate::maps::{
    ANY, CONTROL, DISPLACED, EEXIST, ENDS, EXECS, NOEXIST, PROCESSES, add, count, fetch_add, order_memory,
    replace,
};

/// How many generations of creators one free removes, if no child needs their records any more.
const GENERATIONS: u32 = 4;

/// The record of a process.
#[inline(always)]
pub(crate) fn get(id: ProcessId) -> Option<*mut Process> {
    if let Some(placed) = own_slot(id) {
        // SAFETY: a live map value.
        return Some(unsafe { &raw mut (*placed).process });
    }
    DISPLACED.get_ptr_mut(id)
}

/// The slot of a process in `PROCESSES`, if the process has it. `None` if the slot is free, or if another
/// process has it.
#[inline(always)]
fn own_slot(id: ProcessId) -> Option<*mut Placed> {
    // SAFETY: a field of a live map value. A free slot has the start time 0, so no known process matches it.
    PROCESSES
        .get_ptr_mut(place_of(id.tgid))
        .filter(|placed| unsafe { (**placed).id } == id && id.start_ns != 0)
}

/// Stores the record of a process that was forked, and replaces an older record of it.
#[inline(always)]
pub(crate) fn insert(id: ProcessId, process: &Process) -> Result<(), i32> {
    store(id, process, ANY)
}

/// Stores the record of a process, unless the process has a record.
#[inline(always)]
pub(crate) fn insert_absent(id: ProcessId, process: &Process) -> Result<(), i32> {
    match store(id, process, NOEXIST) {
        Err(EEXIST) => Ok(()),
        other => other,
    }
}

#[inline(always)]
fn store(id: ProcessId, process: &Process, flags: u64) -> Result<(), i32> {
    if let Some(placed) = PROCESSES.get_ptr_mut(place_of(id.tgid)) {
        // SAFETY: a live map value. If two hooks want a free slot, the compare-and-exchange gives it to one of
        // them. No hook looks up the record before it is complete: the process has not run yet, and its pid is
        // stored last.
        unsafe {
            let taken = &raw mut (*placed).id.start_ns;
            if taken.read_volatile() != 0 && is_stale(placed, id) {
                drop_unneeded((*placed).id, &raw mut (*placed).process);
            }
            if taken.read_volatile() == 0 && replace(taken, 0, id.start_ns) {
                (*placed).process = *process;
                order_memory();
                (*placed).id.tgid = id.tgid;
                return Ok(());
            }
            // The scan has stored this process before the fork hook.
            if (*placed).id == id {
                if flags == NOEXIST {
                    return Err(EEXIST);
                }
                (*placed).process = *process;
                return Ok(());
            }
        }
    }
    DISPLACED.insert(id, process, flags)
}

/// Whether a slot has a stale record: its process is not the newcomer, has ended, and no child needs the
/// record. A record becomes stale in two cases:
///
/// - It is of an older generation than a free removes (`GENERATIONS`).
/// - The free of its process was not seen.
///
/// # Safety
///
/// `placed` is a live map value.
#[inline(always)]
unsafe fn is_stale(placed: *mut Placed, newcomer: ProcessId) -> bool {
    // SAFETY: fields of a live map value.
    let (id, children, released, seen) = unsafe {
        let process = &raw const (*placed).process;
        ((*placed).id, (*process).children.cast_signed(), (*process).released, (*process).seen)
    };
    let was_freed = || {
        let Some(control) = CONTROL.get(0) else { return false };
        id.start_ns < control.passed_ns && (control.pass as u8).wrapping_sub(seen) > 1
    };
    id != newcomer && children <= 0 && (released == 1 || was_freed())
}

/// Marks in the record of a process that a pass of the iterator has seen the process.
#[inline(always)]
pub(crate) fn mark_seen(id: ProcessId, pass: u32) {
    if let Some(record) = get(id) {
        // SAFETY: a field of a live map value.
        unsafe { (*record).seen = pass as u8 };
    }
}

/// Counts a child in the record of its creator, so that the record outlives the creator. Returns false if the
/// creator has no record.
#[inline(always)]
pub(crate) fn add_child(creator: ProcessId) -> bool {
    let Some(record) = get(creator) else { return false };
    // SAFETY: a field of a live map value.
    unsafe { add(&raw mut (*record).children, 1) };
    true
}

/// Removes the record of a freed process that no child needs. Then removes the records of its freed creators,
/// if only this process needed them. So a short-lived process leaves no record behind.
#[inline(always)]
pub(crate) fn drop_unneeded(mut id: ProcessId, mut record: *mut Process) {
    for _ in 0..GENERATIONS {
        let Some(creator) = remove(id, record) else { return };
        let Some(above) = get(creator) else {
            count!(evicted);
            return;
        };
        // SAFETY: fields of a live map value. The count is changed before `released` is read: see
        // `release_record()` in `free.rs`.
        let (children, released) = unsafe {
            let before = fetch_add(&raw mut (*above).children, -1);
            (before.wrapping_sub(1), (&raw const (*above).released).read_volatile())
        };
        if released == 0 || children != 0 {
            return;
        }
        let _ = ENDS.remove(creator);
        (id, record) = (creator, above);
    }
}

/// Removes a record and its exec. Returns the creator whose record counts this process as a child. If two hooks
/// try to remove a record, one of them succeeds; the other gets `None`.
#[inline(always)]
fn remove(id: ProcessId, record: *const Process) -> Option<ProcessId> {
    // SAFETY: fields of a live map value, read before the record is removed.
    let (creator, counted, execed) = unsafe { ((*record).creator, (*record).counted, (*record).execed) };
    let removed = match own_slot(id) {
        // SAFETY: a field of a live map value.
        Some(placed) => unsafe { replace(&raw mut (*placed).id.start_ns, id.start_ns, 0) },
        None => DISPLACED.remove(id).is_ok(),
    };
    if !removed {
        return None;
    }
    // A process that is older than the hooks has `execed == 1` without an exec here. Its creator is not known.
    if execed == 1 && EXECS.remove(id).is_err() && creator.is_known() {
        count!(evicted);
    }
    (counted == 1).then_some(creator)
}
