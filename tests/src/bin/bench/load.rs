//! The work that is measured, done by a process of its own.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use supervisor_tests::Fixture;

/// The fixture program, which is built into the same directory.
pub(crate) fn fixture() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("fixture");
    path.is_file().then_some(path).context("the fixture program is not built")
}

/// A process that works when it is told.
pub(crate) struct Load(Fixture);

/// What it did.
pub(crate) struct Did {
    pub(crate) took: Duration,
    /// Processes, of a storm.
    pub(crate) made: u64,
}

impl Load {
    /// Starts it; on the last CPU only, if it is to be `pinned`.
    pub(crate) fn start(pinned: bool) -> Result<Self> {
        let last = std::thread::available_parallelism()?.get() - 1;
        let (program, last) = (fixture()?.to_string_lossy().into_owned(), last.to_string());
        let args: &[&str] = if pinned { &["load", &last] } else { &["load"] };
        Ok(Self(Fixture::start(&program, args)?))
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Lets it work, and waits until it has.
    pub(crate) fn run(&mut self, words: &str) -> Result<Did> {
        self.begin(words)?;
        self.end()
    }

    /// Lets it work.
    pub(crate) fn begin(&mut self, words: &str) -> Result<()> {
        self.0.send(words)
    }

    /// Waits until it has.
    pub(crate) fn end(&mut self) -> Result<Did> {
        let fact = self.0.fact("did")?;
        Ok(Did { took: Duration::from_nanos(fact.number("ns")?), made: fact.number("made")? })
    }
}
