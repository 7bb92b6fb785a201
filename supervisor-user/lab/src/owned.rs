//! Processes that end with the thread that started them, and the lines that they print.

use std::{
    io::{self, BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

use super::wait::{interrupted, within};

/// How long a wait lasts before it checks for an interrupt.
const SLICE: Duration = Duration::from_millis(50);

/// Makes a command's process die with the thread that starts it. The process does not get Ctrl-C: its starter decides
/// when it ends.
pub fn bound_to_parent(command: &mut Command) -> &mut Command {
    let starter = getpid();
    command.process_group(0);
    // SAFETY: between fork and exec, the closure makes two system calls, and neither allocates nor locks.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The starter may have died before that call. `getppid` returns no pid for a parent in another PID
            // namespace.
            match getppid() {
                Some(parent) if parent != starter => Err(io::Error::from_raw_os_error(libc::ESRCH)),
                _ => Ok(()),
            }
        })
    }
}

/// A child process that is killed and reaped when this is dropped.
#[derive(Debug)]
pub struct Owned(Child);

impl Owned {
    /// Starts a command, bound to this thread.
    pub fn start(command: &mut Command) -> Result<Self> {
        match bound_to_parent(command).spawn() {
            Ok(child) => Ok(Self(child)),
            Err(error) => bail!("{} cannot be started: {error}", command.get_program().display()),
        }
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The child, for access to its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Sends the process a signal, unless it has been reaped.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.0.try_wait()?.is_none() {
            rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), signal)?;
        }
        Ok(())
    }

    /// Waits for the end of the process. Signals to this process do not shorten the wait, because cleaning up needs it.
    pub fn end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let status = within(limit, || Ok(self.0.try_wait()?))?;
        status.with_context(|| format!("process {} has not ended after {limit:?}", self.pid()))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Both calls fail only if other code has waited for the process already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of a pipe. A background thread reads them, so that a wait for a line can have a limit.
#[derive(Debug)]
pub struct Lines(Receiver<String>);

impl Lines {
    /// Reads until all writers have closed the pipe.
    pub fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                if sender.send(String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned()).is_err() {
                    break;
                }
                line.clear();
            }
        });
        Self(receiver)
    }

    /// The next line; `None` if no more lines will come. `what` completes "gave up after {limit} waiting for {what}".
    pub fn next(&self, what: &str, limit: Duration) -> Result<Option<String>> {
        let deadline = Instant::now() + limit;
        loop {
            interrupted()?;
            let left = deadline.saturating_duration_since(Instant::now());
            match self.0.recv_timeout(left.min(SLICE)) {
                Ok(line) => return Ok(Some(line)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                    bail!("gave up after {limit:?} waiting for {what}")
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// The next line if it comes within the limit; `None` also if no more lines will come.
    pub fn next_within(&self, limit: Duration) -> Result<Option<String>> {
        interrupted()?;
        Ok(self.0.recv_timeout(limit).ok())
    }
}
