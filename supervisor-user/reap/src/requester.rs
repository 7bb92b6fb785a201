//! Finds out which user and which process have requested a reap.

use std::{env, fs};

use supervisor_model::reaping::{RequestedBy, Requester};

/// The user and the process that have started this command.
#[must_use]
pub fn requested_by_command() -> RequestedBy {
    let pid = rustix::process::getppid().map_or(0, |pid| pid.as_raw_pid() as u32);
    of(Requester::Command, pid)
}

/// This agent, as the requester.
#[must_use]
pub fn requested_by_service() -> RequestedBy {
    of(Requester::Service, std::process::id())
}

fn of(kind: Requester, pid: u32) -> RequestedBy {
    /// The value in `/proc/self/loginuid` if no login user id is set.
    const UNSET: u32 = u32::MAX;
    let number = |text: String| text.trim().parse().ok();
    let comm = fs::read(format!("/proc/{pid}/comm")).ok();
    RequestedBy {
        kind,
        uid: rustix::process::getuid().as_raw(),
        login_uid: fs::read_to_string("/proc/self/loginuid")
            .ok()
            .and_then(number)
            .filter(|uid| *uid != UNSET),
        sudo_uid: env::var("SUDO_UID").ok().and_then(number),
        pid,
        name: comm.map(|name| String::from_utf8_lossy(&name).trim_end().to_owned()),
    }
}
