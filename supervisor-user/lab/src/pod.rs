//! A pod as the kernel sees it: a PID namespace whose PID 1 is `pause`.

use std::{
    io,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::{
    fd::OwnedFd,
    process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid},
    thread::{UnshareFlags, unshare_unsafe},
};

use super::{
    ACTOR,
    lab::Lab,
    owned::{Lines, Owned, bound_to_parent},
    procfs::{self, Stat},
    wait::LIMIT,
};

pub(super) const PAUSE: &str = "pause";
pub(super) const HOLDER: &str = "pod-holder";

/// The namespace and its `pause`. Both end when this is dropped.
#[derive(Debug)]
pub struct Pod {
    pause: Stat,
    pause_fd: OwnedFd,
    ns_ino: u64,
    /// The parent of `pause`. It reaps `pause` at once; otherwise `pause` would be a finding itself.
    holder: Owned,
}

impl Pod {
    /// Starts a pod.
    pub fn start(lab: &Lab) -> Result<Self> {
        let pause = lab.actor_path(PAUSE)?;
        let mut command = lab.actor("pod-holder", &[HOLDER, &pause.to_string_lossy()])?;
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut holder = Owned::start(&mut command)?;
        let pipe = holder.child().stdout.take().context("the holder has no pipe")?;
        let line = Lines::of(pipe).next("the pod's pause to start", LIMIT)?;
        let pid: u32 = line.context("the pod's holder ended at once")?.parse()?;
        let pause_fd =
            pidfd_open(Pid::from_raw(pid as i32).context("pause has no pid")?, PidfdFlags::empty())?;
        let pause = procfs::stat(pid).context("pause has ended at once")?;
        Ok(Self { pause, pause_fd, ns_ino: procfs::pid_namespace(pid)?, holder })
    }

    /// The host's pid of `pause`.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pause.pid
    }

    /// The inode number of the namespace.
    #[must_use]
    pub fn ns_ino(&self) -> u64 {
        self.ns_ino
    }

    /// The path of the namespace, for a runtime's configuration.
    #[must_use]
    pub fn ns_path(&self) -> String {
        format!("/proc/{}/ns/pid", self.pid())
    }

    /// Kills `pause`.
    pub fn kill(&self) -> Result<()> {
        Ok(pidfd_send_signal(&self.pause_fd, Signal::KILL)?)
    }

    /// The state of `pause`; `None` after it was reaped.
    #[must_use]
    pub fn state(&self) -> Option<char> {
        procfs::stat(self.pid()).filter(|it| it.start == self.pause.start).map(|it| it.state)
    }

    /// Whether `pause` has ended and was reaped.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.state().is_none()
    }

    /// The kernel function in which `pause` sleeps.
    #[must_use]
    pub fn wchan(&self) -> Option<String> {
        procfs::wchan(self.pid())
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // An error means that `pause` has ended already. If the holder does not end by itself, its `pause` cannot die.
        // Then the holder is killed, and init reaps `pause` when that becomes possible.
        let _ = self.kill();
        let _ = self.holder.end(Duration::from_secs(2));
    }
}

/// The part of the holder: starts `pause` in a new PID namespace, prints its pid and waits for it.
pub(super) fn hold(pause: &str) -> Result<()> {
    // SAFETY: this process has one thread, and only the namespace of its future children changes.
    unsafe { unshare_unsafe(UnshareFlags::NEWPID) }?;
    let mut command = Command::new(pause);
    command.args([ACTOR, PAUSE]).stdin(Stdio::piped()).stdout(Stdio::null());
    let child = bound_to_parent(&mut command).spawn()?;
    println!("{}", child.id());
    waitpid(Some(Pid::from_child(&child)), WaitOptions::empty())?;
    Ok(())
}

/// The part of `pause`: sleeps until it is killed, and leaves no zombies in its namespace.
pub(super) fn pause() -> Result<u8> {
    // SAFETY: setting a signal to "ignore" installs no handler.
    if unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error().into());
    }
    // The input ends only if the holder died before `pause` was bound to it. Then nothing else would end `pause`.
    io::copy(&mut io::stdin(), &mut io::sink())?;
    bail!("the pod's holder is gone")
}
