//! Numbers events, limits them, and hands them to every sink.

mod folded;

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use supervisor_deliver::{
    config::{Policy, SinkConfig},
    say::say,
    sink::{self, Destination, DropCount, SinkWorker, Stats, Stop},
};
use supervisor_model::{
    clock::{self, Wall},
    event::{Dropped, Event, EventKind},
    facts::HostIdentity,
    words::clean,
};
use supervisor_render::{Context, fold::Fold};

use super::{
    encoder::{Encoder, Look},
    flood::Flood,
};
use crate::config::Config;

/// The shortest time between two reports that a sink drops events.
const REPORT_DROPS_NS: u64 = 10_000_000_000;
/// The time between two attempts to open a sink that could not be opened after a change of configuration.
const REOPEN_NS: u64 = 5_000_000_000;
/// How long a sink may deliver nothing at the end, before its waiting events are given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// The sinks, and the state that their events share.
pub struct Stream {
    context: Context,
    cluster: String,
    state_dir: PathBuf,
    stop: Stop,
    sequence: u64,
    flood: Flood,
    suppressed: u64,
    workers: Vec<Route>,
}

/// One sink, and how events look there.
struct Route {
    name: String,
    config: SinkConfig,
    look: Look,
    /// Folds text for a person who watches.
    fold: Option<Fold>,
    /// `None` if the configuration was changed and the sink cannot be opened yet.
    worker: Option<SinkWorker>,
    /// Events that the sink missed in that time.
    missed: u64,
    /// When the next attempt to open the sink comes.
    open_ns: u64,
    drops: Option<Drops>,
}

/// Drops that were not reported to the sink itself.
struct Drops {
    since_ns: u64,
    /// How many of them were reported to the other sinks.
    reported: u64,
    /// The next report comes no sooner.
    next_ns: u64,
}

impl Stream {
    /// Opens all sinks of a configuration.
    ///
    /// # Errors
    ///
    /// If a sink cannot be opened. A destination that is only unavailable now is no error.
    pub fn open(config: &Config, context: Context, stop: Stop) -> Result<Self> {
        let mut stream = Self {
            context,
            cluster: config.cluster.clone(),
            state_dir: config.state_dir.clone(),
            stop,
            sequence: 0,
            flood: Flood::new(config.flood.clone()),
            suppressed: 0,
            workers: Vec::new(),
        };
        for (name, sink) in &config.sinks {
            let route = stream.route(name, sink)?;
            stream.workers.push(route);
        }
        stream.warn_of_spools(config);
        Ok(stream)
    }

    fn route(&self, name: &str, config: &SinkConfig) -> Result<Route> {
        let worker = self.worker(name, config)?;
        Ok(Route { worker: Some(worker), ..Route::closed(name, config) })
    }

    fn worker(&self, name: &str, config: &SinkConfig) -> Result<SinkWorker> {
        let place = Destination::open(config, &self.cluster, &self.context)
            .with_context(|| format!("cannot open sink {}", clean(name)))?;
        SinkWorker::start(name, config, place, &self.state_dir, self.stop.clone())
            .with_context(|| format!("cannot open the spool of sink {}", clean(name)))
    }

    /// Applies a new configuration. Unchanged sinks stay as they are. A changed sink ends first, since the old and the
    /// new one may want the same file. The new one is opened as soon as possible.
    ///
    /// # Errors
    ///
    /// If a new sink cannot be opened; then everything stays as it was.
    pub async fn reconfigure(&mut self, config: &Config) -> Result<()> {
        let is_there = |name: &str| self.workers.iter().any(|it| it.name == name);
        let mut fresh = Vec::new();
        for (name, sink) in config.sinks.iter().filter(|(name, _)| !is_there(name)) {
            fresh.push(self.route(name, sink)?);
        }
        let stays = |it: &Route| config.sinks.get(&it.name) == Some(&it.config);
        let (stay, go): (Vec<_>, Vec<_>) = std::mem::take(&mut self.workers).into_iter().partition(stays);
        let replaced: Vec<Route> =
            go.iter().filter_map(|it| Some(Route::closed(&it.name, config.sinks.get(&it.name)?))).collect();
        let lost = close(go).await;
        self.workers = stay;
        self.workers.extend(fresh);
        for mut route in replaced {
            route.missed = lost.get(&route.name).copied().unwrap_or(0);
            self.workers.push(route);
        }
        self.reopen(clock::now_ns());
        self.flood.reconfigure(config.flood.clone());
        self.warn_of_spools(config);
        Ok(())
    }

    /// Opens sinks that could not be opened yet.
    fn reopen(&mut self, now_ns: u64) {
        for i in 0..self.workers.len() {
            let route = &self.workers[i];
            if route.worker.is_some() || now_ns < route.open_ns {
                continue;
            }
            let opened = self.worker(&route.name, &route.config);
            let route = &mut self.workers[i];
            match opened {
                Ok(worker) => {
                    worker.missed(std::mem::take(&mut route.missed));
                    route.worker = Some(worker);
                }
                Err(error) => {
                    route.open_ns = now_ns + REOPEN_NS;
                    say(&format!("supervisor: {}; it is tried again", clean(&format!("{error:#}"))));
                }
            }
        }
    }

