//! Serves metrics of the agent, and reports when the service manager could not be notified.

use std::{io, sync::Arc};

use anyhow::{Context as _, Result};
use supervisor_collect::{host::Host, kernel::RunStats, observer::Observer};
use supervisor_deliver::say::say;

use super::Pipeline;
use crate::{
    config::MetricsConfig,
    metrics::{Build, Metrics, OpenFindings, Server, Snapshot},
};

/// The metrics and their server.
pub(super) struct Vitals {
    metrics: Arc<Metrics>,
    _server: Server,
    measured: Option<RunStats>,
}

impl Vitals {
    /// Makes the kernel measure the eBPF programs, if that is configured. This needs a capability that is given up
    /// afterwards.
    ///
    /// # Errors
    ///
    /// Without that capability, or if the kernel refuses for another reason.
    pub(super) fn measure(config: &MetricsConfig) -> Result<Option<RunStats>> {
        let is_wanted = config.bpf_stats && config.listen.is_some();
        Ok(is_wanted.then(RunStats::enable).transpose()?)
    }

    /// Serves metrics, if that is configured. It starts a thread.
    ///
    /// # Errors
    ///
    /// If the agent cannot listen at that address, or no thread can be started.
    pub(super) fn start(
        config: &MetricsConfig,
        measured: Option<RunStats>,
        hooks: &'static str,
    ) -> Result<Option<Self>> {
        let Some(listen) = config.listen else { return Ok(None) };
        let metrics = Arc::new(Metrics::new(Build { version: env!("CARGO_PKG_VERSION"), hooks }));
        let server = Server::start(listen, Arc::clone(&metrics))
            .with_context(|| format!("cannot serve metrics at {listen} (metrics.listen)"))?;
        say(&format!("metrics are at http://{}/metrics", server.address()));
        Ok(Some(Self { metrics, _server: server, measured }))
    }

    /// The metrics, which count events.
    pub(super) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Updates the metrics with the current state.
    ///
    /// # Errors
    ///
    /// If a map, or the run times of a program, cannot be read.
    pub(super) fn tick(&self, observer: &mut Observer<impl Host>, pipeline: &mut Pipeline) -> Result<()> {
        let counters = observer.counters()?;
        let reads = observer.host().reads_lost();
        let tracer = observer.programs_mut();
        let maps = tracer.map_fill()?;
        let programs = if self.measured.is_some() { tracer.program_runs()? } else { Vec::new() };
        let conclusions = pipeline.conclusions();
        let open = OpenFindings::count(conclusions.open(), conclusions.namespaces(), conclusions.exits());
        let stream = pipeline.stream();
        let sinks = stream.stats().map(|(name, stats)| (name.to_owned(), stats)).collect();
        let suppressed = stream.suppressed();
        self.metrics.set(Snapshot { counters, reads, open, suppressed, sinks, maps, programs });
        Ok(())
    }
}

/// Reports to the person if the service manager could not be notified. The agent goes on.
pub(super) fn notified(what: io::Result<()>) {
    if let Err(error) = what {
        say(&format!("supervisor: the service manager cannot be notified: {error}"));
    }
}
