//! Reads the open findings of all nodes, and when each node has last reported.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use supervisor_model::filter::Filter;

use super::{Document, FleetArgs};
use crate::nats::{
    BucketKey, Heartbeat, Link, LinkError, bucket_stream, heartbeats_of, key_of, keys_of, token,
};

/// The most findings that are shown, in bytes of their documents. A snapshot fails when it has read 256 MiB, and that
/// includes values that are not shown. So the list is cut only if the snapshot has from 192 to 256 MiB; above that, the
/// snapshot fails.
const MAX_BYTES: usize = 192 << 20;
/// The most findings that are counted as left out by filters: a hostile bucket can hold any number of them.
const MAX_UNWANTED: usize = 65_536;
/// How many heartbeats a node may miss.
const MISSED: u32 = 3;
/// A longer interval than this is not trusted.
pub(super) const LONGEST: Duration = Duration::from_hours(1);

/// All nodes.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// The nodes that are wanted, by cluster and name.
    pub hosts: BTreeMap<(String, String), Node>,
    /// The findings that are wanted, by their keys.
    pub rows: BTreeMap<BucketKey, FleetRow>,
    /// The keys of the findings that the filters leave out, as far as they are counted.
    unwanted: BTreeSet<BucketKey>,
    /// Entries that could not be read.
    pub unreadable: usize,
    /// Whether there were more findings than are shown.
    pub is_cut: bool,
    /// The shortest interval of heartbeats; `None` without any.
    pub interval: Option<Duration>,
    /// Now, by the broker's clock.
    pub now: Timestamp,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its own name.
    pub name: String,
    /// Whether it reports.
    pub state: HostState,
}

/// Whether a node reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostState {
    /// The node reports.
    Reports,
    /// The node has not reported for three of its heartbeats: its last report may not be true any more.
    Stale {
        /// When the node last reported, by the broker's clock; `None` if it never has.
        last: Option<Timestamp>,
    },
}

/// A finding.
#[derive(Clone, Debug)]
pub struct FleetRow {
    /// The fields that are shown.
    pub document: Document,
    /// The whole document, if that is wanted.
    pub raw: Option<Box<[u8]>>,
    /// When the broker stored it.
    pub stored: Timestamp,
    bytes: usize,
}

/// Reads when the nodes have last reported, and no findings. `None` if there is no bucket.
///
/// # Errors
///
/// If the broker cannot be read.
pub async fn read_hosts(link: &Link, args: &FleetArgs) -> Result<Option<Fleet>, LinkError> {
    let bucket = args.bucket();
    let Some(stream) = link.stream(&bucket_stream(bucket)).await? else { return Ok(None) };
    let mut fleet = Fleet::default();
    let filter = heartbeats_of(bucket, args.cluster(), args.host());
    let now = link.snapshot(&stream, &filter, |entry| {
        if let Some(key) = key_of(bucket, entry.subject) {
            fleet.take_heartbeat(key, entry.value, entry.stored, entry.now);
        }
        ControlFlow::Continue(())
    });
    fleet.now = now.await?;
    Ok(Some(fleet))
}

/// Reads the nodes and their findings; `keep_raw` keeps the documents as they are, too. `None` if there is no bucket.
///
/// # Errors
///
/// If the broker cannot be read.
pub async fn read(
    link: &Link,
    args: &FleetArgs,
    filter: &Filter,
    keep_raw: bool,
) -> Result<Option<Fleet>, LinkError> {
    let bucket = args.bucket();
    let Some(stream) = link.stream(&bucket_stream(bucket)).await? else { return Ok(None) };
    let mut fleet = Fleet::default();
    let mut bytes = 0;
    let now = link
        .snapshot(&stream, &keys_of(bucket, args.cluster()), |entry| {
            let Some(key) = key_of(bucket, entry.subject) else {
                fleet.unreadable += usize::from(entry.value.is_some());
                return ControlFlow::Continue(());
            };
            if !args.wants(&key.cluster, &key.host) {
                return ControlFlow::Continue(());
            }
            if key.finding.is_none() {
                fleet.take_heartbeat(key, entry.value, entry.stored, entry.now);
                return ControlFlow::Continue(());
            }
            // A later entry of a key replaces an earlier one.
            if let Some(old) = fleet.rows.remove(&key) {
                bytes -= old.bytes;
            }
            fleet.unwanted.remove(&key);
            let Some(value) = entry.value else { return ControlFlow::Continue(()) };
            fleet.know(&key);
            match Document::read(value) {
                None => fleet.unreadable += 1,
                Some(document) if !document.passes(filter) => {
                    if fleet.unwanted.len() < MAX_UNWANTED {
                        fleet.unwanted.insert(key);
                    }
                }
                Some(_) if bytes + value.len() >= MAX_BYTES => fleet.is_cut = true,
                Some(document) => {
                    bytes += value.len();
                    let raw = keep_raw.then(|| value.into());
                    fleet
                        .rows
                        .insert(key, FleetRow { document, raw, stored: entry.stored, bytes: value.len() });
                }
            }
            ControlFlow::Continue(())
        })
        .await?;
    fleet.now = now;
    for key in fleet.rows.keys().cloned().collect::<Vec<_>>() {
        fleet.know(&key);
    }
    Ok(Some(fleet))
}

