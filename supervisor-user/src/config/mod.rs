//! The configuration of an agent: its types, which are also its documentation, and its defaults.

use std::{collections::BTreeMap, net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

mod check;
mod file;
mod syslog;
#[cfg(test)]
mod tests;
mod values;

pub use file::ConfigError;
pub use syslog::{Facility, SyslogAddress};
pub use values::{Bytes, Time};

use supervisor_model::{family::Family, redact::RedactConfig};

use supervisor_render::Format;

/// What is done when a sink is slower than the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The tracer waits. What happens meanwhile is caught up with by a resync.
    Block,
    /// New events are dropped, counted, and told.
    #[default]
    Drop,
    /// Events are kept on disk until they are delivered; what has no room there is dropped, counted, and told.
    Spool,
}

/// One place that events go to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["stdout"] },
    { "required": ["file"] },
    { "required": ["unix"] },
    { "required": ["syslog"] },
    { "required": ["journald"] },
    { "required": ["nats"] },
]))]
pub struct SinkConfig {
    /// How events look there.
    #[serde(default)]
    pub format: Format,
    /// What is done when it is slower than the events.
    #[serde(default)]
    pub policy: Policy,
    /// How much may wait in memory.
    #[serde(default = "SinkConfig::buffer")]
    pub buffer: Bytes,
    /// How much may wait on disk, with `policy = "spool"`.
    #[serde(default = "SinkConfig::spool")]
    pub spool: Bytes,
    /// Standard output.
    pub stdout: Option<StdoutConfig>,
    /// A file.
    pub file: Option<FileConfig>,
    /// A Unix stream socket that any number of programs may read from.
    pub unix: Option<UnixConfig>,
    /// A syslog server, in the format of RFC 5424.
    pub syslog: Option<SyslogConfig>,
    /// systemd's journal.
    pub journald: Option<JournaldConfig>,
    /// NATS `JetStream`.
    pub nats: Option<NatsConfig>,
}

impl SinkConfig {
    /// Standard output, with everything else as it is without a word about it.
    #[must_use]
    pub fn to_stdout() -> Self {
        Self {
            format: Format::default(),
            policy: Policy::default(),
            buffer: Self::buffer(),
            spool: Self::spool(),
            stdout: Some(StdoutConfig::default()),
            file: None,
            unix: None,
            syslog: None,
            journald: None,
            nats: None,
        }
    }

    fn buffer() -> Bytes {
        Bytes(4 << 20)
    }

    fn spool() -> Bytes {
        Bytes(256 << 20)
    }
}

/// Standard output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StdoutConfig {}

/// A file that is rotated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Where it is. It is made with mode 0600; its directory must exist.
    pub path: PathBuf,
    /// It is rotated before it grows larger than this.
    #[serde(default = "FileConfig::rotate_size")]
    pub rotate_size: Bytes,
    /// It is rotated when its first event is older than this; without it, never for its age.
    #[serde(default)]
    pub rotate_age: Option<Time>,
    /// So many rotated files are kept: PATH.1 is the newest.
    #[serde(default = "FileConfig::keep")]
    pub keep: u32,
    /// Whether rotated files are compressed with zstd (PATH.1.zst).
    #[serde(default)]
    pub compress: bool,
}

impl FileConfig {
    fn rotate_size() -> Bytes {
        Bytes(64 << 20)
    }

    fn keep() -> u32 {
        5
    }
}

/// A Unix stream socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnixConfig {
    /// Where it is. It is made with mode 0600.
    pub path: PathBuf,
    /// How much may wait for one reader; one that is slower than that is disconnected, and counted.
    #[serde(default = "UnixConfig::reader_buffer")]
    pub reader_buffer: Bytes,
    /// How many may read at once.
    #[serde(default = "UnixConfig::max_readers")]
    pub max_readers: u32,
}

impl UnixConfig {
    fn reader_buffer() -> Bytes {
        Bytes(1 << 20)
    }

    fn max_readers() -> u32 {
        16
    }
}

