//! One connection to a broker. The connection is given up at the first trouble, and its user makes a new one. So
//! nothing is kept for a broker that is away, and no request waits for an answer that cannot come any more.

use std::{fmt, io, path::Path, sync::Arc, time::Duration};

use async_nats::{
    Client, ConnectOptions, Event,
    jetstream::{self, Context, context::ContextBuilder},
};
use tokio::{sync::watch, time::timeout};

use super::{
    Access, LinkError,
    credentials::Credentials,
    relay::{Relay, Serving},
};
use crate::plain_file;

/// How many requests may wait to be written. A further request waits for room.
const REQUESTS: usize = 256;
/// How many received messages may wait to be read: more than are asked for at once. With the limit of
/// [`limits`](super::limits) this bounds the memory that a broker can fill.
const MESSAGES: usize = 128;
/// A credentials file is not larger than this.
const MAX_SECRET: u64 = 64 << 10;

fn secret(file: &Path) -> io::Result<String> {
    plain_file::read(file, MAX_SECRET)
}

/// The options for the client library. The files are read again each time: they may have been replaced.
fn options(access: &Access) -> Result<ConnectOptions, LinkError> {
    let mut credentials = Credentials::None;
    if let Some(file) = &access.credentials {
        let wrong = |source| LinkError::File { file: file.clone(), source };
        credentials = secret(file).and_then(|text| Credentials::parse(&text)).map_err(wrong)?;
    }
    if let Some(file) = &access.user_password {
        let wrong = |source| LinkError::File { file: file.clone(), source };
        let text = secret(file).map_err(wrong)?;
        let (user, password) = text
            .trim_end_matches(['\r', '\n'])
            .split_once(':')
            .ok_or_else(|| wrong(io::Error::other("it has to be USER:PASSWORD")))?;
        credentials = Credentials::Password { user: user.to_owned(), password: password.to_owned() };
    }
    // 0 means no limit. After a disconnect the library makes one attempt, which gets no credentials.
    Ok(credentials.once().max_reconnects(1))
}

/// A connection. It is dead after anything has gone wrong with it.
#[derive(Clone, Debug)]
pub struct Link {
    client: Client,
    jetstream: Context,
    trouble: watch::Receiver<Option<String>>,
    /// Keeps the relay's port taken. The relay ends with the last clone.
    #[cfg_attr(not(test), expect(dead_code, reason = "held for its drop"))]
    serving: Arc<Serving>,
    /// How long the broker may take for one answer.
    pub(super) answer: Duration,
}

impl Link {
    /// Connects. No answer of the broker may take longer than `answer`, now and later. The broker's list of connections
    /// shows `name`.
    ///
    /// # Errors
    ///
    /// If no server can be reached, or none lets the client in.
    pub async fn open(access: &Access, name: &str, answer: Duration) -> Result<Self, LinkError> {
        let addresses = access.addresses()?;
        let servers = addresses.len();
        let (said, trouble) = watch::channel(None);
        let said_by_relay = said.clone();
        let options = options(access)?
            .name(name)
            .connection_timeout(answer)
            .request_timeout(Some(answer))
            .client_capacity(REQUESTS)
            .subscription_capacity(MESSAGES)
            .ping_interval(answer.max(Duration::from_secs(1)))
            .ignore_discovered_servers()
            .event_callback(move |event| {
                let trouble = match event {
                    Event::Disconnected | Event::Closed => Some("the connection was lost".to_owned()),
                    Event::ServerError(error) => Some(error.to_string()),
                    Event::ClientError(error) => Some(error.to_string()),
                    _ => None,
                };
                if let Some(trouble) = trouble {
                    said.send_if_modified(|it| it.is_none() && it.replace(trouble).is_none());
                }
                std::future::ready(())
            });
        // A name may stand for several addresses, and the lookup takes time too.
        let longest = answer.saturating_mul(servers as u32 + 1);
        let connect = async {
            let relay = Relay::connect(access, &addresses, answer).await?;
            let report = move |why| {
                // The relay's reason says more than the library's error.
                said_by_relay.send_replace(Some(why));
            };
            let serving = relay.serve(answer, report).await.map_err(LinkError::lost)?;
            match options.connect(serving.address().to_string()).await {
                Ok(client) => Ok((client, serving)),
                Err(error) => {
                    Err(LinkError::Lost(trouble.borrow().clone().unwrap_or_else(|| error.to_string())))
                }
            }
        };
        let (client, serving) = timeout(longest, connect).await.map_err(|_| LinkError::Silent(longest))??;
        let jetstream = ContextBuilder::new().timeout(answer).build(client.clone());
        Ok(Self { client, jetstream, trouble, serving: Arc::new(serving), answer })
    }

