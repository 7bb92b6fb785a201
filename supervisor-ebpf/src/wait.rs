//! Hook for wait: stores in the record of a process when it waits, for which children and with which options.
//!
//! For a wait for any child, the hook also stores the `SIGCHLD` handler at that time.

use aya_ebpf::{
    Global,
    bindings::task_struct,
    helpers::{bpf_get_current_task_btf, generated::bpf_task_pt_regs},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use supervisor_ebpf::{CALL_WAITID, WAIT_ROUND_NS, WAITED_ANY, Wait};

use crate::{
    kernel::{self, Ptr},
    maps::{CONTROL, add, count, set_bits},
    processes,
};

/// `__NR_wait4` of this architecture. User space sets this number and those below, so one object works on every
/// architecture.
#[unsafe(no_mangle)]
static NR_WAIT4: Global<u32> = Global::new(0);
/// `__NR_waitid`.
#[unsafe(no_mangle)]
static NR_WAITID: Global<u32> = Global::new(0);
/// `__NR_waitpid` of 32-bit programs on this architecture.
#[unsafe(no_mangle)]
static NR_COMPAT_WAITPID: Global<u32> = Global::new(0);
/// `__NR_wait4` of 32-bit programs.
#[unsafe(no_mangle)]
static NR_COMPAT_WAIT4: Global<u32> = Global::new(0);
/// `__NR_waitid` of 32-bit programs.
#[unsafe(no_mangle)]
static NR_COMPAT_WAITID: Global<u32> = Global::new(0);

/// `void sched_process_wait(struct pid *pid)`
///
/// Fires on entry to `do_wait()` (`kernel/exit.c`), which only wait syscalls and a few kernel threads call. The
/// request of a kernel thread is not decoded, because a kernel thread is in no syscall.
#[btf_tracepoint(function = "sched_process_wait")]
fn sched_process_wait(_ctx: BtfTracePointContext) {
    count!(waits);
    // SAFETY: the helper has no arguments, and its result is never NULL.
    let task = unsafe { bpf_get_current_task_btf() };
    let request = request(task);
    let Some(record) = processes::get(kernel::process_id(task as Ptr)) else {
        // Before the first scan is complete, processes that are older than the hooks have no record.
        if CONTROL.get(0).is_some_and(|control| control.seeded_ns != 0) {
            count!(lost_waits);
        }
        return;
    };
    let at_ns = kernel::now_ns();
    // SAFETY: fields of a live map value. The request is one word. If another thread of the process writes a
    // time at the same moment, both times are correct.
    unsafe {
        let wait = &raw mut (*record).wait;
        (*wait).at_ns = at_ns;
        (*wait).request = request;
        add(&raw mut (*wait).count, 1);
        let kind = Wait::kind(request);
        // The operation is atomic, so that two threads that wait at once both set their bit. `kinds` is the
        // lower half of an aligned word; the padding is the other half.
        if (*wait).kinds & kind != kind {
            set_bits((&raw mut (*wait).kinds).cast(), u64::from(kind));
        }
        if kind == WAITED_ANY {
            (*wait).any_handler = kernel::sigchld_handler(task as Ptr);
            let gap_ns = at_ns.saturating_sub((*wait).any_ns);
            if gap_ns >= WAIT_ROUND_NS && (*wait).any_ns != 0 {
                (*wait).any_gap_ns = gap_ns;
            }
            (*wait).any_ns = at_ns;
        }
    }
}

/// The request of the wait syscall in which the current task is, as [`Wait::pack`] encodes it. 0 if the task is
/// in no wait syscall. Call this only where no other syscall comes: the numbers of the 64-bit and 32-bit wait
/// syscalls differ.
#[inline(always)]
pub(crate) fn request(task: *mut task_struct) -> u64 {
    if !kernel::has(&kernel::REGS_SYSCALL) {
        return 0;
    }
    // SAFETY: the current task has saved registers.
    let regs = unsafe { bpf_task_pt_regs(task) } as Ptr;
    // 32 bits are the whole number on arm64, and its lower half on x86-64.
    let number: u32 = kernel::load(regs, &kernel::REGS_SYSCALL);
    let argument = |offset| kernel::load::<u64>(regs, offset);
    if number == NR_WAIT4.load() {
        Wait::pack_wait4(argument(&kernel::REGS_ARG0) as i32, argument(&kernel::REGS_ARG2) as u32)
    } else if number == NR_WAITID.load() {
        Wait::pack(
            CALL_WAITID,
            argument(&kernel::REGS_ARG0) as u8,
            argument(&kernel::REGS_ARG1) as u32,
            argument(&kernel::REGS_ARG3) as u32,
        )
    } else if number == NR_COMPAT_WAITPID.load() || number == NR_COMPAT_WAIT4.load() {
        Wait::pack_wait4(argument(&kernel::REGS_COMPAT_ARG0) as i32, argument(&kernel::REGS_ARG2) as u32)
    } else if number == NR_COMPAT_WAITID.load() {
        Wait::pack(
            CALL_WAITID,
            argument(&kernel::REGS_COMPAT_ARG0) as u8,
            argument(&kernel::REGS_COMPAT_ARG1) as u32,
            argument(&kernel::REGS_COMPAT_ARG3) as u32,
        )
    } else {
        0
    }
}
