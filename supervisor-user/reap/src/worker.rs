//! The worker: the process that frees zombies for an agent. It gets one job, answers, and ends.
//!
//! The agent starts the worker by the hidden subcommand [`WORKER`], with a socket as its standard input, and writes a
//! [`Job`] as one line of JSON. The worker writes an [`Answer`] in JSON and ends. The agent closes its side of the
//! socket if it ends, dies, or does not want to wait any longer. Then the worker finishes the current stop of the
//! reaper, and begins no other stop.
//!
//! A thread of the agent cannot do this work. The worker reads the code and the stack of a reaper through the reaper's
//! memory. A page of that memory can be on a file system whose server does not answer. The reader then sleeps where no
//! signal wakes it, and its process cannot end. The worker also has capabilities that the agent does not use.

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

use super::free::{Done, Zombie, free};

/// The first argument of a `supervisor` that is a worker.
pub const WORKER: &str = "__reap";
/// A longer job or answer is refused. A zombie takes less than 400 bytes of either.
pub const MAX_LINE: u64 = 1 << 20;

/// The zombies of one reaper that the worker must free.
#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    /// Host pid of the reaper.
    pub reaper: u32,
    /// The zombies that it must reap.
    pub zombies: Vec<Zombie>,
    /// Whether the reaper gets a SIGCHLD first.
    pub nudges: bool,
}

/// The result of a job, or the reason why the worker could do nothing.
pub type Answer = Result<Done, String>;

/// Starts a worker. The worker waits for its job.
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
/// If the agent has ended. All other errors are in the answer.
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
    use std::{
        net::Shutdown,
        process::{Child, Command},
        thread,
        time::{Duration, Instant},
    };

    use supervisor_collect::host::Host as _;
    use supervisor_model::reaping::ReapOutcome;

    use super::*;

    /// A process with a zombie for which it never waits. Both end with it.
    struct Parent(Child);

    impl Parent {
        fn start() -> Self {
            Self(Command::new("sh").args(["-c", "true & exec sleep 60"]).spawn().unwrap())
        }

        fn zombie(&self, host: &DirectProc) -> Zombie {
            let deadline = Instant::now() + Duration::from_secs(20);
            loop {
                let all = host.pids().unwrap().into_iter().filter_map(|pid| host.process(pid).ok()?);
                let mut all = all.filter(|it| it.ppid == self.0.id() && it.state == 'Z');
                if let Some(zombie) = all.next() {
                    return Zombie { pid: zombie.pid, start_ns: None };
                }
                assert!(Instant::now() < deadline, "it leaves no zombie");
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    impl Drop for Parent {
        fn drop(&mut self) {
            let _gone = self.0.kill();
            let _status = self.0.wait();
        }
    }

    #[test]
    fn a_closed_socket_cancels_and_an_open_one_does_not() {
        let (agent, worker) = UnixStream::pair().unwrap();
        assert!(!is_closed(&worker));
        (&agent).write_all(b"{}\n").unwrap();
        assert!(!is_closed(&worker));
        agent.shutdown(Shutdown::Write).unwrap();
        assert!(is_closed(&worker));
    }

    #[test]
    fn a_cancelled_job_stops_no_reaper() {
        let host = DirectProc::new().unwrap();
        let parent = Parent::start();
        let zombie = parent.zombie(&host);
        let done = free(&host, parent.0.id(), &[zombie], false, &|| true);
        let [ReapOutcome::Failed(reason)] = &done.outcomes[..] else { panic!("{done:?}") };
        assert!(reason.contains("its turn did not come"), "{reason}");
        assert_eq!((done.stops.len(), done.is_nudged), (0, false));
        let left = host.process(zombie.pid).unwrap();
        assert!(left.is_some_and(|it| it.state == 'Z'), "the zombie is gone");
    }
}
