//! `[reap]`: the agent regularly frees zombies that nobody will wait for.
//!
//! In every period the agent selects findings: [`decide`](supervisor_conclude::decision::decide) lets the zombie go
//! without force, it is old enough, and it belongs to a selected family. The agent inspects the zombies of one reaper
//! again, so that the decision rests on evidence of this moment. Then it hands them to a worker
//! ([`supervisor_reap::worker`]). The event loop never waits for a worker: at each tick it checks which workers have
//! answered.

mod schedule;
mod task;

use std::{
    collections::HashSet,
    process::Child,
    time::{Duration, Instant},
};

use anyhow::Result;
use schedule::Schedule;
use supervisor_collect::{host::Proc, observer::Observer};
use supervisor_conclude::decision::may_be_nudged;
use supervisor_deliver::say::say;
use supervisor_ebpf::ProcessId;
use supervisor_model::{
    clock,
    decision::Decision,
    observation::Seen,
    reaping::{ReapAttempt, ReapOutcome, ReapRequest, RequestedBy},
};
use supervisor_reap::{
    free::{Done, Zombie},
    worker::Job,
};
use task::{Performed, perform};
use tokio::{sync::watch, task::JoinHandle};

use super::Pipeline;
use crate::config::ReapConfig;

/// How many reapers are served at once.
const WORKERS: usize = 4;
/// The kernel can keep a worker that was killed. With this many of them, nothing is freed until one has ended.
const STUCK_AT_MOST: usize = 4;
/// After this time, a tick begins no other batch: that batch waits for another tick. The inspection of a batch can take
/// this time again, and the time of one more zombie. Zombies that it does not reach wait for the next round.
const INSPECT: Duration = Duration::from_millis(200);
/// The pause after an inspection is this many times as long as the inspection took: on a host with very many processes
/// the collector has other work.
const PAUSE: u32 = 4;

/// Frees zombies.
pub(super) struct Reaping {
    schedule: Schedule,
    requested_by: RequestedBy,
    running: Vec<Running>,
    stuck: Vec<Child>,
    /// No zombie is inspected before this time.
    resume: Instant,
    /// Whether it was reported that too many workers are stuck.
    is_reported: bool,
    ends: watch::Sender<bool>,
}

/// Zombies of one reaper that a worker frees.
struct Running {
    reaper: u32,
    zombies: Vec<(ProcessId, ReapAttempt)>,
    task: JoinHandle<Performed>,
}

impl Reaping {
    pub(super) fn new(config: ReapConfig) -> Self {
        Self {
            schedule: Schedule::new(config, std::process::id(), clock::now_ns()),
            requested_by: supervisor_reap::requester::requested_by_service(),
            running: Vec::new(),
            stuck: Vec::new(),
            resume: Instant::now(),
            is_reported: false,
            ends: watch::Sender::new(false),
        }
    }

    /// Applies other settings.
    pub(super) fn reconfigure(&mut self, config: ReapConfig) {
        self.schedule.reconfigure(config, clock::now_ns());
    }

    /// Reports what workers have done, and starts others. Call it at each tick.
    ///
    /// # Errors
    ///
    /// If a map or `/proc` cannot be read, or [`Pipeline::take`] fails.
    pub(super) async fn tick(
        &mut self,
        observer: &mut Observer<Proc>,
        pipeline: &mut Pipeline,
    ) -> Result<()> {
        while let Some(at) = self.running.iter().position(|it| it.task.is_finished()) {
            let done = self.running.swap_remove(at);
            self.report(done, pipeline).await?;
        }
        let start = Instant::now();
        if self.is_held_up() || start < self.resume {
            return Ok(());
        }
        let now_ns = clock::now_ns();
        if self.schedule.is_due(now_ns) {
            self.schedule.plan(pipeline.conclusions().open_by_id(), now_ns);
        }
        for _ in 0..self.schedule.waiting() {
            if self.running.len() >= WORKERS || start.elapsed() >= INSPECT {
                break;
            }
            let Some(ids) = self.schedule.next() else { break };
            if self.is_served(&ids, pipeline) {
                self.schedule.put_back(ids);
            } else {
                self.begin(&ids, observer, pipeline).await?;
            }
        }
        self.resume = Instant::now() + start.elapsed() * PAUSE;
        Ok(())
    }

    /// Whether too many workers are stuck. Those that have ended are reaped.
    fn is_held_up(&mut self) -> bool {
        self.stuck.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        let is_held_up = self.stuck.len() >= STUCK_AT_MOST;
        if is_held_up && !self.is_reported {
            say(&format!(
                "supervisor: [reap] frees nothing while {STUCK_AT_MOST} of its processes are held up by reapers whose memory \
                 cannot be read"
            ));
        }
        self.is_reported = is_held_up;
        is_held_up
    }

