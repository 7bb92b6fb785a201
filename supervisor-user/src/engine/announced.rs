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
    decision::Decision,
    finding::Finding,
    notice::{Notice, ReapResult},
    observation::Seen,
    reaping::{ReapAttempt, ReapOutcome, ReapRequest, RequestedBy},
};

use super::Pipeline;

/// How many announced zombies are kept. While there are that many, further announcements wait.
const REMEMBERED: usize = 4096;
/// A tick begins no further message after this time. A message can take this time again, for the inspections.
const WITHIN: Duration = Duration::from_millis(200);
/// A request without news for this long is over: its command has ended before it could report all results.
const NEWS_WITHIN: Duration = Duration::from_mins(1);

/// What commands have announced.
pub(super) struct Announced {
    inbox: Inbox,
    requests: HashMap<u64, Request>,
    /// Whether it was reported that a message cannot be read.
    is_reported: bool,
}

/// What one command frees at a time.
struct Request {
    /// The time of its last message.
    heard: Instant,
    /// The zombies whose outcome is not known yet, each with its audit event. No event is sent for those that the filters
    /// do not want.
    zombies: HashMap<ProcessId, Option<Box<ReapRequest>>>,
}

impl Announced {
    /// Opens the inbox. This needs `CAP_BPF`.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the map.
    pub(super) fn open() -> Result<Self, KernelError> {
        Ok(Self { inbox: Inbox::new()?, requests: HashMap::new(), is_reported: false })
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
            && self.remembered() < REMEMBERED
            && let Some((key, message)) = self.first()
        {
            match self.read(&message) {
                Some(Notice::Asked { request, requested_by, is_forced, zombies }) => {
                    self.asked(request, &requested_by, is_forced, zombies, observer, pipeline)?;
                }
                Some(Notice::Done { request, results }) => self.done(request, results, pipeline).await?,
                None => {}
            }
            // Only now the command goes on.
            self.inbox.remove(key);
        }
        let late = |request: &Request| request.heard.elapsed() > NEWS_WITHIN;
        self.give_up(late, pipeline).await?;
        // A zombie that was younger than the grace period can be a finding by now.
        for id in self.requests.values().flat_map(|request| request.zombies.keys()) {
            pipeline.conclusions().is_being_freed(id);
        }
        Ok(())
    }

    /// Takes the results that are there, and reports the other zombies without one.
    ///
    /// # Errors
    ///
    /// If [`Pipeline::send`] fails.
    pub(super) async fn end(&mut self, pipeline: &mut Pipeline) -> Result<()> {
        while let Some((key, message)) = self.first() {
            if let Some(Notice::Done { request, results }) = self.read(&message) {
                self.done(request, results, pipeline).await?;
            }
            self.inbox.remove(key);
        }
        self.give_up(|_| true, pipeline).await
    }

    fn remembered(&self) -> usize {
        self.requests.values().map(|request| request.zombies.len()).sum()
    }

    /// The oldest message. An inbox that cannot be read does not end the agent.
    fn first(&mut self) -> Option<(u64, Vec<u8>)> {
        let first = self.inbox.first();
        first.unwrap_or_else(|error| {
            self.report(&error.to_string());
            None
        })
    }

    fn read(&mut self, message: &[u8]) -> Option<Notice> {
        let notice = Notice::read(message);
        notice.map_err(|error| self.report(&format!("is it of the same version? {error}"))).ok()
    }

    fn report(&mut self, error: &str) {
        if !std::mem::replace(&mut self.is_reported, true) {
            say(&format!(
                "supervisor: what `supervisor reap` announces cannot be read, so its audit events are missing: {error}"
            ));
        }
    }

    /// Remembers zombies that will be freed.
    fn asked(
        &mut self,
        request: u64,
        requested_by: &RequestedBy,
        is_forced: bool,
        zombies: Vec<(ProcessId, Decision)>,
        observer: &mut Observer<Proc>,
        pipeline: &mut Pipeline,
    ) -> Result<()> {
        let mut young = young(zombies.iter().map(|(id, _)| *id), observer, pipeline)?;
        let conclusions = pipeline.conclusions();
        let empty = || Request { heard: Instant::now(), zombies: HashMap::new() };
        let request = self.requests.entry(request).or_insert_with(empty);
        request.heard = Instant::now();
        for (id, decision) in zombies {
            conclusions.is_being_freed(&id);
            let finding = conclusions.finding(&id).cloned().or_else(|| young.remove(&id));
            let audit = finding.map(|finding| {
                Box::new(ReapRequest {
                    entry: ReapAttempt::new(finding, decision),
                    requested_by: requested_by.clone(),
                    is_forced,
                    // The pipeline reports released namespaces itself.
                    released: Vec::new(),
                })
            });
            request.zombies.insert(id, audit);
        }
        Ok(())
    }

    async fn done(&mut self, number: u64, results: Vec<ReapResult>, pipeline: &mut Pipeline) -> Result<()> {
        // An announcement that came too late was taken back.
        let Some(request) = self.requests.get_mut(&number) else { return Ok(()) };
        request.heard = Instant::now();
        for ReapResult { zombie, outcome, is_nudged, stopped_for } in results {
            let Some(audit) = request.zombies.remove(&zombie) else { continue };
            if !outcome.is_freed() {
                pipeline.conclusions().was_not_freed(&zombie);
            }
            if let Some(mut audit) = audit {
                audit.entry.is_nudged = is_nudged;
                audit.entry.stopped_for = stopped_for;
                report(audit, outcome, pipeline).await?;
            }
        }
        if request.zombies.is_empty() {
            self.requests.remove(&number);
        }
        Ok(())
    }

    async fn give_up(&mut self, is_over: impl Fn(&Request) -> bool, pipeline: &mut Pipeline) -> Result<()> {
        let over: Vec<(u64, Request)> = self.requests.extract_if(|_, request| is_over(request)).collect();
        for (id, audit) in over.into_iter().flat_map(|(_, request)| request.zombies) {
            pipeline.conclusions().was_not_freed(&id);
            if let Some(audit) = audit {
                report(audit, ReapOutcome::Unknown, pipeline).await?;
            }
        }
        Ok(())
    }
}

/// The findings of those that are younger than the grace period, and so are no findings of the agent yet. Without those
/// that the filters do not want.
fn young(
    zombies: impl Iterator<Item = ProcessId>,
    observer: &mut Observer<Proc>,
    pipeline: &mut Pipeline,
) -> Result<HashMap<ProcessId, Finding>> {
    /// An inspection can end before it has come to all.
    const INSPECTIONS: usize = 3;
    let conclusions = pipeline.conclusions();
    let mut rest: HashMap<ProcessId, Option<u64>> =
        zombies.filter(|id| !conclusions.is_open(id)).map(|id| (id, None)).collect();
    let mut findings = HashMap::new();
    for _ in 0..INSPECTIONS {
        if rest.is_empty() {
            break;
        }
        let known: Vec<(ProcessId, Option<u64>)> = rest.iter().map(|(id, exit_ns)| (*id, *exit_ns)).collect();
        for observation in observer.inspect_again(&known, WITHIN)? {
            if let Seen::Unreaped { id, evidence, .. } = observation.seen {
                rest.remove(&id);
                findings.extend(conclusions.explain_wanted(&evidence).map(|finding| (id, finding)));
            }
        }
    }
    Ok(findings)
}

async fn report(mut request: Box<ReapRequest>, outcome: ReapOutcome, pipeline: &mut Pipeline) -> Result<()> {
    request.entry.outcome = Some(outcome);
    pipeline.audit(request).await
}
