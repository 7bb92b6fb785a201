//! A connection to a broker whose stream and bucket are known to exist.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use async_nats::{
    HeaderMap,
    header::NATS_MESSAGE_ID,
    jetstream::{context::PublishAckFuture, message::PublishMessage, stream},
};
use jiff::Timestamp;
use supervisor_model::facts::HostIdentity;
use tokio::time::Instant;

use super::bucket::{TIDY, make_bucket, purged};
use crate::{
    config::NatsConfig,
    nats::{
        Access, Heartbeat, HeartbeatAgent, HeartbeatHost, HeartbeatInterval, Link, LinkError, timestamp,
        token,
    },
    sink::{Message, SinkError, shorten::shorten},
};

/// How many events, with how many bytes, may wait for the broker's acknowledgement at once.
pub(super) const FLIGHT: usize = 128;
pub(super) const FLIGHT_BYTES: usize = 4 << 20;
/// The broker drops a second event with the same id within this time.
const DUPLICATES: Duration = Duration::from_mins(10);
/// The bytes of a message that its headers may take.
const HEADERS: usize = 1024;

/// The settings that stay the same for all connections.
#[derive(Debug)]
pub(super) struct Place {
    access: Access,
    pub(super) config: NatsConfig,
    /// `<cluster>.<host>`.
    prefix: String,
    pub(super) host: HostIdentity,
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

    /// The id by which the broker recognizes a second copy. Two agents on one kernel can see the same finding and give
    /// it the same id.
    fn message_id(&self, id: &str) -> String {
        format!("{}.{}", self.prefix, printable(id))
    }

    /// The subject of a key of the bucket: a finding's, or the heartbeat's.
    pub(super) fn key(&self, finding: Option<&str>) -> String {
        let (bucket, prefix) = (&self.config.bucket, &self.prefix);
        match finding {
            Some(id) => format!("$KV.{bucket}.{prefix}.{}", token(id)),
            None => format!("$KV.{bucket}.{prefix}"),
        }
    }

    fn failed(&self, what: &str, error: impl Into<LinkError>) -> SinkError {
        SinkError::unavailable(format!("{what} at NATS {}", self.access.places()), error.into())
    }

    pub(super) fn untidy(&self, error: LinkError) -> SinkError {
        self.failed(&format!("cannot tidy up the bucket {}", self.config.bucket), error)
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) link: Link,
    pub(super) bucket: stream::Stream,
    made: Made,
    /// Values of the bucket that are older than this are written again.
    pub(super) refresh: Option<Duration>,
}

/// The identity of a bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    /// When it was made, by the broker's clock.
    pub(super) at: Timestamp,
    /// Whether this session has made it.
    pub(super) is_new: bool,
}

/// An event that is on its way, and its change to the bucket.
struct InFlight<'a> {
    event: Option<PublishAckFuture>,
    change: Option<PublishAckFuture>,
    finding: Option<&'a str>,
    bytes: usize,
}

impl Session {
    /// Connects, and makes the stream and the bucket if they are missing.
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

    /// Sends the heartbeat, which says that this host reports.
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

    /// Sends events from the beginning of `batch` until it is time for `next_beat`, and waits until all of them are
    /// acknowledged. `count` grows with each acknowledged event. Returns how many were sent.
    ///
    /// Several events are on their way at once, but only one event of each finding: a broker that loses one and takes
    /// the next must not change the order of a finding's events.
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
                } else if head.is_news {
                    // A busy broker reads what an abandoned connection had sent, after the same from the next one. By
                    // its id it recognizes the second copy, which would put a finding back that was closed meanwhile.
                    // The same news of another run is no copy, and newer.
                    let copy = format!("{}.{}", head.id, head.at);
                    headers.insert(NATS_MESSAGE_ID, place.message_id(&copy));
                }
                bytes += document.len();
                Some(self.publish(place.key(Some(&finding.id)), headers, document).await?)
            }
            None => None,
        };
        Ok(InFlight { event, change, finding: finding.map(|it| it.id.as_str()), bytes })
    }

    /// The payload. If the broker would not take it, it is shortened, and a header says how large it was.
    fn fit(&self, payload: &[u8], headers: &mut HeaderMap) -> Result<Vec<u8>, LinkError> {
        let max = self.link.max_payload().saturating_sub(HEADERS);
        let short = shorten(payload, max);
        if short.len() > max {
            return Err(LinkError::Refused(format!(
                "it has {} bytes and cannot be shortened to the {max} that the broker takes: raise max_payload there",
                payload.len()
            )));
        }
        if short.len() < payload.len() {
            headers.insert("Supervisor-Cut-From", payload.len().to_string());
        }
        Ok(short.into_owned())
    }

    pub(super) async fn publish(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Vec<u8>,
    ) -> Result<PublishAckFuture, LinkError> {
        let message = PublishMessage::build().headers(headers).payload(payload.into());
        self.link.run(self.link.jetstream().send_publish(subject, message)).await
    }

    pub(super) async fn land(&self, ack: PublishAckFuture) -> Result<(), LinkError> {
        self.link.run(ack.into_future()).await.map(|_| ())
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
        // The broker wants this window to be no longer than the time for which it keeps events.
        duplicate_window: if keep.is_zero() { DUPLICATES } else { DUPLICATES.min(keep) },
        ..stream::Config::default()
    };
    // Another agent may make the same stream at the same time; the broker takes both requests.
    link.run(link.jetstream().create_stream(new)).await.map(|_| ())
}

/// The id with `_` for each character that is not graphic ASCII: a header has no control characters.
fn printable(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect()
}