/// A syslog server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyslogConfig {
    /// `unix:/dev/log`, `udp:HOST:PORT` or `tcp:HOST:PORT`.
    pub address: SyslogAddress,
    /// The facility's name, such as `daemon`, `authpriv` or `local0`.
    #[serde(default)]
    pub facility: Facility,
    /// The largest frame that the server takes, at least 480 bytes. A larger event is sent without some of its
    /// optional fields, and says so.
    #[serde(default = "SyslogConfig::max_size", deserialize_with = "SyslogConfig::frame_size")]
    pub max_size: Bytes,
}

impl SyslogConfig {
    /// What every receiver must take (RFC 5424, section 6.1).
    const LEAST_SIZE: Bytes = Bytes(480);

    fn max_size() -> Bytes {
        Bytes(64 << 10)
    }

    fn frame_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let size = Bytes::deserialize(deserializer)?;
        if size.0 < Self::LEAST_SIZE.0 {
            let least = Self::LEAST_SIZE;
            return Err(D::Error::custom(format!(
                "{size} is too small for a syslog frame: at least {least}"
            )));
        }
        Ok(size)
    }
}

/// systemd's journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JournaldConfig {
    /// Its socket.
    pub socket: PathBuf,
}

impl Default for JournaldConfig {
    fn default() -> Self {
        Self { socket: PathBuf::from("/run/systemd/journal/socket") }
    }
}

/// NATS `JetStream`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NatsConfig {
    /// `nats://HOST:PORT` or `tls://HOST:PORT`; others of the same cluster may follow.
    pub servers: Vec<String>,
    /// The stream that keeps the events; it is made if it does not exist.
    #[serde(default = "NatsConfig::stream")]
    pub stream: String,
    /// For how long events are kept in a stream that is made, and a host that has gone silent in a bucket that is.
    #[serde(default = "NatsConfig::keep")]
    pub keep: Time,
    /// How much a stream that is made keeps.
    #[serde(default = "NatsConfig::keep_size")]
    pub keep_size: Bytes,
    /// The key-value bucket with the open findings; it is made if it does not exist.
    #[serde(default = "NatsConfig::bucket")]
    pub bucket: String,
    /// How often the agent says that it is alive; after three times this it is stale.
    #[serde(default = "NatsConfig::heartbeat")]
    pub heartbeat: Time,
    /// How long the broker may take to acknowledge.
    #[serde(default = "NatsConfig::ack_timeout")]
    pub ack_timeout: Time,
    /// A credentials file.
    #[serde(default)]
    pub credentials: Option<PathBuf>,
    /// A file with the user's name and password, separated by a colon.
    #[serde(default)]
    pub user_password: Option<PathBuf>,
    /// Certificates of the authorities to trust, in PEM; without it, the system's are trusted.
    #[serde(default)]
    pub tls_ca: Option<PathBuf>,
    /// The client's certificate, in PEM.
    #[serde(default)]
    pub tls_cert: Option<PathBuf>,
    /// The client's key, in PEM.
    #[serde(default)]
    pub tls_key: Option<PathBuf>,
}

impl NatsConfig {
    /// What `heartbeat` and `ack_timeout` may be.
    pub const TIMES: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);
    /// The stream, unless another one is named.
    pub const STREAM: &str = "SUPERVISOR";
    /// The bucket, unless another one is named.
    pub const BUCKET: &str = "supervisor-findings";

    fn stream() -> String {
        Self::STREAM.to_owned()
    }

    fn keep() -> Time {
        Time::from_secs(7 * 24 * 3600)
    }

    fn keep_size() -> Bytes {
        Bytes(1 << 30)
    }

    fn bucket() -> String {
        Self::BUCKET.to_owned()
    }

    fn heartbeat() -> Time {
        Time::from_secs(15)
    }

    fn ack_timeout() -> Time {
        Time::from_secs(5)
    }
}

/// What the events call this host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HostConfig {
    /// Its name, such as the Kubernetes node's; without it, the kernel's.
    pub name: Option<String>,
    /// Its id; without it, `/etc/machine-id`.
    pub id: Option<String>,
}

