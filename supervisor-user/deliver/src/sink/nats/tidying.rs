//! Compares the list of open findings that this host keeps in a bucket with the open ones, and tidies it up.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ops::ControlFlow,
    time::Duration,
};

use async_nats::HeaderMap;
use serde::Deserialize;

use super::{
    bucket::{TIDY, purged},
    session::{FLIGHT, FLIGHT_BYTES, Place, Session},
};
use crate::{
    nats::{BucketEntry, LinkError, key_of, token},
    sink::SinkError,
};

impl Session {
    /// Removes the entries of an earlier boot from the bucket, and writes old entries again. The broker forgets entries
    /// that are older than the bucket's age, so that hosts that are gone for good do not stay for ever.
    pub(super) async fn tidy(&self, place: &Place) -> Result<(), SinkError> {
        let boot = &place.host.boot_id;
        self.clean(place, |_, document| boot_of(document).is_some_and(|it| it == *boot)).await?;
        if let Some(refresh) = self.refresh {
            while self.write_anew(place, refresh).await.map_err(|error| place.untidy(error))? {}
        }
        Ok(())
    }

    /// After which time the bucket has to be tidied again.
    pub(super) fn tidy_after(&self) -> Duration {
        self.refresh.unwrap_or(TIDY)
    }

    /// Removes findings that are not open any more. Returns the ids of open findings that are missing.
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

    /// Removes this host's findings for which `stays` is false. It gets their id and document.
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

    /// Writes some of the values that are older than `age` again; true if there were any.
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

    /// Sends changes to the bucket, and waits until all are acknowledged.
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

    /// Passes this host's findings in the bucket to `take`, by their ids.
    async fn snapshot(
        &self,
        place: &Place,
        mut take: impl FnMut(String, BucketEntry<'_>) -> ControlFlow<()>,
    ) -> Result<(), LinkError> {
        let bucket = &place.config.bucket;
        let filter = format!("{}.*", place.key(None));
        let take = |entry: BucketEntry<'_>| match key_of(bucket, entry.subject).and_then(|key| key.finding) {
            Some(id) => take(id, entry),
            None => ControlFlow::Continue(()),
        };
        self.link.snapshot(&self.bucket, &filter, take).await.map(|_| ())
    }
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
