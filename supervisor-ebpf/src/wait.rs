//! A process waits for children: keep when, for whom and how, and what `SIGCHLD` does to it then.

use aya_ebpf::{
    bindings::task_struct,
    helpers::{bpf_get_current_task_btf, generated::bpf_task_pt_regs},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use supervisor_ebpf::{
    CALL_WAIT4, CALL_WAITID, WAIT_ANY, WAIT_PGID, WAIT_PID, WAIT_ROUND_NS, WAITED_ANY, Wait,
};

use crate::{
    kernel::{self, Ptr},
    maps::{CONTROL, add, count, set_bits},
    processes,
};

/// `__NR_wait4`, `arch/x86/entry/syscalls/syscall_64.tbl`.
const NR_WAIT4: u64 = 61;
/// `__NR_waitid`, same file.
const NR_WAITID: u64 = 247;

/// `void sched_process_wait(struct pid *pid)`
///
/// Fires on entry to `do_wait()` (`kernel/exit.c`), which only wait syscalls and a few kernel threads call.
/// Neither 32-bit calls nor kernel threads have these syscall numbers: their request is not decoded.
#[btf_tracepoint(function = "sched_process_wait")]
fn sched_process_wait(_ctx: BtfTracePointContext) {
    count!(waits);
    // SAFETY: no arguments; the result is never NULL.
    let task = unsafe { bpf_get_current_task_btf() };
    let request = request(task);
    let Some(record) = processes::get(kernel::process_id(task as Ptr)) else {
        // Until the scan has been through, older processes have none.
        if CONTROL.get(0).is_some_and(|control| control.seeded_ns != 0) {
            count!(lost_waits);
        }
        return;
    };
    let at_ns = kernel::now_ns();
    // SAFETY: fields of a live map value; the request is one word, and a time that another thread of the process
    // wrote in the same moment is as true.
    unsafe {
        let wait = &raw mut (*record).wait;
        (*wait).at_ns = at_ns;
        (*wait).request = request;
        add(&raw mut (*wait).count, 1);
        let kind = Wait::kind(request);
        // Atomic, so that of two threads that wait at once neither loses its bit. With its padding it is one aligned word, of
        // which it is the lower half.
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

/// What the wait syscall asks for that the current task is in, as [`Wait::pack`] has it; 0 if it is none.
#[inline(always)]
pub(crate) fn request(task: *mut task_struct) -> u64 {
    if !kernel::has(&kernel::REGS_SYSCALL) {
        return 0;
    }
    // SAFETY: the current task has saved registers.
    let regs = unsafe { bpf_task_pt_regs(task) } as Ptr;
    match kernel::load::<u64>(regs, &kernel::REGS_SYSCALL) {
        NR_WAIT4 => {
            let pid: i32 = kernel::load::<u64>(regs, &kernel::REGS_ARG0) as i32;
            let options = kernel::load::<u64>(regs, &kernel::REGS_ARG2) as u32;
            wait4(pid, options)
        }
        NR_WAITID => Wait::pack(
            CALL_WAITID,
            kernel::load::<u64>(regs, &kernel::REGS_ARG0) as u8,
            kernel::load::<u64>(regs, &kernel::REGS_ARG1) as u32,
            kernel::load::<u64>(regs, &kernel::REGS_ARG3) as u32,
        ),
        _ => 0,
    }
}

/// `wait4(2)`: -1 is any child, 0 the caller's group, below -1 another group.
#[inline(always)]
fn wait4(pid: i32, options: u32) -> u64 {
    if pid == -1 {
        Wait::pack(CALL_WAIT4, WAIT_ANY, 0, options)
    } else if pid > 0 {
        Wait::pack(CALL_WAIT4, WAIT_PID, pid as u32, options)
    } else {
        Wait::pack(CALL_WAIT4, WAIT_PGID, pid.wrapping_neg() as u32, options)
    }
}
