//! The programs of `supervisor trace`: they emit a record for each fork, exec, exit, wait and reap when it
//! happens.
//!
//! The programs use the hooks of a watch, and `release_task` if it can be attached. They filter by ancestry,
//! name, PID namespace and control group before they make a record. If the ring has no space for a record, the
//! program counts the record in `TRACE_LOST`, and each record has that count.

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

/// `BPF_RB_NO_WAKEUP`: user space reads the ring by itself, many times a second.
const NO_WAKEUP: u64 = 1;

#[map]
static TRACE: RingBuf = RingBuf::with_byte_size(4096, 0);
/// How many records were lost because the ring had no space.
#[map]
static TRACE_LOST: Array<u64> = Array::with_max_entries(1, 0);
/// The traced processes when the trace filters by ancestry. The fork hook adds their children.
#[map]
static FOLLOWED: HashMap<ProcessId, u8> = HashMap::with_max_entries(1, 0);
/// The processes whose exit has passed the filters and that were not freed yet. The value is `EXITED` or
/// `REAPED`, and shows whether the reap was emitted.
#[map]
static ENDED: HashMap<ProcessId, u8> = HashMap::with_max_entries(1, 0);
/// The control groups whose paths were emitted, and whether user space wants records of them.
#[map]
static CGROUPS_TOLD: LruHashMap<u64, u8> = LruHashMap::with_max_entries(1, 0);

/// Value of `ENDED`: the exit has passed the filters, and the reap was not emitted yet.
const EXITED: u8 = 1;
/// Value of `ENDED`: the reap was handled too.
const REAPED: u8 = 2;

/// The filters of the trace, and the kinds of records that it emits.
#[unsafe(no_mangle)]
static TRACE_FILTER: Global<TraceFilter> =
    Global::new(TraceFilter { comm: [0; 2], comm_mask: [0; 2], pid_ns: 0, follow: 0, kinds: 0, pad: 0 });

/// Emits a fork. The hook is that of `fork.rs`.
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
    if passes_except_ancestry(&filter, child) && is_kind_wanted(&filter, TRACE_FORK) {
        emit(TRACE_FORK, child, id, caller, 0);
    }
}

