//! Sends SIGCHLD to a reaper before the reaper is stopped: a signal handler may answer it with a wait.

use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::inject::Child;

/// A reaper has this long to answer the signal with a wait.
const OBSERVED: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

/// Sends SIGCHLD to a reaper. Then it waits until all these children are reaped, a second has passed, or `is_cancelled`
/// returns true.
///
/// # Errors
///
/// If the signal cannot be sent.
pub(super) fn nudge(
    reaper: u32,
    children: &[Child],
    is_cancelled: &dyn Fn() -> bool,
) -> rustix::io::Result<()> {
    let pid = Pid::from_raw(reaper as i32).ok_or(rustix::io::Errno::SRCH)?;
    kill_process(pid, Signal::CHILD)?;
    let until = Instant::now() + OBSERVED;
    while children.iter().any(Child::is_there) && Instant::now() < until && !is_cancelled() {
        thread::sleep(PAUSE);
    }
    Ok(())
}
