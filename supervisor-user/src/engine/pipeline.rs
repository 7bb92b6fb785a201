//! Observations in, events out: what a watch and a replay have in common.

use std::{collections::HashSet, io, sync::Arc};

use anyhow::{Context as _, Result};
use supervisor_collect::memory;
use supervisor_conclude::{conclusions::Conclusions, diagnosis::in_full};
use supervisor_deliver::say::say;
use supervisor_model::{
    clock::{self, Wall},
    event::{Event, EventKind},
    facts::HostIdentity,
    filter::Filter,
    observation::Observation,
    recording::Writer,
};

use super::{ended, open_findings::OpenFindings, stream::Stream};
use crate::metrics::Metrics;

/// The evidence of so many at once leaves free memory behind that is worth giving back.
const MANY: usize = 100;

/// Draws conclusions, sends the events, remembers what is open, and keeps count.
pub struct Pipeline {
    host: HostIdentity,
    grace_ns: u64,
    conclusions: Conclusions,
    stream: Stream,
    recorder: Option<Writer>,
    open_findings: Option<OpenFindings>,
    is_forgetful: bool,
    metrics: Option<Arc<Metrics>>,
    tally: Tally,
}

/// What was found.
#[derive(Default)]
struct Tally {
    /// Findings of processes that were seen to exit.
    detected: u64,
    /// Findings of processes that had exited before.
    existing: u64,
    /// Findings that were closed.
    reaped: u64,
}

impl Pipeline {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(host: HostIdentity, grace_ns: u64, filter: Filter, stream: Stream) -> Self {
        Self {
            conclusions: Conclusions::new(host.clone(), grace_ns, filter),
            host,
            grace_ns,
            stream,
            recorder: None,
            open_findings: None,
            is_forgetful: false,
            metrics: None,
            tally: Tally::default(),
        }
    }

    /// Lets observations be recorded too.
    #[must_use]
    pub fn recorded_by(self, recorder: Option<Writer>) -> Self {
        Self { recorder, ..self }
    }

    /// Lets events be counted for Prometheus too.
    #[must_use]
    pub(super) fn measured_by(self, metrics: Option<Arc<Metrics>>) -> Self {
        Self { metrics, ..self }
    }

    /// Lets what is open be remembered for the next run.
    pub(super) fn remembered_by(&mut self, open_findings: OpenFindings) {
        self.open_findings = Some(open_findings);
    }

    /// What is concluded.
    #[must_use]
    pub fn conclusions(&mut self) -> &mut Conclusions {
        &mut self.conclusions
    }

    /// The way out.
    #[must_use]
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Takes in observations and sends what follows. False if nobody will ever read what is sent.
    ///
    /// # Errors
    ///
    /// If a recording cannot be written.
    pub async fn take(&mut self, observations: Vec<Observation>) -> Result<bool> {
        let are_many = observations.len() > MANY;
        // Each is given up before the next, so that findings take the place of the evidence that they are made of.
        for observation in observations {
            self.take_one(&observation).await?;
        }
        if are_many {
            memory::give_back();
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.tick()?;
        }
        if let Some(open_findings) = &mut self.open_findings {
            let result = open_findings.tick();
            self.warn(&result);
        }
        self.stream.tick().await?;
        Ok(!self.stream.is_closed())
    }

    async fn take_one(&mut self, observation: &Observation) -> Result<()> {
        let was_wanted = self.conclusions.wants(observation);
        let events = self.conclusions.take(observation);
        let opens = self.conclusions.wants(observation);
        if let Some(recorder) = &mut self.recorder {
            recorder.take(observation, was_wanted || opens)?;
        }
        // An opening is remembered before it is sent and a close after it was, so that a crash in between makes the next
        // run tell one of them again, and none is left out.
        if opens {
            self.remember(observation);
        }
        for event in &events {
            self.send(event).await?;
        }
        if observation.seen.is_end() {
            if !was_wanted {
                self.end_of_earlier(observation).await?;
            }
            self.remember(observation);
        }
        Ok(())
    }

    /// Tells the end of a finding that only an earlier run has told: it was over before this one has looked at it.
    async fn end_of_earlier(&mut self, observation: &Observation) -> Result<()> {
        let Some(open_findings) = &self.open_findings else { return Ok(()) };
        let opening = open_findings.opening_of(observation);
        let Some(opening) = opening.context("cannot read the list of open findings")? else { return Ok(()) };
        let is_delivered = open_findings.is_delivered();
        for event in ended::events(&self.host, self.grace_ns, &opening, observation, is_delivered) {
            self.send(&event).await?;
        }
        Ok(())
    }

