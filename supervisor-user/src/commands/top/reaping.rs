//! `supervisor reap` for `supervisor top`.
//!
//! `top` gives up the capabilities that a reap needs before it reads data that other processes control. So it starts a
//! process before that, and that process keeps the capabilities. The process reads pids from its standard input, one a
//! line. For each, it runs `supervisor reap --yes PID` and writes back the output, with a NUL at the end. It reads
//! nothing else, and never gives `--force`: `reap` alone decides whether a zombie may be freed, whatever `top`
//! requests.

use std::{
    io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    os::{
        fd::AsFd as _,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::{Child, Stdio},
};

use anyhow::{Context as _, Result};
use rustix::thread::CapabilitySet;
use supervisor_collect::helper;

/// The hidden subcommand of that process.
pub(in crate::commands) const REAPS: &str = "__reaps";
/// Ends an answer.
const END: u8 = 0;
/// A longer answer is cut. An answer is about one zombie only.
const MAX_ANSWER: usize = 64 << 10;

/// The process that frees zombies.
pub(super) struct Reaping {
    process: Child,
    stream: UnixStream,
    answer: Vec<u8>,
}

impl Reaping {
    /// Starts the process. Call this before the capabilities are given up.
    pub(super) fn start() -> io::Result<Self> {
        let (stream, process) = helper::start("supervisor-reaps", REAPS, CapabilitySet::all())?;
        stream.set_nonblocking(true)?;
        Ok(Self { process, stream, answer: Vec::new() })
    }

    /// Asks the process to free a zombie.
    pub(super) fn ask(&mut self, pid: u32) -> io::Result<()> {
        writeln!(self.stream, "{pid}")
    }

    /// The answer, when it is complete.
    pub(super) fn answer(&mut self) -> Option<String> {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(count @ 1..) => self.answer.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // There is nothing more yet, or the process has ended. The next request shows an end.
                Ok(0) | Err(_) => break,
            }
        }
        let end = self.answer.iter().position(|byte| *byte == END)?;
        let rest = self.answer.split_off(end + 1);
        self.answer.pop();
        let answer = String::from_utf8_lossy(&self.answer).trim_end().to_owned();
        self.answer = rest;
        Some(answer)
    }
}

impl Drop for Reaping {
    fn drop(&mut self) {
        // A `reap` that the process has started still runs to its end.
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// Frees the requested zombies, until the other side closes the socket.
///
/// # Errors
///
/// If standard input is no socket that can be read and written.
pub(in crate::commands) fn serve() -> Result<()> {
    let stream = io::stdin().as_fd().try_clone_to_owned().context("cannot use standard input")?;
    let mut answers = UnixStream::from(stream);
    let requests = answers.try_clone().context("cannot use standard input")?;
    for line in BufReader::new(requests).lines() {
        let Ok(pid) = line.context("cannot read standard input")?.parse::<u32>() else { continue };
        let mut answer =
            reap(pid).unwrap_or_else(|error| format!("`supervisor reap` cannot be run: {error}").into());
        answer.retain(|byte| *byte != END);
        answer.truncate(MAX_ANSWER);
        answer.push(END);
        answers.write_all(&answer).context("cannot write the answer")?;
    }
    Ok(())
}

/// Runs `supervisor reap` for a zombie, and returns its output.
fn reap(pid: u32) -> io::Result<Vec<u8>> {
    let output = helper::program()
        .arg0("supervisor")
        .args(["--color", "never", "reap", "--yes", &pid.to_string()])
        .stdin(Stdio::null())
        .output()?;
    Ok([output.stdout, output.stderr].concat())
}
