//! A connection on which the stream and the bucket are known to be there.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ops::ControlFlow,
    time::Duration,
};

use async_nats::{
    HeaderMap,
    header::{NATS_MESSAGE_ID, NATS_ROLLUP},
    jetstream::{context::PublishAckFuture, message::PublishMessage, stream},
};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;

use super::fit::fit;
use crate::{
    config::NatsConfig,
    host::HostIdentity,
    nats::{
        Access, Entry, Heartbeat, HeartbeatAgent, HeartbeatHost, HeartbeatInterval, Link, LinkError,
        bucket_stream, key_of, timestamp, token,
    },
    sink::{Message, SinkError},
};

/// So many events, with so many bytes, may wait for the broker's acknowledgement at once.
const FLIGHT: usize = 128;
const FLIGHT_BYTES: usize = 4 << 20;
/// A second event of one id within this is dropped by the broker.
const DUPLICATES: Duration = Duration::from_mins(10);
/// How often a bucket is tidied at least.
const TIDY: Duration = Duration::from_hours(24);
/// What headers may take of a message.
const HEADERS: usize = 1024;

/// What does not change from one connection to the next.
#[derive(Debug)]
pub(super) struct Place {
    access: Access,
    config: NatsConfig,
    /// `<cluster>.<host>`.
    prefix: String,
    host: HostIdentity,
}

impl Place {
    pub(super) fn new(config: &NatsConfig, access: Access, cluster: &str, host: &HostIdentity) -> Self {
        let prefix = format!("{}.{}", token(cluster), token(&host.hostname));
        Self { access, config: config.clone(), prefix, host: host.clone() }
    }

    pub(super) fn heartbeat(&self) -> Duration {
        self.config.heartbeat.0
    }

    fn subject(&self, action: &str) -> String {
        format!("supervisor.{}.{}", self.prefix, token(action))
    }

    /// What the broker knows a second one by. Two agents can see the same finding and give it the same id: two on one
    /// kernel.
    fn message_id(&self, id: &str) -> String {
        format!("{}.{}", self.prefix, printable(id))
    }

    /// The subject of a key of the bucket: a finding's, or the heartbeat's.
    fn key(&self, finding: Option<&str>) -> String {
        let (bucket, prefix) = (&self.config.bucket, &self.prefix);
        match finding {
            Some(id) => format!("$KV.{bucket}.{prefix}.{}", token(id)),
            None => format!("$KV.{bucket}.{prefix}"),
        }
    }

    fn failed(&self, what: &str, error: impl Into<LinkError>) -> SinkError {
        SinkError::unavailable(format!("{what} at NATS {}", self.access.places()), error.into())
    }

    fn untidy(&self, error: LinkError) -> SinkError {
        self.failed(&format!("cannot tidy up the bucket {}", self.config.bucket), error)
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Session {
    link: Link,
    bucket: stream::Stream,
    made: Made,
    /// Values of the bucket that are older than this are written anew.
    refresh: Option<Duration>,
}

/// Which bucket it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    /// When it was made, by the broker's clock.
    pub(super) at: Timestamp,
    /// Whether this session has made it.
    pub(super) is_new: bool,
}

/// An event that is on its way, and the change that it makes to the bucket.
struct InFlight<'a> {
    event: Option<PublishAckFuture>,
    change: Option<PublishAckFuture>,
    finding: Option<&'a str>,
    bytes: usize,
}

impl Session {
    /// Connects, and makes what is missing.
    pub(super) async fn open(place: &Place) -> Result<Self, SinkError> {
        let name = format!("supervisor {}", place.prefix);
        let link = Link::open(&place.access, &name, place.config.ack_timeout.0)
            .await
            .map_err(|error| place.failed("cannot connect", error))?;
        make_stream(&link, &place.config).await.map_err(|error| {
            place.failed(&format!("cannot find or make the stream {}", place.config.stream), error)
        })?;
        let (bucket, is_new) = make_bucket(&link, &place.config).await.map_err(|error| {
            place.failed(&format!("cannot find or make the bucket {}", place.config.bucket), error)
        })?;
        let age = bucket.cached_info().config.max_age;
        let refresh = (!age.is_zero()).then(|| (age / 4).clamp(Duration::from_secs(1), TIDY));
        let at = timestamp(bucket.cached_info().created.unix_timestamp_nanos());
        Ok(Self { link, bucket, made: Made { at, is_new }, refresh })
    }

