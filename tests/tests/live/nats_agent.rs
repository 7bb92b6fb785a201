//! Tests `supervisor run` with a NATS sink: 10,000 events, while the broker is killed twice and the agent once.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use supervisor_lab::until;
use supervisor_tests::{Agent, Broker, Event, Fixture, Stored, WAIT_LIMIT, fixture};
use tempfile::TempDir;

const BATCHES: usize = 10;
const ZOMBIES: usize = 500;

fn config(url: &str) -> String {
    format!(
        r#"
grace = "300ms"
cluster = "lab"
[host]
name = "node-1"
[flood]
per_reaper = 0
[sinks.out]
policy = "block"
stdout = {{}}
[sinks.siem]
policy = "spool"
nats = {{ servers = ["{url}"], ack_timeout = "2s", heartbeat = "1s" }}
"#
    )
}

/// The pids of a reaper and of its child. During this test, another test's zombie can have the same pid, but not the
/// same reaper.
type Child = (u32, u32);

fn child(event: &Event) -> Result<Child> {
    Ok((event.pid("process.parent.pid").unwrap_or_default(), event.pid("process.pid")?))
}

/// The events of the agent, in both of its lives.
struct Told {
    agent: Agent,
    opened: HashSet<Child>,
    closed: HashSet<Child>,
}

impl Told {
    fn take(&mut self, event: &Event) -> Result<()> {
        match event.action() {
            "zombie-detected" | "zombie-existing" => self.opened.insert(child(event)?),
            "zombie-reaped" => self.closed.insert(child(event)?),
            _ => true,
        };
        Ok(())
    }

    /// Reads on until this many of these processes are opened, or closed.
    fn until(&mut self, count: usize, children: &[Child], closed: bool) -> Result<()> {
        let deadline = Instant::now() + WAIT_LIMIT;
        loop {
            let set = if closed { &self.closed } else { &self.opened };
            let told = children.iter().filter(|child| set.contains(child)).count();
            if told >= count {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{told} of {count} were told (closed: {closed})");
            if let Some(event) = self.agent.event(Duration::from_secs(1))? {
                self.take(&event)?;
            }
        }
    }
}

/// This many zombies, and the fixture that does not reap them yet.
fn make() -> Result<(Fixture, Vec<Child>)> {
    let fixture = fixture!("never-wait", &ZOMBIES.to_string())?;
    let zombie = || Ok((fixture.pid(), fixture.fact("zombie")?.pid("pid")?));
    let children = (0..ZOMBIES).map(|_| zombie()).collect::<Result<_>>()?;
    Ok((fixture, children))
}

fn reap(mut fixture: Fixture) -> Result<()> {
    fixture.send("reap")?;
    fixture.fact("reaped")?;
    fixture.end()
}

#[test]
fn ten_thousand_events_survive_two_deaths_of_the_broker_and_one_of_the_agent() -> Result<()> {
    let dir = TempDir::new()?;
    let mut broker = Broker::start()?;
    let config = config(&broker.url());
    let started = Instant::now();
    let mut told =
        Told { agent: Agent::start_in(dir.path(), &config)?, opened: HashSet::new(), closed: HashSet::new() };
    let mut all = Vec::new();
    for batch in 0..BATCHES {
        // The broker is away for a whole batch, and is killed in the middle of one.
        if batch == 2 {
            broker.kill()?;
        }
        let (fixture, children) = make()?;
        if batch == 5 {
            told.until(ZOMBIES / 2, &children, false)?;
            told.agent.kill()?;
            println!("killed after {:?}", started.elapsed());
            told.agent = Agent::start_in(dir.path(), &config)?;
        }
        if batch == 7 {
            told.until(ZOMBIES / 3, &children, false)?;
            broker.kill()?;
            told.until(ZOMBIES / 2, &children, false)?;
            broker.restart()?;
        }
        told.until(ZOMBIES, &children, false)?;
        reap(fixture)?;
        told.until(ZOMBIES, &children, true)?;
        broker.restart()?;
        all.extend(children);
    }
    println!("all told after {:?}", started.elapsed());

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let deadline = Instant::now() + WAIT_LIMIT;
    let mut found = check(&runtime.block_on(broker.stored("SUPERVISOR"))?, &all);
    while found.is_err() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_secs(1));
        found = check(&runtime.block_on(broker.stored("SUPERVISOR"))?, &all);
    }
    println!("{} after {:?}", found?, started.elapsed());

    // None of these findings is open any more, once the bucket has all changes of the stream.
    let stored = runtime.block_on(broker.stored("SUPERVISOR"))?;
    let mut closed: HashSet<String> =
        ids(&stored, &all)?.into_values().map(|id| format!("lab.node-1.{id}")).collect();
    let forgotten = until("the bucket to forget all of them, and to have a heartbeat", WAIT_LIMIT, || {
        let heartbeat = "lab.node-1".to_owned();
        let asked = closed.iter().cloned().chain([heartbeat.clone()]);
        let mut kept = runtime.block_on(broker.kept("supervisor-findings", asked))?;
        let has_heartbeat = kept.remove(&heartbeat);
        closed = kept;
        Ok((closed.is_empty() && has_heartbeat).then_some(()))
    });
    forgotten.or_else(|error| {
        let keys = runtime.block_on(broker.keys("supervisor-findings"))?;
        let messages = told.agent.stop()?.join("\n");
        bail!(
            "{error:#}: {} are still in the bucket; it has {keys:?}; the agent says:\n{messages}",
            closed.len()
        )
    })
}

/// The finding of each of these processes.
fn ids(stored: &[Stored], children: &[Child]) -> Result<BTreeMap<Child, String>> {
    let wanted: HashSet<Child> = children.iter().copied().collect();
    let mut ids = BTreeMap::new();
    for it in stored {
        let event = Event(it.payload.clone());
        if !matches!(event.action(), "zombie-detected" | "zombie-existing") {
            continue;
        }
        let child = child(&event)?;
        if wanted.contains(&child) {
            ids.insert(child, event.text("supervisor.finding.id")?.to_owned());
        }
    }
    Ok(ids)
}

/// Checks that each process was opened and then closed. Returns a summary.
fn check(stored: &[Stored], children: &[Child]) -> Result<String> {
    // A receiver does the same: the first event of each id counts.
    let mut seen = HashSet::new();
    let unique: Vec<&Stored> = stored.iter().filter(|it| seen.insert(&it.id)).collect();
    let ids = ids(stored, children)?;
    let missing = children.iter().filter(|child| !ids.contains_key(child)).count();
    ensure!(missing == 0, "{missing} of {} were never opened", children.len());
    let mut states: HashMap<&str, Vec<&str>> = HashMap::new();
    for it in &unique {
        if let Some(id) = it.payload.pointer("/supervisor/finding/id").and_then(|id| id.as_str()) {
            let state = it.payload.pointer("/supervisor/finding/state").and_then(|state| state.as_str());
            states.entry(id).or_default().push(state.context("no state")?);
        }
    }
    for ((_, pid), id) in &ids {
        match states.get(id.as_str()).map_or(&[][..], Vec::as_slice) {
            ["open", updates @ .., "closed"] if updates.iter().all(|it| *it == "updated") => {}
            other => bail!("finding {id} of process {pid} is {other:?}"),
        }
    }
    Ok(format!(
        "{} findings opened and closed; {} events stored, {} of them twice",
        ids.len(),
        stored.len(),
        stored.len() - unique.len()
    ))
}
