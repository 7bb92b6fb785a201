//! Starts a reader as a child process: this program again, with the hidden subcommand.

use std::{
    fs,
    io::{self, Read as _},
    process::Child,
    time::Duration,
};

use procfs::{FromRead as _, process::Stat};
use rustix::thread::CapabilitySet;

use super::{
    READER, READY,
    pool::{Process, Reader, ends},
};
use crate::helper;

/// How long a reader may take to start, on a busy host.
const START_WITHIN: Duration = Duration::from_secs(5);
/// How long a reader that does not start may take to end.
const KILLED_WITHIN: Duration = Duration::from_secs(1);

/// Starts a reader, and waits until it has given up its capabilities and is ready.
pub(super) fn start() -> io::Result<Reader> {
    let kept = CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
    let (mut stream, child) = helper::start("supervisor-read", READER, kept)?;
    let child = Started(child);
    stream.set_read_timeout(Some(START_WITHIN))?;
    let mut said = [0; READY.len()];
    let is_ready = stream.read_exact(&mut said);
    stream.set_nonblocking(true)?;
    let mut reader = Reader { stream, process: Box::new(child) };
    if let Err(error) = is_ready {
        // The reader has read nothing of another process, so SIGKILL ends it. Without the wait it stays a zombie.
        ends(&mut reader, KILLED_WITHIN);
        return Err(io::Error::new(error.kind(), format!("it does not start: {error}")));
    }
    Ok(reader)
}

struct Started(Child);

impl Started {
    /// Reads one of the reader's files in `/proc`. Nobody locks its memory map: it has one thread, and maps no file of
    /// others.
    fn file(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(format!("/proc/{}/{name}", self.0.id()))
    }
}

impl Process for Started {
    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn is_running(&self) -> bool {
        let stat = self.file("stat").ok().and_then(|stat| Stat::from_read(stat.as_slice()).ok());
        stat.is_some_and(|stat| stat.state == 'R')
    }

    fn wchan(&self) -> Option<String> {
        let wchan = String::from_utf8(self.file("wchan").ok()?).ok()?;
        Some(wchan).filter(|wchan| !wchan.is_empty() && wchan != "0")
    }

    fn kill(&mut self) {
        let _ended_already = self.0.kill();
    }

    fn has_ended(&mut self) -> bool {
        // An error means that it was reaped already.
        !matches!(self.0.try_wait(), Ok(None))
    }
}
