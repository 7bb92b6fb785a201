//! The command: its start, its end, and the orphans that this process adopts.

use std::{
    ffi::OsString,
    io,
    path::Path,
    process::{Child, Command, ExitStatus},
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use supervisor_deliver::say::say;
use supervisor_model::words::clean;
use tokio::signal::unix::{self, SignalKind};

use super::marks::SOCKET;
use crate::leaks::{CommandEnd, NOT_EXECUTABLE, NOT_FOUND};

/// Starts the command, with the path of the socket for marks in its environment. If that fails, says why and returns
/// the exit code.
pub(super) fn start(command: &[OsString], socket: &Path) -> Result<Child, u8> {
    let Some((program, rest)) = command.split_first() else { return Err(NOT_FOUND) };
    Command::new(program).args(rest).env(SOCKET, socket).spawn().map_err(|error| {
        say(&format!("supervisor: cannot start {}: {error}", clean(&program.to_string_lossy())));
        if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }
    })
}

/// The signals that would end this process. Instead, this process waits for the command and reports.
pub(super) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    /// Handles these signals from now on.
    pub(super) fn handle() -> Result<Self> {
        let handle = |kind| unix::signal(kind).context("cannot handle signals");
        Ok(Self {
            interrupt: handle(SignalKind::interrupt())?,
            terminate: handle(SignalKind::terminate())?,
            hangup: handle(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal, and passes it on. SIGINT is not passed on, because a terminal sends it to the command
    /// too.
    pub(super) async fn pass_on(&mut self, child: &Child) {
        let signal = tokio::select! {
            _ = self.interrupt.recv() => return,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hangup.recv() => Signal::HUP,
        };
        // The command may have ended in this moment.
        kill_process(Pid::from_child(child), signal).ok();
    }
}

/// Converts the exit status.
pub(super) fn ended(status: ExitStatus) -> CommandEnd {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => CommandEnd::Code(code as u8),
        (None, Some(number)) => CommandEnd::Signal(number as u8),
        (None, None) => CommandEnd::Code(1),
    }
}

/// Reaps the orphans that this process has adopted. `is_own` says which exited children other code waits for.
pub(super) fn reap_orphans(is_own: impl Fn(u32) -> bool) {
    while let Some(pid) = exited_child() {
        // An orphan may stand behind this child in the list. It is reaped after other code has reaped this child.
        if is_own(pid.as_raw_nonzero().get().cast_unsigned()) {
            return;
        }
        if !matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(Some(_))) {
            return;
        }
    }
}

/// A child that has exited and is not yet reaped.
fn exited_child() -> Option<Pid> {
    // SAFETY: a `siginfo_t` of zero bytes is valid: it describes no signal.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the call writes to `info` only.
    let result = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) };
    // SAFETY: the kernel has either filled in the fields of a child's exit, or written nothing, and then they are zero.
    let pid = unsafe { info.si_pid() };
    if result == 0 { Pid::from_raw(pid) } else { None }
}
