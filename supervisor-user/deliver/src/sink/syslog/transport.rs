//! The transports to a server. Each one connects when it is needed.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

use tokio::net::{UdpSocket, lookup_host};

use super::stream::{Stream, in_time};
use crate::{config::SyslogAddress, sink::datagram::Datagrams};

/// How long the lookup of a name may take, and the sending of a datagram.
const LIMIT: Duration = Duration::from_secs(5);

/// A transport to a server.
#[derive(Debug)]
pub(super) enum Transport {
    /// A local datagram socket, which most servers have.
    Datagrams(PathBuf, Datagrams),
    /// A local stream socket: one message a line.
    Lines(PathBuf, Option<Stream>),
    Udp(String, u16, Option<UdpSocket>),
    Tcp(String, u16, Option<Stream>),
}

impl Transport {
    pub(super) fn to(address: &SyslogAddress) -> Self {
        match address {
            SyslogAddress::Unix(path) => Self::Datagrams(path.clone(), Datagrams::to(path)),
            SyslogAddress::Udp(host, port) => Self::Udp(host.clone(), *port, None),
            SyslogAddress::Tcp(host, port) => Self::Tcp(host.clone(), *port, None),
        }
    }

    /// Whether several messages are confirmed together.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self, Self::Lines(..) | Self::Tcp(..))
    }

    /// Sends all frames. If it fails, some may have been sent. Only a stream takes more than one frame.
    pub(super) async fn send(&mut self, frames: &[Vec<u8>]) -> io::Result<()> {
        let result = self.send_this_way(frames).await;
        // The socket is of the other kind.
        if result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EPROTOTYPE)) {
            match self {
                Self::Datagrams(path, _) => *self = Self::Lines(path.clone(), None),
                Self::Lines(path, _) => *self = Self::Datagrams(path.clone(), Datagrams::to(path)),
                Self::Udp(..) | Self::Tcp(..) => return result,
            }
            // Datagrams do not take several frames: the frames come again, one by one.
            if frames.len() == 1 {
                return self.send_this_way(frames).await;
            }
        }
        result
    }

    async fn send_this_way(&mut self, frames: &[Vec<u8>]) -> io::Result<()> {
        match self {
            Self::Datagrams(_, datagrams) => {
                for frame in frames {
                    datagrams.send(frame).await?;
                }
                Ok(())
            }
            Self::Udp(host, port, socket) => {
                let connected = match socket.take() {
                    Some(connected) => connected,
                    None => udp(host, *port).await?,
                };
                for frame in frames {
                    let sent = in_time(LIMIT, "the network takes nothing", connected.send(frame)).await;
                    // A datagram that is too large is no reason to look up the host again.
                    if let Err(error) = sent {
                        if error.raw_os_error() == Some(libc::EMSGSIZE) {
                            *socket = Some(connected);
                        }
                        return Err(error);
                    }
                }
                *socket = Some(connected);
                Ok(())
            }
            Self::Lines(path, stream) => {
                let connected = match stream.take() {
                    Some(connected) if connected.check().is_ok() => connected,
                    _ => Stream::unix(path).await?,
                };
                let lines: Vec<u8> =
                    frames.iter().flat_map(|frame| frame.iter().copied().chain([b'\n'])).collect();
                connected.send(&lines).await?;
                *stream = Some(connected);
                Ok(())
            }
            Self::Tcp(host, port, stream) => {
                let mut counted = Vec::new();
                for frame in frames {
                    counted.extend_from_slice(format!("{} ", frame.len()).as_bytes());
                    counted.extend_from_slice(frame);
                }
                let connected = match stream.take() {
                    // A server that has restarted has closed the connection. That is no failure of the next connection.
                    Some(connected) if connected.check().is_ok() => connected,
                    _ => Stream::tcp(host, *port).await?,
                };
                connected.send(&counted).await?;
                *stream = Some(connected);
                Ok(())
            }
        }
    }
}

/// A connected socket, which gets an error when nobody listens there.
async fn udp(host: &str, port: u16) -> io::Result<UdpSocket> {
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the host's name has no address");
    for address in in_time(LIMIT, "the host's name is not resolved", lookup_host((host, port))).await? {
        let any: IpAddr =
            if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).await?;
        match socket.connect(address).await {
            Ok(()) => return Ok(socket),
            Err(cause) => error = cause,
        }
    }
    Err(error)
}