    pub(super) fn made(&self) -> Made {
        self.made
    }

    pub(super) fn is_alive(&self) -> bool {
        self.link.trouble_now().is_none()
    }

    /// Says that this host reports.
    pub(super) async fn beat(&self, place: &Place) -> Result<(), SinkError> {
        let beat = Heartbeat {
            at: Timestamp::now(),
            host: HeartbeatHost { id: place.host.id.clone(), hostname: place.host.hostname.clone() },
            agent: HeartbeatAgent { version: env!("CARGO_PKG_VERSION").to_owned() },
            supervisor: HeartbeatInterval { heartbeat_ns: place.heartbeat().as_nanos() as u64 },
        };
        let beat = async {
            let payload = serde_json::to_vec(&beat).map_err(LinkError::refused)?;
            let ack = self.publish(place.key(None), HeaderMap::new(), payload).await?;
            self.land(ack).await
        };
        beat.await.map_err(|error| place.failed("cannot write the heartbeat", error))
    }

    /// Sends events from the beginning of `batch` until it is time for `next_beat`, and waits until all that were
    /// sent are acknowledged; `count` grows with each. Returns how many were sent.
    ///
    /// Events are not awaited one by one, but of one finding only one is under way: a broker that loses one and
    /// takes the next must not turn a finding's order around.
    pub(super) async fn fly(
        &self,
        place: &Place,
        batch: &[Message],
        next_beat: Instant,
        count: &mut usize,
    ) -> Result<usize, SinkError> {
        let mut flight: VecDeque<InFlight<'_>> = VecDeque::new();
        let (mut findings, mut bytes, mut sent) = (HashSet::new(), 0, 0);
        let mut batch = batch.iter().take_while(|_| Instant::now() < next_beat).peekable();
        while batch.peek().is_some() || !flight.is_empty() {
            let next = batch.next_if(|message| {
                let finding = message.head.finding.as_ref().map(|it| it.id.as_str());
                flight.len() < FLIGHT
                    && bytes < FLIGHT_BYTES
                    && finding.is_none_or(|id| !findings.contains(id))
            });
            if let Some(message) = next {
                let failed = |error| place.failed(&format!("cannot send event {}", message.head.id), error);
                let taken = self.start(place, message).await.map_err(failed)?;
                findings.extend(taken.finding);
                bytes += taken.bytes;
                flight.push_back(taken);
                sent += 1;
            } else if let Some(first) = flight.pop_front() {
                let failed = |error| place.failed("an event was not acknowledged", error);
                for ack in [first.event, first.change].into_iter().flatten() {
                    self.land(ack).await.map_err(failed)?;
                }
                if let Some(id) = first.finding {
                    findings.remove(id);
                }
                bytes -= first.bytes;
                *count += 1;
            }
        }
        Ok(sent)
    }

