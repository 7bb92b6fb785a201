//! The metrics of an agent, for Prometheus. The engine reports every event, and at each tick a snapshot of the state; a
//! scrape renders both. No label has a value that a process could choose.

mod classic;
mod encode;
mod server;
mod snapshot;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use supervisor_model::{
    event::{Event, EventKind},
    reaping::ReapOutcome,
};

pub use server::Server;
pub use snapshot::{OpenFindings, Snapshot};

/// The collector is stuck if it has not ticked for longer than this.
const STALE: Duration = Duration::from_secs(15);
/// Bounds of the dwell times' buckets, in seconds.
const DWELL: [f64; 13] =
    [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21_600.0, 86_400.0, 604_800.0];

/// The facts about this build and run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// The version of `supervisor`.
    pub version: &'static str,
    /// The set of hooks that is attached.
    pub hooks: &'static str,
}

/// The text format that a scrape asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// Prometheus' own text format 0.0.4, for scrapers that do not ask for `OpenMetrics`.
    Classic,
}

/// All metrics. Share it in an [`Arc`]: the engine writes, the server reads.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    counted: Counted,
    state: Arc<Mutex<State>>,
}

/// The kind of finding, as a label.
type Kind = [(&'static str, &'static str); 1];

const ZOMBIE: Kind = [("kind", "zombie")];
const NAMESPACE: Kind = [("kind", "namespace")];
const EXIT: Kind = [("kind", "exit")];

/// The outcome of a request to free a zombie, as a label.
type OutcomeLabel = [(&'static str, &'static str); 1];

/// The metrics that are counted event by event.
#[derive(Debug)]
struct Counted {
    opened: Family<Kind, Counter>,
    updated: Family<Kind, Counter>,
    closed: Family<Kind, Counter>,
    dwell: Histogram,
    found: Counter,
    closed_by_reconciliation: Counter,
    reap_requests: Family<OutcomeLabel, Counter>,
}

/// The last snapshot of the engine.
#[derive(Debug)]
struct State {
    snapshot: Snapshot,
    /// Whether the engine has reported a snapshot.
    is_ready: bool,
    /// When the engine reported it. Before the first snapshot, the time when this was created.
    at: Instant,
}

impl Metrics {
    /// Creates metrics that have counted nothing yet.
    #[must_use]
    pub fn new(build: Build) -> Self {
        let state = State { snapshot: Snapshot::default(), is_ready: false, at: Instant::now() };
        let state = Arc::new(Mutex::new(state));
        let counted = Counted::new();
        let mut registry = Registry::with_prefix("supervisor");
        counted.register(&mut registry);
        registry.register_collector(Box::new(encode::Scrape { build, state: Arc::clone(&state) }));
        Self { registry, counted, state }
    }

    /// Counts an event. Each event is counted once, also if a flood limiter suppresses it.
    pub fn observe(&self, event: &Event) {
        self.counted.observe(&event.kind);
    }

    /// Takes a snapshot of the present state. The engine calls it at each tick. The first call comes when the hooks are
    /// attached and the processes from before the start are scanned.
    pub fn set(&self, snapshot: Snapshot) {
        let mut state = lock(&self.state);
        *state = State { snapshot, is_ready: true, at: Instant::now() };
    }

    /// The time since the last tick of the engine, or since its start, if that is too long.
    #[must_use]
    pub fn stalled(&self) -> Option<Duration> {
        Some(lock(&self.state).at.elapsed()).filter(|elapsed| *elapsed > STALE)
    }

    /// Whether the hooks are attached and the processes from before the start are scanned.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        lock(&self.state).is_ready
    }

    /// All metrics as text.
    ///
    /// # Errors
    ///
    /// Only if a metric cannot be written as text. That would be a bug.
    pub fn render(&self, exposition: Exposition) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(match exposition {
            Exposition::OpenMetrics => text,
            Exposition::Classic => classic::from_open_metrics(&text),
        })
    }
}

/// The engine only replaces the value behind the lock. So the value is complete, even if a thread panicked while it
/// held the lock.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Counted {
    fn new() -> Self {
        let counted = Self {
            opened: Family::default(),
            updated: Family::default(),
            closed: Family::default(),
            dwell: Histogram::new(DWELL),
            found: Counter::default(),
            closed_by_reconciliation: Counter::default(),
            reap_requests: Family::default(),
        };
        // A series that exists from the start shows its first increase.
        for kind in [ZOMBIE, NAMESPACE, EXIT] {
            for family in [&counted.opened, &counted.updated, &counted.closed] {
                drop(family.get_or_create(&kind));
            }
        }
        for outcome in ReapOutcome::WORDS {
            drop(counted.reap_requests.get_or_create(&[("outcome", outcome)]));
        }
        counted
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("findings_opened", "Findings that were opened", self.opened.clone());
        registry.register(
            "findings_updated",
            "Changes of verdict, reaper or consequence of an open finding",
            self.updated.clone(),
        );
        registry.register("findings_closed", "Findings that were closed", self.closed.clone());
        registry.register_with_unit(
            "dwell",
            "From exit to reap, of reported processes whose exit was seen",
            Unit::Seconds,
            self.dwell.clone(),
        );
        registry.register(
            "resync_found",
            "Unreaped processes that were found by reconciliation after a loss",
            self.found.clone(),
        );
        registry.register(
            "resync_closed",
            "Findings that reconciliation closed because their reap was not seen",
            self.closed_by_reconciliation.clone(),
        );
        registry.register(
            "reap_requests",
            "Zombies that [reap] has tried to free",
            self.reap_requests.clone(),
        );
    }

    fn observe(&self, kind: &EventKind) {
        let count = |family: &Family<Kind, Counter>, kind: &Kind| {
            family.get_or_create(kind).inc();
        };
        match kind {
            EventKind::Detected(_) | EventKind::Existing(_) => count(&self.opened, &ZOMBIE),
            EventKind::Updated(_) => count(&self.updated, &ZOMBIE),
            EventKind::Reaped { dwell_ns, .. } => {
                count(&self.closed, &ZOMBIE);
                if let Some(dwell_ns) = dwell_ns {
                    self.dwell.observe(Duration::from_nanos(*dwell_ns).as_secs_f64());
                }
            }
            EventKind::Blocked { again: false, .. } => count(&self.opened, &NAMESPACE),
            EventKind::Blocked { again: true, .. } => count(&self.updated, &NAMESPACE),
            EventKind::Released { .. } => count(&self.closed, &NAMESPACE),
            EventKind::ExitBlocked { again: false, .. } => count(&self.opened, &EXIT),
            EventKind::ExitBlocked { again: true, .. } => count(&self.updated, &EXIT),
            EventKind::ExitFinished { .. } => count(&self.closed, &EXIT),
            EventKind::Lost(loss) => {
                self.found.inc_by(loss.found);
                self.closed_by_reconciliation.inc_by(loss.closed);
            }
            // One-shot commands make the first two. A snapshot has the counts of the other two.
            EventKind::State(_)
            | EventKind::Explained(_)
            | EventKind::Dropped(_)
            | EventKind::Suppressed(_) => {}
            EventKind::ReapRequested(request) => {
                if let Some(outcome) = &request.entry.outcome {
                    self.reap_requests.get_or_create(&[("outcome", ReapOutcome::as_str(outcome))]).inc();
                }
            }
        }
    }
}
