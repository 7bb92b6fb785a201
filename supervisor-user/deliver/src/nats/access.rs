//! The addresses of a NATS broker, and how a client proves to it who it is.

use std::path::PathBuf;

use async_nats::ServerAddr;
use supervisor_model::redact::Redactor;

/// The addresses of a broker, and the files with which a client proves who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// `nats://HOST:PORT` or `tls://HOST:PORT`.
    pub servers: Vec<String>,
    /// A credentials file.
    pub credentials: Option<PathBuf>,
    /// A file with the user's name and password, separated by a colon.
    pub user_password: Option<PathBuf>,
    /// Certificates of the authorities to trust, in PEM. Without it, the system's are trusted.
    pub tls_ca: Option<PathBuf>,
    /// The client's certificate, in PEM.
    pub tls_cert: Option<PathBuf>,
    /// The client's key, in PEM.
    pub tls_key: Option<PathBuf>,
}

/// Why an [`Access`] cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAccess {
    /// No server is named.
    #[error("no NATS server is named: give one as nats://HOST:PORT or tls://HOST:PORT")]
    NoServer,
    /// The text is no address of a NATS server.
    #[error("`{0}` is no NATS server: give it as nats://HOST:PORT or tls://HOST:PORT")]
    Server(String),
    /// The certificate or its key is missing.
    #[error("the client's certificate and its key belong together: give both, or none")]
    HalfCertificate,
    /// There are two ways to prove who the client is.
    #[error("a credentials file and a file with a user's password are given: give one of them")]
    TwoUsers,
}

impl Access {
    /// The servers as they are shown to people: without the passwords that a URL may hold.
    #[must_use]
    pub fn places(&self) -> String {
        let place = |server: &String| match server.parse::<ServerAddr>() {
            Ok(address) => format!("{}:{}", address.host(), address.port()),
            Err(_) => "?".to_owned(),
        };
        self.servers.iter().map(place).collect::<Vec<_>>().join(", ")
    }

    /// The addresses, if this access can work.
    ///
    /// # Errors
    ///
    /// If it cannot work. This does not check whether a server or a file exists.
    pub fn addresses(&self) -> Result<Vec<ServerAddr>, BadAccess> {
        let address = |server: &String| match server.parse::<ServerAddr>() {
            Ok(address) if matches!(address.scheme(), "nats" | "tls") && !address.host().is_empty() => {
                Ok(address)
            }
            _ => Err(BadAccess::Server(Redactor::default().text(server.clone()))),
        };
        let addresses = self.servers.iter().map(address).collect::<Result<Vec<_>, _>>()?;
        if addresses.is_empty() {
            Err(BadAccess::NoServer)
        } else if self.tls_cert.is_some() != self.tls_key.is_some() {
            Err(BadAccess::HalfCertificate)
        } else if self.credentials.is_some() && self.user_password.is_some() {
            Err(BadAccess::TwoUsers)
        } else {
            Ok(addresses)
        }
    }

    /// Whether a broker without TLS is refused, even if its address allows that.
    pub(super) fn wants_tls(&self) -> bool {
        self.tls_ca.is_some() || self.tls_cert.is_some()
    }
}
