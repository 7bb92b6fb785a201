//! Tests of an agent with all local sinks at once, and of one whose sinks all have trouble.

use std::{
    collections::BTreeSet,
    ffi::CString,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::{SocketAddr, TcpListener},
    os::unix::net::{UnixDatagram, UnixStream},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use supervisor_lab::until;
use supervisor_tests::{
    Agent, Event, Fixture, WAIT_LIMIT, events_in, http_get, octet_counted, of_process, resident_kib,
};
use tempfile::TempDir;

/// A fixture under its own name: the filter excludes every other process.
struct Named {
    _dir: TempDir,
    program: PathBuf,
    name: String,
}

impl Named {
    fn new(name: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let name = format!("{name}-{}", std::process::id());
        let program = dir.path().join(&name);
        supervisor_lab::copy_program(env!("CARGO_BIN_EXE_fixture"), &program)?;
        Ok(Self { _dir: dir, program, name })
    }

    /// Children for which the fixture does not wait until it gets the request.
    fn zombies(&self, count: usize) -> Result<(Fixture, BTreeSet<u32>)> {
        let program = self.program.to_str().context("a plain path")?;
        let fixture = Fixture::start(program, &["never-wait", &count.to_string()])?;
        let pids = (0..count).map(|_| fixture.fact("zombie")?.pid("pid")).collect::<Result<_>>()?;
        Ok((fixture, pids))
    }
}

/// The events of a file of lines. Each line must be whole.
fn lines(path: &Path) -> Result<Vec<Event>> {
    let text = fs::read_to_string(path)?;
    ensure!(text.is_empty() || text.ends_with('\n'), "{} ends within a line", path.display());
    let event =
        |line| serde_json::from_str(line).map(Event).with_context(|| format!("a broken line: {line}"));
    text.lines().map(event).collect()
}

/// The datagrams that a socket receives, up to this event.
fn datagrams(socket: &UnixDatagram, action: &str, pid: u32) -> Result<Vec<(String, Event)>> {
    socket.set_read_timeout(Some(WAIT_LIMIT))?;
    let (mut datagram, mut seen) = (vec![0; 1 << 20], Vec::new());
    loop {
        let length = socket.recv(&mut datagram).with_context(|| format!("no {action} came"))?;
        let text = std::str::from_utf8(&datagram[..length])?.trim_end().to_owned();
        let json = text.find('{').with_context(|| format!("no JSON: {text}"))?;
        let event = Event(serde_json::from_str(&text[json..])?);
        let is_last = event.says(action, pid);
        seen.push((text, event));
        if is_last {
            return Ok(seen);
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one scenario in its order")]
fn every_local_sink_reports_the_same() -> Result<()> {
    let named = Named::new("local")?;
    let dir = tempfile::tempdir()?;
    let place = dir.path().display();
    let syslog = UnixDatagram::bind(dir.path().join("log"))?;
    let journal = UnixDatagram::bind(dir.path().join("journal"))?;
    let agent = Agent::start(&format!(
        r#"
[filter]
comm = "{}"
[sinks.file.file]
path = "{place}/events.json"
[sinks.people]
format = "text"
[sinks.people.file]
path = "{place}/events.txt"
[sinks.readers.unix]
path = "{place}/events.sock"
[sinks.syslog]
policy = "spool"
[sinks.syslog.syslog]
address = "unix:{place}/log"
[sinks.journal.journald]
socket = "{place}/journal"
"#,
        named.name
    ))?;
    let reader = UnixStream::connect(dir.path().join("events.sock"))?;
    reader.set_read_timeout(Some(WAIT_LIMIT))?;
    let (mut fixture, pids) = named.zombies(1)?;
    let pid = *pids.first().context("no zombie")?;
    let mut socket_lines = BufReader::new(reader).lines();
    let mut next =
        || -> Result<Event> { Ok(Event(serde_json::from_str(&socket_lines.next().context("the end")??)?)) };
    let mut told = Vec::new();
    while !told.last().is_some_and(|it: &Event| it.says("zombie-detected", pid)) {
        told.push(next()?);
    }
    fixture.send("reap")?;
    fixture.fact("reaped")?;
    while !told.last().is_some_and(|it| it.says("zombie-reaped", pid)) {
        told.push(next()?);
    }
    // Each also reports losses of the host, which are not part of this test.
    let is_own = |(_, event): &(String, Event)| event.is_about(pid);
    let over_syslog =
        datagrams(&syslog, "zombie-reaped", pid)?.into_iter().filter(is_own).collect::<Vec<_>>();
    let in_journal =
        datagrams(&journal, "zombie-reaped", pid)?.into_iter().filter(is_own).collect::<Vec<_>>();
    agent.stop()?;
    let told = of_process(&told, pid);
    assert_eq!(of_process(&lines(&dir.path().join("events.json"))?, pid), told);
    assert_eq!(over_syslog.iter().map(|it| &it.1).collect::<Vec<_>>(), told);
    assert_eq!(in_journal.iter().map(|it| &it.1).collect::<Vec<_>>(), told);
    let message = told[0].text("message")?;
    let entry = &in_journal[0].0;
    for field in [&format!("MESSAGE={message}\n"), "PRIORITY=4\n", "SUPERVISOR_ACTION=zombie-detected\n"] {
        ensure!(entry.contains(field), "{field} is missing in {entry}");
    }
    ensure!(over_syslog[0].0.starts_with("<28>1 "), "{}", over_syslog[0].0);
    let text = fs::read_to_string(dir.path().join("events.txt"))?;
    ensure!(text.contains("UNREAPED") && text.contains("REAPED"), "{text}");
    ensure!(!dir.path().join("events.sock").exists(), "the socket's file is left");
    Ok(())
}

/// A small file system of this test. It is unmounted when this is dropped.
struct Disk(TempDir);

impl Disk {
    fn of(size: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let data = CString::new(format!("size={size}"))?;
        mount("tmpfs", dir.path(), "tmpfs", MountFlags::NOSUID, Some(&*data))?;
        Ok(Self(dir))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = unmount(self.0.path(), UnmountFlags::DETACH);
        assert!(unmounted.is_ok() || thread::panicking(), "it stays mounted");
    }
}

/// The events on standard output until these are all detected, including those before and between them.
fn until_detected(agent: &Agent, pids: &BTreeSet<u32>) -> Result<Vec<Event>> {
    let (mut missing, mut seen) = (pids.clone(), Vec::new());
    let deadline = Instant::now() + WAIT_LIMIT;
    while !missing.is_empty() {
        ensure!(Instant::now() < deadline, "{} of {} were not told", missing.len(), pids.len());
        let Some(event) = agent.event(Duration::from_millis(200))? else { continue };
        if event.action() == "zombie-detected" {
            missing.remove(&event.pid("process.pid")?);
        }
        seen.push(event);
    }
    Ok(seen)
}

/// The data of the first connection, read as it comes: the sink hangs up on a server that accepts nothing for seconds.
fn received_by(listener: TcpListener) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || -> Option<()> {
        let (mut stream, _) = listener.accept().ok()?;
        let mut block = vec![0; 64 << 10];
        loop {
            let length = stream.read(&mut block).ok().filter(|length| *length > 0)?;
            sender.send(block[..length].to_vec()).ok()?;
        }
    });
    receiver
}

#[test]
fn a_full_disk_a_stuck_reader_and_a_dead_server_hold_up_nobody() -> Result<()> {
    const COUNT: usize = 300;
    let named = Named::new("trouble")?;
    let disk = Disk::of("64k")?;
    let file = disk.0.path().join("events.json");
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("events.sock");
    // No server listens there until later.
    let server = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut agent = Agent::start(&format!(
        r#"
[filter]
comm = "{}"
[flood]
per_reaper = 0
[metrics]
listen = "127.0.0.1:0"
[sinks.out]
policy = "block"
[sinks.out.stdout]
[sinks.file]
buffer = "64KiB"
[sinks.file.file]
path = "{}"
[sinks.readers.unix]
path = "{}"
reader_buffer = "64KiB"
[sinks.server]
policy = "spool"
[sinks.server.syslog]
address = "tcp:{server}"
"#,
        named.name,
        file.display(),
        socket.display()
    ))?;
    let metrics = agent.hears("metrics are at http://")?;
    let metrics: SocketAddr = metrics.strip_suffix("/metrics").context("no address")?.parse()?;
    let _stuck = UnixStream::connect(&socket)?;
    let before = resident_kib(agent.pid())? >> 10;
    let (mut fixture, pids) = named.zombies(COUNT)?;
    let mut told = until_detected(&agent, &pids)?;
    agent.hears("supervisor: sink file: writing")?;

    // Events for which the file system has no space are counted, and the other sinks report that.
    let deadline = Instant::now() + WAIT_LIMIT;
    while !told.iter().any(|it| it.get("supervisor.loss.sink.name").is_some_and(|name| name == "file")) {
        ensure!(Instant::now() < deadline, "the drops are not told");
        told.extend(agent.event(Duration::from_millis(200))?);
    }
    let after = resident_kib(agent.pid())? >> 10;
    ensure!(after < before + 48, "memory grew from {before} to {after} MiB");
    until("the stuck reader to be cut off", WAIT_LIMIT, || {
        let (_, body) = http_get(metrics, "/metrics", "*/*")?;
        Ok(body
            .lines()
            .any(|it| it.starts_with("supervisor_sink_readers_cut_off") && it.ends_with(" 1"))
            .then_some(()))
    })?;
    // The file holds the events for which there was space, in whole lines.
    let first = events_in(&file)?;
    ensure!((5..40).contains(&first.len()), "{} events fit", first.len());

    // There is space again, and a server: all sinks go on, without a restart.
    mount_remount(disk.0.path(), MountFlags::empty(), c"size=16m")?;
    let received = received_by(TcpListener::bind(server)?);
    agent.hears("supervisor: sink file: events are delivered again")?;
    fixture.send("reap")?;
    let (_more, more) = named.zombies(1)?;
    told.extend(until_detected(&agent, &more)?);
    let last = *more.first().context("no zombie")?;
    until("the file to go on", WAIT_LIMIT, || {
        let events = events_in(&file)?;
        let goes_on = events.iter().any(|it| it.says("zombie-detected", last));
        let tells =
            events.iter().any(|it| it.get("supervisor.loss.sink.name").is_some_and(|name| name == "file"));
        Ok((goes_on && tells).then_some(()))
    })?;
    assert_eq!(events_in(&file)?[..first.len()], first);

    // The server gets everything from the spool, in order.
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    while !events.iter().any(|event: &Event| event.says("zombie-detected", last)) {
        let more = received.recv_timeout(WAIT_LIMIT);
        bytes.extend(more.with_context(|| format!("nothing comes after {} events", events.len()))?);
        let (new, whole) = octet_counted(&bytes)?;
        events.extend(new);
        bytes.drain(..whole);
    }
    let detected: BTreeSet<u32> = events
        .iter()
        .filter(|it| it.action() == "zombie-detected")
        .map(|it| it.pid("process.pid"))
        .collect::<Result<_>>()?;
    ensure!(pids.is_subset(&detected), "{} of {COUNT} came to the server", detected.len());
    let numbers = events.iter().map(|it| it.number("event.sequence")).collect::<Result<Vec<_>>>()?;
    ensure!(numbers.is_sorted(), "not in order: {numbers:?}");
    agent.stop()?;
    lines(&file)?;
    Ok(())
}

#[test]
fn a_second_agent_for_the_same_socket_is_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("events.sock");
    let config = format!("[sinks.readers.unix]\npath = \"{}\"\n", socket.display());
    let first = Agent::start(&config)?;
    let error = Agent::start(&config).err().context("two agents have one socket")?.to_string();
    ensure!(error.contains("a running program listens there"), "{error}");
    first.stop()?;
    Ok(())
}
