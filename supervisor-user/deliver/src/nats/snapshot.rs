//! Reads the current content of a bucket once, from its beginning to its end.

use std::{ops::ControlFlow, time::Duration};

use async_nats::jetstream::{
    consumer::{AckPolicy, DeliverPolicy, pull},
    stream::{LastRawMessageErrorKind, Stream},
};
use futures_util::StreamExt as _;
use jiff::Timestamp;

use super::{Link, LinkError};

/// How many entries one request asks for. The entries that the broker sends for it are in memory at the same time.
const BATCH: usize = 64;
/// After a batch that reaches this number of entries, reading fails: a hostile bucket can hold any number of them.
const ENTRIES: usize = 1 << 20;
/// With more bytes of values than this, reading fails: the caller may keep all of them. Values that the caller
/// discards count too.
const BYTES: usize = 256 << 20;
/// How often the end is asked for at most. The reader does not wait for entries that were replaced every time.
const ENDS: usize = 16;
/// The broker forgets a reader this long after its last request.
const FORGET: Duration = Duration::from_secs(30);

/// One entry of a bucket. A later one of the same subject replaces it.
#[derive(Clone, Copy, Debug)]
pub struct BucketEntry<'a> {
    /// Its key, as a subject.
    pub subject: &'a str,
    /// Its value; `None` if it was deleted.
    pub value: Option<&'a [u8]>,
    /// When the broker stored it, by the broker's clock.
    pub stored: Timestamp,
    /// The time of that clock when the reading began.
    pub now: Timestamp,
}

impl Link {
    /// Passes the newest entry of each subject that `filter` matches to `take`, the oldest first, until `take` breaks.
    /// Returns the time of the broker's clock at the beginning.
    ///
    /// # Errors
    ///
    /// If the broker does not answer, refuses a request, or does not hand over an entry that it has. Also if it sends
    /// more bytes than `BYTES`, or as many entries as `ENTRIES`.
    pub async fn snapshot(
        &self,
        bucket: &Stream,
        filter: &str,
        mut take: impl FnMut(BucketEntry<'_>) -> ControlFlow<()>,
    ) -> Result<Timestamp, LinkError> {
        let config = pull::Config {
            filter_subject: filter.to_owned(),
            deliver_policy: DeliverPolicy::LastPerSubject,
            ack_policy: AckPolicy::None,
            inactive_threshold: FORGET,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = self.run(bucket.create_consumer(config)).await?;
        let now = timestamp(consumer.cached_info().created.unix_timestamp_nanos());
        // After an entry was replaced, the broker does not know for sure how many entries wait. But if no entry is
        // newer than the last one, all were handed over, also those that were replaced before their turn.
        let (mut read, mut bytes, mut position) = (0, 0, 0);
        let (mut end, mut ends) = (self.last(bucket, filter).await?, 1);
        while position < end {
            let from = position;
            let messages = consumer.batch().max_messages(BATCH).expires(self.answer);
            let mut batch = self.run(messages.messages()).await?;
            while let Some(message) = self.run(async { batch.next().await.transpose() }).await? {
                let info = message.info().map_err(LinkError::refused)?;
                let operation = message.headers.as_ref().and_then(|headers| headers.get("KV-Operation"));
                let is_deleted = operation.is_some_and(|it| matches!(it.as_str(), "DEL" | "PURGE"));
                position = info.stream_sequence;
                read += 1;
                bytes += message.payload.len();
                if bytes > BYTES {
                    return Err(LinkError::Refused(format!(
                        "it holds more than {} MiB: ask for one cluster or host",
                        BYTES >> 20
                    )));
                }
                let entry = BucketEntry {
                    subject: &message.subject,
                    value: (!is_deleted).then_some(&message.payload),
                    stored: timestamp(info.published.unix_timestamp_nanos()),
                    now,
                };
                if take(entry).is_break() {
                    return Ok(now);
                }
                if position >= end && ends < ENDS {
                    (end, ends) = (self.last(bucket, filter).await?, ends + 1);
                }
                if position >= end {
                    break;
                }
            }
            if position == from {
                // The entry that was the last one may have grown too old meanwhile.
                end = self.last(bucket, filter).await?;
                if position < end {
                    return Err(LinkError::Refused(format!("the broker does not hand over entry {end}")));
                }
            }
            if read >= ENTRIES {
                return Err(LinkError::Refused(format!("it holds more than {ENTRIES} entries")));
            }
        }
        Ok(now)
    }

    /// The number of the newest entry that `filter` matches; 0 without any.
    async fn last(&self, bucket: &Stream, filter: &str) -> Result<u64, LinkError> {
        self.run(async {
            match bucket.get_last_raw_message_by_subject(filter).await {
                Ok(message) => Ok(message.sequence),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(0),
                Err(error) => Err(error),
            }
        })
        .await
    }
}

/// Converts a time of the broker, which may send any value.
pub(crate) fn timestamp(ns: i128) -> Timestamp {
    Timestamp::from_nanosecond(ns).unwrap_or(Timestamp::UNIX_EPOCH)
}
