//! Frees the zombies of one reaper. It first sends SIGCHLD if that is wanted, and then makes the reaper itself wait, in
//! short stops.

use std::{
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use procfs::process::Process;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use supervisor_collect::{gather::starts_match, host::Host};
use supervisor_model::{
    facts::ProcessFacts,
    finding::{Block, Finding},
    reaping::ReapOutcome,
};

use super::{
    inject::{Child, Waited},
    nudge::nudge,
    target::{Refused, Target},
};

/// In one stop, the reaper is not made to wait for a further child after this time. The last wait and the steps that
/// give the thread its state back come on top. Whenever the thread has to stop again, that can take up to `STOP_LIMIT`
/// (`inject`).
const STOP_BUDGET: Duration = Duration::from_micros(300);
/// A reaper runs at least this long between two stops.
const BETWEEN_STOPS: Duration = Duration::from_micros(150);
/// The number of zombies that are held open at once: each takes a descriptor.
const AT_ONCE: usize = 256;
/// A PID namespace has this long to end after its last zombie is freed.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);
const RELEASE_POLL: Duration = Duration::from_millis(10);

/// A zombie that a reap must free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zombie {
    /// Host pid.
    pub pid: u32,
    /// The time of its fork, in nanoseconds since boot. Another process can have the same pid by now.
    pub start_ns: Option<u64>,
}

impl Zombie {
    /// The zombie of a finding.
    #[must_use]
    pub fn of(finding: &Finding) -> Self {
        Self { pid: finding.process.pid, start_ns: finding.process.start_ns }
    }
}

/// What was done to one reaper.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The outcome for each zombie, in the order of the job.
    pub outcomes: Vec<ReapOutcome>,
    /// Whether SIGCHLD was sent.
    pub is_nudged: bool,
    /// The length of each stop of the reaper.
    pub stops: Vec<Duration>,
    /// For each zombie, the length of the stop in which the reaper was made to wait for it.
    pub stopped_for: Vec<Option<Duration>>,
}

/// The reason that is reported for each zombie that `is_cancelled` has left out.
const CANCELLED: &str =
    "its turn did not come: the agent ended, or its reaper took too long to stop for those before it";

/// Frees zombies of one reaper. With `nudges` it sends SIGCHLD first. After `is_cancelled` returns true, no stop
/// begins.
#[must_use]
pub fn free(
    host: &dyn Host,
    reaper: u32,
    zombies: &[Zombie],
    nudges: bool,
    is_cancelled: &dyn Fn() -> bool,
) -> Done {
    let mut done = Done::default();
    let observer = Observer::of(host, reaper);
    if nudges {
        let first = zombies.iter().take(AT_ONCE).filter_map(|zombie| open(host, &observer, zombie).ok());
        // A reaper that cannot get the signal is made to wait.
        done.is_nudged = nudge(reaper, &first.collect::<Vec<Child>>(), is_cancelled).is_ok();
    }
    let mut target = None;
    for zombies in zombies.chunks(AT_ONCE) {
        let mut children = Vec::new();
        for zombie in zombies {
            let index = done.outcomes.len();
            done.outcomes.push(match open(host, &observer, zombie) {
                Ok(child) => {
                    children.push((index, child));
                    ReapOutcome::Failed("its reaper was not made to wait".to_owned())
                }
                Err(ReapOutcome::Gone) if done.is_nudged => ReapOutcome::FreedByNudge,
                Err(outcome) => outcome,
            });
        }
        if children.is_empty() {
            continue;
        }
        let target = target.get_or_insert_with(|| Target::open(reaper));
        done.stopped_for.resize(done.outcomes.len(), None);
        make_wait(target.as_ref(), children, &mut done, is_cancelled);
    }
    done.stopped_for.resize(done.outcomes.len(), None);
    done
}

