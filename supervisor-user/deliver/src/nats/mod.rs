//! What the agent and the fleet's readers have in common about NATS: one connection, and the names of things there.

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
pub use names::{Key, bucket_stream, heartbeats_of, key_of, keys_of, token};
pub use snapshot::Entry;
pub(crate) use snapshot::timestamp;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// That an agent is alive: the value of its key `<cluster>.<host>` in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// When it was, by the agent's clock.
    #[serde(rename = "@timestamp")]
    pub at: Timestamp,
    /// Where it was.
    pub host: HeartbeatHost,
    /// Who it was.
    pub agent: HeartbeatAgent,
    /// What else is said of it.
    pub supervisor: HeartbeatInterval,
}

/// The host of a [`Heartbeat`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatHost {
    /// Its machine id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<String>,
    /// Its name, as it is: in subjects and keys stands its [`token`].
    pub hostname: String,
}

/// The agent of a [`Heartbeat`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatAgent {
    /// Its version.
    pub version: String,
}

/// When the next one is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatInterval {
    /// How long after this one the next one comes, in nanoseconds.
    pub heartbeat_ns: u64,
}
