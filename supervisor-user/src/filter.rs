//! Which findings are wanted.

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::finding::{BlockedNamespace, Finding};

/// Filters; each that is given must match.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Filters")]
pub struct Filter {
    /// Only the process with this host pid
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Only processes with this name (as in /proc/PID/comm, at most 15 bytes)
    #[arg(long, value_name = "NAME")]
    pub comm: Option<String>,
    /// Only processes in the PID namespace with this inode number (readlink /proc/PID/ns/pid)
    #[arg(long, value_name = "INO")]
    pub pidns: Option<u32>,
    /// Only processes that the process with this host pid must reap
    #[arg(long, value_name = "PID")]
    pub reaper: Option<u32>,
    /// Only processes of the container with this id, the beginning of its id, or this name
    #[arg(long, value_name = "ID")]
    pub container: Option<String>,
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

impl Filter {
    /// Each filter of this, and where there is none, the other's.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            pid: self.pid.or(other.pid),
            comm: self.comm.or(other.comm),
            pidns: self.pidns.or(other.pidns),
            reaper: self.reaper.or(other.reaper),
            container: self.container.or(other.container),
            runtime: self.runtime.or(other.runtime),
            monitor: self.monitor.or(other.monitor),
            cgroup: self.cgroup.or(other.cgroup),
        }
    }

    /// Whether a finding matches.
    #[must_use]
    pub fn wants(&self, finding: &Finding) -> bool {
        let reaper = finding.reaper.as_ref().map(|reaper| reaper.process.pid);
        self.wants_subject(finding) && self.reaper.is_none_or(|pid| Some(pid) == reaper)
    }

    /// Whether a blocked PID namespace matches: its init does, and something that holds it has that reaper.
    #[must_use]
    pub fn wants_namespace(&self, namespace: &BlockedNamespace) -> bool {
        let mut reapers =
            namespace.blockers.iter().filter_map(|blocker| blocker.reaper.as_ref()).map(|reaper| reaper.0);
        self.wants_subject(&namespace.init) && self.reaper.is_none_or(|pid| reapers.any(|it| it == pid))
    }

    /// All but the reaper.
    fn wants_subject(&self, finding: &Finding) -> bool {
        fn is(wanted: Option<&String>, matches: impl FnOnce(&str) -> bool) -> bool {
            wanted.is_none_or(|wanted| matches(wanted))
        }
        let pid_ns = finding.pid_ns.as_ref().map(|ns| ns.ino);
        self.pid.is_none_or(|pid| pid == finding.process.pid)
            && self.pidns.is_none_or(|ino| Some(ino) == pid_ns)
            && is(self.comm.as_ref(), |comm| comm == finding.process.name)
            && is(self.container.as_ref(), |id| {
                finding.container.as_ref().is_some_and(|container| {
                    container.id.starts_with(id) || container.name.as_deref() == Some(id)
                })
            })
            && is(self.runtime.as_ref(), |name| {
                finding.runtime.as_ref().is_some_and(|runtime| runtime.name == name)
            })
            && is(self.monitor.as_ref(), |name| {
                finding
                    .monitor
                    .as_ref()
                    .is_some_and(|monitor| monitor.name == name || monitor.pid.to_string() == name)
            })
            && is(self.cgroup.as_ref(), |text| {
                finding.cgroup.as_ref().is_some_and(|path| path.contains(text))
            })
    }
}
