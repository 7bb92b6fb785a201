//! What a process costs, and its end.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use rustix::process::Signal;
use supervisor_user::scenario::Owned;

/// Memory that it has in use, in KiB.
pub fn resident_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// CPU time of all its threads, in clock ticks.
pub fn cpu_ticks(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name before may hold anything; utime and stime are fields 14 and 15.
    let rest = stat.rsplit_once(')').context("no name")?.1;
    let ticks: Vec<u64> =
        rest.split_ascii_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum())
}

/// Ends a process, if there is one, by a signal.
pub fn end_by(signal: Signal, process: &mut Option<Owned>, limit: Duration) -> Result<()> {
    if let Some(mut process) = process.take() {
        process.signal(signal)?;
        process.end(limit)?;
    }
    Ok(())
}