    /// Sends an event without waiting for the acknowledgement.
    async fn start<'a>(&self, place: &Place, message: &'a Message) -> Result<InFlight<'a>, LinkError> {
        let head = &message.head;
        let finding = head.finding.as_ref();
        let mut bytes = 0;
        let event = if head.is_news {
            let mut headers = HeaderMap::new();
            headers.insert(NATS_MESSAGE_ID, place.message_id(&head.id));
            headers.insert("Nats-Expected-Stream", place.config.stream.as_str());
            let payload = self.fit(&message.payload, &mut headers)?;
            bytes += payload.len();
            Some(self.publish(place.subject(&head.action), headers, payload).await?)
        } else {
            None
        };
        let change = match finding {
            Some(finding) => {
                let mut headers = HeaderMap::new();
                let document =
                    if finding.is_open { self.fit(&message.ecs, &mut headers)? } else { Vec::new() };
                if !finding.is_open {
                    headers = purged();
                }
                bytes += document.len();
                Some(self.publish(place.key(Some(&finding.id)), headers, document).await?)
            }
            None => None,
        };
        Ok(InFlight { event, change, finding: finding.map(|it| it.id.as_str()), bytes })
    }

    /// The payload, cut if the broker would not take it; then a header says how large it was.
    fn fit(&self, payload: &[u8], headers: &mut HeaderMap) -> Result<Vec<u8>, LinkError> {
        let max = self.link.max_payload().saturating_sub(HEADERS);
        if payload.len() <= max {
            return Ok(payload.to_vec());
        }
        headers.insert("Supervisor-Cut-From", payload.len().to_string());
        fit(payload, max).ok_or_else(|| {
            LinkError::Refused(format!(
                "it has {} bytes and cannot be cut to the {max} that the broker takes: raise max_payload there",
                payload.len()
            ))
        })
    }

    async fn publish(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Vec<u8>,
    ) -> Result<PublishAckFuture, LinkError> {
        let message = PublishMessage::build().headers(headers).payload(payload.into());
        self.link.run(self.link.jetstream().send_publish(subject, message)).await
    }

    async fn land(&self, ack: PublishAckFuture) -> Result<(), LinkError> {
        self.link.run(ack.into_future()).await.map(|_| ())
    }

    /// Removes what an earlier boot has left in the bucket, and writes anew what is there for long: the broker
    /// forgets what is older than the bucket's age, so that hosts that are gone for good do not stay for ever.
    pub(super) async fn tidy(&self, place: &Place) -> Result<(), SinkError> {
        let boot = &place.host.boot_id;
        self.clean(place, |_, document| boot_of(document).is_some_and(|it| it == *boot)).await?;
        if let Some(refresh) = self.refresh {
            while self.write_anew(place, refresh).await.map_err(|error| place.untidy(error))? {}
        }
        Ok(())
    }

    /// When it has to be tidied again.
    pub(super) fn tidy_after(&self) -> Duration {
        self.refresh.unwrap_or(TIDY)
    }

    /// Removes what is not open any more; returns what is open and missing.
    pub(super) async fn retain(
        &self,
        place: &Place,
        open: &HashSet<String>,
    ) -> Result<Vec<String>, SinkError> {
        let mut missing: HashMap<String, &String> = open.iter().map(|id| (token(id), id)).collect();
        let mut found = HashSet::new();
        self.clean(place, |id, _| {
            let is_open = missing.remove(id).is_some() || found.contains(id);
            if is_open {
                found.insert(id.to_owned());
            }
            is_open
        })
        .await?;
        Ok(missing.into_values().cloned().collect())
    }

    /// Removes this host's findings that are not to stay, by their id and document.
    async fn clean(
        &self,
        place: &Place,
        mut stays: impl FnMut(&str, &[u8]) -> bool,
    ) -> Result<(), SinkError> {
        let mut gone = Vec::new();
        let cleaned = async {
            self.snapshot(place, |id, entry| {
                if entry.value.is_some_and(|document| !stays(&id, document)) {
                    gone.push(id);
                }
                ControlFlow::Continue(())
            })
            .await?;
            let changes = gone.iter().map(|id| (place.key(Some(id)), purged(), Vec::new()));
            self.change(changes).await
        };
        cleaned.await.map_err(|error: LinkError| place.untidy(error))
    }

    /// Writes some of the values that are older than this anew; true if there were any.
    async fn write_anew(&self, place: &Place, age: Duration) -> Result<bool, LinkError> {
        let (mut old, mut bytes) = (Vec::new(), 0);
        self.snapshot(place, |id, entry| {
            let is_old = entry.now.duration_since(entry.stored)
                >= jiff::SignedDuration::try_from(age).unwrap_or_default();
            if let Some(document) = entry.value.filter(|_| is_old) {
                bytes += document.len();
                old.push((id, document.to_vec()));
            }
            // The oldest come first.
            if is_old && bytes < FLIGHT_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .await?;
        let any = !old.is_empty();
        self.change(old.into_iter().map(|(id, document)| (place.key(Some(&id)), HeaderMap::new(), document)))
            .await?;
        Ok(any)
    }

    /// Makes changes to the bucket.
    async fn change(
        &self,
        changes: impl Iterator<Item = (String, HeaderMap, Vec<u8>)>,
    ) -> Result<(), LinkError> {
        let mut flight = VecDeque::new();
        for (key, headers, document) in changes {
            flight.push_back(self.publish(key, headers, document).await?);
            if flight.len() >= FLIGHT
                && let Some(first) = flight.pop_front()
            {
                self.land(first).await?;
            }
        }
        for ack in flight {
            self.land(ack).await?;
        }
        Ok(())
    }

    /// This host's findings in the bucket, by their ids.
    async fn snapshot(
        &self,
        place: &Place,
        mut take: impl FnMut(String, Entry<'_>) -> ControlFlow<()>,
    ) -> Result<(), LinkError> {
        let bucket = &place.config.bucket;
        let filter = format!("{}.*", place.key(None));
        let take = |entry: Entry<'_>| match key_of(bucket, entry.subject).and_then(|key| key.finding) {
            Some(id) => take(id, entry),
            None => ControlFlow::Continue(()),
        };
        self.link.snapshot(&self.bucket, &filter, take).await.map(|_| ())
    }
}

async fn make_stream(link: &Link, config: &NatsConfig) -> Result<(), LinkError> {
    if link.stream(&config.stream).await?.is_some() {
        return Ok(());
    }
    let keep = config.keep.0;
    let new = stream::Config {
        name: config.stream.clone(),
        subjects: vec!["supervisor.>".to_owned()],
        storage: stream::StorageType::File,
        max_age: keep,
        max_bytes: i64::try_from(config.keep_size.0).unwrap_or(i64::MAX),
        // The broker wants it to be no longer than what is kept.
        duplicate_window: if keep.is_zero() { DUPLICATES } else { DUPLICATES.min(keep) },
        ..stream::Config::default()
    };
    // Another agent may make the same one at the same time; the broker takes both.
    link.run(link.jetstream().create_stream(new)).await.map(|_| ())
}

/// The bucket, and whether it had to be made.
async fn make_bucket(link: &Link, config: &NatsConfig) -> Result<(stream::Stream, bool), LinkError> {
    if let Some(bucket) = link.stream(&bucket_stream(&config.bucket)).await? {
        return Ok((bucket, false));
    }
    // What makes a stream a bucket. The client library would first ask for more than older brokers answer.
    let new = stream::Config {
        name: bucket_stream(&config.bucket),
        description: Some(
            "what supervisor finds unreaped now, and when each host has reported last".to_owned(),
        ),
        subjects: vec![format!("$KV.{}.>", config.bucket)],
        max_messages_per_subject: 1,
        max_age: config.keep.0,
        storage: stream::StorageType::File,
        discard: stream::DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        ..stream::Config::default()
    };
    Ok((link.run(link.jetstream().create_stream(new)).await?, true))
}

/// The headers that delete a key with all its history.
fn purged() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("KV-Operation", "PURGE");
    headers.insert(NATS_ROLLUP, "sub");
    headers
}

/// The boot that an ECS document comes from.
fn boot_of(document: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Document {
        host: Host,
    }
    #[derive(Deserialize)]
    struct Host {
        boot: Boot,
    }
    #[derive(Deserialize)]
    struct Boot {
        id: String,
    }
    serde_json::from_slice::<Document>(document).ok().map(|document| document.host.boot.id)
}

/// A header has no control characters.
fn printable(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect()
}
