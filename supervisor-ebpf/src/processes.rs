//! What is remembered of processes: an array with a place for each pid, which costs a hook next to nothing, and behind
//! it an LRU map for those whose place is another's.
//!
//! A record that was found is a live map value. Should it be removed and its room be given to another process in that
//! moment, a number of that one becomes wrong by one, or its removal fails: nothing worse.

use supervisor_ebpf::{Placed, Process, ProcessId, place_of};

use crate::maps::{
    ANY, CONTROL, DISPLACED, EEXIST, ENDS, EXECS, NOEXIST, PROCESSES, add, count, fetch_add, ordered, swap,
};

/// How many generations of creators that nobody needs any more one free cleans up.
const GENERATIONS: u32 = 4;

/// The record of a process.
#[inline(always)]
pub(crate) fn get(id: ProcessId) -> Option<*mut Process> {
    if let Some(placed) = place(id) {
        // SAFETY: a live map value.
        return Some(unsafe { &raw mut (*placed).process });
    }
    DISPLACED.get_ptr_mut(id)
}

/// The place of a process, if it is at it.
#[inline(always)]
fn place(id: ProcessId) -> Option<*mut Placed> {
    // SAFETY: a field of a live map value; in a free one it is not known.
    PROCESSES
        .get_ptr_mut(place_of(id.tgid))
        .filter(|placed| unsafe { (**placed).id } == id && id.start_ns != 0)
}

/// Remembers a process that was forked.
#[inline(always)]
pub(crate) fn insert(id: ProcessId, process: &Process) -> Result<(), i32> {
    store(id, process, ANY)
}

/// Remembers a process, unless it is remembered already.
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
        // SAFETY: a live map value. Of two that want a free place, one gets it; a record is not looked for before it
        // is whole, as the process has not run yet, and its pid comes last.
        unsafe {
            let taken = &raw mut (*placed).id.start_ns;
            if taken.read_volatile() != 0 && is_left_over(placed, id) {
                drop_unneeded((*placed).id, &raw mut (*placed).process);
            }
            if taken.read_volatile() == 0 && swap(taken, 0, id.start_ns) {
                (*placed).process = *process;
                ordered();
                (*placed).id.tgid = id.tgid;
                return Ok(());
            }
            // The scan has seen it before the fork hook.
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

/// Whether the record at a place is that of a process that is gone and that no child needs: one of more generations than
/// a free cleans up, or one whose free was not seen.
///
/// # Safety
///
/// `placed` is a live map value.
#[inline(always)]
unsafe fn is_left_over(placed: *mut Placed, newcomer: ProcessId) -> bool {
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

/// Notes that a pass of the iterator has seen a process.
#[inline(always)]
pub(crate) fn mark(id: ProcessId, pass: u32) {
    if let Some(record) = get(id) {
        // SAFETY: a field of a live map value.
        unsafe { (*record).seen = pass as u8 };
    }
}

/// Counts a child in its creator's record, so that the record outlives the creator. False if there is none.
#[inline(always)]
pub(crate) fn add_child(creator: ProcessId) -> bool {
    let Some(record) = get(creator) else { return false };
    // SAFETY: a field of a live map value.
    unsafe { add(&raw mut (*record).children, 1) };
    true
}

/// Drops the record of a process that has been freed and that no child needs, and then its gone creators' that only it
/// needed. So short-lived processes leave nothing behind.
#[inline(always)]
pub(crate) fn drop_unneeded(mut id: ProcessId, mut record: *mut Process) {
    for _ in 0..GENERATIONS {
        let Some(creator) = remove(id, record) else { return };
        let Some(above) = get(creator) else {
            count!(evicted);
            return;
        };
        // SAFETY: fields of a live map value. The count is changed before the mark is read: see `forget` in `free.rs`.
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

/// Removes a record, and its exec; returns the creator in whose record it was counted. Of two that try, one gets it.
#[inline(always)]
fn remove(id: ProcessId, record: *const Process) -> Option<ProcessId> {
    // SAFETY: fields of a live map value, read before it is removed.
    let (creator, counted, execed) = unsafe { ((*record).creator, (*record).counted, (*record).execed) };
    let removed = match place(id) {
        // SAFETY: a field of a live map value.
        Some(placed) => unsafe { swap(&raw mut (*placed).id.start_ns, id.start_ns, 0) },
        None => DISPLACED.remove(id).is_ok(),
    };
    if !removed {
        return None;
    }
    // One that was there before the hooks is marked without having called exec.
    if execed == 1 && EXECS.remove(id).is_err() && creator.is_known() {
        count!(evicted);
    }
    (counted == 1).then_some(creator)
}
