//! The configuration of an agent: its types, which are also its documentation, and its defaults.

use std::{collections::BTreeMap, net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use supervisor_model::values::Time;

mod check;
mod file;

#[cfg(test)]
mod tests;

pub use file::ConfigError;

use supervisor_deliver::config::SinkConfig;
use supervisor_model::{family::Family, redact::RedactConfig};

/// What the events call this host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HostConfig {
    /// Its name, such as the Kubernetes node's; without it, the kernel's.
    pub name: Option<String>,
    /// Its id; without it, `/etc/machine-id`.
    pub id: Option<String>,
}

/// A limit on the number of findings that one reaper can open and update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FloodConfig {
    /// At most this many opened and updated findings of one reaper are reported in `per`; the others are counted and
    /// reported as one number. 0 reports all. Closed findings and blocked namespaces are always reported.
    pub per_reaper: u32,
    /// The time in which `per_reaper` counts.
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
    /// The range of `every`.
    const EVERY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
    /// The range of `min_age`.
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
    /// The name of the cluster: the group of hosts that report to one destination. It is the second part of NATS
    /// subjects.
    pub cluster: String,
    /// Where spools and the list of open findings are kept; it is made with mode 0700.
    pub state_dir: PathBuf,
    /// Which findings are wanted.
    pub filter: supervisor_model::filter::Filter,
    /// Which observed values are left out, so that secrets stay on the host.
    pub redact: RedactConfig,
    /// Limits against floods of events.
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
