//! Takes in what `supervisor reap` announces, and reports it as the agent reports its own reaps.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::Result;
use supervisor_collect::{
    host::Proc,
    kernel::{Inbox, KernelError},
    observer::Observer,
};
use supervisor_deliver::say::say;
use supervisor_ebpf::ProcessId;
use supervisor_model::{
    clock::{self, Wall},
    event::{Event, EventKind},
    finding::Finding,
    notice::{Notice, ReapResult},
    observation::Seen,
    reaping::{Decision, ReapAttempt, ReapOutcome, ReapRequest, RequestedBy},
};

use super::Pipeline;

/// How many announced zombies are remembered at most. While there are so many, further announcements wait.
const REMEMBERED: usize = 16_384;
/// A tick begins no further message after this time. A message can take this time again, for the inspections.
const WITHIN: Duration = Duration::from_millis(200);
/// A command that does not report a result in this time has ended before it could.
const RESULT_WITHIN: Duration = Duration::from_mins(1);

/// What commands have announced.
pub(super) struct Announced {
    inbox: Inbox,
    /// The zombies that are being freed, each with the request, whose outcome is not known yet.
    zombies: HashMap<ProcessId, (ReapRequest, Instant)>,
    /// Whether it was reported that a message cannot be read.
    is_told: bool,
}

impl Announced {
    /// Opens the inbox. This needs `CAP_BPF`.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the map.
    pub(super) fn open() -> Result<Self, KernelError> {
        Ok(Self { inbox: Inbox::new()?, zombies: HashMap::new(), is_told: false })
    }

    /// Takes the messages, and reports the results. Call it at each tick.
    ///
    /// # Errors
    ///
    /// If a map or `/proc` cannot be read, or [`Pipeline::send`] fails.
    pub(super) async fn tick(
        &mut self,
        observer: &mut Observer<Proc>,
        pipeline: &mut Pipeline,
    ) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < WITHIN
            && self.zombies.len() < REMEMBERED
            && let Some((key, message)) = self.inbox.first()?
        {
            match Notice::read(&message) {
                Ok(Notice::Asked { requested_by, is_forced, zombies }) => {
                    self.asked(&requested_by, is_forced, zombies, observer, pipeline)?;
                }
                Ok(Notice::Done { results }) => self.done(results, pipeline).await?,
                Err(_) if self.is_told => {}
                Err(error) => {
                    self.is_told = true;
                    say(&format!(
                        "supervisor: a notice of `supervisor reap` cannot be read, so its audit event is missing; are they the \
                         same version? {error}"
                    ));
                }
            }
            // Only now the command goes on.
            self.inbox.remove(key)?;
        }
        let late = |asked: &Instant| asked.elapsed() > RESULT_WITHIN;
        self.give_up(late, pipeline).await
    }

    /// Remembers zombies that will be freed. The filters choose the ones that are reported.
    fn asked(
        &mut self,
        requested_by: &RequestedBy,
        is_forced: bool,
        zombies: Vec<(ProcessId, Decision)>,
        observer: &mut Observer<Proc>,
        pipeline: &mut Pipeline,
    ) -> Result<()> {
        let conclusions = pipeline.conclusions();
        // Those that are younger than the grace period are no findings yet.
        let young = zombies.iter().map(|(id, _)| *id).filter(|id| !conclusions.is_open(id));
        let young: Vec<(ProcessId, Option<u64>)> = young.map(|id| (id, None)).collect();
        let mut findings: HashMap<ProcessId, Finding> = HashMap::new();
        if !young.is_empty() {
            for observation in observer.inspect_again(&young, WITHIN)? {
                if let Seen::Unreaped { id, evidence, .. } = observation.seen {
                    findings.extend(conclusions.explain_wanted(&evidence).map(|finding| (id, finding)));
                }
            }
        }
        for (id, decision) in zombies {
            conclusions.is_being_freed(&id);
            let finding = conclusions.finding(&id).cloned().or_else(|| findings.remove(&id));
            let Some(finding) = finding else { continue };
            let request = ReapRequest {
                entry: ReapAttempt::new(finding, decision),
                requested_by: requested_by.clone(),
                is_forced,
                // The pipeline reports released namespaces itself.
                released: Vec::new(),
            };
            self.zombies.insert(id, (request, Instant::now()));
        }
        Ok(())
    }

    async fn done(&mut self, results: Vec<ReapResult>, pipeline: &mut Pipeline) -> Result<()> {
        for ReapResult { zombie, outcome, is_nudged, stopped_for } in results {
            if !outcome.is_freed() {
                pipeline.conclusions().was_not_freed(&zombie);
            }
            let Some((mut request, _)) = self.zombies.remove(&zombie) else { continue };
            (request.entry.outcome, request.entry.stopped_for) = (Some(outcome), stopped_for);
            request.entry.is_nudged = is_nudged;
            report(request, pipeline).await?;
        }
        Ok(())
    }

    /// Reports those without a result.
    ///
    /// # Errors
    ///
    /// If [`Pipeline::send`] fails.
    pub(super) async fn end(&mut self, pipeline: &mut Pipeline) -> Result<()> {
        self.give_up(|_| true, pipeline).await
    }

    async fn give_up(&mut self, is_late: impl Fn(&Instant) -> bool, pipeline: &mut Pipeline) -> Result<()> {
        let late: Vec<(ProcessId, (ReapRequest, Instant))> =
            self.zombies.extract_if(|_, (_, asked)| is_late(asked)).collect();
        for (id, (mut request, _)) in late {
            pipeline.conclusions().was_not_freed(&id);
            request.entry.outcome =
                Some(ReapOutcome::Failed("`supervisor reap` did not report what came of it".to_owned()));
            report(request, pipeline).await?;
        }
        Ok(())
    }
}

async fn report(request: ReapRequest, pipeline: &mut Pipeline) -> Result<()> {
    let kind = EventKind::ReapRequested(Box::new(request));
    pipeline.send(&Event { at_ns: clock::now_ns(), wall: Wall::now(), kind }).await
}
