//! Makes the bucket, and the headers that delete one of its keys.

use std::time::Duration;

use async_nats::{HeaderMap, header::NATS_ROLLUP, jetstream::stream};

use crate::{
    config::NatsConfig,
    nats::{Link, LinkError, bucket_stream},
};

/// The longest time between two cleanups of a bucket.
pub(super) const TIDY: Duration = Duration::from_hours(24);

/// The bucket, and whether it had to be made.
pub(super) async fn make_bucket(
    link: &Link,
    config: &NatsConfig,
) -> Result<(stream::Stream, bool), LinkError> {
    if let Some(bucket) = link.stream(&bucket_stream(&config.bucket)).await? {
        return Ok((bucket, false));
    }
    // These settings make a stream a bucket. The client library's own function would first ask for more than older
    // brokers answer.
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
pub(super) fn purged() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("KV-Operation", "PURGE");
    headers.insert(NATS_ROLLUP, "sub");
    headers
}
