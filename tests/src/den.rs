//! An attacker without capabilities, an agent that is under attack, and bystanders that it has to report all the while.

use std::{
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use supervisor_lab::until;
use tempfile::TempDir;

use crate::{Agent, Event, Fixture, WAIT_LIMIT, http_get};

/// The attacker: `nobody`.
pub const ATTACKER: u32 = 65_534;
/// The grace period, a second more, and the same again for a busy machine. Without a limit on reads it is for ever.
pub const ON_TIME: Duration = Duration::from_secs(4);
/// How long the end of an agent may take.
pub const END: Duration = Duration::from_secs(2);

/// A folder that the attacker may enter, with the fixture, a node of `/dev/fuse`, and a file to mount over.
#[derive(Debug)]
pub struct Den {
    dir: TempDir,
    fixture: PathBuf,
}

impl Den {
    /// Makes it; `fixture` is the path of the fixture program.
    pub fn new(fixture: &str) -> Result<Self> {
        let den = Self { dir: tempfile::tempdir()?, fixture: fixture.into() };
        fs::set_permissions(den.dir.path(), Permissions::from_mode(0o755))?;
        supervisor_lab::copy_program(fixture, den.path("fixture")?)?;
        let device = makedev(10, 229);
        mknodat(CWD, den.path("fuse")?, FileType::CharacterDevice, Mode::from_raw_mode(0o666), device)?;
        // The umask has cut it.
        fs::set_permissions(den.path("fuse")?, Permissions::from_mode(0o666))?;
        fs::write(den.path("file")?, "")?;
        Ok(den)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> Result<String> {
        Ok(self.dir.path().join(name).to_str().context("a plain path")?.to_owned())
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the fixture as the attacker.
    pub fn attack(&self, args: &[&str]) -> Result<Fixture> {
        let user = ATTACKER.to_string();
        let program = self.path("fixture")?;
        let as_user = ["--reuid", &user, "--regid", &user, "--clear-groups", &program];
        Fixture::start("setpriv", &[&as_user, args].concat())
    }

    /// An attacker that has locked its memory map, and its zombie. It ends, and its FUSE connection with it, when this
    /// is dropped.
    pub fn locks_memory(&self) -> Result<(Fixture, u32)> {
        let attacker = self.attack(&["locks-memory", &self.path("fuse")?, &self.path("file")?])?;
        let zombie = attacker.fact("zombie")?.pid("pid")?;
        attacker.fact("locked")?;
        Ok((attacker, zombie))
    }

    /// Leaves a zombie of root's, which has to be seen on time.
    pub fn bystander(
        &self,
        within: Duration,
        seen: impl FnOnce(u32, Duration) -> Result<Event>,
    ) -> Result<()> {
        let program = self.fixture.to_str().context("a plain path")?;
        let mut fixture = Fixture::start(program, &["never-wait", "1"])?;
        let zombie = fixture.fact("zombie")?.pid("pid")?;
        let made = Instant::now();
        seen(zombie, within)?;
        let took = made.elapsed();
        println!("a bystander was reported after {took:?}");
        ensure!(took < within, "it took {took:?}");
        fixture.send("reap")?;
        fixture.fact("reaped")?;
        fixture.end()
    }
}

/// An agent with metrics and standard output that is under attack.
#[derive(Debug)]
pub struct Besieged {
    /// The agent.
    pub agent: Agent,
    /// Where its metrics are.
    pub target: SocketAddr,
}

impl Besieged {
    /// Starts it.
    pub fn start() -> Result<Self> {
        Self::of(Agent::start)
    }

    /// Starts it by what takes the beginning of its configuration, and may add to it.
    pub fn of(start: impl FnOnce(&str) -> Result<Agent>) -> Result<Self> {
        let mut agent = start("[metrics]\nlisten = \"127.0.0.1:0\"\n[sinks.out.stdout]\n")?;
        let target = agent.hears("metrics are at http://")?;
        let target = target.strip_suffix("/metrics").context("no address")?.parse()?;
        Ok(Self { agent, target })
    }

    /// Fails unless its health check answers. A connection can have to make room for an attacker's: who checks asks again.
    pub fn is_healthy(&self) -> Result<()> {
        let answer = || Ok(http_get(self.target, "/healthz", "*/*").ok());
        let (head, _) = until("an answer of the health check", WAIT_LIMIT, answer)?;
        ensure!(head.starts_with("HTTP/1.0 200"), "it is not healthy: {head}");
        Ok(())
    }

    /// Its metrics.
    pub fn metrics(&self) -> Result<String> {
        Ok(http_get(self.target, "/metrics", "*/*")?.1)
    }

    /// The event that opens the finding of a zombie.
    pub fn reports(&self, pid: u32, within: Duration) -> Result<Event> {
        let deadline = Instant::now() + within;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            if let Some(event) = self.agent.event(left)?
                && (event.says("zombie-detected", pid) || event.says("zombie-existing", pid))
            {
                return Ok(event);
            }
        }
        bail!("pid {pid} was not reported within {within:?}")
    }

    /// Ends it.
    pub fn ends_on_time(self) -> Result<()> {
        let asked = Instant::now();
        self.agent.stop()?;
        ensure!(asked.elapsed() < END, "its end took {:?}", asked.elapsed());
        Ok(())
    }
}
