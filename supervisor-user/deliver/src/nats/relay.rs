//! Applies the limits of [`limits`](super::limits) between a broker and the client library. The library takes only the
//! address of a socket, and no stream. So the relay connects to the broker, reads its `INFO`, does the TLS handshake,
//! and lets the library connect to it over loopback, in plain text. The limits also hold for `tls://`, since the relay
//! reads the decrypted bytes.
//!
//! Other users of the host can connect to a port on loopback. The relay serves one connection, of its own user. It
//! keeps the port until the link ends, so that no other process can listen there when the library connects again. It
//! closes each later connection.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use async_nats::ServerAddr;
use serde_json::{Map, Value};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, split},
    net::{TcpListener, TcpStream, lookup_host},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    Access, LinkError,
    limits::{Limits, MAX_LINE, MAX_PAYLOAD},
    tls,
};

/// How many bytes are passed on at once.
const BLOCK: usize = 16 << 10;

/// How long the relay waits after an error of `accept`, such as too many open files.
const PAUSE: Duration = Duration::from_secs(1);

/// A connection to a broker, in TLS or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A broker that has sent its `INFO`.
pub(super) struct Relay {
    broker: Box<dyn Stream>,
    /// The first line, as the client library will read it.
    info: Vec<u8>,
    /// The bytes that the broker has sent after it.
    rest: Vec<u8>,
}

/// A relay that serves the client library. Its task, port and connections end when this is dropped.
#[derive(Debug)]
pub(super) struct Serving {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Serving {
    /// A handle that shows whether the task has ended.
    #[cfg(test)]
    pub(super) fn task(&self) -> tokio::task::AbortHandle {
        self.task.abort_handle()
    }

    /// Where the client library connects to.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Serving {
    // Without this, a broker that keeps the connection open and reads nothing holds up `copy` for ever.
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// Connects to the first of the servers that answers, and trusts it as `access` says.
    ///
    /// # Errors
    ///
    /// The error of the last server.
    pub(super) async fn connect(
        access: &Access,
        servers: &[ServerAddr],
        answer: Duration,
    ) -> Result<Self, LinkError> {
        let mut last = LinkError::lost("no address is known");
        // So not all agents begin with the same server.
        let first = std::process::id() as usize % servers.len().max(1);
        for server in servers[first..].iter().chain(&servers[..first]) {
            let sockets = match lookup_host((server.host(), server.port())).await {
                Ok(sockets) => sockets,
                Err(error) => {
                    last = LinkError::lost(error);
                    continue;
                }
            };
            for socket in sockets {
                match timeout(answer, Self::connect_to(access, server, socket)).await {
                    Ok(Ok(relay)) => return Ok(relay),
                    Ok(Err(error)) => last = error,
                    Err(_) => last = LinkError::lost("timed out"),
                }
            }
        }
        Err(last)
    }

    async fn connect_to(access: &Access, server: &ServerAddr, socket: SocketAddr) -> Result<Self, LinkError> {
        let mut stream = TcpStream::connect(socket).await.map_err(LinkError::lost)?;
        stream.set_nodelay(true).map_err(LinkError::lost)?;
        let (line, rest) = first_line(&mut stream).await?;
        let info = info_of(&line).ok_or_else(|| LinkError::lost("what answers there is no NATS broker"))?;
        let says_tls = info.get("tls_required").and_then(Value::as_bool) == Some(true);
        let is_tls = says_tls || server.tls_required() || access.wants_tls();
        let broker: Box<dyn Stream> = if is_tls {
            // Somebody on the network path could have inserted these bytes.
            if !rest.is_empty() {
                return Err(LinkError::lost(
                    "the broker sent something between its INFO and the TLS handshake",
                ));
            }
            Box::new(tls::connect(access, server.host(), stream).await?)
        } else {
            Box::new(stream)
        };
        Ok(Self { broker, info: for_library(info), rest })
    }

    /// Serves the client library until one side ends or the result is dropped. If the reason is an excess of the broker
    /// or an error, `trouble` gets it.
    ///
    /// # Errors
    ///
    /// If there is no loopback interface.
    pub(super) async fn serve(
        self,
        patience: Duration,
        trouble: impl FnOnce(String) + Send + 'static,
    ) -> io::Result<Serving> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let client = timeout(patience, accept(&listener)).await;
            let pass_on = async {
                match client {
                    Ok(Ok(client)) => self.pass_on(client, patience, trouble).await,
                    Ok(Err(error)) => trouble(error.to_string()),
                    // The library has given up.
                    Err(_) => {}
                }
            };
            tokio::join!(pass_on, refuse(&listener));
        });
        Ok(Serving { address, task })
    }

    /// Passes bytes on in both directions.
    async fn pass_on(self, client: TcpStream, patience: Duration, trouble: impl FnOnce(String)) {
        client.set_nodelay(true).ok();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_broker, mut to_broker) = split(self.broker);
        let up = async {
            let result = copy(&mut from_client, &mut to_broker).await.map(|_| ());
            // With TLS, the shutdown writes bytes, and the broker may not read any more.
            timeout(patience, to_broker.shutdown()).await.ok();
            result
        };
        let down = async {
            let mut limits = Limits::default();
            limits.take(&self.rest).map_err(io::Error::other)?;
            to_client.write_all(&self.info).await?;
            to_client.write_all(&self.rest).await?;
            let mut block = vec![0; BLOCK];
            loop {
                let length = from_broker.read(&mut block).await?;
                if length == 0 {
                    return Ok(());
                }
                limits.take(&block[..length]).map_err(io::Error::other)?;
                to_client.write_all(&block[..length]).await?;
            }
        };
        let result: io::Result<()> = tokio::select! {
            result = up => result,
            result = down => result,
        };
        // This comes before the library sees the end of its connection.
        if let Err(error) = result {
            trouble(error.to_string());
        }
    }
}

