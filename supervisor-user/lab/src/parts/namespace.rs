//! A process that is exiting and cannot become a zombie yet, because its PID namespace cannot end.

use anyhow::Result;
use rustix::{
    process::{Signal, kill_process},
    thread::{UnshareFlags, unshare_unsafe},
};

use super::{command, say, sys};

/// PID 1 of a namespace is killed while the namespace has a zombie whose parent is outside. PID 1 has exited and sits
/// in `zap_pid_ns_processes`, state S, until that zombie is reaped. After any command, or at the end of its input, the
/// parent reaps both.
///
/// We examined other ways to keep a process between its exit and its zombie state, and they do not work.
/// `PTRACE_EVENT_EXIT` comes before `sched_process_exit`. A page fault that user space handles is refused for exiting
/// tasks, and so is `SO_LINGER`.
pub(super) fn held_init() -> Result<()> {
    // SAFETY: this process has one thread, and only the namespace of its future children changes.
    unsafe { unshare_unsafe(UnshareFlags::NEWPID) }?;
    let init = sys::fork(|| sys::sleep_for_ever())?;
    let zombie = sys::fork(|| 3)?;
    sys::until("the child to exit", || sys::state_of(zombie) == Some('Z'))?;
    kill_process(init, Signal::KILL)?;
    let place = format!("/proc/{init}/wchan");
    sys::until("the namespace's init to be held", || {
        std::fs::read_to_string(&place).is_ok_and(|it| it == "zap_pid_ns_processes")
    })?;
    say(&format!("held init={init} zombie={zombie}"))?;
    let released = command()?;
    sys::reap(zombie)?;
    sys::reap(init)?;
    if released.is_some() {
        say("released")?;
    }
    sys::wait_for_input_to_end()
}
