//! The internal model of findings. Every output is a mapping of this model.
//!
//! An unknown value is `None` or empty, never a made-up value. Times are nanoseconds of `CLOCK_BOOTTIME`.

mod container;
mod namespace;
mod process;
mod reaper;

use crate::{
    diagnosis::{Confidence, Diagnosis},
    evidence::EndingFacts,
    facts::{PidBudget, ThreadFacts},
    shared::Shared,
};

pub use self::{
    container::{
        Authority, ClaimSource, Container, Creator, IdentityClaim, Monitor, Orchestrator, Role, Runtime,
        Stage,
    },
    namespace::{Block, BlockedNamespace, Blocker, BlockerKind, NsInit, PidNs, PidNsMode, named_blockers},
    process::{Exit, Process, Tracer},
    reaper::{LastWait, Reaper, WaitTarget},
};

/// One unreaped process. `explain` makes a finding of any process.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Stable from open to close.
    pub id: String,
    /// The process.
    pub process: Process,
    /// Its state letter: `Z`, unless `explain` shows a living process or the process is exiting.
    pub state: char,
    /// Whether its last thread has begun to exit.
    pub is_exiting: bool,
    /// Kernel function that it sleeps in.
    pub wchan: Option<String>,
    /// Its threads, if it has more than one.
    pub threads: Vec<ThreadFacts>,
    /// Its role, which follows from its own exec.
    pub role: Role,
    /// Whether it has executed a file since it was forked.
    pub executed: Option<bool>,
    /// The program that its creator ran when it forked it, if the creator has executed another one since.
    pub forked_as: Option<String>,
    /// Its pid as its reaper's wait calls name it.
    pub pid_of_reaper: Option<u32>,
    /// Its process group, as the initial PID namespace counts.
    pub pgrp: Option<u32>,
    /// Its process group as its reaper's wait calls name it.
    pub pgrp_in_reaper_ns: Option<u32>,
    /// The signal that its exit sends to its parent; 17 is `SIGCHLD`.
    pub exit_signal: Option<i32>,
    /// The tracer of the process, or of one of its threads.
    pub tracer: Option<Tracer>,
    /// How it ended.
    pub exit: Option<Exit>,
    /// When its last thread exited, if that was seen.
    pub exit_ns: Option<u64>,
    /// A time before which it exited, if the exit itself was not seen.
    pub exited_before_ns: Option<u64>,
    /// The time of the first inspection: it was a zombie by then.
    pub seen_ns: u64,
    /// The time of the last inspection.
    pub looked_ns: u64,
    /// The grace period: the process is reported if it is unreaped for this long.
    pub grace_ns: u64,
    /// The process that must wait for it.
    pub reaper: Option<Reaper>,
    /// The process that forked it, the process that forked that process, and so on, nearest first. Many findings have
    /// the same creators, and share them.
    pub creators: Shared<Vec<Creator>>,
    /// The container runtime that it comes from.
    pub runtime: Option<Runtime>,
    /// The container monitor.
    pub monitor: Option<Monitor>,
    /// The container.
    pub container: Option<Container>,
    /// The orchestrator that placed the container here.
    pub orchestrator: Option<Orchestrator>,
    /// The confidence in container and pod, if they are not certain.
    pub identity_confidence: Option<Confidence>,
    /// The claims about container and pod, best first, if container and pod are not certain.
    pub claims: Vec<IdentityClaim>,
    /// Its PID namespace.
    pub pid_ns: Option<PidNs>,
    /// Path of its control group.
    pub cgroup: Option<String>,
    /// How it came into the container, or the fact that it is in no container.
    pub origin: Origin,
    /// PID namespaces that cannot end while it exists.
    pub blocks: Vec<Block>,
    /// The pids that it costs, if pids are limited.
    pub budget: Option<Budget>,
    /// How its reaper treated earlier zombies.
    pub pattern: Option<Pattern>,
    /// The facts about its exit, if the process was told to exit and is no zombie yet.
    pub ending: Option<EndingFacts>,
    /// Why it is unreaped.
    pub diagnosis: Diagnosis,
}

/// The thread that keeps a process from its end.
#[derive(Clone, Copy, Debug)]
pub struct LastThread<'a> {
    /// Its name and id, if the process has more than one thread.
    pub named: Option<(&'a str, u32)>,
    /// Host thread id.
    pub tid: u32,
    /// State letter.
    pub state: char,
    /// Kernel function that it sleeps in.
    pub wchan: Option<&'a str>,
}

impl Finding {
    /// The thread that keeps the process from its end: a thread in state D, or else the first thread that has not
    /// ended. A zombie has none.
    #[must_use]
    pub fn last_thread(&self) -> Option<LastThread<'_>> {
        let live = || self.threads.iter().filter(|thread| thread.is_live());
        let Some(thread) = live().find(|thread| thread.state == 'D').or_else(|| live().next()) else {
            return (self.state != 'Z').then_some(LastThread {
                named: None,
                tid: self.process.pid,
                state: self.state,
                wchan: self.wchan.as_deref(),
            });
        };
        Some(LastThread {
            named: Some((&thread.comm, thread.tid)),
            tid: thread.tid,
            state: thread.state,
            wchan: thread.wchan.as_deref(),
        })
    }

    /// State and kernel function of that thread.
    #[must_use]
    pub fn last_place(&self) -> (char, Option<&str>) {
        self.last_thread().map_or((self.state, self.wchan.as_deref()), |it| (it.state, it.wchan))
    }
}

/// How a reaper treated earlier findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The number of findings that it has reaped.
    pub reaped: u64,
    /// The median of the nanoseconds from exit to reap, among the latest findings.
    pub median_ns: u64,
    /// The longest time from exit to reap, in nanoseconds, among the latest findings.
    pub longest_ns: u64,
    /// Whether an open finding is overdue ([`Pattern::is_overdue_at`]). A finding of unknown age counts as overdue.
    pub is_broken: bool,
}

impl Pattern {
    /// Whether a zombie of that age is overdue: older than twice `longest_ns` plus 1 s. `longest_ns` is the longest
    /// time from exit to reap among the latest findings.
    #[must_use]
    pub fn is_overdue_at(longest_ns: u64, age_ns: u64) -> bool {
        const SLACK_NS: u64 = 1_000_000_000;
        age_ns > longest_ns.saturating_mul(2).saturating_add(SLACK_NS)
    }
}

/// How a process came into its container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// It descends from the container's own command, or it is that command.
    Entrypoint,
    /// It descends from a command that was executed in the running container.
    Exec,
    /// As [`Origin::Exec`], and the command is executed again and again.
    HealthCheck {
        /// The time between two of these commands.
        period_ns: u64,
    },
    /// It is in no container.
    Host,
    /// Its ancestry was not seen.
    #[default]
    Unknown,
}

impl Origin {
    /// The word of the event contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Entrypoint => "entrypoint",
            Self::Exec => "exec",
            Self::HealthCheck { .. } => "healthcheck",
            Self::Host => "host",
            Self::Unknown => "unknown",
        }
    }
}

/// The use of pids, if they are limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The number of tasks now and at most, and the source of the limit.
    pub pids: PidBudget,
    /// Unreaped processes under the same limit, if they were counted.
    pub unreaped: Option<u64>,
    /// The growth of this number in an hour. `None` if it does not grow, or if it was not watched for long enough.
    pub rate_per_hour: Option<u64>,
    /// The time until no pid is left, at that rate.
    pub exhausted_in_ns: Option<u64>,
}
