//! Why something did not work at a broker.

use std::{fmt, io, path::PathBuf, time::Duration};

use super::BadAccess;

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It can be in no case.
    #[error(transparent)]
    Access(#[from] BadAccess),
    /// A file is not as it should be.
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
    /// The broker refuses it.
    #[error("{0}")]
    Refused(String),
}

impl LinkError {
    /// With what the client library says.
    pub fn refused(error: impl fmt::Display) -> Self {
        Self::Refused(error.to_string())
    }

    /// With the reason why there is no connection.
    pub(super) fn lost(error: impl fmt::Display) -> Self {
        Self::Lost(error.to_string())
    }
}