    /// Whether a worker already serves the reaper of these zombies: a process has one tracer (ptrace) at a time.
    fn is_served(&self, ids: &[ProcessId], pipeline: &mut Pipeline) -> bool {
        let conclusions = pipeline.conclusions();
        let reapers = ids.iter().filter_map(|id| Some(conclusions.finding(id)?.reaper.as_ref()?.process.pid));
        reapers.into_iter().any(|reaper| self.running.iter().any(|running| running.reaper == reaper))
    }

    /// Inspects zombies of one reaper, and lets a worker free those that may still be freed.
    async fn begin(
        &mut self,
        ids: &[ProcessId],
        observer: &mut Observer<Proc>,
        pipeline: &mut Pipeline,
    ) -> Result<()> {
        let conclusions = pipeline.conclusions();
        let exit_of = |id: &ProcessId| Some((*id, conclusions.finding(id)?.exit_ns));
        let known: Vec<(ProcessId, Option<u64>)> = ids.iter().filter_map(exit_of).collect();
        let seen = observer.inspect_again(&known, INSPECT)?;
        let inspected: HashSet<ProcessId> = seen
            .iter()
            .filter_map(|it| match &it.seen {
                Seen::Unreaped { id, .. } => Some(*id),
                _ => None,
            })
            .collect();
        pipeline.take(seen).await?;

        let now_ns = clock::now_ns();
        let conclusions = pipeline.conclusions();
        let mut zombies: Vec<(ProcessId, ReapAttempt)> = ids
            .iter()
            .filter(|id| inspected.contains(id))
            .filter_map(|id| Some((*id, conclusions.finding(id)?)))
            .filter(|(_, finding)| self.schedule.is_meant(finding, now_ns))
            .map(|(id, finding)| (id, ReapAttempt::new(finding.clone(), Decision::Reap)))
            .collect();
        let Some(reaper) = zombies.first().map(|(_, entry)| entry.reaper()) else { return Ok(()) };
        // Another process may have adopted one of them since: that zombie waits for the next round.
        zombies.retain(|(_, entry)| entry.reaper() == reaper);
        let findings = || zombies.iter().map(|(_, entry)| &entry.finding);
        let job = Job {
            reaper,
            nudges: self.schedule.nudges() && findings().any(may_be_nudged),
            zombies: findings().map(Zombie::of).collect(),
        };
        for (id, _) in &zombies {
            pipeline.conclusions().is_being_freed(id);
        }
        let task = tokio::spawn(perform(job, self.ends.subscribe()));
        self.running.push(Running { reaper, zombies, task });
        Ok(())
    }

    /// Sends an audit event for each zombie that a worker had to free.
    async fn report(&mut self, running: Running, pipeline: &mut Pipeline) -> Result<()> {
        let Running { zombies, task, .. } = running;
        let performed = task.await;
        let answer = match performed {
            Ok(Performed { answer, stuck }) => {
                self.stuck.extend(stuck);
                answer
            }
            Err(error) => Err(format!("this is a bug in supervisor: {error}")),
        };
        let done = answer.unwrap_or_else(|reason| Done {
            outcomes: vec![ReapOutcome::Failed(reason); zombies.len()],
            stopped_for: vec![None; zombies.len()],
            ..Done::default()
        });
        let results = done.outcomes.into_iter().zip(done.stopped_for);
        for ((id, mut entry), (outcome, stopped_for)) in zombies.into_iter().zip(results) {
            let now_ns = clock::now_ns();
            if !outcome.is_freed() {
                self.schedule.was_not_freed(id, now_ns);
                pipeline.conclusions().was_not_freed(&id);
            }
            (entry.outcome, entry.stopped_for) = (Some(outcome), stopped_for);
            entry.is_nudged = done.is_nudged;
            let request = ReapRequest {
                entry,
                requested_by: self.requested_by.clone(),
                is_forced: false,
                // The pipeline reports released namespaces itself.
                released: Vec::new(),
            };
            pipeline.audit(Box::new(request)).await?;
        }
        Ok(())
    }

    /// Lets each worker end the stop that is in progress, and reports what was done. The workers take 1.6 s at most:
    /// `CANCELLED_WITHIN`, and `ENDED_WITHIN` before and after SIGKILL.
    ///
    /// # Errors
    ///
    /// None that can happen.
    pub(super) async fn end(&mut self, pipeline: &mut Pipeline) -> Result<()> {
        self.ends.send_replace(true);
        for running in std::mem::take(&mut self.running) {
            self.report(running, pipeline).await?;
        }
        Ok(())
    }
}
