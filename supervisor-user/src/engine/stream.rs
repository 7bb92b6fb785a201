//! Events on their way out: numbered, limited, encoded once for each look, and handed to every sink.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::flood::Flood;
use crate::{
    clock::{self, Wall},
    config::{Config, SinkConfig},
    console::{self, say},
    finding::{Dropped, Event, EventKind, State},
    host::HostIdentity,
    report::{Context, Format, encode, event_id, sentence::sentence, text::Colour},
    sink::{FindingState, Head, Message, Outlet, Place, Stats, Stop},
    words::{clean, duration},
};

/// That a sink dropped events is told at most so often while it is too slow even for that.
const TELL_DROPS_NS: u64 = 60_000_000_000;
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
    config: SinkConfig,
    look: Look,
    outlet: Outlet,
    /// Since when drops were not told, and when they were last told to the others.
    drops: Option<(u64, u64)>,
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
        Ok(stream)
    }

    fn route(&self, name: &str, config: &SinkConfig) -> Result<Route> {
        let place = Place::open(config, &self.cluster, &self.context)
            .with_context(|| format!("cannot open sink {}", clean(name)))?;
        let outlet = Outlet::start(name, config, place, &self.state_dir, self.stop.clone())
            .with_context(|| format!("cannot open the spool of sink {}", clean(name)))?;
        let look = match config.format {
            Format::Text if config.stdout.is_some() => Look::Block(Format::Text, console::colour()),
            Format::Text if config.file.is_none() => Look::Sentence,
            format => Look::Block(format, Colour::Never),
        };
        Ok(Route { config: config.clone(), look, outlet, drops: None })
    }

    /// Goes on with another configuration. Sinks that stay as they were are left alone.
    ///
    /// # Errors
    ///
    /// If a sink cannot be opened; then everything stays as it was.
    pub fn reconfigure(&mut self, config: &Config) -> Result<()> {
        let mut wanted = config.sinks.clone();
        wanted.retain(|name, sink| {
            !self.outlets.iter().any(|it| it.outlet.name() == name && it.config == *sink)
        });
        // What takes the place of another under the same name would share its spool: that one ends first.
        let (replaced, fresh): (BTreeMap<_, _>, BTreeMap<_, _>) =
            wanted.into_iter().partition(|(name, _)| self.outlets.iter().any(|it| it.outlet.name() == name));
        let mut opened = Vec::new();
        for (name, sink) in &fresh {
            opened.push(self.route(name, sink)?);
        }
        let stays = |it: &Route| config.sinks.get(it.outlet.name()) == Some(&it.config);
        let (stay, go): (Vec<_>, Vec<_>) = std::mem::take(&mut self.outlets).into_iter().partition(stays);
        self.outlets = stay;
        close(go);
        for (name, sink) in &replaced {
            match self.route(name, sink) {
                Ok(route) => opened.push(route),
                Err(error) => say(&format!("supervisor: {}", clean(&format!("{error:#}")))),
            }
        }
        self.outlets.extend(opened);
        self.flood.reconfigure(config.flood.clone());
        Ok(())
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

    /// The same of an event of another boot of this host, which is not limited.
    ///
    /// # Errors
    ///
    /// None that can happen: see [`encode`].
    pub async fn send_of(&mut self, host: &HostIdentity, event: &Event) -> Result<()> {
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
        self.tell_drops(now_ns)
    }

    /// Tells of each sink what it has dropped: to itself when it has room again, and to the others.
    fn tell_drops(&mut self, now_ns: u64) -> Result<()> {
        for i in 0..self.outlets.len() {
            let route = &mut self.outlets[i];
            let count = route.outlet.untold();
            if count == 0 {
                continue;
            }
            let (since_ns, told_ns) = *route.drops.get_or_insert((now_ns, 0));
            let dropped = Dropped { sink: route.outlet.name().to_owned(), count, since_ns };
            let event = Event { at_ns: now_ns, wall: Wall::now(), kind: EventKind::Dropped(dropped) };
            self.sequence += 1;
            let mut encoder = Encoder::new(&event, &self.context, self.sequence);
            let is_told = route.outlet.try_push(&encoder.message(route)?);
            if is_told {
                route.outlet.told(count);
                route.drops = None;
            } else if now_ns.saturating_sub(told_ns) < TELL_DROPS_NS {
                continue;
            } else {
                route.drops = Some((since_ns, now_ns));
            }
            for (_, other) in self.outlets.iter_mut().enumerate().filter(|(at, _)| *at != i) {
                // That of another is not worth a drop that would have to be told.
                let _told_later = other.outlet.try_push(&encoder.message(other)?);
            }
        }
        Ok(())
    }

    /// How many events were suppressed since the start.
    #[must_use]
    pub fn suppressed(&self) -> u64 {
        self.suppressed
    }

    /// Lets sinks that keep open findings forget all but these.
    pub fn retain(&self, open: HashSet<String>) {
        let open = Arc::new(open);
        for route in self.outlets.iter().filter(|route| route.config.nats.is_some()) {
            route.outlet.retain(Arc::clone(&open));
        }
    }

    /// How each sink is doing.
    pub fn stats(&self) -> impl Iterator<Item = (&str, Stats)> {
        self.outlets.iter().map(|route| (route.outlet.name(), route.outlet.stats()))
    }

    /// Whether nobody will ever read again what is told.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        !self.outlets.is_empty() && self.outlets.iter().all(|route| route.outlet.stats().is_closed)
    }

    /// What waits in memory at most, in bytes.
    #[must_use]
    pub fn bound(&self) -> u64 {
        self.outlets.iter().map(|route| route.config.buffer.0).sum()
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
        Ok(close(self.outlets))
    }
}

/// Hands an event to every sink.
async fn hand_out(routes: &mut [Route], event: &Event, context: &Context, sequence: u64) -> Result<()> {
    let mut encoder = Encoder::new(event, context, sequence);
    for route in routes {
        let message = encoder.message(route)?;
        route.outlet.push(&message).await;
    }
    Ok(())
}

/// Ends sinks; whether nothing was lost.
fn close(routes: Vec<Route>) -> bool {
    for route in &routes {
        route.outlet.stop();
    }
    let mut is_complete = true;
    for route in routes {
        let name = route.outlet.name().to_owned();
        let is_closed = route.outlet.stats().is_closed;
        let lost = route.outlet.join(PATIENCE);
        if lost > 0 && !is_closed {
            is_complete = false;
            let patience = duration(PATIENCE.as_nanos() as u64);
            say(&format!(
                "supervisor: sink {}: {lost} events were given up: nothing was delivered for {patience}",
                clean(&name)
            ));
        }
    }
    is_complete
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
        sentence: sentence(event),
    }
}
