//! What a process has used, as the kernel counts it.

use std::{collections::HashMap, fs, path::Path};

use anyhow::{Context, Result};
use rustix::param::clock_ticks_per_second;
use serde_json::{Value, json};

/// The machine that this is true of.
pub(crate) fn machine() -> Result<Value> {
    let uname = rustix::system::uname();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Ok(json!({
        "kernel": uname.release().to_string_lossy(),
        "cpus": std::thread::available_parallelism()?.get(),
        "cpu": model.map(|it| it.1),
        "date": jiff::Timestamp::now().strftime("%F").to_string(),
    }))
}

/// CPU time of a process, of all its threads and of the children that it has waited for, in ns.
pub(crate) fn cpu_ns(pid: u32) -> Result<u64> {
    let mut own = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        own += text.split(' ').next().and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name before may hold anything; cutime and cstime are fields 16 and 17.
    let rest = stat.rsplit_once(')').context("no name")?.1;
    let children: u64 =
        rest.split_ascii_whitespace().skip(13).take(2).filter_map(|it| it.parse::<u64>().ok()).sum();
    Ok(own + children * 1_000_000_000 / clock_ticks_per_second())
}

/// How often a process has gone to sleep.
pub(crate) fn wakeups(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("status")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += line.and_then(|it| it.trim().parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

/// The descriptors of eBPF maps or programs that a process holds, as the kernel describes them.
fn held(pid: u32, key: &str) -> Result<Vec<HashMap<String, String>>> {
    let mut held = Vec::new();
    for entry in fs::read_dir(Path::new(&format!("/proc/{pid}/fdinfo")))? {
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        let fields: HashMap<String, String> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        if fields.contains_key(key) {
            held.push(fields);
        }
    }
    Ok(held)
}

/// Bytes that the kernel says it has given to the eBPF maps of a process.
pub(crate) fn map_bytes(pid: u32) -> Result<u64> {
    let maps = held(pid, "map_type")?;
    let mut by_id = HashMap::new();
    for map in maps {
        let bytes: u64 = map.get("memlock").context("no memlock")?.parse()?;
        by_id.insert(map.get("map_id").cloned(), bytes);
    }
    Ok(by_id.values().sum())
}

/// Name, runs and ns of each eBPF program that a process holds, in the order in which they were loaded. The kernel keeps
/// the first 15 characters of a name.
pub(crate) fn programs(pid: u32) -> Result<Vec<(String, u64, u64)>> {
    let ids: Vec<u32> =
        held(pid, "prog_type")?.iter().filter_map(|program| program.get("prog_id")?.parse().ok()).collect();
    let mut programs = Vec::new();
    for program in aya::programs::loaded_programs().filter_map(Result::ok) {
        if ids.contains(&program.id()) {
            let name = program.name_as_str().unwrap_or_default().to_owned();
            programs.push((name, program.run_count(), program.run_time().as_nanos() as u64));
        }
    }
    Ok(programs)
}
