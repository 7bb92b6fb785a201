//! The ways to a server. Each is connected when it is needed.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

use tokio::net::{UdpSocket, lookup_host};

use super::stream::{Stream, in_time};
use crate::{config::SyslogAddress, sink::datagram::Datagrams};

/// How long a name may take to be resolved, and a datagram to be sent.
const LIMIT: Duration = Duration::from_secs(5);

/// A way to a server.
#[derive(Debug)]
pub(super) enum Transport {
    /// A local datagram socket, as most servers have it.
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

    /// Sends all frames, or may have sent some of them. Other than over a stream, there is one.
    pub(super) async fn send(&mut self, frames: &[Vec<u8>]) -> io::Result<()> {
        let result = self.send_this_way(frames).await;
        // The socket is of the other kind.
        if result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EPROTOTYPE)) {
            match self {
                Self::Datagrams(path, _) => *self = Self::Lines(path.clone(), None),
                Self::Lines(path, _) => *self = Self::Datagrams(path.clone(), Datagrams::to(path)),
                Self::Udp(..) | Self::Tcp(..) => return result,
            }
            // Several frames are not for datagrams: they come again, one by one.
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
                    // Too large is no reason to look for the host anew.
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
                    // A server that was started anew has closed the connection; that is no failure of the next one.
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

/// A socket that hears when nobody listens there.
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
