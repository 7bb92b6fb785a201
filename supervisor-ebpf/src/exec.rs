//! Hook for exec: stores the file name and the head of the arguments of each exec.
//!
//! The kernel no longer has these facts when the process is a zombie. An entry of `EXECS` also has the file
//! name and the time of the exec before the last one.

use core::ptr;

use aya_ebpf::{
    helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use supervisor_ebpf::{ARGV_LEN, Exec, FILENAME_LEN, PREVIOUS_FILENAME_LEN, UNKNOWN_USER};

use crate::{
    kernel::{self, Ptr, probe},
    maps::{ANY, EXEC_SCRATCH, EXECS, count},
    processes,
};

/// `void sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`
///
/// Fires when the new image is in place (`fs/exec.c`, `exec_binprm()`). `p` is the current task, and has the
/// new name and the new memory. `p` is the leader, even if another thread called `execve`.
#[btf_tracepoint(function = "sched_process_exec")]
fn sched_process_exec(ctx: BtfTracePointContext) {
    let task: Ptr = ctx.arg(0);
    let bprm: Ptr = ctx.arg(2);
    count!(execs);

    let id = kernel::process_id(task);
    let mut is_first = false;
    if let Some(record) = processes::get(id) {
        // SAFETY: fields of a live map value.
        unsafe {
            is_first = (*record).execed == 0;
            (*record).comm = kernel::comm(task);
            (*record).execed = 1;
            // The waits of the previous program are no evidence about the new one. No other thread of the
            // process exists here (`de_thread()`).
            (*record).wait.kinds = 0;
        }
    }

    let Some(exec) = EXEC_SCRATCH.get_ptr_mut(0) else { return };
    // SAFETY: `exec` is the map value of this CPU and has this type. Hooks do not migrate, and exec does not
    // nest. The helper writes at most the given length.
    let stored = unsafe {
        let previous = &raw mut (*exec).previous;
        *previous.cast::<u8>() = 0;
        fill(exec, task, bprm);
        let mut previous_ns = if is_first { 0 } else { (*exec).at_ns };
        if let Some(before) = EXECS.get_ptr(id) {
            previous_ns = (*before).at_ns;
            let filename = &raw const (*before).filename;
            bpf_probe_read_kernel_str(previous.cast(), PREVIOUS_FILENAME_LEN as u32, filename.cast());
        }
        (*exec).previous_ns = previous_ns;
        EXECS.insert(id, &*exec, ANY)
    };
    if stored.is_err() {
        count!(lost_execs);
    }
}

/// Writes all fields of an exec, except those about the previous exec.
///
/// # Safety
///
/// `exec` is writable for its whole size.
#[inline(always)]
pub(crate) unsafe fn fill(exec: *mut Exec, task: Ptr, bprm: Ptr) {
    // SAFETY: the helpers write at most the given lengths.
    unsafe {
        let filename = &raw mut (*exec).filename;
        *filename.cast::<u8>() = 0;
        if kernel::has(&kernel::BPRM_FILENAME) {
            let name: Ptr = kernel::load(bprm, &kernel::BPRM_FILENAME);
            bpf_probe_read_kernel_str(filename.cast(), FILENAME_LEN as u32, name);
        }

        let (mut start, mut end) = (0u64, 0u64);
        if kernel::has(&kernel::TASK_MM) {
            let mm: Ptr = kernel::load(task, &kernel::TASK_MM);
            start = kernel::load(mm, &kernel::MM_ARG_START);
            end = kernel::load(mm, &kernel::MM_ARG_END);
        }
        let total = end.saturating_sub(start);
        let mut len = total;
        if len > ARGV_LEN as u64 {
            len = ARGV_LEN as u64;
        }
        let argv = &raw mut (*exec).argv;
        if bpf_probe_read_user(argv.cast(), len as u32, start as Ptr) != 0 {
            len = 0;
        }
        ptr::write(&raw mut (*exec).argv_total, total as u32);
        ptr::write(&raw mut (*exec).argv_len, len as u32);
        // The new credentials are in place (`begin_new_exec()`, `fs/exec.c`).
        let mut uid = UNKNOWN_USER;
        if kernel::has(&kernel::TASK_CRED) {
            let cred = probe::<u64>(task, kernel::TASK_CRED.load() as usize) as Ptr;
            uid = probe(cred, kernel::CRED_UID.load() as usize);
        }
        ptr::write(&raw mut (*exec).uid, uid);
        ptr::write(&raw mut (*exec).level, kernel::pid_ns(task).level);
        ptr::write(&raw mut (*exec).at_ns, kernel::now_ns());
    }
}
