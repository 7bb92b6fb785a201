//! Events on their way out: numbered, limited, encoded once for each look, and handed to every sink.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::flood::Flood;
use crate::{
    clock::{self, Wall},
    config::{Config, Policy, SinkConfig},
    console::{self, say},
    finding::{Dropped, Event, EventKind, State},
    host::HostIdentity,
    report::{Context, Format, encode, event_id, sentence::sentence, text::Colour},
    sink::{self, FindingState, Head, Message, Outlet, Place, Stats, Stop},
    words::clean,
};

/// That a sink drops events is told at most so often.
const TELL_DROPS_NS: u64 = 10_000_000_000;
/// A sink that could not be opened after a change of configuration is tried again so often.
const REOPEN_NS: u64 = 5_000_000_000;
/// How long nothing may be delivered at the end before what waits is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way out.
pub struct Stream {
    context: Context,
    cluster: String,
    state_dir: PathBuf,
    stop: Stop,
    sequence: u64,
    flood: Flood,
    suppressed: u64,
    outlets: Vec<Route>,
}

/// One sink, and how events look there.
struct Route {
    name: String,
    config: SinkConfig,
    look: Look,
    /// There is none where the configuration was changed and the sink cannot be opened yet.
    outlet: Option<Outlet>,
    /// Events that it missed meanwhile.
    missed: u64,
    /// When it is tried again to open it.
    open_ns: u64,
    drops: Option<Drops>,
}

/// Drops that the sink itself was not told of.
struct Drops {
    since_ns: u64,
    /// How many of them the others were told of.
    told: u64,
    /// They are told again no sooner.
    next_ns: u64,
}

/// How an event looks in a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Text of several lines only where lines may follow each other.
    Block(Format, Colour),
    /// Text in one line.
    Sentence,
}

impl Stream {
    /// Opens all sinks of a configuration.
    ///
    /// # Errors
    ///
    /// If one cannot be opened: what is only unavailable now can.
    pub fn open(config: &Config, context: Context, stop: Stop) -> Result<Self> {
        let mut stream = Self {
            context,
            cluster: config.cluster.clone(),
            state_dir: config.state_dir.clone(),
            stop,
            sequence: 0,
            flood: Flood::new(config.flood.clone()),
            suppressed: 0,
            outlets: Vec::new(),
        };
        for (name, sink) in &config.sinks {
            let route = stream.route(name, sink)?;
            stream.outlets.push(route);
        }
        stream.warn_of_spools(config);
        Ok(stream)
    }

    fn route(&self, name: &str, config: &SinkConfig) -> Result<Route> {
        let outlet = self.outlet(name, config)?;
        Ok(Route { outlet: Some(outlet), ..Route::closed(name, config) })
    }

    fn outlet(&self, name: &str, config: &SinkConfig) -> Result<Outlet> {
        let place = Place::open(config, &self.cluster, &self.context)
            .with_context(|| format!("cannot open sink {}", clean(name)))?;
        Outlet::start(name, config, place, &self.state_dir, self.stop.clone())
            .with_context(|| format!("cannot open the spool of sink {}", clean(name)))
    }

    /// Goes on with another configuration. Sinks that stay as they were are left alone; one that is changed ends first,
    /// since both may want the same file, and is opened as soon as it can be.
    ///
    /// # Errors
    ///
    /// If a new sink cannot be opened; then everything stays as it was.
    pub async fn reconfigure(&mut self, config: &Config) -> Result<()> {
        let is_there = |name: &str| self.outlets.iter().any(|it| it.name == name);
        let mut fresh = Vec::new();
        for (name, sink) in config.sinks.iter().filter(|(name, _)| !is_there(name)) {
            fresh.push(self.route(name, sink)?);
        }
        let stays = |it: &Route| config.sinks.get(&it.name) == Some(&it.config);
        let (stay, go): (Vec<_>, Vec<_>) = std::mem::take(&mut self.outlets).into_iter().partition(stays);
        let replaced: Vec<Route> =
            go.iter().filter_map(|it| Some(Route::closed(&it.name, config.sinks.get(&it.name)?))).collect();
        let lost = close(go).await;
        self.outlets = stay;
        self.outlets.extend(fresh);
        for mut route in replaced {
            route.missed = lost.get(&route.name).copied().unwrap_or(0);
            self.outlets.push(route);
        }
        self.reopen(clock::now_ns());
        self.flood.reconfigure(config.flood.clone());
        self.warn_of_spools(config);
        Ok(())
    }

