//! Tests `[reap]` against leaking pods, beside parents that wait late for their children: no leaked zombie stays longer
//! than its minimum age and a period, and no parent loses a child.
//!
//! `SUPERVISOR_SOAK_SECONDS` sets the length, as `cargo xtask soak` does. From two minutes on, the agents have the
//! default period and age.

use std::{
    collections::HashSet,
    process,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use jiff::Timestamp;
use supervisor_lab::{ExitState, Lab, Monitor, PidNs, Pod, Runtime, create, until, zombies_of};
use supervisor_tests::{Agent, Event, Fixture, WAIT_LIMIT, fixture, setting, supervisor_bin};

const LENGTH: Duration = Duration::from_secs(30);
/// From this length on, the defaults of the configuration are used.
const LONG: Duration = Duration::from_mins(2);
/// A verdict needs this: the waits of a reaper must have been watched for ten seconds.
const VERDICT: Duration = Duration::from_secs(10);
/// Additional time for a busy machine, on which an agent comes to its rounds late.
const SLACK: Duration = Duration::from_secs(30);

struct Times {
    every: Duration,
    min_age: Duration,
}

impl Times {
    fn of(length: Duration) -> Self {
        let (every, min_age) = if length < LONG { (2, 3) } else { (30, 60) };
        Self { every: Duration::from_secs(every), min_age: Duration::from_secs(min_age) }
    }

    fn agent(&self, filter: &str) -> Result<Agent> {
        let (every, min_age) = (self.every.as_secs(), self.min_age.as_secs());
        Agent::start(&format!(
            "[filter]\n{filter}\n[reap]\nenabled = true\nevery = \"{every}s\"\nmin_age = \"{min_age}s\"\n\
             per_reaper = 1000\n[flood]\nper_reaper = 0\n[sinks.out.stdout]\n"
        ))
    }

    /// How long a zombie may stay.
    fn longest(&self) -> Duration {
        self.min_age.max(VERDICT) + self.every + SLACK
    }

    /// A time longer than the minimum age, so that only the decision protects a child.
    fn long_hold(&self) -> String {
        (self.min_age.as_millis() * 2).to_string()
    }

    /// An adopted child for which no process has waited yet cannot later be distinguished from a leaked one.
    fn short_hold(&self) -> String {
        (self.min_age.as_millis() * 2 / 3).to_string()
    }
}

/// Fails if a zombie of these reapers was freed too late, or could not be freed. A reaper that does not get a processor in
/// time is tried again. Returns how many zombies the agent has freed.
fn judge(events: &[Event], reapers: &[u32], longest: Duration) -> Result<usize> {
    let mut freed = HashSet::new();
    let mut most = 0;
    let is_ours = |event: &&Event| reapers.iter().any(|reaper| event.is_under(*reaper));
    for event in events.iter().filter(is_ours).filter(|event| event.action() == "reap-requested") {
        if event.text("event.outcome")? == "failure" {
            ensure!(event.text("event.reason")?.contains("did not stop within"), "{}", event.0);
            continue;
        }
        assert_eq!(event.text("event.outcome")?, "success", "{}", event.0);
        let zombie = (event.pid("process.pid")?, event.text("process.start")?);
        ensure!(freed.insert(zombie), "it was freed twice: {}", event.0);
        // This is reported after it was freed. It is not certain that the hook saw the reap: a kernel can leave out
        // hooks.
        let time =
            |name: &str| -> Result<i128> { Ok(event.text(name)?.parse::<Timestamp>()?.as_nanosecond()) };
        let stayed = u64::try_from(time("@timestamp")? - time("process.end")?)?;
        ensure!(stayed <= longest.as_nanos() as u64, "it stayed {stayed} ns: {}", event.0);
        most = most.max(stayed);
    }
    let freed = freed.len();
    println!("{freed} freed, the longest stayed {:?} of {longest:?}", Duration::from_nanos(most));
    Ok(freed)
}

/// All events of an agent, which is ended once it has reported nothing for a second.
fn events_of(agent: Agent) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    while let Some(event) = agent.event(Duration::from_secs(1))? {
        events.push(event);
    }
    agent.stop()?;
    Ok(events)
}

