//! What a bucket holds now, read once from its beginning to its end.

use std::{ops::ControlFlow, time::Duration};

use async_nats::jetstream::{
    consumer::{AckPolicy, DeliverPolicy, pull},
    stream::Stream,
};
use futures_util::StreamExt as _;
use jiff::Timestamp;

use super::{Link, LinkError};

/// So many entries are asked for at once; what the broker sends of them is in memory at the same time.
const BATCH: usize = 64;
/// So many entries are read at most. A host has at most as many unreaped processes as it has pids.
const ENTRIES: usize = 1 << 20;
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
        let info = consumer.cached_info();
        let now = timestamp(info.created.unix_timestamp_nanos());
        let (mut pending, mut read) = (info.num_pending, 0);
        while pending > 0 {
            let mut batch = self.run(consumer.fetch().max_messages(BATCH).messages()).await?;
            let mut is_empty = true;
            while let Some(message) = self.run(async { batch.next().await.transpose() }).await? {
                let info = message.info().map_err(LinkError::refused)?;
                let operation = message.headers.as_ref().and_then(|headers| headers.get("KV-Operation"));
                let is_deleted = operation.is_some_and(|it| matches!(it.as_str(), "DEL" | "PURGE"));
                pending = info.pending;
                is_empty = false;
                read += 1;
                let entry = Entry {
                    subject: &message.subject,
                    value: (!is_deleted).then_some(&message.payload),
                    stored: timestamp(info.published.unix_timestamp_nanos()),
                    now,
                };
                if take(entry).is_break() {
                    return Ok(now);
                }
            }
            if is_empty {
                // What was pending may have been replaced meanwhile, or have grown too old.
                let waits = self.run(consumer.get_info()).await?.num_pending;
                if waits >= pending {
                    return Err(LinkError::Refused(format!("the broker does not hand over {waits} entries")));
                }
                pending = waits;
            }
            if read >= ENTRIES {
                return Err(LinkError::Refused(format!("it holds more than {ENTRIES} entries")));
            }
        }
        Ok(now)
    }
}

/// The broker may say any time.
pub(crate) fn timestamp(ns: i128) -> Timestamp {
    Timestamp::from_nanosecond(ns).unwrap_or(Timestamp::UNIX_EPOCH)
}
