//! Hook for SIGKILL: stores which process sent the first SIGKILL to a process, and when.
//!
//! This hook does not find a killed process that cannot exit. The task iterator finds it.

use aya_ebpf::{helpers::bpf_get_current_task_btf, macros::btf_tracepoint, programs::BtfTracePointContext};
use supervisor_ebpf::{Kill, ProcessId};

use crate::{
    kernel::{self, Ptr},
    maps::{EEXIST, KILLS, NOEXIST, count},
};

/// `include/uapi/asm-generic/signal.h`
pub(crate) const SIGKILL: i32 = 9;
/// `TRACE_SIGNAL_DELIVERED`, `include/trace/events/signal.h`.
const DELIVERED: i32 = 0;
/// `SEND_SIG_PRIV`, `include/linux/sched/signal.h`: the kernel itself sends the signal, and the current task
/// can be any task.
const SEND_SIG_PRIV: u64 = 1;

/// `void signal_generate(int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result)`
///
/// Fires in `__send_signal_locked()` (`kernel/signal.c`) for every signal that is sent. A group exit without a
/// signal, for example by `exit_group(2)`, does not pass this function.
#[btf_tracepoint(function = "signal_generate")]
fn signal_generate(ctx: BtfTracePointContext) {
    let signal: i32 = ctx.arg(0);
    let result: i32 = ctx.arg(4);
    if signal != SIGKILL || result != DELIVERED {
        return;
    }
    count!(kills);
    let task: Ptr = ctx.arg(2);
    let info: u64 = ctx.arg(1);
    let mut kill = Kill { by: ProcessId::default(), at_ns: kernel::now_ns(), comm: [0; 16] };
    if info != SEND_SIG_PRIV {
        // SAFETY: the helper has no arguments, and its result is never NULL.
        let sender = unsafe { bpf_get_current_task_btf() } as Ptr;
        kill.by = kernel::process_id(sender);
        kill.comm = kernel::comm(sender);
    }
    // Only the first SIGKILL counts.
    match KILLS.insert(kernel::process_id(task), kill, NOEXIST) {
        Ok(()) | Err(EEXIST) => {}
        Err(_) => count!(lost_kills),
    }
}

/// Removes the sender of the SIGKILL that has ended a freed process.
#[inline(always)]
pub(crate) fn remove(task: Ptr, id: ProcessId) {
    if kernel::exit_status(task) & 0x7f == SIGKILL as u32 {
        let _absent = KILLS.remove(id);
    }
}