    /// The requests of this connection. Make each one within [`Link::run`].
    #[must_use]
    pub fn jetstream(&self) -> &Context {
        &self.jetstream
    }

    /// The largest message that the broker takes, in bytes.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Waits for an answer of the broker. Ends when the answer takes too long, or at the first trouble.
    ///
    /// # Errors
    ///
    /// If it takes too long, the connection has been lost, or the broker has refused anything at all.
    pub async fn run<T, E: fmt::Display>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, LinkError> {
        // The library may need this time twice: to write a request and to have it answered.
        let longest = self.answer.saturating_mul(2);
        tokio::select! {
            result = timeout(longest, work) => match result {
                Ok(Ok(value)) => Ok(value),
                // The broker's own message comes apart from the answer, and says more.
                Ok(Err(error)) => Err(self.trouble_now().unwrap_or_else(|| LinkError::refused(error))),
                Err(_) => Err(self.trouble_now().unwrap_or(LinkError::Silent(longest))),
            },
            trouble = self.trouble() => Err(trouble),
        }
    }

    /// Waits for trouble.
    pub async fn trouble(&self) -> LinkError {
        let mut trouble = self.trouble.clone();
        let said = match trouble.wait_for(Option::is_some).await {
            Ok(said) => said.clone(),
            Err(_) => None,
        };
        LinkError::Lost(said.unwrap_or_else(|| "the connection was closed".to_owned()))
    }

    /// The trouble that has already occurred.
    #[must_use]
    pub fn trouble_now(&self) -> Option<LinkError> {
        self.trouble.borrow().clone().map(LinkError::Lost)
    }

