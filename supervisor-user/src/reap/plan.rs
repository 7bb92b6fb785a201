//! Frees the zombies of one reaper: first by a signal, then by its own waits, in short stops.

use std::{
    fs,
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use procfs::process::Process;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{
    inject::{Child, Waited},
    nudge::nudge,
    target::{Refused, Target},
};
use crate::finding::{Block, Finding};

/// A reaper is stopped no longer than this, plus one wait.
const STOP_BUDGET: Duration = Duration::from_micros(300);
/// It runs at least this long between two stops.
const BETWEEN_STOPS: Duration = Duration::from_micros(500);
/// So many zombies are held open at once: each takes a descriptor.
const AT_ONCE: usize = 256;
/// How long a PID namespace may take to end once its last zombie is freed.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);
const RELEASE_POLL: Duration = Duration::from_millis(10);

/// What became of a zombie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The reaper waited for it by itself after a SIGCHLD.
    FreedByNudge,
    /// The reaper was made to wait for it.
    Freed,
    /// Somebody else reaped it meanwhile.
    Gone,
    /// It stays, for this reason.
    Failed(String),
}

impl Outcome {
    /// Whether the zombie is gone.
    #[must_use]
    pub fn is_freed(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }

    /// The word of the event contract.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::FreedByNudge => "freed-by-sigchld",
            Self::Freed => "freed",
            Self::Gone => "gone",
            Self::Failed(_) => "failed",
        }
    }
}

/// What was done to one reaper.
#[derive(Debug, Default)]
pub struct Done {
    /// What became of each zombie, in the order in which they were given.
    pub outcomes: Vec<Outcome>,
    /// Whether SIGCHLD was sent.
    pub is_nudged: bool,
    /// How long the reaper was stopped, each time.
    pub stops: Vec<Duration>,
    /// How long that was when it was made to wait for each zombie.
    pub stopped_for: Vec<Option<Duration>>,
}

/// Frees zombies of one reaper. With `nudges` it sends SIGCHLD first.
#[must_use]
pub fn free(reaper: u32, zombies: &[&Finding], nudges: bool) -> Done {
    let mut done = Done::default();
    if nudges {
        let first = zombies.iter().take(AT_ONCE).filter_map(|zombie| open(reaper, zombie).ok());
        // Who cannot get the signal is made to wait.
        done.is_nudged = nudge(reaper, &first.collect::<Vec<Child>>()).is_ok();
    }
    let mut target = None;
    for zombies in zombies.chunks(AT_ONCE) {
        let mut children = Vec::new();
        for zombie in zombies {
            let index = done.outcomes.len();
            done.outcomes.push(match open(reaper, zombie) {
                Ok(child) => {
                    children.push((index, child));
                    Outcome::Failed("its reaper was not made to wait".to_owned())
                }
                Err(Outcome::Gone) if done.is_nudged => Outcome::FreedByNudge,
                Err(outcome) => outcome,
            });
        }
        if children.is_empty() {
            continue;
        }
        let target = target.get_or_insert_with(|| Target::open(reaper));
        done.stopped_for.resize(done.outcomes.len(), None);
        make_wait(target.as_ref(), children, &mut done);
    }
    done.stopped_for.resize(done.outcomes.len(), None);
    done
}

/// Makes the reaper wait for these.
fn make_wait(target: Result<&Target, &Refused>, children: Vec<(usize, Child)>, done: &mut Done) {
    let (indices, children): (Vec<usize>, Vec<Child>) = children.into_iter().unzip();
    let mut at = 0;
    let result = target.map_err(ToString::to_string).and_then(|target| {
        while at < children.len() {
            let stopped = target
                .wait_for(&children[at..], STOP_BUDGET, &mut |_| {})
                .map_err(|error| error.to_string())?;
            done.stops.push(stopped.length);
            // A stop that a signal has cut short may have brought nothing; the next one goes on.
            for waited in stopped.waited {
                done.outcomes[indices[at]] = outcome(waited);
                done.stopped_for[indices[at]] = Some(stopped.length);
                at += 1;
            }
            thread::sleep(BETWEEN_STOPS);
        }
        Ok(())
    });
    if let Err(reason) = result {
        for &index in &indices[at..] {
            done.outcomes[index] = Outcome::Failed(format!("its reaper cannot be made to wait: {reason}"));
        }
    }
}

