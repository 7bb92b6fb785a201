//! Which processes are unreaped: an array with a place for each pid, which costs a hook next to nothing. Whose place is
//! another's goes to the next that is free. No entry is dropped to make room.

use aya_ebpf::Global;
use supervisor_ebpf::{BLOCK, BLOCKS, ProcessId, Unreaped};

use crate::maps::{CONTROL, EEXIST, UNREAPED, count, count_epoch, swap};

/// For tests: bits of a block's number that are not used, so that there are fewer.
#[unsafe(no_mangle)]
static LOST_BLOCKS: Global<u32> = Global::new(0);

/// `-ENOSPC`.
const ENOSPC: i32 = -28;

/// At how many places it is looked. Of those whose first is taken, where half of all are, one in 2^15 finds none.
const PLACES: u32 = 16;

/// Where a process can be: at the place of its pid, or at others that are far from it, and others for each pid.
#[inline(always)]
fn places(id: ProcessId) -> impl Iterator<Item = *mut Unreaped> {
    /// 2^32 divided by the golden ratio, as in `include/linux/hash.h`.
    const GOLDEN_RATIO_32: u32 = 0x61C8_8647;
    let step = id.tgid.wrapping_mul(GOLDEN_RATIO_32) >> 16 | 1;
    (0..PLACES).filter_map(move |i| {
        let place = id.tgid.wrapping_add(i * step);
        let block = UNREAPED.get_ptr_mut(place / BLOCK % BLOCKS & !LOST_BLOCKS.load())?;
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

/// Takes in a process that is not there yet. `-EEXIST` if it is, `-ENOSPC` if there is no room.
#[inline(always)]
pub(crate) fn insert(unreaped: &Unreaped) -> Result<(), i32> {
    let id = unreaped.id;
    for entry in places(id) {
        // SAFETY: a live map value. The start time says whose the place is: of two that want it, one gets it. What is
        // there is read once it is whole, or by this process's own hooks, which come later.
        unsafe {
            let owner = &raw mut (*entry).id.start_ns;
            let seen = owner.read_volatile();
            if seen == id.start_ns {
                return Err(EEXIST);
            }
            if seen != 0 && is_left_over(entry) && swap(owner, seen, 0) {
                given_away((*entry).exit_ns);
            }
            if owner.read_volatile() == 0 && swap(owner, 0, id.start_ns) {
                (*entry).exit_ns = unreaped.exit_ns;
                (*entry).release_ns = 0;
                (*entry).seen = unreaped.seen;
                (*entry).id.tgid = id.tgid;
                (&raw mut (*entry).whole_ns).write_volatile(id.start_ns);
                return Ok(());
            }
        }
    }
    Err(ENOSPC)
}

/// Counts that the place of a process is given to another because its free was not seen.
#[inline(always)]
fn given_away(exit_ns: u64) {
    count_epoch(exit_ns, -1);
    count!(lost_frees);
}

/// Whether the process at a place is gone although its free was not seen: a whole pass of the iterator came after its
/// exit and has not seen it, nor has the one that is being made.
///
/// # Safety
///
/// `entry` is a live map value.
#[inline(always)]
unsafe fn is_left_over(entry: *const Unreaped) -> bool {
    // SAFETY: fields of a live map value.
    let (exit_ns, seen) = unsafe { ((*entry).exit_ns, (*entry).seen) };
    CONTROL.get(0).is_some_and(|control| exit_ns < control.passed_ns && control.pass.wrapping_sub(seen) > 1)
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
