//! All maps of a watch, the atomic operations on their values, and the counters.
//!
//! `core` has no atomics for BPF, so the atomic operations are inline assembly.

use core::arch::asm;

use aya_ebpf::{
    Global, helpers,
    macros::map,
    maps::{Array, LruHashMap, PerCpuArray, RingBuf},
};
use supervisor_ebpf::{
    BLOCKS, CgroupPath, Control, Counters, DISPLACED_ENTRIES, ENDS_ENTRIES, EPOCH_SHIFT, EPOCHS,
    EVENTS_BYTES, EXECS_ENTRIES, End, Exec, KILLS_ENTRIES, Kill, PROCESSES_ENTRIES, Placed, Process,
    ProcessId, TaskRecord, UnreapedBlock,
};

/// `BPF_NOEXIST`: insert, or fail if the key exists.
pub(crate) const NOEXIST: u64 = 1;
/// `BPF_ANY`: insert or replace.
pub(crate) const ANY: u64 = 0;
/// `-EEXIST`.
pub(crate) const EEXIST: i32 = -17;

#[map]
pub(crate) static UNREAPED: Array<UnreapedBlock> = Array::with_max_entries(BLOCKS, 0);
#[map]
pub(crate) static PROCESSES: Array<Placed> = Array::with_max_entries(PROCESSES_ENTRIES, 0);
#[map]
pub(crate) static DISPLACED: LruHashMap<ProcessId, Process> =
    LruHashMap::with_max_entries(DISPLACED_ENTRIES, 0);
#[map]
pub(crate) static EXECS: LruHashMap<ProcessId, Exec> = LruHashMap::with_max_entries(EXECS_ENTRIES, 0);
#[map]
pub(crate) static KILLS: LruHashMap<ProcessId, Kill> = LruHashMap::with_max_entries(KILLS_ENTRIES, 0);
#[map]
pub(crate) static ENDS: LruHashMap<ProcessId, End> = LruHashMap::with_max_entries(ENDS_ENTRIES, 0);
/// How many processes of each exit epoch are unreaped. The number is the sum over the CPUs; the cell of one CPU
/// wraps.
#[map]
static EPOCH_COUNTS: PerCpuArray<[u64; EPOCHS]> = PerCpuArray::with_max_entries(1, 0);
#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);
#[map]
pub(crate) static CONTROL: Array<Control> = Array::with_max_entries(1, 0);
/// Scratch memory of `exec`, for a value that is too large for the stack.
#[map]
pub(crate) static EXEC_SCRATCH: PerCpuArray<Exec> = PerCpuArray::with_max_entries(1, 0);
/// Scratch memory of `task`, for its record.
#[map]
pub(crate) static TASK_SCRATCH: PerCpuArray<TaskRecord> = PerCpuArray::with_max_entries(1, 0);
/// Scratch memory of `task`, for the control group that it reports.
#[map]
pub(crate) static CGROUP_SCRATCH: PerCpuArray<CgroupPath> = PerCpuArray::with_max_entries(1, 0);

/// Adds to a counter of this CPU. The addition is atomic, because a softirq or a preempting task can run a hook
/// on this CPU between the load and the store.
///
/// # Safety
///
/// `cell` points into a live map value, and is 8-byte aligned.
#[inline(always)]
pub(crate) unsafe fn add(cell: *mut u64, value: i64) {
    // SAFETY: `BPF_ATOMIC | BPF_ADD` on an aligned cell that the caller vouches for.
    unsafe {
        asm!("lock *(u64 *)({cell} + 0) += {value}", cell = in(reg) cell, value = in(reg) value);
    }
}

/// Adds to a cell atomically, and returns its value before the addition. This is also a full memory barrier: an
/// atomic operation that returns a value is a full barrier, and an atomic operation that returns none is no
/// barrier (`Documentation/bpf/linux-notes.rst`, `kernel/bpf/core.c`).
///
/// # Safety
///
/// `cell` points into a live map value or to the stack, and is 8-byte aligned.
#[inline(always)]
pub(crate) unsafe fn fetch_add(cell: *mut u64, value: i64) -> u64 {
    let before;
    // SAFETY: `BPF_ATOMIC | BPF_ADD | BPF_FETCH` (Linux 5.12) on an aligned cell that the caller vouches for.
    unsafe {
        asm!("{value} = atomic_fetch_add((u64 *)({cell} + 0), {value})", cell = in(reg) cell, value = inlateout(reg) value => before);
    }
    before
}

