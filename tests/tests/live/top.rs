//! `supervisor top` on a terminal: driven by keys, against a real zombie.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::{
    fs::{Mode, OFlags},
    process::Signal,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use supervisor_tests::{Agent, Broker, fixture, supervisor_bin};
use supervisor_user::scenario::{Owned, until};

/// How long a screen may take to show what it should.
const LIMIT: Duration = Duration::from_secs(20);
/// What a program says to a terminal to get its other screen, and to give it back.
const ENTERS: &[u8] = b"\x1b[?1049h";
const LEAVES: &[u8] = b"\x1b[?1049l";

/// A terminal of 80 columns and 24 lines, with a program on it.
struct Screen {
    process: Owned,
    master: File,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Screen {
    fn start(args: &[&str]) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let slave = rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
        tcsetwinsize(&slave, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 })?;
        let stdio = |slave: &OwnedFd| -> Result<Stdio> { Ok(slave.try_clone()?.into()) };
        let mut command = Command::new(supervisor_bin()?);
        command.arg("top").args(args).env("TERM", "xterm").env_remove("NO_COLOR");
        command.stdin(stdio(&slave)?).stdout(stdio(&slave)?).stderr(stdio(&slave)?);
        let process = Owned::start(&mut command)?;
        let master = File::from(master);
        let written = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, sink) = (master.try_clone()?, Arc::clone(&written));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // It ends with the last one that has the terminal open.
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                sink.lock().expect("nobody panics with it").extend_from_slice(&buffer[..count]);
            }
        });
        Ok(Self { process, master, written })
    }

    fn written(&self) -> Vec<u8> {
        self.written.lock().expect("nobody panics with it").clone()
    }

    /// What is on the screen now.
    fn text(&self) -> String {
        let mut parser = vt100::Parser::new(24, 80, 0);
        parser.process(&self.written());
        parser.screen().contents()
    }

    fn shows(&self, what: &str) -> Result<()> {
        until(&format!("the screen to show `{what}`"), LIMIT, || Ok(self.text().contains(what).then_some(())))
            .with_context(|| self.text())
    }

    fn types(&mut self, keys: &str) -> Result<()> {
        Ok(self.master.write_all(keys.as_bytes())?)
    }

    /// Waits for its end, and holds what it has left of the terminal against what it was.
    fn ends(mut self) -> Result<()> {
        let status = self.process.end(LIMIT)?;
        ensure!(status.success(), "it ended with {status}: {}", self.text());
        let has = |what: &[u8]| self.written().windows(what.len()).any(|it| it == what);
        ensure!(has(ENTERS), "it has not used the other screen");
        until("the terminal to be given back", LIMIT, || Ok(has(LEAVES).then_some(())))
    }
}

#[test]
fn a_zombie_is_found_and_explained_by_keys() -> Result<()> {
    let fixture = fixture!("never-wait", "1")?;
    let pid = fixture.fact("zombie")?.pid("pid")?.to_string();
    let mut screen = Screen::start(&[])?;
    screen.shows("unreaped")?;
    screen.shows(&pid)?;
    screen.types(&format!("/{pid}"))?;
    screen.shows(&format!("filter: {pid}_"))?;
    screen.types("\r")?;
    screen.shows(&format!("filter: {pid}  (Esc"))?;
    screen.types("\r")?;
    screen.shows("the whole story")?;
    screen.shows(&format!("fixture[{pid}]"))?;
    screen.types("q")?;
    screen.ends()?;
    fixture.end()
}

#[test]
fn all_nodes_are_shown_as_their_agents_have_told_a_broker() -> Result<()> {
    let broker = Broker::start()?;
    let url = broker.url();
    let mut screen = Screen::start(&["--from", &url])?;
    screen.shows("no agent has reported there yet")?;
    let _agent = Agent::start(&format!(
        r#"
grace = "300ms"
host.name = "node-a.example.com"
[sinks.siem]
nats = {{ servers = ["{url}"], heartbeat = "400ms" }}
"#
    ))?;
    let mut fixture = fixture!("never-wait", "1")?;
    let pid = fixture.fact("zombie")?.pid("pid")?.to_string();
    screen.shows("1 nodes, 0 stale")?;
    screen.types(&format!("/{pid}\r"))?;
    screen.shows("node-a.example.com")?;
    screen.shows("F4")?;
    screen.types("\r")?;
    screen.shows("Why")?;
    screen.shows("What to do")?;
    screen.types("\x1b4")?;
    screen.shows(&format!("OPEN    fixture[{pid}] on node-a.example.com"))?;
    fixture.send("reap")?;
    screen.shows(&format!("CLOSED  fixture[{pid}] on node-a.example.com"))?;
    screen.types("q")?;
    screen.ends()?;
    fixture.end()
}

#[test]
fn a_signal_gives_the_terminal_back() -> Result<()> {
    let mut screen = Screen::start(&["--grace", "30s"])?;
    screen.shows("? keys")?;
    screen.process.signal(Signal::TERM)?;
    screen.ends()
}

#[test]
fn without_a_terminal_it_says_what_to_use() -> Result<()> {
    let output = Command::new(supervisor_bin()?).arg("top").stdin(Stdio::null()).output()?;
    ensure!(output.status.code() == Some(3), "it ended with {}", output.status);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(said.contains("top needs a terminal") && said.contains("supervisor watch -o json"), "{said}");
    Ok(())
}
