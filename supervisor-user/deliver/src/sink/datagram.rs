//! Sends datagrams to a Unix socket of a service that may restart at any time.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, send, sendmsg};
use tokio::{io::Interest, net::UnixDatagram, time::timeout};

/// How long a datagram may wait for the service.
const LIMIT: Duration = Duration::from_secs(5);

/// A socket that is connected when it is needed. It is connected, and not addressed for each datagram: only then the
/// kernel reports when the receiver has room again.
#[derive(Debug)]
pub(super) struct Datagrams {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Datagrams {
    pub(super) fn to(path: &Path) -> Self {
        Self { path: path.to_owned(), socket: None }
    }

    /// Sends one datagram.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.with(|socket| Ok(send(socket, bytes, SendFlags::NOSIGNAL).map(|_| ())?)).await
    }

    /// Sends an empty datagram with an open file.
    pub(super) async fn send_file(&mut self, file: BorrowedFd<'_>) -> io::Result<()> {
        self.with(|socket| {
            let files = [file];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&files));
            let nothing = [IoSlice::new(&[])];
            Ok(sendmsg(socket, &nothing, &mut control, SendFlags::NOSIGNAL).map(|_| ())?)
        })
        .await
    }

    /// Connects if there is no connection, and once more if the service has restarted meanwhile.
    async fn with(&mut self, send: impl Fn(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
        let was_connected = self.socket.is_some();
        let result = self.attempt(&send).await;
        if was_connected && self.socket.is_none() { self.attempt(&send).await } else { result }
    }

    async fn attempt(&mut self, send: &impl Fn(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(connect(&self.path)?),
        };
        let work = socket.async_io(Interest::WRITABLE, || send(socket.as_fd()));
        let result = match timeout(LIMIT, work).await {
            Ok(result) => result,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "its queue is full and it reads nothing")),
        };
        let is_gone = result.as_ref().is_err_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::NotConnected
                    | io::ErrorKind::BrokenPipe
            )
        });
        if is_gone {
            self.socket = None;
        }
        result
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = net::UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    UnixDatagram::from_std(socket)
}
