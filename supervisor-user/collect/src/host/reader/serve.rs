//! The reader's side of the protocol: answers the requests of the collector.

use std::{
    io::{self, Write as _},
    os::{fd::AsFd as _, unix::net::UnixStream},
};

use anyhow::{Context as _, Result};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::{
    READY,
    wire::{self, Request},
};
use crate::{
    host::{DirectProc, Host as _},
    privileges,
};

/// Answers the requests that come on standard input, a socket, until that is closed.
///
/// # Errors
///
/// If capabilities cannot be given up, `/proc` cannot be read, or the other side sends something that is no request.
pub fn serve() -> Result<()> {
    let stream = io::stdin().as_fd().try_clone_to_owned().context("standard input is not open")?;
    let mut stream = UnixStream::from(stream);
    // A killed collector closes the socket. The signal also ends a reader that sleeps in an answer at that time.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_name(c"supervisor-read")?;
    privileges::drop_all_but_needed(None, &[])?;
    let host = DirectProc::new()?;
    stream.write_all(READY)?;
    while let Some(request) = wire::read(&stream)? {
        answer(&host, &request, &stream)?;
    }
    Ok(())
}

fn answer(host: &DirectProc, request: &Request, stream: &UnixStream) -> io::Result<()> {
    let said = |error: io::Error| error.to_string();
    match request {
        Request::Process(pid) => wire::write(stream, &host.process(*pid).map_err(said)),
        Request::Arguments { pid, start_ticks } => {
            wire::write(stream, &DirectProc::arguments_of(*pid, *start_ticks))
        }
        Request::ThreadGroup(tid) => wire::write(stream, &host.thread_group(*tid)),
        Request::Threads(pid) => wire::write(stream, &host.threads(*pid).map_err(said)),
        Request::Calls(pid) => wire::write(stream, &host.calls(*pid)),
        Request::HasIoUring(pid) => wire::write(stream, &host.has_io_uring(*pid)),
        Request::PipeWriters => wire::write(stream, &host.pipe_writers()),
        Request::Cgroup(pid) => wire::write(stream, &host.cgroup(*pid)),
        Request::Frozen(pid) => wire::write(stream, &host.frozen(*pid)),
        Request::RemoteMounts(tid) => wire::write(stream, &host.remote_mounts(*tid)),
        Request::Cpu(pid) => wire::write(stream, &host.cpu(*pid)),
        Request::PidBudget { pid, v1_group, neighbour } => {
            wire::write(stream, &host.pid_budget(*pid, v1_group.as_deref(), *neighbour))
        }
        Request::Oci(places) => wire::write(stream, &host.oci(places).unwrap_or_default()),
        Request::IsRootsFile(path) => wire::write(stream, &host.is_roots_file(path)),
    }
}