impl Fleet {
    /// The node of a key. It is stale until its heartbeat is found.
    fn know(&mut self, key: &BucketKey) -> &mut Node {
        let stale = || Node { name: key.host.clone(), state: HostState::Stale { last: None } };
        self.hosts.entry((key.cluster.clone(), key.host.clone())).or_insert_with(stale)
    }

    pub(super) fn take_heartbeat(
        &mut self,
        key: BucketKey,
        value: Option<&[u8]>,
        stored: Timestamp,
        now: Timestamp,
    ) {
        let Some(value) = value else {
            // Somebody has deleted the heartbeat: the node is not expected any more, unless it has left findings.
            self.hosts.remove(&(key.cluster, key.host));
            return;
        };
        let beat = serde_json::from_slice::<Heartbeat>(value).ok();
        self.unreadable += usize::from(beat.is_none());
        let interval = beat.as_ref().map_or(0, |beat| beat.supervisor.heartbeat_ns);
        let interval = Duration::from_nanos(interval).min(LONGEST);
        if beat.is_some() {
            self.interval = Some(self.interval.map_or(interval, |it| it.min(interval)));
        }
        let silent = now.duration_since(stored);
        let allowed = SignedDuration::try_from(interval * MISSED).unwrap_or(SignedDuration::MAX);
        let host = self.know(&key);
        // A name that does not match the key may be another host's name.
        if let Some(beat) = beat.filter(|beat| token(&beat.host.hostname) == key.host) {
            host.name = beat.host.hostname;
        }
        host.state =
            if silent > allowed { HostState::Stale { last: Some(stored) } } else { HostState::Reports };
    }

    /// Whether the node of a finding reports.
    #[must_use]
    pub fn state_of(&self, key: &BucketKey) -> HostState {
        self.hosts
            .get(&(key.cluster.clone(), key.host.clone()))
            .map_or(HostState::Stale { last: None }, |host| host.state)
    }

    /// How many findings the filters leave out.
    #[must_use]
    pub fn unwanted(&self) -> usize {
        self.unwanted.len()
    }

    /// Sentences that say what is missing among the findings, and why.
    #[must_use]
    pub fn left_out(&self) -> Vec<String> {
        let unreadable = (self.unreadable > 0)
            .then(|| format!("{} entries are no findings and were left out", self.unreadable));
        let cut = self.is_cut.then(|| format!("there are more than these {}: use filters", self.rows.len()));
        unreadable.into_iter().chain(cut).collect()
    }

    /// Nodes that do not report.
    pub fn stale(&self) -> impl Iterator<Item = (&(String, String), &Node)> {
        self.hosts.iter().filter(|(_, host)| host.state != HostState::Reports)
    }
}

#[cfg(any(test, feature = "sample"))]
impl FleetRow {
    /// A row with this document.
    ///
    /// # Panics
    ///
    /// If it is no finding.
    #[must_use]
    pub fn of(document: &serde_json::Value) -> Self {
        let document = serde_json::to_vec(document).expect("it is JSON");
        let bytes = document.len();
        let document = Document::read(&document).expect("it is a finding");
        Self { document, raw: None, stored: Timestamp::UNIX_EPOCH, bytes }
    }
}