    /// Sends an event that follows from no observation of this run, but from one of this host as it was then.
    pub(super) async fn send_of(&mut self, host: &HostIdentity, event: &Event) -> Result<()> {
        self.measure(event);
        self.stream.send_of(host, event).await
    }

    /// Sends an event.
    pub(super) async fn send(&mut self, event: &Event) -> Result<()> {
        match event.kind {
            EventKind::Detected(_) => self.tally.detected += 1,
            EventKind::Existing(_) | EventKind::State(_) => self.tally.existing += 1,
            EventKind::Reaped { .. } => self.tally.reaped += 1,
            _ => {}
        }
        self.measure(event);
        self.stream.send(event).await
    }

    fn measure(&self, event: &Event) {
        if let Some(metrics) = &self.metrics {
            metrics.observe(event);
        }
    }

    fn remember(&mut self, observation: &Observation) {
        let Some(open_findings) = &mut self.open_findings else { return };
        let result = open_findings.take(observation);
        self.warn(&result);
    }

    fn warn(&mut self, result: &io::Result<()>) {
        // Once it fails it will fail for a while: the first time is enough to be told.
        if let Err(error) = result
            && !self.is_forgetful
        {
            say(&format!(
                "supervisor: the list of open findings cannot be written, so findings that are reaped while supervisor \
                 does not run will not be closed: {error}"
            ));
        }
        self.is_forgetful = result.is_err();
    }

    /// Lets sinks that keep open findings compare them with those that are open: a close may have been dropped, an
    /// opening too or suppressed, and the place may have lost all of them.
    pub(super) fn compare(&self) {
        let zombies = self.conclusions.open().map(|finding| finding.id.clone());
        let namespaces = self.conclusions.namespaces().map(|namespace| namespace.id.clone());
        let exits = self.conclusions.exits().map(|finding| finding.id.clone());
        self.stream.compare(zombies.chain(namespaces).chain(exits).collect());
    }

    /// Puts into their lists what they did not have.
    pub(super) async fn complete(&mut self) -> Result<()> {
        let missing: Vec<(usize, Vec<String>)> = self.stream.take_missing().collect();
        let (at_ns, wall) = (clock::now_ns(), Wall::now());
        for (sink, ids) in missing {
            let ids: HashSet<String> = ids.into_iter().collect();
            for finding in self.conclusions.open().filter(|it| ids.contains(&it.id)) {
                let kind = EventKind::State(Box::new(in_full(finding)));
                self.stream.list(sink, &Event { at_ns, wall, kind }).await?;
            }
            for finding in self.conclusions.exits().filter(|it| ids.contains(&it.id)) {
                let kind = EventKind::ExitBlocked { finding: Box::new(in_full(finding)), again: true };
                self.stream.list(sink, &Event { at_ns, wall, kind }).await?;
            }
            for namespace in self.conclusions.namespaces().filter(|it| ids.contains(&it.id)) {
                let kind = EventKind::Blocked { namespace: Box::new(namespace.clone()), again: true };
                self.stream.list(sink, &Event { at_ns, wall, kind }).await?;
            }
        }
        Ok(())
    }

    /// Whether a sink that keeps open findings has lost them, or could not compare them.
    pub(super) fn wants_to_compare(&self) -> bool {
        self.stream.wants_to_compare()
    }

    /// What was found, in a sentence.
    #[must_use]
    pub fn summary(&self) -> String {
        let Tally { detected, existing, reaped } = self.tally;
        let open = self.conclusions.open().count();
        format!("{detected} detected, {existing} found at the start, {reaped} reaped, {open} still open")
    }

    /// Ends every sink when it has delivered what waits. Returns the recording, which is still to be completed.
    ///
    /// # Errors
    ///
    /// If what is open cannot be remembered.
    pub async fn close(self) -> Result<Option<Writer>> {
        let is_delivered = self.stream.close().await?;
        if let Some(open_findings) = self.open_findings
            && is_delivered
        {
            open_findings.delivered().context("cannot write the list of open findings")?;
        }
        Ok(self.recorder)
    }
}
