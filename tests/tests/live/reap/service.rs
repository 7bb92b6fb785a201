//! Tests of `[reap]` of an agent: it frees zombies, reports, changes its configuration, and ends at once.

use std::{
    process,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use supervisor_lab::{until, zombies_of};
use supervisor_tests::{Agent, WAIT_LIMIT, child_of, fixture, signal};

/// The name of this test's own processes. The agents inspect only these.
fn name(test: &str) -> String {
    format!("{test}{}", process::id())
}

fn config(name: &str, reap: &str) -> String {
    format!("[filter]\ncomm = \"{name}\"\n[reap]\n{reap}\n[sinks.out.stdout]\n")
}

const QUICK: &str = "enabled = true\nevery = \"1s\"\nmin_age = \"2s\"";

#[test]
fn it_frees_what_leaks_reports_who_was_stopped_and_stops_when_it_is_told_to() -> Result<()> {
    let name = name("leaks");
    let mut agent = Agent::start(&config(&name, QUICK))?;
    let mut monitor = fixture!("leaks", &name, "200")?;
    monitor.fact("ready")?;
    let freed = agent.wait_for("a zombie to be freed", |event| event.action() == "reap-requested")?;
    assert_eq!(freed.text("event.outcome")?, "success", "{}", freed.0);
    assert_eq!(freed.text("supervisor.reap.outcome")?, "freed");
    assert_eq!(freed.text("supervisor.reap.decision")?, "reap");
    assert_eq!(freed.text("supervisor.reap.requested_by.kind")?, "service");
    assert_eq!(freed.pid("supervisor.reap.requested_by.pid")?, agent.pid());
    assert_eq!(freed.pid("supervisor.reap.reaper.pid")?, monitor.pid());
    assert_eq!(freed.pid("process.parent.pid")?, monitor.pid());
    ensure!(!freed.flag("supervisor.reap.nudged")?, "it handles no SIGCHLD");
    let stopped = freed.number("supervisor.reap.stopped_us")?;
    ensure!(stopped > 0, "it was stopped for {stopped} us");

    agent.reconfigure(&config(&name, "enabled = false"))?;
    agent.hears("supervisor: goes on with the new configuration")?;
    let more = zombies_of(monitor.pid())?.len() + 20;
    until("zombies to stay", WAIT_LIMIT, || Ok((zombies_of(monitor.pid())?.len() >= more).then_some(())))?;
    agent.reconfigure(&config(&name, QUICK))?;
    agent.hears("supervisor: goes on with the new configuration")?;
    monitor.send("stop")?;
    monitor.fact("leaked")?;
    until("all to be freed", WAIT_LIMIT, || Ok(zombies_of(monitor.pid())?.is_empty().then_some(())))?;
    monitor.end()?;
    agent.stop().map(drop)
}

#[test]
fn it_frees_nothing_unless_it_was_enabled_at_the_start() -> Result<()> {
    let name = name("never");
    let mut agent = Agent::start(&config(&name, ""))?;
    agent.reconfigure(&config(&name, QUICK))?;
    let fixed = agent.hears("supervisor: from the next start on: ")?;
    assert_eq!(fixed, "reap");
    agent.stop().map(drop)
}

/// A worker that does not run stands for a worker whose reaper blocks it in the kernel.
#[test]
fn sigterm_ends_the_agent_at_once_although_a_worker_does_not_answer() -> Result<()> {
    let name = name("nudge");
    let agent = Agent::start(&config(&name, QUICK))?;
    // The SIGCHLD that comes first gives its handler a second: long enough to find the worker.
    let mut monitor = fixture!("leaks", &name, "200", "handles")?;
    monitor.fact("ready")?;
    let worker = child_of(agent.pid(), "a worker", |it| it.comm == "supervisor-reap")?.pid;
    signal(worker, Signal::STOP)?;
    let start = Instant::now();
    agent.stop()?;
    let lasted = start.elapsed();
    // The limit is two seconds, and two more for a busy machine.
    ensure!(lasted < Duration::from_secs(4), "it took {lasted:?}");
    until("the worker to end", WAIT_LIMIT, || {
        Ok((!std::path::Path::new(&format!("/proc/{worker}")).exists()).then_some(()))
    })?;

    // The monitor goes on as before.
    let status = std::fs::read_to_string(format!("/proc/{}/status", monitor.pid()))?;
    ensure!(status.contains("\nTracerPid:\t0\n"), "{status}");
    monitor.send("stop")?;
    monitor.fact("leaked")?;
    monitor.end()
}

#[test]
fn a_reaper_with_a_handler_gets_sigchld_first() -> Result<()> {
    let name = name("handler");
    let agent = Agent::start(&config(&name, QUICK))?;
    let mut monitor = fixture!("leaks", &name, "500", "handles")?;
    monitor.fact("ready")?;
    let freed = agent.wait_for("a zombie to be freed", |event| event.action() == "reap-requested")?;
    ensure!(freed.flag("supervisor.reap.nudged")?, "{}", freed.0);
    assert_eq!(freed.text("supervisor.reap.outcome")?, "freed");
    monitor.send("stop")?;
    monitor.fact("leaked")?;
    monitor.end()?;
    agent.stop().map(drop)
}