/// How many of these are left, and the last event about the first of them.
fn last_said_of(left: &[u32], events: &[Event]) -> String {
    let first = left.first().copied().unwrap_or_default();
    let last = events.iter().rev().find(|event| event.is_about(first));
    format!("{} are left; last said of {first}: {:?}", left.len(), last.map(|event| event.0.to_string()))
}

fn told_to_stop(parts: Vec<Fixture>, fact: &str) -> Result<u64> {
    let mut count = 0;
    for mut part in parts {
        part.send("stop")?;
        count += part.fact(fact)?.number("count")?;
        part.end()?;
    }
    Ok(count)
}

#[test]
fn no_leaked_zombie_stays_and_nobody_loses_a_child() -> Result<()> {
    let length = setting("SUPERVISOR_SOAK_SECONDS")?.map_or(LENGTH, Duration::from_secs);
    let times = Times::of(length);
    let name = format!("reaped{}", process::id());
    let agent = times.agent(&format!("comm = \"{name}\""))?;
    let monitors = [fixture!("leaks", &name, "300")?, fixture!("leaks", &name, "700", "handles")?];
    let parents = vec![
        fixture!("waits-for-each", &name, "by-pid", &times.long_hold())?,
        fixture!("waits-for-each", &name, "any", &times.long_hold())?,
        fixture!("waits-for-each", &name, "adopted", &times.short_hold())?,
    ];
    for part in monitors.iter().chain(&parents) {
        part.fact("ready")?;
    }
    pods_end_and_their_monitor_works_on(&times, length)?;

    let waited = told_to_stop(parents, "waited")?;
    let reapers = [monitors[0].pid(), monitors[1].pid()];
    let mut leaked = 0;
    for mut monitor in monitors {
        monitor.send("stop")?;
        leaked += monitor.fact("leaked")?.number("count")?;
        let pid = monitor.pid();
        let are_freed = until("its zombies to be freed", times.longest().max(WAIT_LIMIT), || {
            Ok(zombies_of(pid)?.is_empty().then_some(()))
        });
        if let Err(error) = are_freed {
            let left: Vec<u32> = zombies_of(pid)?.iter().map(|zombie| zombie.pid).collect();
            return Err(error.context(last_said_of(&left, &events_of(agent)?)));
        }
        monitor.end()?;
    }
    let freed = judge(&events_of(agent)?, &reapers, times.longest())?;
    println!("{leaked} leaked, {waited} children waited for");
    ensure!(freed as u64 == leaked, "{freed} of {leaked} were freed by the agent");
    Ok(())
}

/// Pods of one monitor. Each has a container that cannot start and an agent that frees the zombie of that.
fn pods_end_and_their_monitor_works_on(times: &Times, length: Duration) -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    let mut monitor = Monitor::start(&lab)?;
    let agent = times.agent(&format!("reaper = {}", monitor.pid()))?;
    let start = Instant::now();
    let mut pods = 0;
    while pods < 2 || start.elapsed() < length {
        let pod = Pod::start(&lab)?;
        let created = create(&lab, &mut monitor, Runtime::Crun, PidNs::Joined(&pod))?;
        ensure!(created.exit == ExitState::Code(1), "{}", created.log);
        pod.kill()?;
        until("the pod to end", times.longest().max(WAIT_LIMIT), || Ok(pod.is_gone().then_some(())))?;
        pods += 1;
    }
    // The monitor waits for its next runtime as before.
    let next = create(&lab, &mut monitor, Runtime::Runc, PidNs::Own)?;
    ensure!(next.exit == ExitState::Code(1), "{}", next.log);
    ensure!(monitor.reap()?.is_empty(), "nothing is left to reap");
    let freed = judge(&events_of(agent)?, &[monitor.pid()], times.longest())?;
    ensure!(freed >= pods, "{freed} zombies of {pods} pods were freed");
    Ok(())
}
