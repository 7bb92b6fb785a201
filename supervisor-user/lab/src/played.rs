//! Plays crun's double fork with our own processes, for hosts that have no crun.
//!
//! When a container joins a PID namespace, crun 1.8.1 forks stage 1. Stage 1 enters the namespace, forks the
//! container's init, reports the pid of the init and exits. Then the init is no child of crun any more. On the error
//! path, crun kills the init and waits for it, but the wait fails (`ECHILD`).

use std::{
    fs::File,
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::unix::process::CommandExt,
    process::Command,
};

use anyhow::{Context, Result, bail};
use rustix::{
    fd::AsFd,
    process::{Pid, Signal, WaitOptions, kill_process, waitpid},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use super::{
    container::NO_SUCH_COMMAND,
    lab::Lab,
    monitor::{Finished, Monitor},
    parts::sys,
    pod::Pod,
};

/// The name of the part, and of the process that plays it.
pub const PLAYED_CRUN: &str = "played-crun";

/// Plays the double fork under the monitor. Afterwards, the monitor has a zombie that is in the pod's PID namespace.
pub fn played_double_fork(lab: &Lab, monitor: &mut Monitor, pod: &Pod) -> Result<Finished> {
    let command = lab.actor(PLAYED_CRUN, &[PLAYED_CRUN, &pod.ns_path(), NO_SUCH_COMMAND])?;
    monitor.run(&command, false, &lab.path().join("played.log"))
}

/// The part of the runtime. Returns its exit status.
pub(super) fn play(namespace: &str, command: &str) -> Result<u8> {
    let namespace = File::open(namespace).with_context(|| format!("{namespace} cannot be opened"))?;
    let (mut pids, pid_sender) = io::pipe()?;
    let stage1 = fork(|| stage1(&namespace, command, &pid_sender))?;
    drop(pid_sender);
    waitpid(Some(stage1), WaitOptions::empty())?;

    let init = receive(&mut pids).context("stage 1 reported no pid")?;
    // The init is an orphan now. The kill may come too late, and the wait always fails.
    let _ = kill_process(init, Signal::KILL);
    match waitpid(Some(init), WaitOptions::empty()) {
        Err(rustix::io::Errno::CHILD) => Ok(1),
        other => bail!("the container's init is still a child of the runtime: {other:?}"),
    }
}

fn stage1(namespace: &File, command: &str, pids: &PipeWriter) -> Result<u8> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::ProcessID))?;
    let init = fork(|| Err(Command::new(command).exec().into()))?;
    (&mut &*pids).write_all(&init.as_raw_nonzero().get().to_ne_bytes())?;
    Ok(0)
}

fn receive(pids: &mut PipeReader) -> Result<Pid> {
    let mut raw = [0; 4];
    pids.read_exact(&mut raw)?;
    Pid::from_raw(i32::from_ne_bytes(raw)).context("it is 0")
}

/// Forks. The child runs `body`, and exits with the status that `body` returns.
fn fork(body: impl FnOnce() -> Result<u8>) -> Result<Pid> {
    sys::fork_free(|| {
        let code = body().unwrap_or_else(|error| {
            eprintln!("{error:#}");
            1
        });
        code.into()
    })
}
