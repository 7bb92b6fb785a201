//! An agent whose host is healthy, with every kind of sink on.

use std::{net::UdpSocket, os::unix::net::UnixDatagram};

use anyhow::Result;
use tempfile::TempDir;

use crate::{Agent, Broker};

/// The agent. Its filter lets nothing of this host through, whatever others do there: what it uses is what healthy
/// processes cost.
#[derive(Debug)]
pub struct QuietAgent {
    agent: Agent,
    // These are where the sinks deliver to; they go after the agent.
    _broker: Broker,
    _syslog: UdpSocket,
    _journal: UnixDatagram,
    _dir: TempDir,
}

impl QuietAgent {
    /// Starts it, and waits until it is attached.
    pub fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let broker = Broker::start()?;
        let syslog = UdpSocket::bind("127.0.0.1:0")?;
        let journal = UnixDatagram::bind(dir.path().join("journal.sock"))?;
        let path = dir.path().display();
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
        Ok(Self { agent, _broker: broker, _syslog: syslog, _journal: journal, _dir: dir })
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.agent.pid()
    }

    /// Ends it; returns what it has said on standard error.
    pub fn stop(self) -> Result<Vec<String>> {
        self.agent.stop()
    }
}
