//! The configuration of each destination of events: its types, its defaults, and the rules that the types cannot
//! express. The types are also its documentation.

mod syslog;

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use supervisor_model::values::{Bytes, Time};
use supervisor_render::Format;

pub use self::syslog::{Facility, SyslogAddress};
use crate::nats::{Access, BadAccess};

/// The longest name. Names become parts of file names and subjects.
const MAX_NAME: usize = 64;

/// What is done when a sink is slower than the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The collector waits. It recovers the changes of that time by reconciliation.
    Block,
    /// New events are dropped, counted, and reported.
    #[default]
    Drop,
    /// Events are kept on disk until they are delivered. Events that have no room there are dropped, counted, and
    /// reported.
    Spool,
}

/// One destination of events.
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
    /// Standard output, with the defaults of all other settings.
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
    /// The number of rotated files that are kept; PATH.1 is the newest.
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
    /// The frame size that every receiver must take (RFC 5424, section 6.1).
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
    /// How long a stream that the agent makes keeps events, and how long a bucket that it makes keeps a silent host.
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
    /// The range of `heartbeat` and `ack_timeout`.
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

/// Whether two paths are the same file, or one is a rotated file of the other.
#[must_use]
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    let is_rotated = |path: &Path, of: &Path| {
        let rest =
            path.to_str().zip(of.to_str()).and_then(|(path, of)| path.strip_prefix(of)?.strip_prefix('.'));
        rest.is_some_and(|rest| rest.starts_with(|it: char| it.is_ascii_digit()))
    };
    one == other || is_rotated(one, other) || is_rotated(other, one)
}

/// Why a name cannot be a part of file names and subjects; `None` if it can.
#[must_use]
pub fn bad_name(name: &str) -> Option<String> {
    let is_good = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_');
    let is_wrong = name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_good);
    is_wrong.then(|| format!("a name has 1 to {MAX_NAME} of the characters a-z, A-Z, 0-9, - and _"))
}

impl SinkConfig {
    /// The files that it writes to, with the key of each.
    pub fn paths(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let file = self.file.as_ref().map(|file| ("file", file.path.as_path()));
        file.into_iter().chain(self.unix.as_ref().map(|unix| ("unix", unix.path.as_path())))
    }

    /// The first value that cannot be used: its key and the cause.
    #[must_use]
    pub fn problem(&self) -> Option<(Vec<&'static str>, String)> {
        let SinkConfig { stdout, file, unix, syslog, journald, nats, buffer, spool, .. } = self;
        let places = [
            ("stdout", stdout.is_some()),
            ("file", file.is_some()),
            ("unix", unix.is_some()),
            ("syslog", syslog.is_some()),
            ("journald", journald.is_some()),
            ("nats", nats.is_some()),
        ];
        let named: Vec<&str> =
            places.into_iter().filter_map(|(name, is_there)| is_there.then_some(name)).collect();
        match named[..] {
            [_] => {}
            [] => {
                return Some((
                    vec![],
                    format!("it names no place: add one of {}", places.map(|it| it.0).join(", ")),
                ));
            }
            _ => {
                return Some((
                    vec![],
                    format!("it names several places: {}; a sink has one", named.join(", ")),
                ));
            }
        }
        for (key, size, least) in [("buffer", buffer, Bytes(64 << 10)), ("spool", spool, Bytes(64 << 10))] {
            if size.0 < least.0 {
                return Some((vec![key], format!("must be at least {least}")));
            }
        }
        for (kind, path) in self.paths() {
            if !path.is_absolute() || path.file_name().is_none() {
                return Some((vec![kind, "path"], "must be the absolute path of a file".to_owned()));
            }
        }
        if let Some(file) = file {
            let least = Bytes(4 << 10);
            if file.rotate_size.0 < least.0 {
                return Some((vec!["file", "rotate_size"], format!("must be at least {least}")));
            }
            if file.keep == 0 || file.keep > 1000 {
                return Some((vec!["file", "keep"], "must be from 1 to 1000".to_owned()));
            }
        }
        if let Some(unix) = unix
            && unix.max_readers == 0
        {
            return Some((vec!["unix", "max_readers"], "must be at least 1".to_owned()));
        }
        if let Some((key, cause)) = nats.as_ref().and_then(NatsConfig::problem) {
            return Some((vec!["nats", key], cause));
        }
        None
    }

    /// Whether another sink keeps its events in the same stream.
    #[must_use]
    pub fn has_stream_of(&self, other: &Self) -> bool {
        let both = self.nats.as_ref().zip(other.nats.as_ref());
        both.is_some_and(|(a, b)| a.stream == b.stream && a.servers == b.servers)
    }
}

impl NatsConfig {
    /// The first value that the sink cannot use: its key and the cause.
    #[must_use]
    pub fn problem(&self) -> Option<(&'static str, String)> {
        if let Err(error) = Access::from(self).addresses() {
            let key = match &error {
                BadAccess::NoServer | BadAccess::Server(_) => "servers",
                BadAccess::HalfCertificate => "tls_cert",
                BadAccess::TwoUsers => "user_password",
            };
            return Some((key, error.to_string()));
        }
        for (key, name) in [("stream", &self.stream), ("bucket", &self.bucket)] {
            if let Some(cause) = bad_name(name) {
                return Some((key, cause));
            }
        }
        for (key, time) in [("heartbeat", self.heartbeat), ("ack_timeout", self.ack_timeout)] {
            if !Self::TIMES.contains(&time.0) {
                return Some((key, format!("{time} is out of range: it must be from 100ms to 1h")));
            }
        }
        None
    }
}
