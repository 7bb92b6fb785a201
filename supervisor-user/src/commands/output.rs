//! What `watch`, `record` and `replay` have in common: observations in, events out.

use std::io;

use anyhow::{Context as _, Result};

use super::record::Recorder;
use crate::{
    conclusions::Conclusions,
    filter::Filter,
    finding::EventKind,
    observation::Observation,
    recording::Counted,
    report::Context,
    sink::{Format, Stdout},
};

/// Draws conclusions, writes the events, and keeps count.
pub(super) struct Output {
    conclusions: Conclusions,
    stdout: Stdout,
    context: Context,
    recorder: Option<Recorder>,
    detected: u64,
    existing: u64,
    reaped: u64,
}

impl Output {
    pub(super) fn new(context: Context, grace_ns: u64, filter: Filter, format: Format) -> Self {
        Self {
            conclusions: Conclusions::new(context.host.clone(), grace_ns, filter),
            stdout: Stdout::new(format),
            context,
            recorder: None,
            detected: 0,
            existing: 0,
            reaped: 0,
        }
    }

    /// Lets observations be recorded too.
    pub(super) fn recorded_by(self, recorder: Option<Recorder>) -> Self {
        Self { recorder, ..self }
    }

    /// False if the reader of standard output is gone: then nobody wants more. All of it is recorded even so.
    pub(super) fn write(&mut self, observations: &[Observation]) -> Result<bool> {
        let mut is_read = true;
        for observation in observations {
            let was_wanted = self.conclusions.wants(observation);
            let events = self.conclusions.take(observation);
            if let Some(recorder) = &mut self.recorder {
                recorder.take(observation, was_wanted || self.conclusions.wants(observation))?;
            }
            for event in events {
                match event.kind {
                    EventKind::Detected(_) => self.detected += 1,
                    EventKind::Existing(_) | EventKind::State(_) => self.existing += 1,
                    EventKind::Reaped { .. } => self.reaped += 1,
                    _ => {}
                }
                match self.stdout.write(&event, &self.context) {
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => is_read = false,
                    result => result.context("cannot write to standard output")?,
                }
            }
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.tick()?;
        }
        Ok(is_read)
    }

    /// What was found.
    pub(super) fn summary(&self) -> String {
        let Self { detected, existing, reaped, .. } = self;
        let open = self.conclusions.open().count();
        format!("{detected} detected, {existing} found at the start, {reaped} reaped, {open} still open")
    }

    /// Completes the recording, if there is one.
    pub(super) fn finish(self, counted: Counted) -> Result<()> {
        self.recorder.map_or(Ok(()), |recorder| recorder.finish(counted))
    }
}