fn outcome(waited: Waited) -> Outcome {
    match waited {
        Waited::Freed => Outcome::Freed,
        Waited::Gone => Outcome::Gone,
        Waited::NotYet => Outcome::Failed(
            "its reaper waited and did not get it: a tracer or a thread of it holds it".to_owned(),
        ),
        Waited::NotAChild => Outcome::Failed("it is no child of its reaper any more".to_owned()),
        Waited::Failed(error) => Outcome::Failed(format!(
            "its reaper's wait failed: {}",
            std::io::Error::from_raw_os_error(-error)
        )),
    }
}

/// Takes hold of a zombie: the same process, the same parent, and its pid as the parent counts.
fn open(reaper: u32, zombie: &Finding) -> Result<Child, Outcome> {
    let pid = zombie.process.pid;
    let pidfd = Pid::from_raw(pid as i32).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let pidfd: OwnedFd = pidfd.ok_or(Outcome::Gone)?;
    let stat = Process::new(pid as i32).and_then(|process| process.stat()).map_err(|_| Outcome::Gone)?;
    if !is_same(zombie, stat.starttime) {
        return Err(Outcome::Gone);
    }
    if stat.state != 'Z' {
        return Err(Outcome::Failed(format!("it is not a zombie: its state is {}", stat.state)));
    }
    if stat.ppid as u32 != reaper {
        return Err(Outcome::Failed(format!("process {} must reap it now: look again", stat.ppid)));
    }
    let vpid = pid_in_namespace_of(reaper, pid).ok_or_else(|| {
        Outcome::Failed("its pid in the PID namespace of its reaper was not seen".to_owned())
    })?;
    Ok(Child { vpid, pidfd })
}

/// Whether a process with this start time is the finding's.
fn is_same(zombie: &Finding, start_ticks: u64) -> bool {
    let ticks = procfs::ticks_per_second();
    zombie.process.start_ns.is_none_or(|start_ns| {
        let tick_ns = 1_000_000_000 / ticks;
        start_ns / tick_ns == start_ticks
    })
}

/// The pid of a process as another one counts, whose PID namespace is the same or one above.
fn pid_in_namespace_of(observer: u32, pid: u32) -> Option<u32> {
    let level = ns_pids(observer)?.len().checked_sub(1)?;
    ns_pids(pid)?.get(level).copied()
}

/// The pids of a process, from the namespace of this `/proc` inwards.
fn ns_pids(pid: u32) -> Option<Vec<u32>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().map(|pid| pid.parse().ok()).collect()
}

/// Waits until PID namespaces have ended that freed zombies have blocked; returns those that have.
#[must_use]
pub fn released<'a>(freed: impl IntoIterator<Item = &'a Finding>) -> Vec<Block> {
    let mut blocked: Vec<Block> = freed.into_iter().flat_map(|finding| finding.blocks.clone()).collect();
    blocked.sort_by_key(|block| block.ino);
    blocked.dedup_by_key(|block| block.ino);
    let until = Instant::now() + RELEASE_LIMIT;
    loop {
        let (gone, held): (Vec<Block>, Vec<Block>) =
            blocked.iter().cloned().partition(|block| !is_exiting(block.init_pid));
        if held.is_empty() || Instant::now() >= until {
            return gone;
        }
        thread::sleep(RELEASE_POLL);
    }
}

/// Whether a process is still there and no zombie.
fn is_exiting(pid: u32) -> bool {
    let stat = Process::new(pid as i32).and_then(|process| process.stat());
    stat.is_ok_and(|stat| stat.state != 'Z')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_is_counted_as_the_observer_counts() {
        let me = std::process::id();
        assert_eq!(pid_in_namespace_of(me, me), ns_pids(me).and_then(|pids| pids.last().copied()));
        assert_eq!(pid_in_namespace_of(me, 0x7fff_ffff), None);
    }
}
