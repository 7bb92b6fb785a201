//! What a process costs, and its end.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use rustix::process::Signal;
use supervisor_lab::{Owned, parts::sys, until};

use crate::WAIT_LIMIT;

/// Memory that it has in use, in KiB.
pub fn resident_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Whether this kernel keeps the host's PID 1 from being traced: then it shows nobody its system calls either.
#[must_use]
pub fn hides_init() -> bool {
    fs::read("/proc/1/syscall").is_err()
}

/// Stops a process with SIGSTOP, and waits until none of its threads runs any more, which takes a while on a busy machine.
pub fn freeze(process: &mut Owned) -> Result<()> {
    process.signal(Signal::STOP)?;
    let tasks = format!("/proc/{}/task", process.pid());
    until("a process to stop", WAIT_LIMIT, || {
        for task in fs::read_dir(&tasks)? {
            let stat = task?.path().join("stat");
            // A thread that has ended meanwhile has no state.
            if sys::state(stat.to_str().context("no path")?).is_some_and(|state| state != 'T') {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
}

/// Ends a process, if there is one, by a signal.
pub fn end_by(signal: Signal, process: &mut Option<Owned>, limit: Duration) -> Result<()> {
    if let Some(mut process) = process.take() {
        process.signal(signal)?;
        process.end(limit)?;
    }
    Ok(())
}
