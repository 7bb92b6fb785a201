//! The errors of a connection to a broker.

use std::{fmt, io, path::PathBuf, time::Duration};

use super::BadAccess;

/// Why there is no connection, or why it was lost.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The access cannot work.
    #[error(transparent)]
    Access(#[from] BadAccess),
    /// A file cannot be used.
    #[error("{}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// There is no connection, or it was lost.
    #[error("{0}")]
    Lost(String),
    /// The broker has not answered in time.
    #[error("the broker has not answered within {0:?}")]
    Silent(Duration),
    /// The broker refuses the request.
    #[error("{0}")]
    Refused(String),
}

impl LinkError {
    /// A refusal, with the message of the client library.
    pub fn refused(error: impl fmt::Display) -> Self {
        Self::Refused(error.to_string())
    }

    /// A lost connection, with the reason why there is none.
    pub(super) fn lost(error: impl fmt::Display) -> Self {
        Self::Lost(error.to_string())
    }
}
