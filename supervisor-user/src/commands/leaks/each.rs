//! `--each` below another `supervisor leaks`: this process only sends marks to the outer one, so one test costs only
//! milliseconds.

use std::path::Path;

use anyhow::Result;
use supervisor_deliver::say::say;
use supervisor_model::words::clean;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    child,
    marks::{self, Mark, Request, Runner},
};
use crate::leaks::LEAKED;

/// Marks the beginning of a test. The creator of this process runs the test.
pub(super) fn begin(socket: &Path, test: &str) -> Result<u8> {
    send(socket, Mark::Begin, Runner::Creator, test)?;
    Ok(0)
}

/// Marks the end of the test. The exit code says whether the test has left something behind.
pub(super) fn end(socket: &Path, test: &str) -> Result<u8> {
    let leaks = send(socket, Mark::End, Runner::Creator, test)?;
    Ok(if leaks == 0 { 0 } else { LEAKED })
}

/// Runs a command as a test.
pub(super) async fn run(socket: &Path, test: &str, command: &[std::ffi::OsString]) -> Result<u8> {
    let mut signals = child::Signals::handle()?;
    let mut child_signal = signal(SignalKind::child())?;
    send(socket, Mark::Begin, Runner::Sender, test)?;
    let mut child = match child::start(command, socket) {
        Ok(child) => child,
        Err(code) => return Ok(code),
    };
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        tokio::select! {
            () = signals.pass_on(&child) => {}
            _ = child_signal.recv() => {}
        }
    };
    let leaks = send(socket, Mark::End, Runner::Sender, test)?;
    let code = child::ended(status).code();
    Ok(if code == 0 && leaks > 0 { LEAKED } else { code })
}

/// Sends a mark. Prints the processes that the test has left behind, and returns their number.
fn send(socket: &Path, mark: Mark, runner: Runner, test: &str) -> Result<usize> {
    let request = Request { mark, runner, test: test.to_owned() };
    let leaks = marks::send(socket, &request)?;
    for leak in &leaks {
        say(&format!("supervisor: the test `{}` leaked: {leak}", clean(test)));
    }
    Ok(leaks.len())
}
