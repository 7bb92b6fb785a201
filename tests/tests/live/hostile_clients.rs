//! Tests of hostile clients of an agent: thousands of readers of its Unix socket, slow clients of its metrics, and a
//! flood of events for destinations that accept nothing.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use supervisor_lab::until;
use supervisor_tests::{Agent, Besieged, Den, WAIT_LIMIT, http_get, resident_kib};

/// The limit for a report, while a busy machine handles thousands of events.
const SOON: Duration = Duration::from_mins(1);
/// How much the memory of an agent may grow, in KiB, with the buffers of its sinks.
const GROWTH: u64 = 48 << 10;

fn den() -> Result<Den> {
    Den::new(env!("CARGO_BIN_EXE_fixture"))
}

/// A value of the metrics.
fn metric(metrics: &str, name: &str) -> u64 {
    let values = metrics.lines().filter(|line| line.starts_with(name));
    values.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>() as u64
}

#[test]
fn a_thousand_readers_who_do_not_read_cost_the_others_nothing() -> Result<()> {
    const READERS: usize = 1000;
    // The default of `max_readers`.
    const MOST: usize = 16;
    let den = den()?;
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("events.sock");
    let unix = format!("[sinks.readers.unix]\npath = \"{}\"\n", socket.display());
    let agent = Besieged::of(|config| Agent::start_in(dir.path(), &format!("{config}{unix}")))?;
    let before = resident_kib(agent.agent.pid())?;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(UnixStream::connect(&socket)?);
    }
    den.bystander(SOON, |pid, within| agent.reports(pid, within))?;
    for reader in &readers {
        reader.set_nonblocking(true)?;
    }
    until("the readers beyond the limit to be sent away", WAIT_LIMIT, || {
        // A reader that was disconnected reads the end. The others have read all events so far.
        readers.retain_mut(|reader| !matches!(reader.read(&mut [0; 4096]), Ok(0)));
        Ok((readers.len() <= MOST).then_some(()))
    })?;
    assert_eq!(readers.len(), MOST);
    agent.is_healthy()?;
    // A reader that comes after the others have left is served.
    drop(readers);
    let mut reader = until("a place for a reader", WAIT_LIMIT, || {
        let mut reader = UnixStream::connect(&socket)?;
        reader.set_read_timeout(Some(Duration::from_millis(100)))?;
        // A reader that was disconnected reads the end.
        Ok((!matches!(reader.read(&mut [0; 1]), Ok(0))).then_some(reader))
    })?;
    den.bystander(SOON, |pid, within| agent.reports(pid, within))?;
    reader.set_read_timeout(Some(WAIT_LIMIT))?;
    ensure!(reader.read(&mut [0; 1])? == 1, "it reads nothing");
    let after = resident_kib(agent.agent.pid())?;
    ensure!(after < before + GROWTH, "memory grew from {before} to {after} KiB");
    agent.ends_on_time()
}

#[test]
fn slow_clients_of_the_metrics_keep_no_other_out() -> Result<()> {
    const CLIENTS: usize = 200;
    let den = den()?;
    let agent = Besieged::start()?;
    let before = resident_kib(agent.agent.pid())?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| -> Result<()> {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut clients: Vec<TcpStream> = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    // A request head that never ends, one byte at a time. A disconnected client connects again.
                    clients.retain_mut(|client| client.write_all(b"X").is_ok());
                    while clients.len() < CLIENTS / 4 {
                        let Ok(mut client) = TcpStream::connect(agent.target) else { break };
                        drop(client.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Padding: "));
                        clients.push(client);
                    }
                    thread::sleep(Duration::from_millis(100));
                }
            });
        }
        let result = (0..5).try_for_each(|_| {
            den.bystander(SOON, |pid, within| agent.reports(pid, within))?;
            agent.is_healthy()?;
            // A newer connection can replace this one. A scraper then asks again.
            let answer = || Ok(http_get(agent.target, "/metrics", "*/*").ok());
            let (head, _) = until("an answer", WAIT_LIMIT, answer)?;
            ensure!(head.contains(" 200 "), "{head}");
            Ok(())
        });
        is_over.store(true, Ordering::Relaxed);
        result
    })?;
    let after = resident_kib(agent.agent.pid())?;
    ensure!(after < before + GROWTH, "memory grew from {before} to {after} KiB");
    agent.ends_on_time()
}

#[test]
fn a_flood_for_destinations_that_take_nothing_delays_nobody() -> Result<()> {
    let den = den()?;
    let dir = tempfile::tempdir()?;
    let place = dir.path().display();
    // It accepts a connection, and reads nothing.
    let dead = TcpListener::bind("127.0.0.1:0")?;
    let sinks = format!(
        "[sinks.readers.unix]\npath = \"{place}/events.sock\"\nreader_buffer = \"64KiB\"\n\
         [sinks.tcp]\nbuffer = \"64KiB\"\n[sinks.tcp.syslog]\naddress = \"tcp:{address}\"\n\
         [sinks.spooled]\npolicy = \"spool\"\nspool = \"1MiB\"\n[sinks.spooled.syslog]\naddress = \"tcp:{address}\"\n\
         [sinks.broker]\npolicy = \"spool\"\nspool = \"1MiB\"\n[sinks.broker.nats]\nservers = [\"nats://{address}\"]\n",
        address = dead.local_addr()?
    );
    let config = |config: &str| format!("[flood]\nper_reaper = 0\n{config}{sinks}");
    let agent = Besieged::of(|start| Agent::start_in(dir.path(), &config(start)))?;
    let _stuck = UnixStream::connect(dir.path().join("events.sock"))?;
    let before = resident_kib(agent.agent.pid())?;
    let attackers = [den.attack(&["padded", "500"])?, den.attack(&["padded", "500"])?];
    for attacker in &attackers {
        attacker.fact("ready")?;
        den.bystander(SOON, |pid, within| agent.reports(pid, within))?;
        agent.is_healthy()?;
    }
    let dropped = until("events to be dropped and counted", WAIT_LIMIT, || {
        let dropped = metric(&agent.metrics()?, "supervisor_sink_dropped_total");
        Ok(Some(dropped).filter(|dropped| *dropped > 0))
    })?;
    let after = resident_kib(agent.agent.pid())?;
    println!("{dropped} events dropped; {before} KiB before, {after} KiB after");
    ensure!(after < before + GROWTH, "memory grew from {before} to {after} KiB");
    let spools = ["spooled", "broker"].map(|name| dir.path().join("state/spool").join(name));
    for spool in spools {
        let entries = std::fs::read_dir(&spool).with_context(|| spool.display().to_string())?;
        let bytes = entries.map(|entry| Ok(entry?.metadata()?.len())).sum::<Result<u64>>()?;
        ensure!(bytes <= 2 << 20, "{} holds {bytes} bytes", spool.display());
    }
    agent.agent.stop()?;
    attackers.into_iter().try_for_each(supervisor_tests::Fixture::end)
}