/// Makes the reaper wait for these children.
fn make_wait(
    target: Result<&Target, &Refused>,
    children: Vec<(usize, Child)>,
    done: &mut Done,
    is_cancelled: &dyn Fn() -> bool,
) {
    let (indices, children): (Vec<usize>, Vec<Child>) = children.into_iter().unzip();
    let mut at = 0;
    let cannot = |why: &dyn std::fmt::Display| format!("its reaper cannot be made to wait: {why}");
    let result = target.map_err(|error| cannot(error)).and_then(|target| {
        while at < children.len() {
            if is_cancelled() {
                return Err(CANCELLED.to_owned());
            }
            let stopped =
                target.wait_for(&children[at..], STOP_BUDGET, &mut |_| {}).map_err(|error| cannot(&error))?;
            done.stops.push(stopped.length);
            // If a signal has cut a stop short, that stop may have freed nothing. The next stop continues.
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
            done.outcomes[index] = ReapOutcome::Failed(reason.clone());
        }
    }
}

fn outcome(waited: Waited) -> ReapOutcome {
    match waited {
        Waited::Freed => ReapOutcome::Freed,
        Waited::Gone => ReapOutcome::Gone,
        Waited::NotYet => ReapOutcome::Failed(
            "its reaper waited and did not get it: a tracer or a thread of it holds it".to_owned(),
        ),
        Waited::NotAChild => ReapOutcome::Failed("it is no child of its reaper any more".to_owned()),
        Waited::Failed(error) => ReapOutcome::Failed(format!(
            "its reaper's wait failed: {}",
            std::io::Error::from_raw_os_error(-error)
        )),
    }
}

/// Opens a zombie. Checks that it is still the same process with the same parent, and finds its pid in the PID
/// namespace of the parent.
fn open(host: &dyn Host, reaper: &Observer, zombie: &Zombie) -> Result<Child, ReapOutcome> {
    let pid = zombie.pid;
    let pidfd = Pid::from_raw(pid as i32).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let pidfd: OwnedFd = pidfd.ok_or(ReapOutcome::Gone)?;
    let facts = facts_of(host, pid)?;
    if zombie.start_ns.is_some_and(|start_ns| !starts_match(host, &facts, start_ns)) {
        return Err(ReapOutcome::Gone);
    }
    if facts.state != 'Z' {
        return Err(ReapOutcome::Failed(format!("it is not a zombie: its state is {}", facts.state)));
    }
    if facts.ppid != reaper.pid {
        return Err(ReapOutcome::Failed(format!("process {} must reap it now: look again", facts.ppid)));
    }
    let vpid = reaper.pid_of(&facts).ok_or_else(|| {
        ReapOutcome::Failed("its pid in the PID namespace of its reaper was not seen".to_owned())
    })?;
    Ok(Child { vpid, pidfd })
}

/// A reaper, and the level of the PID namespace whose pids its wait calls take.
struct Observer {
    pid: u32,
    /// The level of its PID namespace. `None` if it is not known.
    level: Option<u32>,
}

impl Observer {
    fn of(host: &dyn Host, pid: u32) -> Self {
        Self { pid, level: facts_of(host, pid).ok().and_then(|facts| facts.level()) }
    }

    /// The pid that the reaper uses for a process. The process is in the same PID namespace or in one below it.
    fn pid_of(&self, facts: &ProcessFacts) -> Option<u32> {
        facts.ns_pids.get(self.level? as usize).copied()
    }
}

/// The facts of an existing process, from `/proc`.
fn facts_of(host: &dyn Host, pid: u32) -> Result<ProcessFacts, ReapOutcome> {
    match host.process(pid) {
        Ok(Some(facts)) => Ok(facts),
        Ok(None) if host.was_not_read() => Err(ReapOutcome::Failed("it was not read in time".to_owned())),
        Ok(None) => Err(ReapOutcome::Gone),
        Err(error) => Err(ReapOutcome::Failed(format!("process {pid} cannot be read: {error}"))),
    }
}

/// Waits for the PID namespaces that the freed zombies have blocked, until they end. Returns those that have ended.
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

/// Whether a process still exists and is not a zombie.
fn is_exiting(pid: u32) -> bool {
    let stat = Process::new(pid as i32).and_then(|process| process.stat());
    stat.is_ok_and(|stat| stat.state != 'Z')
}

#[cfg(test)]
mod tests {
    use supervisor_collect::host::DirectProc;

    use super::*;

    #[test]
    fn a_pid_is_taken_from_the_namespace_level_of_the_reaper() {
        let host = DirectProc::new().expect("/proc");
        let me = std::process::id();
        let facts = facts_of(&host, me).expect("this process");
        assert_eq!(Observer::of(&host, me).pid_of(&facts), facts.ns_pids.last().copied());
        assert_eq!(Observer::of(&host, me).pid_of(&facts), facts.vpid());
        assert_eq!(facts_of(&host, 0x7fff_ffff).err(), Some(ReapOutcome::Gone));
    }
}
