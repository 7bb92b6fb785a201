//! Processes of another user that try to hold up who reads them. Everybody else is reported on time all the while.

use std::{
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::{PermissionsExt as _, symlink},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::{
    fs::{CWD, FileType, Mode, makedev, mknodat},
    mount::{UnmountFlags, unmount},
};
use supervisor_tests::{Agent, Event, Fixture, Watch, events_of, fixture, http_get, supervisor_bin};
use supervisor_user::scenario::{Lines, Owned};
use tempfile::TempDir;

/// The attacker: `nobody`.
const ATTACKER: u32 = 65_534;
/// The grace period, a second more, and the same again for a busy machine. Without a limit on reads it is for ever.
const ON_TIME: Duration = Duration::from_secs(4);
/// How long the end may take.
const END: Duration = Duration::from_secs(2);
/// Bystanders, one after the other.
const BYSTANDERS: usize = 3;

/// A folder that the attacker may enter, with the fixture, a node of `/dev/fuse`, and a file to mount over.
struct Den(TempDir);

impl Den {
    fn new() -> Result<Self> {
        let den = Self(tempfile::tempdir()?);
        fs::set_permissions(den.0.path(), Permissions::from_mode(0o755))?;
        fs::copy(env!("CARGO_BIN_EXE_fixture"), den.path("fixture")?)?;
        let device = makedev(10, 229);
        mknodat(CWD, den.path("fuse")?, FileType::CharacterDevice, Mode::from_raw_mode(0o666), device)?;
        // The umask has cut it.
        fs::set_permissions(den.path("fuse")?, Permissions::from_mode(0o666))?;
        fs::write(den.path("file")?, "")?;
        Ok(den)
    }

    fn path(&self, name: &str) -> Result<String> {
        Ok(self.0.path().join(name).to_str().context("a plain path")?.to_owned())
    }

    /// Starts the fixture as the attacker.
    fn attack(&self, args: &[&str]) -> Result<Fixture> {
        let user = ATTACKER.to_string();
        let program = self.path("fixture")?;
        let mut all = vec!["--reuid", &user, "--regid", &user, "--clear-groups", &program];
        all.extend(args);
        Fixture::start("setpriv", &all)
    }

    /// An attacker that has locked its memory map, and its zombie. It ends, and its FUSE connection with it, when this
    /// is dropped.
    fn locks_memory(&self) -> Result<(Fixture, u32)> {
        let attacker = self.attack(&["locks-memory", &self.path("fuse")?, &self.path("file")?])?;
        let zombie = attacker.fact("zombie")?.pid("pid")?;
        attacker.fact("locked")?;
        Ok((attacker, zombie))
    }
}

/// Leaves a zombie, which has to be seen on time.
fn bystander(seen: impl FnOnce(u32, Duration) -> Result<Event>) -> Result<()> {
    let mut fixture = fixture!("never-wait", "1")?;
    let zombie = fixture.fact("zombie")?.pid("pid")?;
    let made = Instant::now();
    seen(zombie, ON_TIME)?;
    ensure!(made.elapsed() < ON_TIME, "it took {:?}", made.elapsed());
    fixture.send("reap")?;
    fixture.fact("reaped")?;
    fixture.end()
}

/// Fails unless an event tells that the reaper has locked its memory.
fn tells_of_lock(event: &Event) -> Result<()> {
    ensure!(event.get("supervisor.reaper.memory_locked").is_some(), "it does not tell: {}", event.0);
    let evidence = event.get("supervisor.evidence").map(ToString::to_string).unwrap_or_default();
    ensure!(evidence.contains("its memory map is locked"), "no evidence: {evidence}");
    Ok(())
}

/// An agent with metrics, and where they are.
fn agent() -> Result<(Agent, SocketAddr)> {
    let mut agent = Agent::start("[metrics]\nlisten = \"127.0.0.1:0\"\n[sinks.out.stdout]\n")?;
    let target = agent.hears("metrics are at http://")?;
    let target = target.strip_suffix("/metrics").context("no address")?.parse()?;
    Ok((agent, target))
}

fn is_healthy(target: SocketAddr) -> Result<()> {
    let (head, _) = http_get(target, "/healthz", "*/*")?;
    ensure!(head.starts_with("HTTP/1.0 200"), "it is not healthy: {head}");
    Ok(())
}

/// Waits on an agent for a zombie.
fn of(agent: &Agent, pid: u32, within: Duration) -> Result<Event> {
    let deadline = Instant::now() + within;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        if let Some(event) = agent.event(left)?
            && (event.says("zombie-detected", pid) || event.says("zombie-existing", pid))
        {
            return Ok(event);
        }
    }
    anyhow::bail!("pid {pid} was not reported within {within:?}")
}

