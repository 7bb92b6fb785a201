//! What a bucket holds now, read once from its beginning to its end.

use std::{ops::ControlFlow, time::Duration};

use async_nats::jetstream::{
    consumer::{AckPolicy, DeliverPolicy, pull},
    stream::{LastRawMessageErrorKind, Stream},
};
use futures_util::StreamExt as _;
use jiff::Timestamp;

use super::{Link, LinkError};

/// So many entries are asked for at once; what the broker sends of them is in memory at the same time.
const BATCH: usize = 64;
/// So many entries are read at most. A host has at most as many unreaped processes as it has pids.
const ENTRIES: usize = 1 << 20;
/// The most bytes of values that are read: the caller may keep all of them.
const BYTES: usize = 256 << 20;
/// The end is asked for so often at most: entries of which each was replaced every time are not waited for.
const ENDS: usize = 16;
/// The broker forgets who reads this long after the last request.
const FORGET: Duration = Duration::from_secs(30);

/// One entry of a bucket. A later one of the same subject replaces it.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its key, as a subject.
    pub subject: &'a str,
    /// Its value; `None` if it was deleted.
    pub value: Option<&'a [u8]>,
    /// When the broker stored it, by the broker's clock.
    pub stored: Timestamp,
    /// What that clock showed when the reading began.
    pub now: Timestamp,
}

impl Link {
    /// Hands over the newest entry of each subject that `filter` matches, the oldest first, until `take` breaks.
    /// Returns what the broker's clock showed at the beginning.
    ///
    /// # Errors
    ///
    /// If the broker does not answer, or holds more than any fleet can have left there.
    pub async fn snapshot(
        &self,
        bucket: &Stream,
        filter: &str,
        mut take: impl FnMut(Entry<'_>) -> ControlFlow<()>,
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
        // How many entries wait the broker does not know for sure once one of them was replaced. But all have been
        // handed over, also those that were replaced before it was their turn, when none is newer than the last.
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
                let entry = Entry {
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
                // What was the last may have grown too old meanwhile.
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

/// The broker may say any time.
pub(crate) fn timestamp(ns: i128) -> Timestamp {
    Timestamp::from_nanosecond(ns).unwrap_or(Timestamp::UNIX_EPOCH)
}