    /// Reports the spools whose events no sink will deliver.
    fn warn_of_spools(&self, config: &Config) {
        for (name, bytes) in spools(&self.state_dir) {
            if config.sinks.get(&name).is_none_or(|sink| sink.policy != Policy::Spool) {
                say(&format!(
                    "supervisor: {bytes} bytes of events wait in {}, and no sink of that name has a spool: configure \
                     one to deliver them, or remove the directory",
                    clean(&self.state_dir.join("spool").join(&name).display().to_string())
                ));
            }
        }
    }

    /// Hands an event to every sink. Waits for the sinks whose policy requires that.
    ///
    /// # Errors
    ///
    /// None that can happen: see [`encode`](supervisor_render::encode).
    pub async fn send(&mut self, event: &Event) -> Result<()> {
        self.hand_out(event, event.at_ns, None).await
    }

    /// Like [`Stream::send`], for an event of this host as it was when an earlier run observed it.
    ///
    /// # Errors
    ///
    /// None that can happen: see [`encode`](supervisor_render::encode).
    pub async fn send_of(&mut self, host: &HostIdentity, event: &Event) -> Result<()> {
        let context = Context { host: host.clone(), ..self.context.clone() };
        self.hand_out(event, clock::now_ns(), Some(&context)).await
    }

    async fn hand_out(&mut self, event: &Event, now_ns: u64, context: Option<&Context>) -> Result<()> {
        if !self.flood.lets_through(&event.kind, now_ns) {
            self.suppressed += 1;
            return Ok(());
        }
        self.sequence += 1;
        let mut encoder = Encoder::new(event, context.unwrap_or(&self.context), self.sequence);
        for route in &mut self.workers {
            let message = match &mut route.fold {
                Some(fold) => match encoder.text(&fold.event(event)) {
                    Some(message) => message,
                    None => continue,
                },
                None => encoder.message(route.look, route.keeps_findings())?,
            };
            match &mut route.worker {
                Some(worker) => worker.push(&message).await,
                None => route.missed += 1,
            }
        }
        Ok(())
    }

    /// Reports suppressed and dropped events. Call it at every tick.
    ///
    /// # Errors
    ///
    /// None that can happen: see [`encode`](supervisor_render::encode).
    pub async fn tick(&mut self) -> Result<()> {
        let now_ns = clock::now_ns();
        for suppressed in self.flood.due(now_ns) {
            self.send(&Event { at_ns: now_ns, wall: Wall::now(), kind: EventKind::Suppressed(suppressed) })
                .await?;
        }
        self.write_counters(false).await;
        self.reopen(now_ns);
        self.report_drops(now_ns)
    }

    /// Reports for each sink how many events it has dropped, and since when. The other sinks get a report while the
    /// number grows. The sink itself also gets one when it has room again. Each report has the whole number.
    fn report_drops(&mut self, now_ns: u64) -> Result<()> {
        for i in 0..self.workers.len() {
            let Route { name, worker, drops, missed, .. } = &mut self.workers[i];
            // Without a sink worker, the sink could not be opened.
            let count =
                worker.as_ref().map_or(DropCount { all: *missed, failed: *missed }, SinkWorker::unreported);
            // If nobody will ever read from the sink again, its drops are reported once.
            let is_closed = worker.as_ref().is_some_and(|worker| worker.stats().is_closed);
            if count.all == 0 || (is_closed && drops.is_some()) {
                continue;
            }
            let Drops { since_ns, reported, next_ns } =
                drops.get_or_insert(Drops { since_ns: now_ns, reported: 0, next_ns: now_ns });
            let has_room = worker.as_ref().is_some_and(SinkWorker::has_room);
            if now_ns < *next_ns || !(has_room || count.all > *reported) {
                continue;
            }
            (*reported, *next_ns) = (count.all, now_ns + REPORT_DROPS_NS);
            let DropCount { all, failed } = count;
            let dropped = Dropped { sink: name.clone(), count: all, failed, since_ns: *since_ns };
            let event = Event { at_ns: now_ns, wall: Wall::now(), kind: EventKind::Dropped(dropped) };
            self.sequence += 1;
            let mut encoder = Encoder::new(&event, &self.context, self.sequence);
            for (at, route) in self.workers.iter_mut().enumerate() {
                let message = encoder.message(route.look, route.keeps_findings())?;
                let Some(worker) = &mut route.worker else { continue };
                if at != i {
                    // A report about another sink must not cause a drop, which would have to be reported too.
                    let _reported_later = worker.try_push(&message);
                } else if has_room && worker.try_push(&message) {
                    worker.reported(count);
                    route.drops = None;
                }
            }
        }
        Ok(())
    }

    /// Whether a sink that keeps open findings has lost them, or could not compare them.
    #[must_use]
    pub fn wants_to_compare(&self) -> bool {
        self.workers.iter().filter_map(|route| route.worker.as_ref()).any(SinkWorker::wants_to_compare)
    }

