//! `supervisor trace`: tells every fork, exec, exit, wait and reap as it happens.

use aya_ebpf::{
    Global,
    helpers::bpf_get_current_task_btf,
    macros::{btf_tracepoint, fentry, map},
    maps::{Array, HashMap, LruHashMap, RingBuf},
    programs::{BtfTracePointContext, FEntryContext},
};
use supervisor_ebpf::{
    CGROUP_TOLD, CGROUP_UNWANTED, ProcessId, TRACE_EXEC, TRACE_EXIT, TRACE_FORK, TRACE_REAP, TRACE_WAIT,
    TraceFilter, Traced, TracedCgroup, TracedExec,
};

use crate::{
    cgroup, exec,
    kernel::{self, Ptr},
    maps::{ANY, EEXIST, NOEXIST, add},
    wait,
};

/// `BPF_RB_NO_WAKEUP`: user space looks by itself, many times a second.
const NO_WAKEUP: u64 = 1;

#[map]
static TRACE: RingBuf = RingBuf::with_byte_size(4096, 0);
/// How many records the ring had no room for.
#[map]
static TRACE_LOST: Array<u64> = Array::with_max_entries(1, 0);
/// The processes whose descendants are traced with them.
#[map]
static FOLLOWED: HashMap<ProcessId, u8> = HashMap::with_max_entries(1, 0);
/// The processes whose exit has passed the filters, until they are freed: whether their reap was told. The value is one of
/// `EXITED` and `REAPED`.
#[map]
static ENDED: HashMap<ProcessId, u8> = HashMap::with_max_entries(1, 0);
/// The control groups whose paths were told, and what user space says of them.
#[map]
static CGROUPS_TOLD: LruHashMap<u64, u8> = LruHashMap::with_max_entries(1, 0);

/// Value of `ENDED`: its exit was told.
const EXITED: u8 = 1;
/// And its reap.
const REAPED: u8 = 2;

/// What is traced.
#[unsafe(no_mangle)]
static TRACE_FILTER: Global<TraceFilter> =
    Global::new(TraceFilter { comm: [0; 2], comm_mask: [0; 2], pid_ns: 0, follow: 0, kinds: 0, pad: 0 });

/// As `fork`.
#[btf_tracepoint(function = "sched_process_fork")]
fn trace_fork(ctx: BtfTracePointContext) {
    let caller: Ptr = ctx.arg(0);
    let child: Ptr = ctx.arg(1);
    if !kernel::is_leader(child) {
        return;
    }
    let id = kernel::process_id(child);
    let filter = TRACE_FILTER.load();
    if filter.follow != 0 {
        if !is_followed(kernel::process_id(caller)) {
            return;
        }
        follow(id);
    }
    if is_wanted(&filter, child) && tells(&filter, TRACE_FORK) {
        tell(TRACE_FORK, child, id, caller, 0);
    }
}

