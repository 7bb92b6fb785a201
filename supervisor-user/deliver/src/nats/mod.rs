//! The parts about NATS that the agent and the fleet's readers share: one connection, and the names of subjects and
//! keys.

mod access;
mod credentials;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod limits;
mod link;
mod names;
mod relay;
mod snapshot;
mod tls;

pub use access::{Access, BadAccess};
pub use error::LinkError;
pub use link::Link;
pub use names::{BucketKey, bucket_stream, heartbeats_of, key_of, keys_of, token};
pub use snapshot::BucketEntry;
pub(crate) use snapshot::timestamp;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A heartbeat: it says that an agent is alive. It is the value of the key `<cluster>.<host>` in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// When the agent wrote it, by the agent's clock.
    #[serde(rename = "@timestamp")]
    pub at: Timestamp,
    /// The host of the agent.
    pub host: HeartbeatHost,
    /// The agent.
    pub agent: HeartbeatAgent,
    /// When the next heartbeat is due.
    pub supervisor: HeartbeatInterval,
}

/// The host of a [`Heartbeat`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatHost {
    /// Its machine id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<String>,
    /// Its name, unchanged. Subjects and keys contain its [`token`].
    pub hostname: String,
}

/// The agent of a [`Heartbeat`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatAgent {
    /// Its version.
    pub version: String,
}

/// When the next heartbeat is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatInterval {
    /// How long after this one the next one comes, in nanoseconds.
    pub heartbeat_ns: u64,
}
