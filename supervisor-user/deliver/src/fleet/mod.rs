//! All nodes at once: reads what their agents have left at a NATS broker. Nothing that comes from there is trusted.

mod document;
mod events;
#[doc(hidden)]
pub mod fuzz;
mod state;

use std::{path::PathBuf, time::Duration};

use clap::Args;

pub use document::{Document, Filtered, FindingKind, RemoteBlocker};
pub use events::{FleetEvent, FleetReport, follow};
pub use state::{Fleet, FleetRow, HostState, Node, read, read_hosts};

use supervisor_model::values::Time;

use crate::{
    config::NatsConfig,
    nats::{Access, token},
};

/// Where the fleet's findings are, and which of them are wanted.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "All nodes, from a NATS broker")]
pub struct FleetArgs {
    /// Tell of all nodes, from this broker: nats://HOST:PORT or tls://HOST:PORT. Others of the same NATS cluster may
    /// follow, separated by commas
    #[arg(long, value_name = "URL", value_delimiter = ',', conflicts_with = "grace")]
    from: Vec<String>,
    /// Only nodes of this cluster
    #[arg(long, value_name = "NAME", requires = "from")]
    cluster: Option<String>,
    /// Only the node of this name
    #[arg(long, value_name = "NAME", requires = "from")]
    host: Option<String>,
    /// The key-value bucket that the agents write to
    #[arg(long, value_name = "NAME", requires = "from", default_value = NatsConfig::BUCKET)]
    nats_bucket: String,
    /// The stream that the agents write to
    #[arg(long, value_name = "NAME", requires = "from", default_value = NatsConfig::STREAM)]
    nats_stream: String,
    /// A NATS credentials file
    #[arg(long, value_name = "FILE", requires = "from")]
    nats_credentials: Option<PathBuf>,
    /// A file with the NATS user's name and password, separated by a colon
    #[arg(long, value_name = "FILE", requires = "from")]
    nats_user_password: Option<PathBuf>,
    /// Certificates of the authorities to trust, in PEM; without it, the system's are trusted
    #[arg(long, value_name = "FILE", requires = "from")]
    nats_tls_ca: Option<PathBuf>,
    /// The client's certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "from")]
    nats_tls_cert: Option<PathBuf>,
    /// The client's key, in PEM
    #[arg(long, value_name = "FILE", requires = "from")]
    nats_tls_key: Option<PathBuf>,
    /// How long the broker may take to answer
    #[arg(long, value_name = "TIME", requires = "from", default_value = "5s")]
    nats_timeout: Time,
}

impl Default for FleetArgs {
    fn default() -> Self {
        Self {
            from: Vec::new(),
            cluster: None,
            host: None,
            nats_bucket: NatsConfig::BUCKET.to_owned(),
            nats_stream: NatsConfig::STREAM.to_owned(),
            nats_credentials: None,
            nats_user_password: None,
            nats_tls_ca: None,
            nats_tls_cert: None,
            nats_tls_key: None,
            nats_timeout: Time::from_secs(5),
        }
    }
}

impl FleetArgs {
    /// Whether the fleet is asked for, and not this host.
    #[must_use]
    pub fn is_given(&self) -> bool {
        !self.from.is_empty()
    }

    /// Where the broker is.
    #[must_use]
    pub fn access(&self) -> Access {
        Access {
            servers: self.from.clone(),
            credentials: self.nats_credentials.clone(),
            user_password: self.nats_user_password.clone(),
            tls_ca: self.nats_tls_ca.clone(),
            tls_cert: self.nats_tls_cert.clone(),
            tls_key: self.nats_tls_key.clone(),
        }
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.nats_bucket
    }

    /// The stream.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.nats_stream
    }

    /// The message for a missing bucket.
    #[must_use]
    pub fn no_bucket(&self) -> String {
        format!("there is no bucket {}: no agent has reported there yet", self.bucket())
    }

    /// How long the broker may take to answer.
    #[must_use]
    pub fn answer(&self) -> Duration {
        self.nats_timeout.0.clamp(Duration::from_millis(100), Duration::from_hours(1))
    }

    /// Whether a node is wanted, by its tokens.
    #[must_use]
    pub fn wants(&self, cluster: &str, host: &str) -> bool {
        let is = |wanted: Option<&String>, it: &str| wanted.is_none_or(|wanted| token(wanted) == it);
        is(self.cluster.as_ref(), cluster) && is(self.host.as_ref(), host)
    }

    /// The cluster that is wanted.
    #[must_use]
    pub fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }

    /// The host that is wanted.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }
}
