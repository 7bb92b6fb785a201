//! What an agent costs whose host is healthy, with every kind of sink on.

use std::{net::UdpSocket, os::unix::net::UnixDatagram, thread, time::Duration};

use anyhow::Result;
use rustix::param::clock_ticks_per_second;
use supervisor_tests::{Agent, Broker, cpu_ticks, created_on_host, fixture, resident_kib};
use supervisor_user::scenario::until;

const RATE: u64 = 5_000;
/// The storm blows at least at this rate, in one of so many tries.
const LEAST: u64 = RATE * 3 / 4;
const TRIES: usize = 3;
const MEASURED: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_healthy_host_costs_half_a_percent_of_a_core_and_30_mib() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let broker = Broker::start()?;
    let syslog = UdpSocket::bind("127.0.0.1:0")?;
    let journal = UnixDatagram::bind(dir.path().join("journal.sock"))?;
    let path = dir.path().display();
    // Nothing of this host is to be told: what is measured is what healthy processes cost.
    let config = format!(
        "[filter]\ncomm = \"nothing-is-so\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n\
         [sinks.out]\n[sinks.out.stdout]\n\
         [sinks.file]\npolicy = \"spool\"\n[sinks.file.file]\npath = \"{path}/events.json\"\n\
         [sinks.readers]\n[sinks.readers.unix]\npath = \"{path}/events.sock\"\n\
         [sinks.syslog]\nformat = \"ocsf\"\n[sinks.syslog.syslog]\naddress = \"udp:{}\"\n\
         [sinks.journal]\nformat = \"text\"\n[sinks.journal.journald]\nsocket = \"{path}/journal.sock\"\n\
         [sinks.siem]\npolicy = \"spool\"\n[sinks.siem.nats]\nservers = [\"{}\"]\nheartbeat = \"5s\"\n",
        syslog.local_addr()?,
        broker.url()
    );
    let agent = Agent::start_in(dir.path(), &config)?;
    let storm = fixture!("paced-storm", &RATE.to_string())?;
    let start = created_on_host()?;
    until("the storm to blow", SOON, || Ok((created_on_host()? > start + RATE).then_some(())))?;

    // On a busy machine the storm is slower than it is to be, which proves nothing.
    let (mut rate, mut per_mille) = (0, 0);
    for _ in 0..TRIES {
        let before = (cpu_ticks(agent.pid())?, created_on_host()?);
        thread::sleep(MEASURED);
        let ticks = cpu_ticks(agent.pid())? - before.0;
        rate = (created_on_host()? - before.1) / MEASURED.as_secs();
        per_mille = ticks * 1000 / (clock_ticks_per_second() * MEASURED.as_secs());
        if rate > LEAST {
            break;
        }
    }
    let memory_kib = resident_kib(agent.pid())?;
    println!("{rate} exits a second, {per_mille} per mille of a core, {memory_kib} KiB");
    storm.end()?;
    agent.stop()?;
    drop(journal);
    assert!(rate > LEAST, "the storm was slower than it was to be: {rate} a second");
    assert!(per_mille < 5, "{per_mille} per mille of a core");
    assert!(memory_kib < 30 * 1024, "{memory_kib} KiB");
    Ok(())
}
