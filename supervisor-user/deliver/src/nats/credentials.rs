//! Credentials for one connection. The client library connects again by itself after a disconnect, whatever
//! `max_reconnects` says: each success sets its count of attempts to 0 (`Connector::try_connect_to_server()`). By then
//! another process may listen at the address, so the library gets the credentials for its first connection only.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use async_nats::{Auth, AuthError, ConnectOptions};
use nkeys::KeyPair;

/// How a client proves to a broker who it is.
pub(super) enum Credentials {
    /// The client has no proof.
    None,
    /// A name and a password.
    Password {
        /// The name.
        user: String,
        /// The password, which the broker gets in plain text.
        password: String,
    },
    /// The content of a credentials file.
    Token {
        /// The user's token.
        jwt: String,
        /// Signs the broker's nonce.
        key: Box<KeyPair>,
    },
}

impl Credentials {
    /// Reads the text of a credentials file: the first two lines that stand alone between two lines of dashes are the
    /// token and the seed of the key.
    pub(super) fn parse(text: &str) -> io::Result<Self> {
        let is_ruler = |line: &str| line.starts_with("---") && line.ends_with("---");
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let mut values = lines
            .windows(3)
            .filter(|it| is_ruler(it[0]) && !is_ruler(it[1]) && !it[1].is_empty() && is_ruler(it[2]))
            .map(|it| it[1]);
        let (Some(jwt), Some(seed)) = (values.next(), values.next()) else {
            return Err(io::Error::other("it has to hold a user JWT and an NKEY seed, as `nsc` writes them"));
        };
        // The error of the library does not hold the seed.
        let key = Box::new(KeyPair::from_seed(seed).map_err(io::Error::other)?);
        Ok(Self::Token { jwt: jwt.to_owned(), key })
    }

    /// The options of a client that authenticates once. Each later attempt fails before the library sends `CONNECT`.
    pub(super) fn once(self) -> ConnectOptions {
        let credentials = Mutex::new(Some(self));
        ConnectOptions::with_auth_callback(move |nonce| {
            let credentials = credentials.lock().unwrap_or_else(PoisonError::into_inner).take();
            std::future::ready(match credentials {
                Some(credentials) => credentials.auth(&nonce),
                None => Err(AuthError::new("a lost connection is not made again with the same credentials")),
            })
        })
    }

    fn auth(self, nonce: &[u8]) -> Result<Auth, AuthError> {
        let mut auth = Auth::new();
        match self {
            Self::None => {}
            Self::Password { user, password } => {
                auth.username = Some(user);
                auth.password = Some(password);
            }
            Self::Token { jwt, key } => {
                auth.signature = Some(key.sign(nonce).map_err(AuthError::new)?);
                auth.jwt = Some(jwt);
            }
        }
        Ok(auth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credentials_file_gives_token_and_signature() {
        let key = KeyPair::new_user();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\neyJ0.a-b_c\n------END NATS USER JWT------\n\n*** IMPORTANT ***\n\
             -----BEGIN USER NKEY SEED-----\r\n{}\r\n------END USER NKEY SEED------\n",
            key.seed().unwrap()
        );
        let auth = Credentials::parse(&text).unwrap().auth(b"nonce").unwrap();
        assert_eq!(auth.jwt.as_deref(), Some("eyJ0.a-b_c"));
        key.verify(b"nonce", &auth.signature.unwrap()).unwrap();
    }

    #[test]
    fn a_file_without_a_seed_is_refused() {
        let token = "-----BEGIN NATS USER JWT-----\neyJ0\n------END NATS USER JWT------\n";
        let wrong_seed =
            format!("{token}-----BEGIN USER NKEY SEED-----\nSUABC\n------END USER NKEY SEED------\n");
        for text in ["", token, &wrong_seed] {
            assert!(Credentials::parse(text).is_err(), "{text}");
        }
    }
}
