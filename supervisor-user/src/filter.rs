//! Which findings are wanted.

use clap::Args;

use crate::finding::Finding;

/// Filters; each that is given must match.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
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
}

impl Filter {
    /// Whether a finding matches.
    #[must_use]
    pub fn wants(&self, finding: &Finding) -> bool {
        let reaper = finding.reaper.as_ref().map(|reaper| reaper.process.pid);
        let pid_ns = finding.pid_ns.as_ref().map(|ns| ns.ino);
        self.pid.is_none_or(|pid| pid == finding.process.pid)
            && self.comm.as_ref().is_none_or(|comm| *comm == finding.process.name)
            && self.pidns.is_none_or(|ino| Some(ino) == pid_ns)
            && self.reaper.is_none_or(|pid| Some(pid) == reaper)
    }
}