/// How many openings one reaper may cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FloodConfig {
    /// So many opened and updated findings of one reaper are told in `per`; the others are counted and told as one
    /// number. 0 tells all. Closes and blocked namespaces are always told.
    pub per_reaper: u32,
    /// In what time.
    pub per: Time,
}

impl Default for FloodConfig {
    fn default() -> Self {
        Self { per_reaper: 100, per: Time::from_secs(60) }
    }
}

/// Metrics for Prometheus.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Where `/metrics`, `/healthz` and `/readyz` are served, such as `127.0.0.1:9469`; without it, nowhere.
    #[schemars(with = "Option<String>")]
    pub listen: Option<SocketAddr>,
    /// Whether to let the kernel measure the eBPF programs, which makes each of them slower.
    pub bpf_stats: bool,
}

/// Frees zombies that nobody will wait for, as `supervisor reap` does without `--force`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReapConfig {
    /// Whether zombies are freed.
    pub enabled: bool,
    /// How often zombies are freed.
    pub every: Time,
    /// How long ago a zombie must have exited. If its exit was not seen, how long it must have been known.
    pub min_age: Time,
    /// Only zombies of these families are freed (docs/families.md).
    pub families: Vec<Family>,
    /// Whether a reaper that handles SIGCHLD gets one first, and a second to answer it with a wait.
    pub nudge: bool,
    /// Each time, at most this many zombies of one reaper are freed.
    pub per_reaper: u32,
    /// Each time, at most this many zombies are freed in all.
    pub in_all: u32,
}

impl ReapConfig {
    /// What `every` can be.
    const EVERY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
    /// What `min_age` can be.
    const MIN_AGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);

    /// The first value that cannot be used: its key and the cause.
    #[must_use]
    pub fn problem(&self) -> Option<(&'static str, String)> {
        let times = [("every", self.every, Self::EVERY), ("min_age", self.min_age, Self::MIN_AGE)];
        for (key, time, range) in times {
            if !range.contains(&time.0) {
                return Some((key, format!("{time} is out of range: it must be from 1s to 24h")));
            }
        }
        if self.families.is_empty() {
            return Some(("families", "there is none, so nothing is freed: use enabled = false".to_owned()));
        }
        let limits = [("per_reaper", self.per_reaper), ("in_all", self.in_all)];
        let none = limits.into_iter().find(|(_, limit)| *limit == 0)?;
        Some((none.0, "must be at least 1".to_owned()))
    }
}

impl Default for ReapConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            every: Time::from_secs(30),
            min_age: Time::from_secs(60),
            families: vec![Family::F1, Family::F2, Family::F3, Family::F5, Family::F6],
            nudge: true,
            per_reaper: 100,
            in_all: 1000,
        }
    }
}

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long a process must be unreaped to be reported.
    pub grace: Time,
    /// How long a process must be told to exit and not have exited to be reported.
    pub exit_grace: Time,
    /// What the events call this host.
    pub host: HostConfig,
    /// What the hosts belong to that report to one place: the second part of NATS subjects.
    pub cluster: String,
    /// Where spools and the list of open findings are kept; it is made with mode 0700.
    pub state_dir: PathBuf,
    /// Which findings are wanted.
    pub filter: supervisor_model::filter::Filter,
    /// What is left out of what is observed, so that secrets stay on the host.
    pub redact: RedactConfig,
    /// Against floods.
    pub flood: FloodConfig,
    /// Metrics.
    pub metrics: MetricsConfig,
    /// Freeing zombies.
    pub reap: ReapConfig,
    /// Where events go, each with a name of your choice.
    pub sinks: BTreeMap<String, SinkConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            grace: Time::from_secs(1),
            exit_grace: Time::from_secs(5),
            host: HostConfig::default(),
            cluster: "default".to_owned(),
            state_dir: PathBuf::from("/var/lib/supervisor"),
            filter: supervisor_model::filter::Filter::default(),
            redact: RedactConfig::default(),
            flood: FloodConfig::default(),
            metrics: MetricsConfig::default(),
            reap: ReapConfig::default(),
            sinks: BTreeMap::from([("stdout".to_owned(), SinkConfig::to_stdout())]),
        }
    }
}