    /// Makes the sinks that keep open findings compare their list with `open`.
    pub fn compare(&self, open: HashSet<String>) {
        let open = Arc::new(open);
        for route in self.workers.iter().filter(|route| route.keeps_findings()) {
            if let Some(worker) = &route.worker {
                worker.compare(Arc::clone(&open));
            }
        }
    }

    /// The ids of open findings that a sink's list did not have, by the sink's number.
    pub fn take_missing(&self) -> impl Iterator<Item = (usize, Vec<String>)> {
        let workers =
            self.workers.iter().enumerate().filter_map(|(i, route)| Some((i, route.worker.as_ref()?)));
        workers.map(|(i, worker)| (i, worker.take_missing())).filter(|(_, missing)| !missing.is_empty())
    }

    /// Puts a finding into the list that one sink keeps. This is no news, and has no number of its own.
    ///
    /// # Errors
    ///
    /// None that can happen: see [`encode`](supervisor_render::encode).
    pub async fn list(&mut self, sink: usize, event: &Event) -> Result<()> {
        let Some(route) = self.workers.get_mut(sink) else { return Ok(()) };
        let mut message =
            Encoder::new(event, &self.context, self.sequence).message(route.look, route.keeps_findings())?;
        message.head.is_news = false;
        if let Some(worker) = &mut route.worker {
            worker.push(&message).await;
        }
        Ok(())
    }

    /// Events that the flood limiter has suppressed since the start.
    #[must_use]
    pub fn suppressed(&self) -> u64 {
        self.suppressed
    }

    /// The counters of each sink.
    pub fn stats(&self) -> impl Iterator<Item = (&str, Stats)> {
        self.workers.iter().map(|route| {
            let missed = || Stats { dropped: route.missed, ..Stats::default() };
            (route.name.as_str(), route.worker.as_ref().map_or_else(missed, SinkWorker::stats))
        })
    }

    /// Whether nobody will ever read events again.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let mut workers = self.workers.iter().map(|route| route.worker.as_ref());
        !self.workers.is_empty() && workers.all(|worker| worker.is_some_and(|it| it.stats().is_closed))
    }

    /// The sum of the buffers of all sinks without a spool, in bytes. More can wait in memory: a single message that is
    /// larger than its buffer, the last messages at the end, the buffers of the readers of a Unix socket, and the
    /// messages that a sink has just read from its spool.
    #[must_use]
    pub fn bound(&self) -> u64 {
        let in_memory = self.workers.iter().filter(|route| route.config.policy != Policy::Spool);
        in_memory.map(|route| route.config.buffer.0).sum()
    }

    /// Reports suppressed events, and ends every sink after it has delivered its waiting events. Returns whether
    /// everything is delivered, or is in a spool.
    ///
    /// # Errors
    ///
    /// None that can happen: see [`encode`](supervisor_render::encode).
    pub async fn close(mut self) -> Result<bool> {
        let now_ns = clock::now_ns();
        for suppressed in self.flood.rest() {
            self.send(&Event { at_ns: now_ns, wall: Wall::now(), kind: EventKind::Suppressed(suppressed) })
                .await?;
        }
        self.write_counters(true).await;
        self.report_drops(now_ns)?;
        Ok(close(self.workers).await.is_empty())
    }
}

impl Route {
    /// Whether it keeps a list of the findings that are open.
    fn keeps_findings(&self) -> bool {
        self.config.nats.is_some()
    }

    /// A sink that is not open.
    fn closed(name: &str, config: &SinkConfig) -> Self {
        Self {
            name: name.to_owned(),
            config: config.clone(),
            look: Look::of(config),
            fold: None,
            worker: None,
            missed: 0,
            open_ns: 0,
            drops: None,
        }
    }
}

/// Ends sinks. Returns how many events each one has lost without a report.
async fn close(routes: Vec<Route>) -> BTreeMap<String, u64> {
    let workers = || routes.iter().filter_map(|route| route.worker.as_ref());
    workers().for_each(SinkWorker::stop);
    let mut all_lost = BTreeMap::new();
    for Route { name, worker, missed, .. } in routes {
        let is_closed = worker.as_ref().is_some_and(|worker| worker.stats().is_closed);
        let lost = match worker {
            Some(worker) => worker.join(PATIENCE).await,
            None => missed,
        };
        if lost > 0 && !is_closed {
            say(&format!("supervisor: sink {}: {lost} events were not delivered and are lost", clean(&name)));
            all_lost.insert(name, lost);
        }
    }
    all_lost
}

/// The spools that are not empty, with their size.
fn spools(state_dir: &Path) -> Vec<(String, u64)> {
    let Ok(entries) = fs::read_dir(state_dir.join("spool")) else { return Vec::new() };
    let waiting = |entry: fs::DirEntry| {
        let bytes = sink::waiting(&entry.path()).ok().filter(|bytes| *bytes > 0)?;
        Some((entry.file_name().into_string().ok()?, bytes))
    };
    entries.flatten().filter_map(waiting).collect()
}
