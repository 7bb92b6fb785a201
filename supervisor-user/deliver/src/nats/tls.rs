//! TLS to a broker: the certificates that the agent trusts, and the agent's own.

use std::{io, path::Path, sync::Arc};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore},
};

use super::{Access, LinkError};

/// Connects over `stream` to the broker of the name `host`, in TLS.
///
/// # Errors
///
/// If a file cannot be used, or no trusted certificate names the broker.
pub(super) async fn connect(
    access: &Access,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, LinkError> {
    let name = ServerName::try_from(host.to_owned()).map_err(LinkError::lost)?;
    let connector = TlsConnector::from(Arc::new(config(access)?));
    connector.connect(name, stream).await.map_err(LinkError::lost)
}

fn config(access: &Access) -> Result<ClientConfig, LinkError> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &access.tls_ca {
        for certificate in certificates(file)? {
            roots.add(certificate).map_err(|error| wrong(file, error))?;
        }
    } else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if let (true, Some(error)) = (roots.is_empty(), found.errors.first()) {
            return Err(LinkError::lost(format!("the system's certificates cannot be read: {error}")));
        }
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    match (&access.tls_cert, &access.tls_key) {
        (Some(cert), Some(key)) => {
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error))?;
            builder.with_client_auth_cert(certificates(cert)?, secret).map_err(|error| wrong(cert, error))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    let all = CertificateDer::pem_file_iter(file).map_err(|error| wrong(file, error))?;
    all.collect::<Result<_, _>>().map_err(|error| wrong(file, error))
}

fn wrong(file: &Path, error: impl std::error::Error + Send + Sync + 'static) -> LinkError {
    LinkError::File { file: file.to_owned(), source: io::Error::other(error) }
}
