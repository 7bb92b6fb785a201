//! The table of unreaped processes: the array `UNREAPED`, with a slot for each pid, so that a lookup costs a
//! hook next to nothing.
//!
//! If another process has the slot, a process gets one of 15 other slots. The table never drops an entry to get
//! a free slot.
//!
//! The start time in `id` is the owner of a slot: a hook takes and releases a slot with `compare_exchange()` on
//! it. The entry is complete when `whole_ns` has the same value. An entry is *stale* if its process has ended
//! and its free was not seen; the slot of a stale entry goes to the next process that needs it.

use aya_ebpf::Global;
use supervisor_ebpf::{BLOCK, BLOCKS, ProcessId, Unreaped};

use crate::maps::{CONTROL, EEXIST, UNREAPED, compare_exchange, count, count_epoch, order_memory, replace};

/// For tests: bits of the block number that are masked out, so that fewer blocks are used.
#[unsafe(no_mangle)]
static LOST_BLOCKS: Global<u32> = Global::new(0);

/// A random number of this load. Without it, anybody could compute all slots of a pid, and occupy them with
/// zombies before a victim gets that pid.
#[unsafe(no_mangle)]
static SLOTS_SEED: Global<u32> = Global::new(0);

/// `-ENOSPC`.
const ENOSPC: i32 = -28;
/// `-EBUSY`.
const EBUSY: i32 = -16;

/// How many slots a process tries. If half of all slots are taken, one in 2^15 of the processes whose first
/// slot is taken finds no free slot.
const SLOTS_TRIED: u32 = 16;

/// The slots that a process can have, in this order: the slot of its pid, then slots far from it. The later
/// slots differ for each pid, and are not known outside of this load.
#[inline(always)]
fn slots(id: ProcessId) -> impl Iterator<Item = *mut Unreaped> {
    /// 2^32 divided by the golden ratio, as in `include/linux/hash.h`.
    const GOLDEN_RATIO_32: u32 = 0x61C8_8647;
    let step = (id.tgid ^ SLOTS_SEED.load()).wrapping_mul(GOLDEN_RATIO_32) >> 16 | 1;
    let blocks = (BLOCKS - 1) & !LOST_BLOCKS.load();
    (0..SLOTS_TRIED).filter_map(move |i| {
        let slot = id.tgid.wrapping_add(i * step);
        let block = UNREAPED.get_ptr_mut(slot / BLOCK & blocks)?;
        // SAFETY: the index is within the block.
        Some(unsafe { block.cast::<Unreaped>().add((slot % BLOCK) as usize) })
    })
}

/// The entry of a process.
#[inline(always)]
pub(crate) fn get(id: ProcessId) -> Option<*mut Unreaped> {
    // SAFETY: a field of a live map value.
    slots(id).find(|entry| unsafe { (**entry).id } == id && id.start_ns != 0)
}

/// Inserts a process that has no entry. Returns `-EEXIST` if it has one, `-ENOSPC` if none of its slots is
/// free, and `-EBUSY` if it cannot decide whether the process has an entry.
///
/// In one race, a process gets two entries. Two hooks insert it, and the first slot becomes free in between. So
/// one hook stores the entry in a later slot, and the other hook stores it in the first slot. One of the two
/// entries becomes stale, and its slot goes to another process in time.
#[inline(always)]
pub(crate) fn insert(unreaped: &Unreaped) -> Result<(), i32> {
    let id = unreaped.id;
    for entry in slots(id) {
        // SAFETY: a live map value. The start time shows the owner of the slot: if two hooks want the slot, one
        // gets it. The other fields are read after the entry is complete, or by hooks of this process, which
        // run later.
        unsafe {
            let owner = &raw mut (*entry).id.start_ns;
            let mut seen = owner.read_volatile();
            if seen != 0
                && seen != id.start_ns
                && let Some(exit_ns) = stale_exit_ns(entry, seen)
                && compare_exchange(owner, seen, 0) == seen
            {
                count_missed_free(exit_ns);
                seen = 0;
            }
            if seen == 0 {
                seen = compare_exchange(owner, 0, id.start_ns);
                if seen == 0 {
                    (*entry).exit_ns = unreaped.exit_ns;
                    (*entry).release_ns = 0;
                    (*entry).seen = unreaped.seen;
                    (*entry).id.tgid = id.tgid;
                    order_memory();
                    (*entry).whole_ns = id.start_ns;
                    return Ok(());
                }
            }
            if seen == id.start_ns {
                match is_other_process(entry, id) {
                    Some(true) => {}
                    Some(false) => return Err(EEXIST),
                    None => return Err(EBUSY),
                }
            }
        }
    }
    Err(ENOSPC)
}

