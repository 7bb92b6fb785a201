//! Tests of another user's processes that try to block their reader. All other zombies are reported on time meanwhile.

use std::{
    fs,
    os::unix::fs::symlink,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::mount::{UnmountFlags, unmount};
use supervisor_lab::{Lines, Owned};
use supervisor_tests::{Besieged, Den, END, Event, ON_TIME, Watch, events_of, fixture, supervisor_bin};

/// Bystanders, one after the other.
const BYSTANDERS: usize = 3;

fn den() -> Result<Den> {
    Den::new(env!("CARGO_BIN_EXE_fixture"))
}

/// Fails unless an event reports that the reaper has locked its memory.
fn tells_of_lock(event: &Event) -> Result<()> {
    ensure!(event.get("supervisor.reaper.memory_locked").is_some(), "it does not tell: {}", event.0);
    let evidence = event.get("supervisor.evidence").map(ToString::to_string).unwrap_or_default();
    ensure!(evidence.contains("its memory map is locked"), "no evidence: {evidence}");
    Ok(())
}

/// An older watch of another test would know the attackers' programs, so that no reader would have to read them.
mod alone {
    use super::*;

    #[test]
    fn a_run_reports_others_on_time_while_processes_lock_their_memory() -> Result<()> {
        let den = den()?;
        let (_before, zombie) = den.locks_memory()?;
        let agent = Besieged::start()?;
        tells_of_lock(&agent.reports(zombie, ON_TIME)?)?;
        for _ in 0..BYSTANDERS {
            let (_another, another) = den.locks_memory()?;
            den.bystander(ON_TIME, |pid, within| agent.reports(pid, within))?;
            agent.reports(another, ON_TIME).ok();
            agent.is_healthy()?;
        }
        let metrics = agent.metrics()?;
        let late =
            metrics.lines().find_map(|line| line.strip_prefix("supervisor_reads_lost_total{kind=\"late\"} "));
        ensure!(late.is_some_and(|count| count != "0"), "no read was counted as late: {metrics}");
        agent.ends_on_time()
    }

    #[test]
    fn a_watch_reports_others_on_time_while_processes_lock_their_memory() -> Result<()> {
        let den = den()?;
        let (_before, zombie) = den.locks_memory()?;
        let mut watch = Watch::start(&[])?;
        tells_of_lock(&watch.wait_for("the attacker's", |event| event.says("zombie-existing", zombie))?)?;
        for _ in 0..BYSTANDERS {
            let (_another, _zombie) = den.locks_memory()?;
            den.bystander(ON_TIME, |pid, _| {
                watch.wait_for("a bystander's", |event| event.says("zombie-detected", pid))
            })?;
        }
        let asked = Instant::now();
        let outcome = watch.stop()?;
        ensure!(asked.elapsed() < END, "its end took {:?}", asked.elapsed());
        ensure!(
            outcome.events.iter().any(|event| event.get("supervisor.loss.reads").is_some()),
            "that a read was late is not told"
        );
        Ok(())
    }
}

#[test]
fn ps_and_explain_end_while_processes_lock_their_memory() -> Result<()> {
    let den = den()?;
    let (attacker, zombie) = den.locks_memory()?;
    let mut fixture = fixture!("never-wait", "1")?;
    let other = fixture.fact("zombie")?.pid("pid")?;
    let listed = ended(&["ps", "-o", "json", "--grace", "1s"])?;
    let events = events_of(&listed)?;
    for pid in [zombie, other] {
        let found = events.iter().find(|event| event.says("zombie-existing", pid));
        let found = found.with_context(|| format!("{pid} is not listed: {listed}"))?;
        // If a running agent has seen its exec, the arguments are known from there.
        if pid == zombie && found.text("supervisor.hooks")? == "iter" {
            tells_of_lock(found)?;
        }
    }
    for pid in [zombie, attacker.pid()] {
        let told = ended(&["explain", &pid.to_string(), "-o", "json"])?;
        let event = events_of(&told)?.pop().with_context(|| format!("nothing is told of {pid}"))?;
        if event.text("supervisor.hooks")? == "iter" {
            ensure!(told.contains("its memory map is locked"), "{told}");
        }
    }
    fixture.send("reap")?;
    fixture.fact("reaped")?;
    fixture.end()
}

/// The output of a command that must end by itself soon.
fn ended(args: &[&str]) -> Result<String> {
    let mut command = Command::new(supervisor_bin()?);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = Owned::start(&mut command)?;
    let lines = Lines::of(process.child().stdout.take().context("it has no pipe")?);
    let mut printed = String::new();
    while let Some(line) = lines.next(&format!("{args:?} to end"), Duration::from_secs(15))? {
        printed.push_str(&line);
        printed.push('\n');
    }
    process.end(END)?;
    Ok(printed)
}

/// A directory with a mount that is removed when this is dropped.
struct Mounted(String);

impl Drop for Mounted {
    fn drop(&mut self) {
        // This fails only if nothing was mounted.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn a_reader_that_cannot_be_killed_holds_up_neither_reports_nor_the_end() -> Result<()> {
    let den = den()?;
    let mounted = Mounted(den.path("mounted")?);
    fs::create_dir(&mounted.0)?;
    let files = fixture!("dead-files", &mounted.0)?;
    files.fact("mounted")?;
    let agent = Besieged::start()?;
    let runc = den.path("runc")?;
    symlink("/bin/false", &runc)?;
    let bundle = format!("{}/bundle", mounted.0);
    let runtime = fixture!("spawns", &runc, "create", "--bundle", &bundle, "a-container")?;
    agent.reports(runtime.fact("zombie")?.pid("pid")?, ON_TIME)?;
    den.bystander(ON_TIME, |pid, within| agent.reports(pid, within))?;
    agent.is_healthy()?;
    let metrics = agent.metrics()?;
    ensure!(metrics.contains("\nsupervisor_readers_stuck 1\n"), "its reader is not stuck: {metrics}");
    agent.ends_on_time()?;
    files.end()
}

#[test]
fn many_threads_and_many_members_of_a_namespace_delay_nobody() -> Result<()> {
    let den = den()?;
    let agent = Besieged::start()?;
    let mut watch = Watch::start(&[])?;
    den.bystander(ON_TIME, |pid, within| agent.reports(pid, within))?;
    let crowd = den.attack(&["crowd", "800", "400"])?;
    let init = crowd.fact("crowd")?.pid("init")?;
    let made = Instant::now();
    let blocked = loop {
        let left = ON_TIME.checked_sub(made.elapsed()).context("the crowd was not reported on time")?;
        if let Some(event) = agent.agent.event(left)?
            && event.says("namespace-blocked", init)
        {
            break event;
        }
    };
    // All that hold it are counted, and four are named.
    let named = blocked.list("supervisor.blockers")?.len() as u64;
    assert_eq!((named, blocked.number("supervisor.blockers_left_out")?), (4, 396));
    watch.wait_for("the crowd", |event| event.says("namespace-blocked", init))?;
    for _ in 0..BYSTANDERS {
        den.bystander(ON_TIME, |pid, within| agent.reports(pid, within))?;
        agent.is_healthy()?;
        den.bystander(ON_TIME, |pid, _| {
            watch.wait_for("a bystander's", |event| event.says("zombie-detected", pid))
        })?;
    }
    let listed = ended(&["ps", "-o", "json"])?;
    ensure!(events_of(&listed)?.iter().any(|event| event.says("namespace-blocked", init)), "{listed}");
    crowd.end()?;
    watch.stop()?;
    agent.ends_on_time()
}
