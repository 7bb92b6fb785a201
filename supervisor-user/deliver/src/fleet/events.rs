//! Reports the events of all nodes as they come.

use std::time::Duration;

use anyhow::Result;
use async_nats::jetstream::{
    Message,
    consumer::{AckPolicy, DeliverPolicy, pull},
    stream,
};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use supervisor_model::filter::Filter;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Fleet, FleetArgs, read, read_hosts};
use crate::nats::{Link, LinkError, timestamp, token};

/// How many events one request asks for.
const BATCH: usize = 64;
/// How long the broker keeps such a request, and how often it sends a sign of life meanwhile.
const QUESTION: Duration = Duration::from_secs(30);
const ALIVE: Duration = Duration::from_secs(5);
/// The broker forgets a reader this long after its last request.
const FORGET: Duration = Duration::from_mins(1);
/// After this time a lost connection is made again.
const RETRY: Duration = Duration::from_secs(1);
/// The heartbeats are inspected as often as they come, within these two limits.
const LOOK_MIN: Duration = Duration::from_secs(1);
const LOOK_MAX: Duration = Duration::from_secs(15);

/// The reports of [`follow`].
#[derive(Debug)]
pub enum FleetReport<'a> {
    /// From now on events are reported.
    Begun,
    /// The nodes, and the findings that are open there: once, at the beginning. Changes meanwhile are also reported as
    /// events.
    Open(&'a Fleet),
    /// The nodes, repeatedly.
    Hosts(&'a Fleet),
    /// The number of events of the stream that were not reported: the broker has dropped them meanwhile.
    Dropped(u64),
    /// An event.
    Event(FleetEvent<'a>),
    /// The connection was lost. It is made again, and no event that the stream has kept is omitted.
    Trouble(LinkError),
}

/// An event of another host.
#[derive(Clone, Copy, Debug)]
pub struct FleetEvent<'a> {
    /// The cluster's token.
    pub cluster: &'a str,
    /// The host's token.
    pub host: &'a str,
    /// `event.action`.
    pub action: &'a str,
    /// When the broker stored it.
    pub stored: Timestamp,
    /// The event, in the format of that host's sink.
    pub payload: &'a [u8],
}

/// Where a reader is in a stream.
#[derive(Clone, Copy, Debug)]
struct Position {
    /// When the stream was made.
    made: Timestamp,
    /// The number of the last event that was reported.
    last: u64,
}

/// Reports what is open, and all events from now on, until `send` returns that nobody listens any more.
///
/// # Errors
///
/// If there is no connection at the beginning, or `send` fails.
pub async fn follow(
    args: &FleetArgs,
    filter: &Filter,
    mut send: impl FnMut(FleetReport<'_>) -> Result<bool>,
) -> Result<()> {
    let mut position = None;
    let mut is_first = true;
    loop {
        let trouble = match Reader::open(args, filter, &mut position).await {
            Err(error) if is_first => return Err(error.into()),
            Err(error) => error,
            Ok((mut reader, open)) => {
                is_first = false;
                let dropped = (reader.dropped > 0).then_some(FleetReport::Dropped(reader.dropped));
                let first = [Some(FleetReport::Begun), open.as_ref().map(FleetReport::Open), dropped];
                for report in first.into_iter().flatten() {
                    if !send(report)? {
                        return Ok(());
                    }
                }
                match read_on(&mut reader, args, open, &mut position, &mut send).await? {
                    Some(trouble) => trouble,
                    None => return Ok(()),
                }
            }
        };
        if !send(FleetReport::Trouble(trouble))? {
            return Ok(());
        }
        sleep(RETRY).await;
    }
}

/// Reports events until there is trouble; `None` if nobody listens any more.
async fn read_on(
    reader: &mut Reader,
    args: &FleetArgs,
    open: Option<Fleet>,
    position: &mut Option<Position>,
    send: &mut impl FnMut(FleetReport<'_>) -> Result<bool>,
) -> Result<Option<LinkError>> {
    // A broker that was away has old heartbeats, until the nodes have connected to it again.
    let mut look = Instant::now() + open.map_or(LOOK_MAX, |fleet| pause(&fleet));
    loop {
        let message = tokio::select! {
            message = reader.next() => message,
            () = sleep_until(look) => {
                match read_hosts(&reader.link, args).await {
                    Err(error) => return Ok(Some(error)),
                    Ok(None) => look = Instant::now() + LOOK_MAX,
                    Ok(Some(fleet)) => {
                        if !send(FleetReport::Hosts(&fleet))? {
                            return Ok(None);
                        }
                        look = Instant::now() + pause(&fleet);
                    }
                }
                continue;
            }
        };
        let message = match message {
            Ok(message) => message,
            Err(error) => return Ok(Some(error)),
        };
        if let Some(event) = event(&message)
            && !send(FleetReport::Event(event))?
        {
            return Ok(None);
        }
        // This comes last: an event that was not reported is reported after the next connection.
        if let (Some(position), Ok(info)) = (position.as_mut(), message.info()) {
            position.last = info.stream_sequence;
        }
    }
}

/// How long until the heartbeats are inspected again.
fn pause(fleet: &Fleet) -> Duration {
    fleet.interval.unwrap_or(LOOK_MAX).clamp(LOOK_MIN, LOOK_MAX)
}

/// An open connection that reads the stream.
struct Reader {
    link: Link,
    messages: pull::Stream,
    read: u64,
    /// Events that the broker has dropped.
    dropped: u64,
}

impl Reader {
    /// Reads the events after the last reported one. Without a position, it first reads what is open, and then new
    /// events.
    async fn open(
        args: &FleetArgs,
        filter: &Filter,
        position: &mut Option<Position>,
    ) -> Result<(Self, Option<Fleet>), LinkError> {
        let link = Link::open(&args.access(), "supervisor watch", args.answer()).await?;
        let name = args.stream();
        let Some(stream) = link.stream(name).await? else {
            return Err(LinkError::Refused(format!(
                "there is no stream {name}: no agent has reported there yet"
            )));
        };
        let info = stream.cached_info();
        let (start, dropped) = start(*position, info);
        // The order matters: a finding that opens meanwhile is reported twice, and not omitted.
        let open = match position {
            None => read(&link, args, filter, true).await?,
            Some(_) => None,
        };
        *position = Some(start);
        let part = |name: Option<&str>| name.map_or_else(|| "*".to_owned(), token);
        let config = pull::Config {
            filter_subject: format!("supervisor.{}.{}.*", part(args.cluster()), part(args.host())),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start.last + 1 },
            ack_policy: AckPolicy::None,
            inactive_threshold: FORGET,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = link.run(stream.create_consumer(config)).await?;
        let messages = consumer.stream().max_messages_per_batch(BATCH).expires(QUESTION).heartbeat(ALIVE);
        let messages = link.run(messages.messages()).await?;
        Ok((Self { link, messages, read: 0, dropped }, open))
    }

    async fn next(&mut self) -> Result<Message, LinkError> {
        let message = tokio::select! {
            message = self.messages.next() => message,
            trouble = self.link.trouble() => return Err(trouble),
        };
        let ended = || LinkError::Lost("the broker has ended it".to_owned());
        let message = message.ok_or_else(ended)?.map_err(LinkError::refused)?;
        let number = message.info().map_err(LinkError::refused)?.consumer_sequence;
        if number != self.read + 1 {
            return Err(LinkError::Lost(format!("event {} did not arrive", self.read + 1)));
        }
        self.read = number;
        Ok(message)
    }
}

/// Where to go on in a stream, and how many of the events that were to come next are gone.
fn start(position: Option<Position>, info: &stream::Info) -> (Position, u64) {
    let state = &info.state;
    let made = timestamp(info.created.unix_timestamp_nanos());
    let Some(before) = position else {
        return (Position { made, last: state.last_sequence }, 0);
    };
    // A stream that was made again begins to count again.
    let is_same = before.made == made && before.last <= state.last_sequence;
    let last = if is_same { before.last } else { 0 };
    (Position { made, last }, state.first_sequence.saturating_sub(last + 1))
}

/// The event of a message; `None` if its subject is none of ours.
fn event(message: &Message) -> Option<FleetEvent<'_>> {
    let stored = timestamp(message.info().ok()?.published.unix_timestamp_nanos());
    let mut parts = message.subject.strip_prefix("supervisor.")?.split('.');
    let (cluster, host, action) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(FleetEvent { cluster, host, action, stored, payload: &message.payload })
}
