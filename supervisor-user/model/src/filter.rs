//! Filters that select findings.

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::{
    arguments,
    finding::{BlockedNamespace, Finding},
    names::Names,
    words::clean,
};

/// Filters; each that is given must match.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Filters")]
pub struct Filter {
    /// Only the process with this host pid
    #[arg(long, value_name = "PID", value_parser = arguments::pid)]
    pub pid: Option<u32>,
    /// Only processes with this name (as in /proc/PID/comm, at most 15 bytes)
    #[arg(long, value_name = "NAME")]
    pub comm: Option<String>,
    /// Only processes in the PID namespace with this inode number (readlink /proc/PID/ns/pid)
    #[arg(long, value_name = "INO", value_parser = arguments::pid_namespace)]
    pub pidns: Option<u32>,
    /// Only processes that the process with this host pid must reap
    #[arg(long, value_name = "PID", value_parser = arguments::pid)]
    pub reaper: Option<u32>,
    /// Only processes of the container with this id, the beginning of its id, this name, or as lists show it
    #[arg(long, value_name = "ID")]
    pub container: Option<String>,
    /// Only processes of the pod with this name, NAMESPACE/NAME or uid
    #[arg(long, value_name = "NAME")]
    pub pod: Option<String>,
    /// Only processes that this container runtime left, such as crun
    #[arg(long, value_name = "NAME")]
    pub runtime: Option<String>,
    /// Only processes of containers under this monitor, by name or host pid
    #[arg(long, value_name = "NAME|PID")]
    pub monitor: Option<String>,
    /// Only processes whose control group's path contains this
    #[arg(long, value_name = "TEXT")]
    pub cgroup: Option<String>,
}

/// The properties of a finding that filters test. The finding is from this host, or another host has written it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Host pid of the process.
    pub pid: u32,
    /// Its name.
    pub name: &'a str,
    /// Inode of its PID namespace.
    pub pid_ns: Option<u32>,
    /// The names of its container.
    pub container: Option<Names<'a>>,
    /// The container runtime.
    pub runtime: Option<&'a str>,
    /// Name and host pid of the container monitor.
    pub monitor: Option<(&'a str, u32)>,
    /// Its control group.
    pub cgroup: Option<&'a str>,
}

impl Filter {
    /// Each filter of `self`. If `self` does not have a filter, the filter of `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            pid: self.pid.or(other.pid),
            comm: self.comm.or(other.comm),
            pidns: self.pidns.or(other.pidns),
            reaper: self.reaper.or(other.reaper),
            container: self.container.or(other.container),
            pod: self.pod.or(other.pod),
            runtime: self.runtime.or(other.runtime),
            monitor: self.monitor.or(other.monitor),
            cgroup: self.cgroup.or(other.cgroup),
        }
    }

    /// Says in words which findings it selects: `all of this host`, or `only of container web and reaper 1302`.
    #[must_use]
    pub fn describe(&self) -> String {
        let number = |number: Option<u32>| number.map(|it| it.to_string());
        let of = [
            ("pid", number(self.pid)),
            ("name", self.comm.clone()),
            ("PID namespace", number(self.pidns)),
            ("reaper", number(self.reaper)),
            ("container", self.container.clone()),
            ("pod", self.pod.clone()),
            ("runtime", self.runtime.clone()),
            ("monitor", self.monitor.clone()),
            ("control group", self.cgroup.clone()),
        ];
        let of: Vec<String> =
            of.into_iter().filter_map(|(what, value)| Some(format!("{what} {}", clean(&value?)))).collect();
        if of.is_empty() { "all of this host".to_owned() } else { format!("only of {}", of.join(" and ")) }
    }

    /// Whether a finding matches.
    #[must_use]
    pub fn wants(&self, finding: &Finding) -> bool {
        let reaper = finding.reaper.as_ref().map(|reaper| reaper.process.pid);
        self.wants_subject(&subject(finding)) && self.wants_reaper(reaper)
    }

    /// Whether a blocked PID namespace matches: its init matches, and a process that blocks it has the wanted reaper.
    #[must_use]
    pub fn wants_namespace(&self, namespace: &BlockedNamespace) -> bool {
        let reapers =
            namespace.blockers.iter().filter_map(|blocker| blocker.reaper.as_ref()).map(|reaper| reaper.0);
        self.wants_subject(&subject(&namespace.init)) && self.wants_reaper(reapers)
    }

    /// Whether one of the reapers matches.
    #[must_use]
    pub fn wants_reaper(&self, reapers: impl IntoIterator<Item = u32>) -> bool {
        self.reaper.is_none_or(|pid| reapers.into_iter().any(|it| it == pid))
    }

    /// Whether all filters match, without the filter for the reaper.
    #[must_use]
    pub fn wants_subject(&self, subject: &Subject<'_>) -> bool {
        fn is<T>(wanted: Option<&String>, of: Option<T>, matches: impl FnOnce(&str, T) -> bool) -> bool {
            wanted.is_none_or(|wanted| of.is_some_and(|it| matches(wanted, it)))
        }
        self.pid.is_none_or(|pid| pid == subject.pid)
            && self.pidns.is_none_or(|ino| Some(ino) == subject.pid_ns)
            && is(self.comm.as_ref(), Some(subject.name), |comm, name| comm == name)
            && is(self.container.as_ref(), subject.container, |wanted, names| names.are_meant_by(wanted))
            && is(self.pod.as_ref(), subject.container, |wanted, names| names.are_of_pod(wanted))
            && is(self.runtime.as_ref(), subject.runtime, |wanted, name| wanted == name)
            && is(self.monitor.as_ref(), subject.monitor, |wanted, (name, pid)| {
                wanted == name || wanted == pid.to_string()
            })
            && is(self.cgroup.as_ref(), subject.cgroup, |text, path| path.contains(text))
    }
}

fn subject(finding: &Finding) -> Subject<'_> {
    Subject {
        pid: finding.process.pid,
        name: &finding.process.name,
        pid_ns: finding.pid_ns.as_ref().map(|ns| ns.ino),
        container: Names::of(finding),
        runtime: finding.runtime.as_ref().map(|runtime| &*runtime.name),
        monitor: finding.monitor.as_ref().map(|monitor| (&*monitor.name, monitor.pid)),
        cgroup: finding.cgroup.as_deref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_describes_the_findings_that_it_selects() {
        assert_eq!(Filter::default().describe(), "all of this host");
        let filter = Filter {
            reaper: Some(1302),
            container: Some("web\u{1b}".to_owned()),
            pod: Some("shop/web-pod".to_owned()),
            ..Filter::default()
        };
        assert_eq!(filter.describe(), "only of reaper 1302 and container web\\u{1b} and pod shop/web-pod");
    }
}
