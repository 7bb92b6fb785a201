//! Which processes are unreaped: an array with a place for each pid, which costs a hook next to nothing. Whose place is
//! another's goes to the next that is free. No entry is dropped to make room.

use aya_ebpf::Global;
use supervisor_ebpf::{BLOCK, BLOCKS, ProcessId, Unreaped};

use crate::maps::{CONTROL, EEXIST, UNREAPED, count, count_epoch, exchange, ordered, swap};

/// For tests: bits of a block's number that are not used, so that there are fewer.
#[unsafe(no_mangle)]
static LOST_BLOCKS: Global<u32> = Global::new(0);

/// A random number of this load. Without it, anybody could compute all slots of a pid, and occupy them with zombies before
/// a victim gets that pid.
#[unsafe(no_mangle)]
static SLOTS_SEED: Global<u32> = Global::new(0);

/// `-ENOSPC`.
const ENOSPC: i32 = -28;
/// `-EBUSY`.
const EBUSY: i32 = -16;

/// At how many places it is looked. Of those whose first is taken, where half of all are, one in 2^15 finds none.
const PLACES: u32 = 16;

/// Where a process can be: at the place of its pid, or at others that are far from it, others for each pid, and not known
/// outside of this load.
#[inline(always)]
fn places(id: ProcessId) -> impl Iterator<Item = *mut Unreaped> {
    /// 2^32 divided by the golden ratio, as in `include/linux/hash.h`.
    const GOLDEN_RATIO_32: u32 = 0x61C8_8647;
    let step = (id.tgid ^ SLOTS_SEED.load()).wrapping_mul(GOLDEN_RATIO_32) >> 16 | 1;
    let blocks = (BLOCKS - 1) & !LOST_BLOCKS.load();
    (0..PLACES).filter_map(move |i| {
        let place = id.tgid.wrapping_add(i * step);
        let block = UNREAPED.get_ptr_mut(place / BLOCK & blocks)?;
        // SAFETY: the index is within the block.
        Some(unsafe { block.cast::<Unreaped>().add((place % BLOCK) as usize) })
    })
}

/// The entry of a process.
#[inline(always)]
pub(crate) fn get(id: ProcessId) -> Option<*mut Unreaped> {
    // SAFETY: a field of a live map value.
    places(id).find(|entry| unsafe { (**entry).id } == id && id.start_ns != 0)
}

/// Takes in a process that is not there yet. `-EEXIST` if it is, `-ENOSPC` if there is no room, `-EBUSY` if it cannot be said
/// whether it is there.
///
/// It could be at a later place than the one that it would get now, if two hooks insert it and what was at the first place is
/// freed in between: then one entry is left over, and given away in time.
#[inline(always)]
pub(crate) fn insert(unreaped: &Unreaped) -> Result<(), i32> {
    let id = unreaped.id;
    for entry in places(id) {
        // SAFETY: a live map value. The start time says whose the place is: of two that want it, one gets it. What is
        // there is read once it is whole, or by this process's own hooks, which come later.
        unsafe {
            let owner = &raw mut (*entry).id.start_ns;
            let mut seen = owner.read_volatile();
            if seen != 0
                && seen != id.start_ns
                && let Some(exit_ns) = left_over(entry, seen)
                && exchange(owner, seen, 0) == seen
            {
                given_away(exit_ns);
                seen = 0;
            }
            if seen == 0 {
                seen = exchange(owner, 0, id.start_ns);
                if seen == 0 {
                    (*entry).exit_ns = unreaped.exit_ns;
                    (*entry).release_ns = 0;
                    (*entry).seen = unreaped.seen;
                    (*entry).id.tgid = id.tgid;
                    ordered();
                    (*entry).whole_ns = id.start_ns;
                    return Ok(());
                }
            }
            if seen == id.start_ns {
                match is_another(entry, id) {
                    Some(true) => {}
                    Some(false) => return Err(EEXIST),
                    None => return Err(EBUSY),
                }
            }
        }
    }
    Err(ENOSPC)
}

/// Whether a place whose owner started at the same time as a process is another process's: two that are forked on two CPUs
/// can start in the same nanosecond. `None` if the place is being taken all that time.
///
/// # Safety
///
/// `entry` is a live map value.
#[inline(always)]
unsafe fn is_another(entry: *const Unreaped, id: ProcessId) -> Option<bool> {
    /// Who takes a place makes it whole a few stores later.
    const READS: u32 = 8;
    for _ in 0..READS {
        // SAFETY: a field of a live map value.
        let whole_ns = unsafe { (&raw const (*entry).whole_ns).read_volatile() };
        if whole_ns == id.start_ns {
            ordered();
            // SAFETY: as above.
            return Some(unsafe { (&raw const (*entry).id.tgid).read_volatile() } != id.tgid);
        }
    }
    None
}

/// Counts that the place of a process is given to another because its free was not seen.
#[inline(always)]
fn given_away(exit_ns: u64) {
    count_epoch(exit_ns, -1);
    count!(lost_frees);
}

/// When the process at a place exited, if it is gone although its free was not seen: a whole pass of the iterator was begun
/// well after its exit and has not seen it, nor has the one that is being made.
///
/// # Safety
///
/// `entry` is a live map value.
#[inline(always)]
unsafe fn left_over(entry: *const Unreaped, owner: u64) -> Option<u64> {
    /// The exit hook takes its time before it inserts, and may be interrupted between both.
    const MARGIN_NS: u64 = 1_000_000_000;
    // SAFETY: a field of a live map value. Who just takes the place has not made it whole.
    let whole_ns = unsafe { (&raw const (*entry).whole_ns).read_volatile() };
    ordered();
    // SAFETY: as above.
    let (exit_ns, seen) = unsafe { ((*entry).exit_ns, (*entry).seen) };
    let control = CONTROL.get(0)?;
    let is_gone = exit_ns + MARGIN_NS < control.passed_ns && control.pass.wrapping_sub(seen) > 1;
    (whole_ns == owner && is_gone).then_some(exit_ns)
}

/// Notes that a pass of the iterator has seen a process that has exited. False if it is not there.
#[inline(always)]
pub(crate) fn mark(id: ProcessId, pass: u32) -> bool {
    let Some(entry) = get(id) else { return false };
    // SAFETY: a field of a live map value.
    unsafe { (*entry).seen = pass };
    true
}

/// Removes the entry of a process; returns what was in it.
#[inline(always)]
pub(crate) fn remove(id: ProcessId) -> Option<Unreaped> {
    let entry = get(id)?;
    // SAFETY: a live map value, read before it is removed.
    let (unreaped, is_removed) = unsafe { (*entry, swap(&raw mut (*entry).id.start_ns, id.start_ns, 0)) };
    // If not, its place has just been given away, and it was counted as lost.
    if is_removed {
        count_epoch(unreaped.exit_ns, -1);
    }
    is_removed.then_some(unreaped)
}
