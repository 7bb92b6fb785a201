//! What a tool's own process uses, and what each hook of `supervisor` does.

use std::{fs, process::Command, thread, time::Duration};

use anyhow::{Context, Result};
use aya::sys::{Stats, enable_stats};
use serde_json::{Value, json};
use supervisor_collect::kernel::VERIFIED_AT_MOST;
use supervisor_tests::{QuietAgent, resident_kib, supervisor_bin};

use crate::{
    contender::{Contender, Running},
    cycles::median,
    load::Load,
    measure::{cpu_ns, map_bytes, programs, wakeups},
    progress,
};

/// Exits a second; 0 is as many as there can be.
const RATES: [u64; 3] = [1000, 5000, 0];
/// How often that is measured at full speed, which a machine does not always have.
const TRIES: usize = 3;
/// How long each is measured, in ms.
const LENGTH: u64 = 5000;
/// Exits a second that an agent sees, and for how long, in ms.
const AGENT_RATE: u64 = 5000;
const AGENT_LENGTH: u64 = 20_000;

/// CPU of each contender's own process at each rate, healthy and with leaks, and while nothing happens.
pub(crate) fn of_everybody() -> Result<Value> {
    let mut load = Load::start(true)?;
    let mut rows = Vec::new();
    for contender in Contender::ALL.into_iter().skip(1) {
        let running = Running::start(contender, &mut load)?;
        // What was made until it was attached is over.
        thread::sleep(Duration::from_secs(2));
        let before = (cpu_ns(running.pid())?, wakeups(running.pid())?);
        thread::sleep(Duration::from_millis(LENGTH));
        let idle = cpu_ns(running.pid())? - before.0;
        let wakeups = (wakeups(running.pid())? - before.1) * 1000 / LENGTH;
        for leaks in ["healthy", "leaks"] {
            for rate in RATES {
                progress(&format!("CPU of {}: {leaks}, {rate} exits a second", contender.name()));
                let (mut exits, mut cpu) = (Vec::new(), Vec::new());
                for _ in 0..if rate == 0 { TRIES } else { 1 } {
                    let before = cpu_ns(running.pid())?;
                    let did = load.run(&format!("storm {rate} {leaks} {LENGTH}"))?;
                    // What a tool still has to do of it counts too.
                    thread::sleep(Duration::from_secs(1));
                    let used = cpu_ns(running.pid())? - before;
                    load.run("end")?;
                    exits.push(did.made as f64 / did.took.as_secs_f64());
                    cpu.push(used as f64 / did.took.as_nanos() as f64 * 100.0);
                }
                rows.push(json!({
                    "contender": contender.name(),
                    "leaks": leaks == "leaks",
                    "wanted_rate": rate,
                    "exits_per_second": median(exits),
                    "cpu_percent": median(cpu),
                    "output_bytes": fs::metadata(running.output())?.len(),
                }));
            }
        }
        rows.push(json!({
            "contender": contender.name(),
            "idle": true,
            "cpu_percent": idle as f64 / (LENGTH as f64 * 1e6) * 100.0,
            "wakeups_per_second": wakeups,
            "resident_kib": resident_kib(running.pid())?,
        }));
        running.stop()?;
    }
    Ok(Value::Array(rows))
}

/// CPU of an agent with every kind of sink on, whose host is healthy.
pub(crate) fn of_agent() -> Result<Value> {
    progress(&format!("CPU of an agent with every sink: healthy, {AGENT_RATE} exits a second"));
    let mut load = Load::start(true)?;
    let agent = QuietAgent::start()?;
    let before = cpu_ns(agent.pid())?;
    let did = load.run(&format!("storm {AGENT_RATE} healthy {AGENT_LENGTH}"))?;
    let used = cpu_ns(agent.pid())? - before;
    let memory = resident_kib(agent.pid())?;
    agent.stop()?;
    Ok(json!({
        "wanted_rate": AGENT_RATE,
        "exits_per_second": did.made as f64 / did.took.as_secs_f64(),
        "cpu_percent": used as f64 / did.took.as_nanos() as f64 * 100.0,
        "resident_kib": memory,
    }))
}

/// What each program of `supervisor` takes a run, while healthy processes come and go.
pub(crate) fn of_hooks() -> Result<Value> {
    progress("ns of each hook");
    let mut load = Load::start(true)?;
    let running = Running::start(Contender::Supervisor, &mut load)?;
    let stats = enable_stats(Stats::RunTime)?;
    load.run("exec 2000")?;
    load.run("vfork 100000")?;
    // Frees come an RCU grace period later.
    thread::sleep(Duration::from_secs(1));
    let programs = programs(running.pid())?;
    drop(stats);
    running.stop()?;
    let mut hooks: Vec<&str> = VERIFIED_AT_MOST.iter().map(|(hook, _)| *hook).collect();
    let mut rows = Vec::new();
    for (name, runs, ns) in programs {
        let hook = hooks.iter().position(|hook| hook.starts_with(&name)).map(|at| hooks.remove(at));
        if runs > 0 {
            let program = hook.unwrap_or(&name);
            rows.push(json!({"program": program, "runs": runs, "ns_per_run": ns as f64 / runs as f64}));
        }
    }
    Ok(Value::Array(rows))
}

/// What the kernel has given to the maps, and what `doctor` says of them.
pub(crate) fn kernel_memory() -> Result<Value> {
    let mut load = Load::start(true)?;
    let running = Running::start(Contender::Supervisor, &mut load)?;
    let bytes = map_bytes(running.pid())?;
    running.stop()?;
    let doctor = Command::new(supervisor_bin()?).arg("doctor").output()?;
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    let told = text.split_once("kernel maps at most ").and_then(|(_, rest)| rest.split_once(" MiB"));
    let told: u64 = told.context("doctor does not tell the maps' size")?.0.parse()?;
    Ok(json!({"map_bytes": bytes, "doctor_mib": told}))
}
