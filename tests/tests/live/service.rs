//! Tests the messages of an agent to a service manager, over a socket like systemd's.

use std::{os::unix::net::UnixDatagram, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use supervisor_tests::{Agent, WAIT_LIMIT, supervisor_bin};

const OUT: &str = "[sinks.out.stdout]\n";
const WATCHDOG: &str = "WATCHDOG=1\n";

/// The socket of the service manager.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Result<Self> {
        let socket = UnixDatagram::bind(path)?;
        socket.set_read_timeout(Some(WAIT_LIMIT))?;
        Ok(Self(socket))
    }

    fn next(&self) -> Result<String> {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).context("the service manager hears nothing")?;
        Ok(String::from_utf8(buffer[..length].to_vec())?)
    }

    /// The next message that is not for the watchdog.
    fn hears(&self, start: &str) -> Result<String> {
        loop {
            let message = self.next()?;
            if message.starts_with(start) {
                return Ok(message);
            }
            if message != WATCHDOG {
                bail!("{start} was to come, and what came is {message}");
            }
        }
    }
}

#[test]
fn ready_reloading_alive_and_stopping() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("notify");
    let manager = Manager::at(&path)?;
    let mut command = Command::new(supervisor_bin()?);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000").env_remove("WATCHDOG_PID");
    let mut agent = Agent::start_by(command, dir.path(), OUT)?;
    let ready = manager.hears("READY=1\n")?;
    assert!(ready.contains("STATUS=watching for processes unreaped for "), "{ready}");
    for _ in 0..3 {
        assert_eq!(manager.next()?, WATCHDOG);
    }

    agent.reconfigure("no_such_key = 1\n")?;
    manager.hears("RELOADING=1\nMONOTONIC_USEC=")?;
    let ready = manager.hears("READY=1\n")?;
    assert!(ready.contains("the new one is refused"), "{ready}");
    agent.reconfigure(OUT)?;
    manager.hears("RELOADING=1\nMONOTONIC_USEC=")?;
    let ready = manager.hears("READY=1\n")?;
    assert!(ready.contains("with the new configuration"), "{ready}");

    agent.stop()?;
    manager.hears("STOPPING=1\n")?;
    Ok(())
}

#[test]
fn a_service_manager_that_is_gone_ends_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut command = Command::new(supervisor_bin()?);
    command.env("NOTIFY_SOCKET", dir.path().join("nobody")).env_remove("WATCHDOG_USEC");
    let mut agent = Agent::start_by(command, dir.path(), OUT)?;
    agent.hears("supervisor: the service manager cannot be notified: ")?;
    agent.stop()?;
    Ok(())
}