    /// Opens sinks that could not be opened yet.
    fn reopen(&mut self, now_ns: u64) {
        for i in 0..self.outlets.len() {
            let route = &self.outlets[i];
            if route.outlet.is_some() || now_ns < route.open_ns {
                continue;
            }
            let opened = self.outlet(&route.name, &route.config);
            let route = &mut self.outlets[i];
            match opened {
                Ok(outlet) => {
                    outlet.missed(std::mem::take(&mut route.missed));
                    route.outlet = Some(outlet);
                }
                Err(error) => {
                    route.open_ns = now_ns + REOPEN_NS;
                    say(&format!("supervisor: {}; it is tried again", clean(&format!("{error:#}"))));
                }
            }
        }
    }

    /// Says which spools hold events that no sink will deliver.
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

    /// Hands an event to every sink. Waits for those whose policy it is to be waited for.
    ///
    /// # Errors
    ///
    /// None that can happen: see [`encode`].
    pub async fn send(&mut self, event: &Event) -> Result<()> {
        if !self.flood.lets_through(&event.kind, event.at_ns) {
            self.suppressed += 1;
            return Ok(());
        }
        self.sequence += 1;
        hand_out(&mut self.outlets, event, &self.context, self.sequence).await
    }

    /// The same of an event of this host as it was when an earlier run observed it.
    ///
    /// # Errors
    ///
    /// None that can happen: see [`encode`].
    pub async fn send_of(&mut self, host: &HostIdentity, event: &Event) -> Result<()> {
        if !self.flood.lets_through(&event.kind, clock::now_ns()) {
            self.suppressed += 1;
            return Ok(());
        }
        let context = Context { host: host.clone(), ..self.context.clone() };
        self.sequence += 1;
        hand_out(&mut self.outlets, event, &context, self.sequence).await
    }

    /// Tells what was suppressed and what was dropped. To be called every tick.
    ///
    /// # Errors
    ///
    /// None that can happen: see [`encode`].
    pub async fn tick(&mut self) -> Result<()> {
        let now_ns = clock::now_ns();
        for suppressed in self.flood.due(now_ns) {
            self.send(&Event { at_ns: now_ns, wall: Wall::now(), kind: EventKind::Suppressed(suppressed) })
                .await?;
        }
        self.reopen(now_ns);
        self.tell_drops(now_ns)
    }

    /// Tells of each sink what it has dropped since when: to all, while it grows, and to itself too when it has room
    /// again. It is the whole number each time.
    fn tell_drops(&mut self, now_ns: u64) -> Result<()> {
        for i in 0..self.outlets.len() {
            let Route { name, outlet, drops, missed, .. } = &mut self.outlets[i];
            let count = outlet.as_ref().map_or(*missed, Outlet::untold);
            // Where nobody will ever read again, what is dropped is told once.
            let is_closed = outlet.as_ref().is_some_and(|outlet| outlet.stats().is_closed);
            if count == 0 || (is_closed && drops.is_some()) {
                continue;
            }
            let Drops { since_ns, told, next_ns } =
                drops.get_or_insert(Drops { since_ns: now_ns, told: 0, next_ns: now_ns });
            let has_room = outlet.as_ref().is_some_and(Outlet::has_room);
            if now_ns < *next_ns || !(has_room || count > *told) {
                continue;
            }
            (*told, *next_ns) = (count, now_ns + TELL_DROPS_NS);
            let dropped = Dropped { sink: name.clone(), count, since_ns: *since_ns };
            let event = Event { at_ns: now_ns, wall: Wall::now(), kind: EventKind::Dropped(dropped) };
            self.sequence += 1;
            let mut encoder = Encoder::new(&event, &self.context, self.sequence);
            for (at, route) in self.outlets.iter_mut().enumerate() {
                let message = encoder.message(route)?;
                let Some(outlet) = &mut route.outlet else { continue };
                if at != i {
                    // That of another is not worth a drop that would have to be told.
                    let _told_later = outlet.try_push(&message);
                } else if has_room && outlet.try_push(&message) {
                    outlet.told(count);
                    route.drops = None;
                }
            }
        }
        Ok(())
    }