/// As `exec`.
#[btf_tracepoint(function = "sched_process_exec")]
fn trace_exec(ctx: BtfTracePointContext) {
    let task: Ptr = ctx.arg(0);
    let bprm: Ptr = ctx.arg(2);
    let id = kernel::process_id(task);
    let filter = TRACE_FILTER.load();
    if !tells(&filter, TRACE_EXEC) || !is_right(&filter, task, id) {
        return;
    }
    let Some(event) = event(TRACE_EXEC, task, id, core::ptr::null(), 0) else { return };
    let Some(mut entry) = TRACE.reserve::<TracedExec>(0) else {
        lose();
        return;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the reserved record has this layout, and is written as a whole.
    unsafe {
        (&raw mut (*record).event).write(event);
        let exec = &raw mut (*record).exec;
        (*exec).previous = [0; _];
        (*exec).previous_ns = 0;
        exec::fill(exec, task, bprm);
    }
    entry.submit(NO_WAKEUP);
}

/// As `exit`.
#[btf_tracepoint(function = "sched_process_exit")]
fn trace_exit(ctx: BtfTracePointContext) {
    let task: Ptr = ctx.arg(0);
    if !kernel::is_last_exit(task, || ctx.arg::<u64>(1)) {
        return;
    }
    let leader: Ptr = kernel::load(task, &kernel::TASK_LEADER);
    let id = kernel::process_id(task);
    let filter = TRACE_FILTER.load();
    if !is_right(&filter, leader, id) {
        return;
    }
    match ENDED.insert(id, EXITED, NOEXIST) {
        Ok(()) => {}
        // Without `group_dead`, two last threads can both see that none is live: then the first has told it.
        Err(EEXIST) => return,
        // Its reap may be told twice, or not at all.
        Err(_) => lose(),
    }
    if tells(&filter, TRACE_EXIT) {
        let parent: Ptr = kernel::load(leader, &kernel::TASK_REAL_PARENT);
        tell(TRACE_EXIT, leader, id, parent, u64::from(kernel::exit_status(leader)));
    }
}

/// As `wait`.
#[btf_tracepoint(function = "sched_process_wait")]
fn trace_wait(_ctx: BtfTracePointContext) {
    let filter = TRACE_FILTER.load();
    // SAFETY: no arguments; the result is never NULL.
    let task = unsafe { bpf_get_current_task_btf() };
    let leader: Ptr = kernel::load(task as Ptr, &kernel::TASK_LEADER);
    let id = kernel::process_id(task as Ptr);
    if tells(&filter, TRACE_WAIT) && is_right(&filter, leader, id) {
        tell(TRACE_WAIT, leader, id, core::ptr::null(), wait::request(task));
    }
}

/// As `release`: the moment of the reap, and who does it.
#[fentry(function = "release_task")]
fn trace_release(ctx: FEntryContext) {
    let task: Ptr = ctx.arg(0);
    // SAFETY: no arguments; the result is never NULL.
    reaped(task, unsafe { bpf_get_current_task_btf() } as Ptr);
}

/// As `free`: tells the reaps that `trace_release` has not, because it cannot be attached, because it ran already on this CPU,
/// or because a leader was released together with its last thread (`goto repeat` in `release_task()`).
#[btf_tracepoint(function = "sched_process_free")]
fn trace_free(ctx: BtfTracePointContext) {
    let task: Ptr = ctx.arg(0);
    reaped(task, core::ptr::null());
    if kernel::is_leader(task) {
        let id = kernel::process_id(task);
        let _ = ENDED.remove(id);
        if TRACE_FILTER.load().follow != 0 {
            let _ = FOLLOWED.remove(id);
        }
    }
}

#[inline(always)]
fn reaped(task: Ptr, reaper: Ptr) {
    if !kernel::is_leader(task) {
        return;
    }
    let id = kernel::process_id(task);
    let filter = TRACE_FILTER.load();
    // SAFETY: one byte. Who writes it is done before the process is freed.
    match unsafe { ENDED.get(id) } {
        Some(&REAPED) => return,
        None if !is_right_without_exit(&filter, task, id) => return,
        Some(_) | None => {}
    }
    if !reaper.is_null() && ENDED.insert(id, REAPED, ANY).is_err() {
        // It would be told once more when it is freed.
        lose();
        return;
    }
    if tells(&filter, TRACE_REAP) {
        tell(TRACE_REAP, task, id, reaper, 0);
    }
}

#[inline(always)]
fn tells(filter: &TraceFilter, kind: u32) -> bool {
    filter.kinds & (1 << kind) != 0
}

/// Whether all filters let a process through that exited before the trace began. It is in no PID namespace any more.
#[inline(always)]
fn is_right_without_exit(filter: &TraceFilter, leader: Ptr, id: ProcessId) -> bool {
    filter.pid_ns == 0 && filter.takes(kernel::comm_words(leader)) && (filter.follow == 0 || is_followed(id))
}

/// Whether all filters let a process through.
#[inline(always)]
fn is_right(filter: &TraceFilter, leader: Ptr, id: ProcessId) -> bool {
    (filter.follow == 0 || is_followed(id)) && is_wanted(filter, leader)
}

/// The same of all but that of descent.
#[inline(always)]
fn is_wanted(filter: &TraceFilter, leader: Ptr) -> bool {
    filter.takes(kernel::comm_words(leader))
        && (filter.pid_ns == 0 || kernel::pid_ns(leader).ino == filter.pid_ns)
}

#[inline(always)]
fn is_followed(id: ProcessId) -> bool {
    FOLLOWED.get_ptr(id).is_some()
}

#[inline(always)]
fn follow(id: ProcessId) {
    if FOLLOWED.insert(id, 1, ANY).is_err() {
        lose();
    }
}

/// Sends a record; `other` may be NULL.
#[inline(always)]
fn tell(kind: u32, leader: Ptr, id: ProcessId, other: Ptr, value: u64) {
    let Some(event) = event(kind, leader, id, other, value) else { return };
    if TRACE.output::<Traced>(&event, NO_WAKEUP).is_err() {
        lose();
    }
}

/// A record, after that of its control group if that is a new one; none if nothing of that group is wanted.
#[inline(always)]
fn event(kind: u32, leader: Ptr, id: ProcessId, other: Ptr, value: u64) -> Option<Traced> {
    let mut event = Traced {
        at_ns: kernel::now_ns(),
        lost: TRACE_LOST.get(0).copied().unwrap_or(0),
        id,
        value,
        cgroup: wanted_cgroup(leader)?,
        kind,
        comm: kernel::comm(leader),
        ..Traced::default()
    };
    if kind != TRACE_REAP {
        let ns = kernel::pid_ns(leader);
        (event.pid_ns, event.vpid, event.level) = (ns.ino, ns.vpid, ns.level);
    }
    if !other.is_null() {
        event.other = kernel::process_id(other);
        event.other_comm = kernel::comm(other);
    }
    Some(event)
}

/// The control group of a task, unless nothing of it is wanted. Its path is told if that was not done yet.
#[inline(always)]
fn wanted_cgroup(task: Ptr) -> Option<u64> {
    if !kernel::has(&kernel::TASK_CGROUPS) {
        return Some(0);
    }
    let (directory, _) = cgroup::directory_of(task);
    let id: u64 = kernel::probe(directory, kernel::KN_ID.load() as usize);
    // SAFETY: one byte, which user space changes as a whole.
    if let Some(told) = unsafe { CGROUPS_TOLD.get(id) } {
        return (*told != CGROUP_UNWANTED).then_some(id);
    }
    // If there is no room, it is told with the next record.
    let Some(mut entry) = TRACE.reserve::<TracedCgroup>(0) else { return Some(id) };
    let record = entry.as_mut_ptr();
    // SAFETY: the reserved record has this layout. What is not written are the ends of names, which are not read.
    unsafe {
        (&raw mut (*record).id).write(id);
        cgroup::path_of(directory, &raw mut (*record).path);
    }
    // Before user space can read it, and never over its answer. If it is not remembered, it is told again.
    let _ = CGROUPS_TOLD.insert(id, CGROUP_TOLD, NOEXIST);
    entry.submit(NO_WAKEUP);
    Some(id)
}

#[inline(always)]
fn lose() {
    if let Some(lost) = TRACE_LOST.get_ptr_mut(0) {
        // SAFETY: a live map value.
        unsafe { add(lost, 1) };
    }
}