/// The content of the first line of a broker, if that is one.
pub(super) fn info_of(line: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(line.strip_prefix(b"INFO ")?).ok()
}

/// The first line for the client library, which sees a broker without TLS whose `max_payload` is at most
/// [`MAX_PAYLOAD`].
pub(super) fn for_library(mut info: Map<String, Value>) -> Vec<u8> {
    info.insert("tls_required".to_owned(), false.into());
    info.insert("tls_available".to_owned(), false.into());
    let max_payload = info.get("max_payload").and_then(Value::as_u64).unwrap_or(u64::MAX);
    info.insert("max_payload".to_owned(), max_payload.min(MAX_PAYLOAD as u64).into());
    format!("INFO {}\r\n", Value::Object(info)).into_bytes()
}

/// The first line of a broker without its line end, and the bytes after it.
async fn first_line(stream: &mut TcpStream) -> Result<(Vec<u8>, Vec<u8>), LinkError> {
    let (mut read, mut limits) = (Vec::new(), Limits::default());
    loop {
        if let Some(end) = read.windows(2).position(|it| it == b"\r\n") {
            let rest = read.split_off(end + 2);
            read.truncate(end);
            return Ok((read, rest));
        }
        let before = read.len();
        read.reserve(BLOCK.min(MAX_LINE));
        let length = stream.read_buf(&mut read).await.map_err(LinkError::lost)?;
        if length == 0 {
            return Err(LinkError::lost("the broker closed the connection before it sent its INFO"));
        }
        limits.take(&read[before..]).map_err(LinkError::lost)?;
    }
}

/// Accepts the connection of a process of this user.
async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let SocketAddr::V4(here) = listener.local_addr()? else { return Err(io::ErrorKind::Unsupported.into()) };
    let uid = rustix::process::geteuid().as_raw();
    loop {
        let (stream, peer) = listener.accept().await?;
        if let SocketAddr::V4(peer) = peer
            && owner(peer, here)? == Some(uid)
        {
            return Ok(stream);
        }
    }
}

/// Closes each connection. It never ends.
async fn refuse(listener: &TcpListener) {
    loop {
        if listener.accept().await.is_err() {
            sleep(PAUSE).await;
        }
    }
}

/// The user whose socket is connected from `peer` to `here`. `/proc/net/tcp` lists a socket that waits after its end
/// (`TIME_WAIT`) as root's, whoever had it.
fn owner(peer: SocketAddrV4, here: SocketAddrV4) -> io::Result<Option<u32>> {
    /// `TCP_ESTABLISHED`, `include/net/tcp_states.h`.
    const ESTABLISHED: &str = "01";
    let in_hex = |at: SocketAddrV4| format!("{:08X}:{:04X}", u32::from_ne_bytes(at.ip().octets()), at.port());
    let (peer, here) = (in_hex(peer), in_hex(here));
    // The fields are number, local address, remote address, state, queues, timer, retransmits and user:
    // `get_tcp4_sock()`, net/ipv4/tcp_ipv4.c.
    for line in BufReader::new(File::open("/proc/net/tcp")?).lines() {
        let line = line?;
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields.get(1..4) == Some(&[peer.as_str(), here.as_str(), ESTABLISHED]) {
            return Ok(fields.get(7).and_then(|uid| uid.parse().ok()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_connection_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(here) = listener.local_addr().unwrap() else { unreachable!() };
        let client = std::net::TcpStream::connect(here).unwrap();
        let SocketAddr::V4(peer) = client.local_addr().unwrap() else { unreachable!() };
        assert_eq!(owner(peer, here).unwrap(), Some(rustix::process::geteuid().as_raw()));
        assert_eq!(owner(here, here).unwrap(), None);
        // The client's end closes first. Then nobody has an established connection any more.
        let (accepted, _) = listener.accept().unwrap();
        drop(client);
        drop(accepted);
        assert_eq!(owner(peer, here).unwrap(), None);
    }
}
