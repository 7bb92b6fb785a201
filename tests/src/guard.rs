//! Real programs, which leave processes behind that are not the test's children.

use std::{
    collections::HashMap,
    fmt::Display,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal};
use supervisor_lab::{Stat, parts::family::children_of, stat, until, zombies_of};

use crate::{Fixture, WAIT_LIMIT};

/// A program below a fixture that reaps what the program leaves, and kills it when this is dropped or this process ends.
#[derive(Debug)]
pub struct Guard {
    part: Option<Fixture>,
    pid: u32,
    program: u32,
}

impl Guard {
    /// Starts the program. `fixture` is the path of the fixture program.
    pub fn start(fixture: &str, program: &Path, args: &[&str]) -> Result<Self> {
        let program = program.to_str().context("the program's path is no UTF-8")?;
        let part = Fixture::start(fixture, &[&["guard", program], args].concat())?;
        let started = part.fact("started")?.pid("pid")?;
        Ok(Self { pid: part.pid(), part: Some(part), program: started })
    }

    /// The pid of the guard itself, which adopts what the program leaves.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The pid of the program.
    #[must_use]
    pub fn program(&self) -> u32 {
        self.program
    }

    /// Ends all.
    pub fn end(&mut self) -> Result<()> {
        self.part.take().map_or(Ok(()), Fixture::end)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // If this fails after another error, the test fails with the other error.
        let _ = self.end();
    }
}

/// The child of a process that fits, once there is one.
pub fn child_of(parent: u32, what: impl Display, fits: impl Fn(&Stat) -> bool) -> Result<Stat> {
    let raw = Pid::from_raw(parent as i32).context("pid 0 has no children")?;
    until(&what.to_string(), WAIT_LIMIT, || {
        let children = children_of(raw)?.into_iter().filter_map(|it| stat(it.as_raw_nonzero().get() as u32));
        Ok(children.into_iter().find(|it| fits(it)))
    })
}

/// The zombie of a process, once there is one that stays. For a moment, every child that exits is a zombie.
pub fn zombie_of(parent: u32) -> Result<Stat> {
    const STAYS: Duration = Duration::from_millis(200);
    let mut since: HashMap<u32, Instant> = HashMap::new();
    until("a zombie", WAIT_LIMIT, || {
        let zombies = zombies_of(parent)?;
        let seen = Instant::now();
        let stays = |it: &Stat| since.entry(it.pid).or_insert(seen).elapsed() >= STAYS;
        Ok(zombies.into_iter().find(stays))
    })
}

/// Sends a signal to a process that a [`Guard`] reaps.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    let raw = Pid::from_raw(pid as i32).context("there is no pid 0")?;
    rustix::process::kill_process(raw, signal).with_context(|| format!("cannot signal process {pid}"))
}
