//! The process that frees zombies for an agent. It gets one job, answers, and ends.
//!
//! The agent starts it by the hidden subcommand [`WORKER`], with a socket as its standard input, and writes a [`Job`] as one
//! line of JSON. The worker writes an [`Answer`] in JSON and ends. If the agent closes its side, because it ends or has no
//! more patience, or dies, the worker finishes the stop of the reaper that is under way, and begins no other one.
//!
//! A thread of the agent would not do. Code and stack of a reaper are read through its memory, and a page of that can lie on
//! a file system whose server does not answer: the reader then sleeps where no signal wakes it, and keeps its process from
//! ending. The worker also has capabilities that the agent does not use.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::{fd::AsFd as _, unix::net::UnixStream},
    process::Child,
};

use anyhow::{Context as _, Result};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    thread::CapabilitySet,
};
use serde::{Deserialize, Serialize};
use supervisor_collect::{
    helper,
    host::DirectProc,
    privileges::{self, REAP_NEEDS},
};

use super::plan::{Done, Zombie, free};

/// The first argument of a `supervisor` that is a worker.
pub const WORKER: &str = "__reap";
/// A longer job or answer is refused. A zombie takes less than 400 bytes of either.
pub const MAX_LINE: u64 = 1 << 20;

/// Zombies of one reaper that are to be freed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    /// Host pid of the reaper.
    pub reaper: u32,
    /// The zombies that it must reap.
    pub zombies: Vec<Zombie>,
    /// Whether the reaper gets a SIGCHLD first.
    pub nudges: bool,
}

/// What was done, or why nothing could be.
pub type Answer = Result<Done, String>;

/// Starts a worker, which waits for its job.
pub fn start() -> io::Result<(UnixStream, Child)> {
    let kept = CapabilitySet::SYS_PTRACE
        | CapabilitySet::DAC_READ_SEARCH
        | CapabilitySet::KILL
        | CapabilitySet::SYS_NICE;
    helper::start("supervisor-reap", WORKER, kept)
}

/// Does the job that comes on standard input, a socket.
///
/// # Errors
///
/// If the agent is gone. Everything else is in the answer.
pub fn serve() -> Result<()> {
    let stream = io::stdin().as_fd().try_clone_to_owned().context("standard input is not open")?;
    let mut stream = UnixStream::from(stream);
    let answer: Answer = work(&stream).map_err(|error| format!("{error:#}"));
    stream.write_all(&serde_json::to_vec(&answer)?)?;
    Ok(())
}

fn work(stream: &UnixStream) -> Result<Done> {
    rustix::thread::set_name(c"supervisor-reap")?;
    privileges::drop_all_but_needed(None, &REAP_NEEDS.map(|need| need.capability))?;
    let host = DirectProc::new().context("cannot read /proc")?;
    let mut line = Vec::new();
    BufReader::new(stream).take(MAX_LINE).read_until(b'\n', &mut line)?;
    let Job { reaper, zombies, nudges } = serde_json::from_slice(&line).context("this is no job")?;
    Ok(free(&host, reaper, &zombies, nudges, &|| is_closed(stream)))
}

/// Whether the other side has closed the socket, or will write no more.
fn is_closed(stream: &UnixStream) -> bool {
    let mut socket = [PollFd::new(stream, PollFlags::RDHUP)];
    let ready = poll(&mut socket, Some(&Timespec::default()));
    ready.is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;

    use supervisor_model::reaping::Outcome;

    use super::*;

    #[test]
    fn a_closed_side_cancels_and_a_waiting_one_does_not() {
        let (agent, worker) = UnixStream::pair().unwrap();
        assert!(!is_closed(&worker));
        (&agent).write_all(b"{}\n").unwrap();
        assert!(!is_closed(&worker));
        agent.shutdown(Shutdown::Write).unwrap();
        assert!(is_closed(&worker));
    }

    #[test]
    fn what_is_cancelled_is_not_tried() {
        let host = DirectProc::new().unwrap();
        let gone = Zombie { pid: 0x7fff_ffff, start_ns: None };
        let done = free(&host, std::process::id(), &[gone], false, &|| true);
        assert_eq!(done.outcomes, [Outcome::Gone]);
        assert_eq!((done.stops.len(), done.is_nudged), (0, false));
    }
}
