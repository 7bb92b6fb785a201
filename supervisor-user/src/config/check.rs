//! What a configuration must be beyond what its types say.

use std::{collections::BTreeMap, path::Path};

use supervisor_model::redact::Redactor;

use super::{Bytes, Config, NatsConfig, SinkConfig, Time};
use crate::nats::{Access, BadAccess};

/// What is wrong, and with which key.
pub(super) struct Problem {
    pub(super) key: Vec<String>,
    pub(super) cause: String,
}

/// The longest time that anything is counted in.
const LONGEST: Time = Time::from_secs(24 * 3600);
/// Names become parts of file names and subjects.
const MAX_NAME: usize = 64;

/// The first thing that is wrong.
pub(super) fn problem(config: &Config) -> Option<Problem> {
    let of = |key: &[&str], cause: String| {
        Some(Problem { key: key.iter().map(|&part| part.to_owned()).collect(), cause })
    };
    if let Some(cause) = bad_name(&config.cluster) {
        return of(&["cluster"], cause);
    }
    if !config.state_dir.is_absolute() {
        return of(&["state_dir"], "must be an absolute path".to_owned());
    }
    if config.exit_grace > LONGEST {
        return of(&["exit_grace"], format!("must be at most {LONGEST}"));
    }
    if config.grace > LONGEST {
        return of(&["grace"], format!("must be at most {LONGEST}"));
    }
    if let Err(error) = Redactor::new(&config.redact) {
        return of(&["redact", "patterns"], error.to_string());
    }
    if config.flood.per == Time::from_secs(0) || config.flood.per > LONGEST {
        return of(&["flood", "per"], format!("must be longer than nothing, and at most {LONGEST}"));
    }
    if let Some((key, cause)) = config.reap.problem() {
        return of(&["reap", key], cause);
    }
    if config.sinks.is_empty() {
        return of(&["sinks"], "there is none: add one, such as [sinks.out] with stdout = {}".to_owned());
    }
    let mut paths: BTreeMap<&Path, &str> = BTreeMap::new();
    for (name, sink) in &config.sinks {
        if let Some(cause) = bad_name(name) {
            return of(&["sinks", name], cause);
        }
        if let Some((key, cause)) = bad_sink(sink) {
            let key: Vec<&str> = ["sinks", name].into_iter().chain(key.iter().copied()).collect();
            return of(&key, cause);
        }
        for (kind, path) in paths_of(sink) {
            if let Some((_, other)) = paths.iter().find(|(other, _)| is_same(other, path)) {
                return of(&["sinks", name, kind, "path"], format!("sinks.{other} writes there already"));
            }
            paths.insert(path, name);
        }
        // The broker would take the events of both for the same, and drop those of one.
        let keeps_the_same = |other: &SinkConfig| {
            other
                .nats
                .as_ref()
                .zip(sink.nats.as_ref())
                .is_some_and(|(a, b)| a.stream == b.stream && a.servers == b.servers)
        };
        let mut before = config.sinks.iter().take_while(|(other, _)| *other != name);
        if let Some((other, _)) = before.find(|(_, other)| keeps_the_same(other)) {
            return of(&["sinks", name, "nats", "stream"], format!("sinks.{other} writes to it already"));
        }
    }
    None
}

/// Whether two paths are the same file, or one is a rotated one of the other.
fn is_same(one: &Path, other: &Path) -> bool {
    let is_rotated = |path: &Path, of: &Path| {
        let rest =
            path.to_str().zip(of.to_str()).and_then(|(path, of)| path.strip_prefix(of)?.strip_prefix('.'));
        rest.is_some_and(|rest| rest.starts_with(|it: char| it.is_ascii_digit()))
    };
    one == other || is_rotated(one, other) || is_rotated(other, one)
}

fn bad_name(name: &str) -> Option<String> {
    let is_good = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_');
    let is_wrong = name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_good);
    is_wrong.then(|| format!("a name has 1 to {MAX_NAME} of the characters a-z, A-Z, 0-9, - and _"))
}

fn paths_of(sink: &SinkConfig) -> impl Iterator<Item = (&'static str, &Path)> {
    let file = sink.file.as_ref().map(|file| ("file", file.path.as_path()));
    file.into_iter().chain(sink.unix.as_ref().map(|unix| ("unix", unix.path.as_path())))
}

fn bad_sink(sink: &SinkConfig) -> Option<(Vec<&'static str>, String)> {
    let SinkConfig { stdout, file, unix, syslog, journald, nats, buffer, spool, .. } = sink;
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
        _ => return Some((vec![], format!("it names several places: {}; a sink has one", named.join(", ")))),
    }
    for (key, size, least) in [("buffer", buffer, Bytes(64 << 10)), ("spool", spool, Bytes(64 << 10))] {
        if size.0 < least.0 {
            return Some((vec![key], format!("must be at least {least}")));
        }
    }
    for (kind, path) in paths_of(sink) {
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
