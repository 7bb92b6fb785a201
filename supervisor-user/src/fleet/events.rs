//! The events of all nodes as they come.

use std::time::Duration;

use anyhow::Result;
use async_nats::jetstream::{
    Message,
    consumer::{AckPolicy, DeliverPolicy, pull},
};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use tokio::time::sleep;

use super::FleetArgs;
use crate::nats::{Link, LinkError, timestamp, token};

/// So many events are asked for at once.
const BATCH: usize = 64;
/// How long the broker keeps such a question, and how often it says meanwhile that it is there.
const QUESTION: Duration = Duration::from_secs(30);
const ALIVE: Duration = Duration::from_secs(5);
/// The broker forgets who reads this long after the last question.
const FORGET: Duration = Duration::from_mins(1);
/// A lost connection is made again after this.
const RETRY: Duration = Duration::from_secs(1);

/// What is told.
#[derive(Debug)]
pub enum Told<'a> {
    /// From now on events are told.
    Begun,
    /// An event.
    Event(Event<'a>),
    /// The connection was lost. It is made again, and nothing is left out that the stream has kept.
    Trouble(LinkError),
}

/// An event of another host.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
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

/// Tells all that come from now on, until `tell` says that nobody listens any more.
///
/// # Errors
///
/// If there is no connection at the beginning, or `tell` fails.
pub async fn follow(args: &FleetArgs, mut tell: impl FnMut(Told<'_>) -> Result<bool>) -> Result<()> {
    let mut last = None;
    let mut is_first = true;
    loop {
        let trouble = match Reader::open(args, &mut last).await {
            Err(error) if is_first => return Err(error.into()),
            Err(error) => error,
            Ok(mut reader) => {
                is_first = false;
                if !tell(Told::Begun)? {
                    return Ok(());
                }
                loop {
                    let message = match reader.next().await {
                        Ok(message) => message,
                        Err(error) => break error,
                    };
                    if let Some(event) = event(&message)
                        && !tell(Told::Event(event))?
                    {
                        return Ok(());
                    }
                    // Only now: an event that was not told is told after the next connection.
                    last = message.info().ok().map(|info| info.stream_sequence).or(last);
                }
            }
        };
        if !tell(Told::Trouble(trouble))? {
            return Ok(());
        }
        sleep(RETRY).await;
    }
}

/// An open connection that reads the stream.
struct Reader {
    link: Link,
    messages: pull::Stream,
    read: u64,
}

impl Reader {
    /// Reads what comes behind the event of the number `last`; without one, what is new.
    async fn open(args: &FleetArgs, last: &mut Option<u64>) -> Result<Self, LinkError> {
        let link = Link::open(&args.access(), "supervisor watch", args.answer()).await?;
        let name = args.stream();
        let Some(stream) = link.stream(name).await? else {
            return Err(LinkError::Refused(format!(
                "there is no stream {name}: no agent has reported there yet"
            )));
        };
        let newest = stream.cached_info().state.last_sequence;
        // A stream that was made anew begins to count again.
        let start = last.filter(|last| *last <= newest).unwrap_or(newest);
        *last = Some(start);
        let part = |name: Option<&str>| name.map_or_else(|| "*".to_owned(), token);
        let config = pull::Config {
            filter_subject: format!("supervisor.{}.{}.*", part(args.cluster()), part(args.host())),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start + 1 },
            ack_policy: AckPolicy::None,
            inactive_threshold: FORGET,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = link.run(stream.create_consumer(config)).await?;
        let messages = consumer.stream().max_messages_per_batch(BATCH).expires(QUESTION).heartbeat(ALIVE);
        let messages = link.run(messages.messages()).await?;
        Ok(Self { link, messages, read: 0 })
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

/// What a message tells; nothing if its subject is none of ours.
fn event(message: &Message) -> Option<Event<'_>> {
    let stored = timestamp(message.info().ok()?.published.unix_timestamp_nanos());
    let mut parts = message.subject.strip_prefix("supervisor.")?.split('.');
    let (cluster, host, action) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(Event { cluster, host, action, stored, payload: &message.payload })
}