/// Emits an exec. The hook is that of `exec.rs`.
#[btf_tracepoint(function = "sched_process_exec")]
fn trace_exec(ctx: BtfTracePointContext) {
    let task: Ptr = ctx.arg(0);
    let bprm: Ptr = ctx.arg(2);
    let id = kernel::process_id(task);
    let filter = TRACE_FILTER.load();
    if !is_kind_wanted(&filter, TRACE_EXEC) || !passes(&filter, task, id) {
        return;
    }
    let Some(event) = event(TRACE_EXEC, task, id, core::ptr::null(), 0) else { return };
    let Some(mut entry) = TRACE.reserve::<TracedExec>(0) else {
        count_lost();
        return;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the reserved record has this layout, and all of it is written.
    unsafe {
        (&raw mut (*record).event).write(event);
        let exec = &raw mut (*record).exec;
        (*exec).previous = [0; _];
        (*exec).previous_ns = 0;
        exec::fill(exec, task, bprm);
    }
    entry.submit(NO_WAKEUP);
}

/// Emits an exit. The hook is that of `exit.rs`.
#[btf_tracepoint(function = "sched_process_exit")]
fn trace_exit(ctx: BtfTracePointContext) {
    let task: Ptr = ctx.arg(0);
    if !kernel::is_last_exit(task, || ctx.arg::<u64>(1)) {
        return;
    }
    let leader: Ptr = kernel::load(task, &kernel::TASK_LEADER);
    let id = kernel::process_id(task);
    let filter = TRACE_FILTER.load();
    if !passes(&filter, leader, id) {
        return;
    }
    match ENDED.insert(id, EXITED, NOEXIST) {
        Ok(()) => {}
        // Without `group_dead`, two last threads can both see `signal->live == 0`. The first one has emitted
        // the exit.
        Err(EEXIST) => return,
        // The reap may be emitted twice, or not at all.
        Err(_) => count_lost(),
    }
    if is_kind_wanted(&filter, TRACE_EXIT) {
        let parent: Ptr = kernel::load(leader, &kernel::TASK_REAL_PARENT);
        emit(TRACE_EXIT, leader, id, parent, u64::from(kernel::exit_status(leader)));
    }
}

/// Emits a wait. The hook is that of `wait.rs`.
#[btf_tracepoint(function = "sched_process_wait")]
fn trace_wait(_ctx: BtfTracePointContext) {
    let filter = TRACE_FILTER.load();
    // SAFETY: the helper has no arguments, and its result is never NULL.
    let task = unsafe { bpf_get_current_task_btf() };
    let leader: Ptr = kernel::load(task as Ptr, &kernel::TASK_LEADER);
    let id = kernel::process_id(task as Ptr);
    if is_kind_wanted(&filter, TRACE_WAIT) && passes(&filter, leader, id) {
        emit(TRACE_WAIT, leader, id, core::ptr::null(), wait::request(task));
    }
}

/// Emits a reap at the moment of the reap, with the reaper. The hook is that of `release.rs`.
#[fentry(function = "release_task")]
fn trace_release(ctx: FEntryContext) {
    let task: Ptr = ctx.arg(0);
    // SAFETY: the helper has no arguments, and its result is never NULL.
    emit_reap(task, unsafe { bpf_get_current_task_btf() } as Ptr);
}

/// Emits the reaps that `trace_release` has not emitted. The hook is that of `free.rs`. `trace_release` misses
/// a reap in three cases: it cannot be attached; it was already running on this CPU; or the leader was released
/// together with its last thread (`goto repeat` in `release_task()`).
#[btf_tracepoint(function = "sched_process_free")]
fn trace_free(ctx: BtfTracePointContext) {
    let task: Ptr = ctx.arg(0);
    emit_reap(task, core::ptr::null());
    if kernel::is_leader(task) {
        let id = kernel::process_id(task);
        let _ = ENDED.remove(id);
        if TRACE_FILTER.load().follow != 0 {
            let _ = FOLLOWED.remove(id);
        }
    }
}

#[inline(always)]
fn emit_reap(task: Ptr, reaper: Ptr) {
    if !kernel::is_leader(task) {
        return;
    }
    let id = kernel::process_id(task);
    let filter = TRACE_FILTER.load();
    // SAFETY: the value is one byte. Its writers are done before the process is freed.
    match unsafe { ENDED.get(id) } {
        Some(&REAPED) => return,
        None if !passes_without_exit(&filter, task, id) => return,
        Some(_) | None => {}
    }
    if !reaper.is_null() && ENDED.insert(id, REAPED, ANY).is_err() {
        // If the reap were emitted here, `trace_free` would emit it a second time.
        count_lost();
        return;
    }
    if is_kind_wanted(&filter, TRACE_REAP) {
        emit(TRACE_REAP, task, id, reaper, 0);
    }
}

#[inline(always)]
fn is_kind_wanted(filter: &TraceFilter, kind: u32) -> bool {
    filter.kinds & (1 << kind) != 0
}

/// Whether a process that exited before the trace began passes all filters except that of the control group.
/// The process is no longer in a PID namespace, so it passes no filter by PID namespace.
#[inline(always)]
fn passes_without_exit(filter: &TraceFilter, leader: Ptr, id: ProcessId) -> bool {
    filter.pid_ns == 0 && filter.takes(kernel::comm_words(leader)) && (filter.follow == 0 || is_followed(id))
}

/// Whether a process passes all filters except that of the control group.
#[inline(always)]
fn passes(filter: &TraceFilter, leader: Ptr, id: ProcessId) -> bool {
    (filter.follow == 0 || is_followed(id)) && passes_except_ancestry(filter, leader)
}

/// Whether a process passes the filters by name and by PID namespace.
#[inline(always)]
fn passes_except_ancestry(filter: &TraceFilter, leader: Ptr) -> bool {
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
        count_lost();
    }
}

/// Emits a record. `other` may be NULL.
#[inline(always)]
fn emit(kind: u32, leader: Ptr, id: ProcessId, other: Ptr, value: u64) {
    let Some(event) = event(kind, leader, id, other, value) else { return };
    if TRACE.output::<Traced>(&event, NO_WAKEUP).is_err() {
        count_lost();
    }
}

/// Makes a record. If the path of the control group was not emitted yet, emits the path first. Returns `None`
/// if user space wants no records of that group.
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

/// The inode number of a task's control group. Returns `None` if user space wants no records of that group.
/// Emits the path of the group if that was not done yet.
#[inline(always)]
fn wanted_cgroup(task: Ptr) -> Option<u64> {
    if !kernel::has(&kernel::TASK_CGROUPS) {
        return Some(0);
    }
    let (directory, _) = cgroup::directory_of(task);
    let id: u64 = kernel::probe(directory, kernel::KN_ID.load() as usize);
    // SAFETY: the value is one byte, and user space changes it as a whole.
    if let Some(answer) = unsafe { CGROUPS_TOLD.get(id) } {
        return (*answer != CGROUP_UNWANTED).then_some(id);
    }
    // If the ring has no space, the path is emitted with the next record.
    let Some(mut entry) = TRACE.reserve::<TracedCgroup>(0) else { return Some(id) };
    let record = entry.as_mut_ptr();
    // SAFETY: the reserved record has this layout. Only the bytes behind the end of each name are not written,
    // and nothing reads them.
    unsafe {
        (&raw mut (*record).id).write(id);
        cgroup::path_of(directory, &raw mut (*record).path);
    }
    // The insertion comes before user space can read the path, and never overwrites the answer of user space.
    // If it fails, the path is emitted again.
    let _ = CGROUPS_TOLD.insert(id, CGROUP_TOLD, NOEXIST);
    entry.submit(NO_WAKEUP);
    Some(id)
}

#[inline(always)]
fn count_lost() {
    if let Some(lost) = TRACE_LOST.get_ptr_mut(0) {
        // SAFETY: a live map value.
        unsafe { add(lost, 1) };
    }
}