/// Sets bits of a cell atomically.
///
/// # Safety
///
/// `cell` points into a live map value, and is 8-byte aligned.
#[inline(always)]
pub(crate) unsafe fn set_bits(cell: *mut u64, bits: u64) {
    // SAFETY: `BPF_ATOMIC | BPF_OR` (Linux 5.12) on an aligned cell that the caller vouches for.
    unsafe {
        asm!("lock *(u64 *)({cell} + 0) |= {bits}", cell = in(reg) cell, bits = in(reg) bits);
    }
}

/// Replaces `old` by `new` atomically. Returns false if the cell has another value than `old`.
///
/// # Safety
///
/// `cell` points into a live map value, and is 8-byte aligned.
#[inline(always)]
pub(crate) unsafe fn replace(cell: *mut u64, old: u64, new: u64) -> bool {
    // SAFETY: the caller vouches for the cell.
    unsafe { compare_exchange(cell, old, new) == old }
}

/// Replaces `old` by `new` atomically, if the cell has the value `old`. Returns the value that the cell had
/// before.
///
/// # Safety
///
/// `cell` points into a live map value, and is 8-byte aligned.
#[inline(always)]
pub(crate) unsafe fn compare_exchange(cell: *mut u64, old: u64, new: u64) -> u64 {
    let seen;
    // SAFETY: `BPF_ATOMIC | BPF_CMPXCHG` (Linux 5.12) on an aligned cell that the caller vouches for.
    unsafe {
        asm!("r0 = cmpxchg_64({cell} + 0, r0, {new})", cell = in(reg) cell, new = in(reg) new, inlateout("r0") old => seen);
    }
    seen
}

/// Whether the processor may reorder stores with stores, and loads with loads. User space sets it: 0 on x86-64.
#[unsafe(no_mangle)]
static WEAK_ORDER: Global<u32> = Global::new(1);

/// Orders stores with stores, and loads with loads:
///
/// - Other CPUs see the stores before this call before they see the stores after it.
/// - The loads before this call are done before the loads after it.
///
/// On x86-64 only the compiler could reorder them. The empty `asm!` prevents that, and the verifier drops the
/// branch.
#[inline(always)]
pub(crate) fn order_memory() {
    // SAFETY: this emits no instruction.
    unsafe { asm!("") };
    if WEAK_ORDER.load() != 0 {
        let mut cell = 0;
        // SAFETY: an aligned cell on the stack. Only the barrier matters.
        unsafe { fetch_add(&raw mut cell, 0) };
    }
}

/// A zero that the compiler does not know to be zero. If the compiler knew, it would turn several stores of
/// zero into one call of a function that stores byte by byte.
#[inline(always)]
pub(crate) fn zero() -> u64 {
    let zero;
    // SAFETY: this sets a register.
    unsafe { asm!("{zero} = 0", zero = out(reg) zero, options(pure, nomem)) };
    zero
}

/// Adds one to the counter that `select` picks.
#[inline(always)]
pub(crate) fn count_by(select: impl FnOnce(*mut Counters) -> *mut u64) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: `select` returns the address of a field of the map value.
        unsafe { add(select(counters), 1) };
    }
}

/// Adds one to a field of [`Counters`].
macro_rules! count {
    ($field:ident) => {
        $crate::maps::count_by(|counters| {
            // SAFETY: only the address of the field is taken.
            unsafe { &raw mut (*counters).$field }
        })
    };
}
pub(crate) use count;

/// For tests: whether a hook must ignore its run, at random, once in `one_in` runs. With 0 the answer is always
/// false, and no instruction of this function runs.
#[inline(always)]
pub(crate) fn is_simulated_loss(one_in: &Global<u32>) -> bool {
    let one_in = one_in.load();
    // SAFETY: the helper has no arguments.
    one_in != 0 && unsafe { helpers::generated::bpf_get_prandom_u32() } % one_in == 0
}

/// Adds `by` to the number of unreaped processes of the epoch of `exit_ns`.
#[inline(always)]
pub(crate) fn count_epoch(exit_ns: u64, by: i64) {
    if let Some(counts) = EPOCH_COUNTS.get_ptr_mut(0) {
        let cell = (exit_ns >> EPOCH_SHIFT) as usize & (EPOCHS - 1);
        // SAFETY: the index is masked to the size of the table, which is a power of two.
        unsafe { add(counts.cast::<u64>().add(cell), by) };
    }
}