/// Whether a slot belongs to another process that started at the same time: two processes that are forked on
/// two CPUs can start in the same nanosecond. Returns `None` if the entry was not complete in any of the reads.
///
/// # Safety
///
/// `entry` is a live map value.
#[inline(always)]
unsafe fn is_other_process(entry: *const Unreaped, id: ProcessId) -> Option<bool> {
    /// A hook that takes a slot completes the entry a few stores later.
    const READS: u32 = 8;
    for _ in 0..READS {
        // SAFETY: a field of a live map value.
        let whole_ns = unsafe { (&raw const (*entry).whole_ns).read_volatile() };
        if whole_ns == id.start_ns {
            order_memory();
            // SAFETY: as above.
            return Some(unsafe { (&raw const (*entry).id.tgid).read_volatile() } != id.tgid);
        }
    }
    None
}

/// Counts a missed free: the slot of a stale entry goes to another process.
#[inline(always)]
fn count_missed_free(exit_ns: u64) {
    count_epoch(exit_ns, -1);
    count!(lost_frees);
}

/// The exit time of the process in a slot, if the entry is stale. The entry is stale if a complete pass of the
/// iterator began well after the exit and did not see the process, and the present pass has not seen it either.
///
/// # Safety
///
/// `entry` is a live map value.
#[inline(always)]
unsafe fn stale_exit_ns(entry: *const Unreaped, owner: u64) -> Option<u64> {
    /// The exit hook reads the clock before it inserts, and can be interrupted in between.
    const MARGIN_NS: u64 = 1_000_000_000;
    // SAFETY: a field of a live map value. A hook that is just taking the slot has not completed the entry.
    let whole_ns = unsafe { (&raw const (*entry).whole_ns).read_volatile() };
    order_memory();
    // SAFETY: as above.
    let (exit_ns, seen) = unsafe { ((*entry).exit_ns, (*entry).seen) };
    let control = CONTROL.get(0)?;
    let is_stale = exit_ns + MARGIN_NS < control.passed_ns && control.pass.wrapping_sub(seen) > 1;
    (whole_ns == owner && is_stale).then_some(exit_ns)
}

/// Marks in the entry of a process that a pass of the iterator has seen the process. Returns false if there is
/// no entry.
#[inline(always)]
pub(crate) fn mark_seen(id: ProcessId, pass: u32) -> bool {
    let Some(entry) = get(id) else { return false };
    // SAFETY: a field of a live map value.
    unsafe { (*entry).seen = pass };
    true
}

/// Removes the entry of a process, and returns its content.
#[inline(always)]
pub(crate) fn remove(id: ProcessId) -> Option<Unreaped> {
    let entry = get(id)?;
    // SAFETY: a live map value, read before the entry is removed.
    let (unreaped, is_removed) = unsafe { (*entry, replace(&raw mut (*entry).id.start_ns, id.start_ns, 0)) };
    // If the replacement fails, another hook has just given the slot to another process, and has counted the
    // missed free.
    if is_removed {
        count_epoch(unreaped.exit_ns, -1);
    }
    is_removed.then_some(unreaped)
}
