//! Checks the rules of a configuration that its types do not express.

use std::{collections::BTreeMap, path::Path};

use supervisor_deliver::config::{bad_name, is_same_file};
use supervisor_model::{redact::Redactor, values::Time};

use super::Config;

/// An error of a configuration: the key, and the cause.
pub(super) struct Problem {
    pub(super) key: Vec<String>,
    pub(super) cause: String,
}

/// The longest time that a configuration may contain.
const LONGEST: Time = Time::from_secs(24 * 3600);

/// The first error.
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
        if let Some((key, cause)) = sink.problem() {
            let key: Vec<&str> = ["sinks", name].into_iter().chain(key.iter().copied()).collect();
            return of(&key, cause);
        }
        for (kind, path) in sink.paths() {
            if let Some((_, other)) = paths.iter().find(|(other, _)| is_same_file(other, path)) {
                return of(&["sinks", name, kind, "path"], format!("sinks.{other} writes there already"));
            }
            paths.insert(path, name);
        }
        // The broker would take the events of the two sinks for duplicates, and drop those of one sink.
        let mut before = config.sinks.iter().take_while(|(other, _)| *other != name);
        if let Some((other, _)) = before.find(|(_, other)| other.has_stream_of(sink)) {
            return of(&["sinks", name, "nats", "stream"], format!("sinks.{other} writes to it already"));
        }
    }
    None
}
