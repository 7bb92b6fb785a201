//! A connection whose other side must not vanish unnoticed. Syslog has no acknowledgements, but the kernel knows which
//! bytes the other side's kernel has not acknowledged.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
    path::Path,
    time::Duration,
};

use rustix::{
    io::Errno,
    ioctl::{Getter, Opcode, ioctl},
    net::{
        RecvFlags, SendFlags, recv, send,
        sockopt::{set_socket_keepalive, set_tcp_nodelay, set_tcp_user_timeout},
    },
};
use tokio::{
    io::Interest,
    net::{TcpStream, UnixStream},
    time::{Instant, sleep, timeout},
};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the other side may take no bytes, or acknowledge none.
const STALL: Duration = Duration::from_secs(10);
/// How often to ask how much is acknowledged: the first pause, and the longest one.
const ASK: [Duration; 2] = [Duration::from_micros(200), Duration::from_millis(20)];

/// A connected stream socket.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Connects to a host.
    pub(super) async fn tcp(host: &str, port: u16) -> io::Result<Self> {
        let stream = in_time(CONNECT, "it does not answer", TcpStream::connect((host, port))).await?;
        set_tcp_nodelay(&stream, true)?;
        set_socket_keepalive(&stream, true)?;
        set_tcp_user_timeout(&stream, STALL.as_millis() as u32)?;
        Ok(Self::Tcp(stream))
    }

    /// Connects to a socket of this host.
    pub(super) async fn unix(path: &Path) -> io::Result<Self> {
        in_time(CONNECT, "it accepts nobody", UnixStream::connect(path)).await.map(Self::Unix)
    }

    fn socket(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }

    /// Sends some of the bytes. Returns how many.
    async fn send_some(&self, bytes: &[u8]) -> io::Result<usize> {
        let send = || Ok(send(self.socket(), bytes, SendFlags::NOSIGNAL)?);
        match self {
            Self::Tcp(stream) => stream.async_io(Interest::WRITABLE, send).await,
            Self::Unix(stream) => stream.async_io(Interest::WRITABLE, send).await,
        }
    }

    /// Sends all bytes, and waits until the other side's kernel has them.
    pub(super) async fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        self.check()?;
        while !bytes.is_empty() {
            let sent = in_time(STALL, "it takes nothing more", self.send_some(bytes)).await?;
            bytes = &bytes[sent..];
        }
        self.confirm().await
    }

    /// Waits until all bytes are acknowledged and the other side is still there.
    async fn confirm(&self) -> io::Result<()> {
        let mut left = self.unacknowledged()?;
        let mut deadline = Instant::now() + STALL;
        let mut pause = ASK[0];
        while left > 0 {
            self.check()?;
            if Instant::now() >= deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it acknowledges nothing more"));
            }
            sleep(pause).await;
            pause = (pause * 2).min(ASK[1]);
            let now = self.unacknowledged()?;
            if now < left {
                deadline = Instant::now() + STALL;
            }
            left = now;
        }
        self.check()
    }

    /// Bytes that the other side's kernel has not acknowledged; for a local socket, bytes that were not read.
    fn unacknowledged(&self) -> io::Result<u32> {
        const OUTQ: Opcode = libc::TIOCOUTQ as Opcode;
        // SAFETY: SIOCOUTQ, which has the number of TIOCOUTQ, writes one int, and the socket is open.
        let left = unsafe { ioctl(self.socket(), Getter::<OUTQ, libc::c_int>::new()) }?;
        Ok(left.cast_unsigned())
    }

    /// Fails if the other side has closed the connection. Bytes from it are discarded: syslog has no answers.
    pub(super) fn check(&self) -> io::Result<()> {
        let mut block = [0; 512];
        loop {
            match recv(self.socket(), &mut block[..], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => {
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionAborted,
                        "it has closed the connection",
                    ));
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Runs work with a time limit. After that time, `cause` is the error.
pub(super) async fn in_time<T>(
    limit: Duration,
    cause: &str,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, cause)))
}