    /// A stream; `None` if there is none of that name.
    ///
    /// # Errors
    ///
    /// If the broker does not answer that question.
    pub async fn stream(&self, name: &str) -> Result<Option<jetstream::stream::Stream>, LinkError> {
        use jetstream::{ErrorCode, context::GetStreamErrorKind};
        self.run(async {
            match self.jetstream.get_stream(name).await {
                Ok(stream) => Ok(Some(stream)),
                Err(error) => match error.kind() {
                    GetStreamErrorKind::JetStream(it) if it.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                        Ok(None)
                    }
                    _ => Err(error),
                },
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::nats::BadAccess;

    const LIMIT: Duration = Duration::from_secs(30);
    const INFO: &str = "INFO {\"server_id\":\"x\",\"server_name\":\"x\",\"version\":\"2.10.0\",\"go\":\"\",\
                        \"host\":\"\",\"port\":1,\"headers\":true,\"max_payload\":1048576,\"proto\":1}\r\n";

    /// Lets the next client in and returns what it has sent.
    async fn let_in(broker: &TcpListener) -> (TcpStream, String) {
        let (mut stream, _) = broker.accept().await.unwrap();
        stream.write_all(INFO.as_bytes()).await.unwrap();
        let mut sent = Vec::new();
        while !sent.ends_with(b"PING\r\n") {
            assert!(stream.read_buf(&mut sent).await.unwrap() > 0, "the client has hung up");
        }
        stream.write_all(b"PONG\r\n").await.unwrap();
        (stream, String::from_utf8(sent).unwrap())
    }

    /// A broker, and an access to it with a password in a file.
    async fn broker_with_password() -> (TcpListener, Access, tempfile::NamedTempFile) {
        let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "agent:secret\n").unwrap();
        let address = broker.local_addr().unwrap();
        let user_password = Some(file.path().to_owned());
        (broker, Access { user_password, ..access(&format!("nats://{address}")) }, file)
    }

    #[tokio::test]
    async fn a_process_that_listens_at_the_address_after_a_disconnect_gets_no_credentials() {
        let (broker, access, _file) = broker_with_password().await;
        let address = broker.local_addr().unwrap().to_string();
        let (client, (stream, sent)) =
            tokio::join!(options(&access).unwrap().connect(address), let_in(&broker));
        assert!(sent.contains("secret"), "{sent}");
        let client = client.unwrap();
        drop(stream);
        // The library connects again by itself.
        let (mut thief, _) = timeout(LIMIT, broker.accept()).await.unwrap().unwrap();
        thief.write_all(INFO.as_bytes()).await.unwrap();
        let mut sent = Vec::new();
        // With `INFO` unread, the end is a reset.
        timeout(LIMIT, thief.read_to_end(&mut sent)).await.unwrap().ok();
        assert_eq!(String::from_utf8_lossy(&sent), "");
        drop(client);
    }

    #[tokio::test]
    async fn nobody_else_can_listen_at_the_relays_port_or_use_it() {
        let (broker, access, _file) = broker_with_password().await;
        let (link, (stream, sent)) = tokio::join!(Link::open(&access, "test", LIMIT), let_in(&broker));
        let link = link.unwrap();
        assert!(sent.contains("secret"), "{sent}");
        let relay = link.serving.address();
        let mut broker_side = Some(stream);
        for is_connected in [true, false] {
            // `TcpListener` of std sets SO_REUSEADDR.
            let error = std::net::TcpListener::bind(relay).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "connected: {is_connected}");
            let mut late = TcpStream::connect(relay).await.unwrap();
            let mut got = Vec::new();
            timeout(LIMIT, late.read_to_end(&mut got)).await.unwrap().ok();
            assert_eq!(got, b"", "connected: {is_connected}");
            if broker_side.take().is_some() {
                timeout(LIMIT, link.trouble()).await.unwrap();
            }
        }
        drop(link);
        // `accept` does not block here.
        let second = broker.into_std().unwrap().accept();
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn the_relay_ends_with_its_link_although_the_broker_reads_nothing() {
        let (broker, access, _file) = broker_with_password().await;
        let (link, (_stream, _)) = tokio::join!(Link::open(&access, "test", LIMIT), let_in(&broker));
        let link = link.unwrap();
        let task = link.serving.task();
        // More than the sockets and the library hold.
        let message = vec![b'x'; 512 << 10];
        while let Ok(result) =
            timeout(Duration::from_millis(500), link.client.publish("a", message.clone().into())).await
        {
            result.unwrap();
        }
        assert!(!task.is_finished());
        drop(link);
        timeout(LIMIT, async {
            while !task.is_finished() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .unwrap();
    }

    fn access(server: &str) -> Access {
        Access { servers: vec![server.to_owned()], ..Access::default() }
    }

    #[test]
    fn an_access_that_cannot_work_is_refused() {
        assert!(access("nats://localhost:4222").addresses().is_ok());
        assert!(access("tls://[::1]:4222").addresses().is_ok());
        assert_eq!(Access::default().addresses(), Err(BadAccess::NoServer));
        for server in ["http://localhost", "ws://localhost:80", "nats://", ""] {
            assert_eq!(access(server).addresses(), Err(BadAccess::Server(server.to_owned())), "{server}");
        }
        let half = Access { tls_cert: Some("cert".into()), ..access("nats://h") };
        assert_eq!(half.addresses(), Err(BadAccess::HalfCertificate));
    }

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(access("nats://user:secret@host:4333").places(), "host:4333");
    }
}