    /// Whether a sink that keeps open findings has lost them, or could not compare them.
    #[must_use]
    pub fn wants_to_compare(&self) -> bool {
        self.outlets.iter().filter_map(|route| route.outlet.as_ref()).any(Outlet::wants_to_compare)
    }

    /// Lets sinks that keep open findings compare them with these.
    pub fn compare(&self, open: HashSet<String>) {
        let open = Arc::new(open);
        for route in self.outlets.iter().filter(|route| route.config.nats.is_some()) {
            if let Some(outlet) = &route.outlet {
                outlet.compare(Arc::clone(&open));
            }
        }
    }

    /// What sinks that keep open findings did not have, by the sink's number.
    pub fn take_missing(&self) -> impl Iterator<Item = (usize, Vec<String>)> {
        let outlets =
            self.outlets.iter().enumerate().filter_map(|(i, route)| Some((i, route.outlet.as_ref()?)));
        outlets.map(|(i, outlet)| (i, outlet.take_missing())).filter(|(_, missing)| !missing.is_empty())
    }

    /// Puts a finding into the list that one sink keeps. It is no news, and has no number.
    ///
    /// # Errors
    ///
    /// None that can happen: see [`encode`].
    pub async fn list(&mut self, sink: usize, event: &Event) -> Result<()> {
        let Some(route) = self.outlets.get_mut(sink) else { return Ok(()) };
        let mut message = Encoder::new(event, &self.context, self.sequence).message(route)?;
        message.head.is_news = false;
        if let Some(outlet) = &mut route.outlet {
            outlet.push(&message).await;
        }
        Ok(())
    }

    /// Events that the flood limiter has kept back since the start.
    #[must_use]
    pub fn suppressed(&self) -> u64 {
        self.suppressed
    }

    /// How each sink is doing.
    pub fn stats(&self) -> impl Iterator<Item = (&str, Stats)> {
        self.outlets.iter().map(|route| {
            let missed = || Stats { dropped: route.missed, ..Stats::default() };
            (route.name.as_str(), route.outlet.as_ref().map_or_else(missed, Outlet::stats))
        })
    }

    /// Whether nobody will ever read again what is told.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let mut outlets = self.outlets.iter().map(|route| route.outlet.as_ref());
        !self.outlets.is_empty() && outlets.all(|outlet| outlet.is_some_and(|it| it.stats().is_closed))
    }

    /// What waits in memory at most, in bytes.
    #[must_use]
    pub fn bound(&self) -> u64 {
        let in_memory = self.outlets.iter().filter(|route| route.config.policy != Policy::Spool);
        in_memory.map(|route| route.config.buffer.0).sum()
    }

    /// Tells what was suppressed, and ends every sink when it has delivered what waits. Returns whether everything
    /// is delivered, or is in a spool.
    ///
    /// # Errors
    ///
    /// None that can happen: see [`encode`].
    pub async fn close(mut self) -> Result<bool> {
        let now_ns = clock::now_ns();
        for suppressed in self.flood.rest() {
            self.send(&Event { at_ns: now_ns, wall: Wall::now(), kind: EventKind::Suppressed(suppressed) })
                .await?;
        }
        self.tell_drops(now_ns)?;
        Ok(close(self.outlets).await.is_empty())
    }
}

impl Route {
    /// A sink that is not open.
    fn closed(name: &str, config: &SinkConfig) -> Self {
        let look = match config.format {
            Format::Text if config.stdout.is_some() => Look::Block(Format::Text, console::colour()),
            Format::Text if config.file.is_none() => Look::Sentence,
            format => Look::Block(format, Colour::Never),
        };
        Self {
            name: name.to_owned(),
            config: config.clone(),
            look,
            outlet: None,
            missed: 0,
            open_ns: 0,
            drops: None,
        }
    }
}