/// Ends an agent.
fn ends_on_time(agent: Agent) -> Result<()> {
    let asked = Instant::now();
    agent.stop()?;
    ensure!(asked.elapsed() < END, "its end took {:?}", asked.elapsed());
    Ok(())
}

#[test]
fn a_run_reports_others_on_time_while_processes_lock_their_memory() -> Result<()> {
    let den = Den::new()?;
    let (_before, zombie) = den.locks_memory()?;
    let (agent, target) = agent()?;
    tells_of_lock(&of(&agent, zombie, ON_TIME)?)?;
    for _ in 0..BYSTANDERS {
        let (_another, another) = den.locks_memory()?;
        bystander(|pid, within| of(&agent, pid, within))?;
        of(&agent, another, ON_TIME).ok();
        is_healthy(target)?;
    }
    let (_, metrics) = http_get(target, "/metrics", "*/*")?;
    let late =
        metrics.lines().find_map(|line| line.strip_prefix("supervisor_reads_lost_total{kind=\"late\"} "));
    ensure!(late.is_some_and(|count| count != "0"), "no read was counted as late: {metrics}");
    ends_on_time(agent)
}

#[test]
fn a_watch_reports_others_on_time_while_processes_lock_their_memory() -> Result<()> {
    let den = Den::new()?;
    let (_before, zombie) = den.locks_memory()?;
    let mut watch = Watch::start(&[])?;
    tells_of_lock(&watch.wait_for("the attacker's", |event| event.says("zombie-existing", zombie))?)?;
    for _ in 0..BYSTANDERS {
        let (_another, _zombie) = den.locks_memory()?;
        bystander(|pid, _| watch.wait_for("a bystander's", |event| event.says("zombie-detected", pid)))?;
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

#[test]
fn ps_and_explain_end_while_processes_lock_their_memory() -> Result<()> {
    let den = Den::new()?;
    let (attacker, zombie) = den.locks_memory()?;
    let mut fixture = fixture!("never-wait", "1")?;
    let other = fixture.fact("zombie")?.pid("pid")?;
    let listed = ended(&["ps", "-o", "json", "--grace", "1s"])?;
    let events = events_of(&listed)?;
    for pid in [zombie, other] {
        let found = events.iter().find(|event| event.says("zombie-existing", pid));
        let found = found.with_context(|| format!("{pid} is not listed: {listed}"))?;
        // Where an agent runs that has seen its exec, its arguments are known from there.
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

/// What a command prints that has to end by itself soon.
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

/// A directory with a mount that is taken away when this is dropped.
struct Mounted(String);

impl Drop for Mounted {
    fn drop(&mut self) {
        // It fails only if nothing was mounted.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn a_reader_that_cannot_be_killed_holds_up_neither_reports_nor_the_end() -> Result<()> {
    let den = Den::new()?;
    let mounted = Mounted(den.path("mounted")?);
    fs::create_dir(&mounted.0)?;
    let files = fixture!("dead-files", &mounted.0)?;
    files.fact("mounted")?;
    let (agent, target) = agent()?;
    let runc = den.path("runc")?;
    symlink("/bin/false", &runc)?;
    let bundle = format!("{}/bundle", mounted.0);
    let runtime = fixture!("spawns", &runc, "create", "--bundle", &bundle, "a-container")?;
    of(&agent, runtime.fact("zombie")?.pid("pid")?, ON_TIME)?;
    bystander(|pid, within| of(&agent, pid, within))?;
    is_healthy(target)?;
    let (_, metrics) = http_get(target, "/metrics", "*/*")?;
    ensure!(metrics.contains("\nsupervisor_readers_stuck 1\n"), "its reader is not stuck: {metrics}");
    ends_on_time(agent)?;
    files.end()
}

#[test]
fn many_threads_and_many_members_of_a_namespace_delay_nobody() -> Result<()> {
    let den = Den::new()?;
    let (agent, target) = agent()?;
    bystander(|pid, within| of(&agent, pid, within))?;
    let crowd = den.attack(&["crowd", "800", "400"])?;
    let init = crowd.fact("crowd")?.pid("init")?;
    let made = Instant::now();
    let blocked = loop {
        let left = ON_TIME.checked_sub(made.elapsed()).context("the crowd was not reported on time")?;
        if let Some(event) = agent.event(left)?
            && event.says("namespace-blocked", init)
        {
            break event;
        }
    };
    let holders = blocked.get("supervisor.blockers").and_then(|it| it.as_array()).map_or(0, Vec::len);
    assert_eq!(holders, 400, "all that hold it are told");
    for _ in 0..BYSTANDERS {
        bystander(|pid, within| of(&agent, pid, within))?;
        is_healthy(target)?;
    }
    crowd.end()?;
    ends_on_time(agent)
}
