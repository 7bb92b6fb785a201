//! Turns observations into events. A watch and a replay share this code.

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
    reaping::ReapRequest,
    recording::RecordingWriter,
};

use super::{ended, open_findings::OpenFindings, stream::Stream};
use crate::metrics::Metrics;

/// More observations than this at once leave so much free memory behind that it is given back to the kernel.
const MANY: usize = 100;

/// Draws conclusions, sends the events, remembers what is open, and keeps count.
pub struct Pipeline {
    host: HostIdentity,
    grace_ns: u64,
    conclusions: Conclusions,
    stream: Stream,
    recorder: Option<RecordingWriter>,
    open_findings: Option<OpenFindings>,
    is_forgetful: bool,
    metrics: Option<Arc<Metrics>>,
    tally: Tally,
}

/// How many findings there were.
#[derive(Default)]
struct Tally {
    /// Findings of processes that were seen to exit.
    detected: u64,
    /// Findings of processes that had exited before.
    existing: u64,
    /// Findings whose process was reaped. Released namespaces and finished exits are not counted.
    reaped: u64,
}

impl Pipeline {
    /// A pipeline that knows no finding yet.
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

    /// Also records observations.
    #[must_use]
    pub fn recorded_by(self, recorder: Option<RecordingWriter>) -> Self {
        Self { recorder, ..self }
    }

    /// Also counts events for Prometheus.
    #[must_use]
    pub(super) fn measured_by(self, metrics: Option<Arc<Metrics>>) -> Self {
        Self { metrics, ..self }
    }

    /// Also remembers open findings for the next run.
    pub(super) fn remembered_by(&mut self, open_findings: OpenFindings) {
        self.open_findings = Some(open_findings);
    }

    /// The conclusions from the observations.
    #[must_use]
    pub fn conclusions(&mut self) -> &mut Conclusions {
        &mut self.conclusions
    }

    /// The stream that takes the events.
    #[must_use]
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Takes in observations and sends the events that follow. Returns false if nobody will ever read the events.
    ///
    /// # Errors
    ///
    /// If a recording cannot be written, or the list of open findings cannot be read.
    pub async fn take(&mut self, observations: Vec<Observation>) -> Result<bool> {
        let are_many = observations.len() > MANY;
        // Each observation is freed before the next one is read. So findings replace, in memory, the evidence that they
        // are made of.
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
        // The list remembers an opening before its event is sent, and a close after its event is sent. So after a crash
        // in between, the next run reports one of them again, and omits none.
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

    /// Sends the end of a finding that only an earlier run has reported: the finding was over before this run inspected
    /// it.
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

    /// Sends an event that follows from no observation of this run, but from an earlier one. `host` is this host as it
    /// was then.
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

    /// Sends the audit event of a request to free a zombie.
    pub(super) async fn audit(&mut self, request: Box<ReapRequest>) -> Result<()> {
        let kind = EventKind::ReapRequested(request);
        self.send(&Event { at_ns: clock::now_ns(), wall: Wall::now(), kind }).await
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
        // After the first failure, more follow for a while: only the first one is reported.
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

    /// Makes the sinks that keep open findings compare their list with the findings that are open. A close or an
    /// opening may have been dropped, an opening may have been suppressed, or the destination may have lost all
    /// findings.
    pub(super) fn compare(&self) {
        let zombies = self.conclusions.open().map(|finding| finding.id.clone());
        let namespaces = self.conclusions.namespaces().map(|namespace| namespace.id.clone());
        let exits = self.conclusions.exits().map(|finding| finding.id.clone());
        self.stream.compare(zombies.chain(namespaces).chain(exits).collect());
    }

    /// Sends the open findings to the sinks whose lists did not have them.
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

    /// A summary of the findings, in one sentence.
    #[must_use]
    pub fn summary(&self) -> String {
        let Tally { detected, existing, reaped } = self.tally;
        let open = self.conclusions.open().count();
        format!("{detected} detected, {existing} found at the start, {reaped} reaped, {open} still open")
    }

    /// Ends every sink after it has delivered its waiting events. Returns the recording, which is not complete yet.
    ///
    /// # Errors
    ///
    /// If the list of open findings cannot be written.
    pub async fn close(self) -> Result<Option<RecordingWriter>> {
        let is_delivered = self.stream.close().await?;
        if let Some(open_findings) = self.open_findings
            && is_delivered
        {
            open_findings.delivered().context("cannot write the list of open findings")?;
        }
        Ok(self.recorder)
    }
}