/// Hands an event to every sink.
async fn hand_out(routes: &mut [Route], event: &Event, context: &Context, sequence: u64) -> Result<()> {
    let mut encoder = Encoder::new(event, context, sequence);
    for route in routes {
        let message = encoder.message(route)?;
        match &mut route.outlet {
            Some(outlet) => outlet.push(&message).await,
            None => route.missed += 1,
        }
    }
    Ok(())
}

/// Ends sinks. Returns how many events each has lost that nobody was told of.
async fn close(routes: Vec<Route>) -> BTreeMap<String, u64> {
    let outlets = || routes.iter().filter_map(|route| route.outlet.as_ref());
    outlets().for_each(Outlet::stop);
    let mut all_lost = BTreeMap::new();
    for Route { name, outlet, missed, .. } in routes {
        let is_closed = outlet.as_ref().is_some_and(|outlet| outlet.stats().is_closed);
        let lost = match outlet {
            Some(outlet) => outlet.join(PATIENCE).await,
            None => missed,
        };
        if lost > 0 && !is_closed {
            say(&format!("supervisor: sink {}: {lost} events were not delivered and are lost", clean(&name)));
            all_lost.insert(name, lost);
        }
    }
    all_lost
}

/// The spools that hold anything, with how much.
fn spools(state_dir: &Path) -> Vec<(String, u64)> {
    let Ok(entries) = fs::read_dir(state_dir.join("spool")) else { return Vec::new() };
    let waiting = |entry: fs::DirEntry| {
        let bytes = sink::waiting(&entry.path()).ok().filter(|bytes| *bytes > 0)?;
        Some((entry.file_name().into_string().ok()?, bytes))
    };
    entries.flatten().filter_map(waiting).collect()
}

/// Encodes one event for each look once.
struct Encoder<'a> {
    event: &'a Event,
    context: &'a Context,
    sequence: u64,
    head: Option<Head>,
    encoded: Vec<(Look, Arc<[u8]>)>,
}

impl<'a> Encoder<'a> {
    fn new(event: &'a Event, context: &'a Context, sequence: u64) -> Self {
        Self { event, context, sequence, head: None, encoded: Vec::new() }
    }

    fn message(&mut self, route: &Route) -> Result<Message> {
        let payload = self.encoded(route.look)?;
        // The list of open findings that the fleet commands read is ECS in any case.
        let keeps_findings = route.config.nats.is_some();
        let ecs = if keeps_findings {
            self.encoded(Look::Block(Format::Ecs, Colour::Never))?
        } else {
            Arc::clone(&payload)
        };
        let head = self.head.get_or_insert_with(|| head(self.event, self.context, self.sequence)).clone();
        Ok(Message { head, payload, ecs })
    }

    fn encoded(&mut self, look: Look) -> Result<Arc<[u8]>> {
        if let Some((_, encoded)) = self.encoded.iter().find(|(of, _)| *of == look) {
            return Ok(Arc::clone(encoded));
        }
        let text = match look {
            Look::Block(format, colour) => encode(self.event, self.context, self.sequence, format, colour)?,
            Look::Sentence => sentence(self.event),
        };
        let encoded: Arc<[u8]> = text.into_bytes().into();
        self.encoded.push((look, Arc::clone(&encoded)));
        Ok(encoded)
    }
}

fn head(event: &Event, context: &Context, sequence: u64) -> Head {
    let at = event.wall.timestamp(event.at_ns);
    let finding = event.kind.finding();
    Head {
        id: event_id(event, context, sequence),
        action: event.kind.action().as_str().to_owned(),
        at,
        severity: event.kind.severity(),
        finding: finding.map(|(id, state)| FindingState {
            id: id.to_owned(),
            is_open: matches!(state, State::Open | State::Updated),
        }),
        is_news: true,
        sentence: sentence(event),
    }
}
