//! Before a reaper is stopped: a SIGCHLD, which a handler may answer with a wait.

use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::inject::Child;

/// How long a reaper may take to answer.
const OBSERVED: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

/// Sends SIGCHLD to a reaper, and waits until all these children are gone, a second has passed, or it is cancelled.
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
