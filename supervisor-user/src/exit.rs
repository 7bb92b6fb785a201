//! Exit codes, the same for every command.

use std::process::ExitCode;

use crate::{config::ConfigError, evidence::EvidenceError, kernel::KernelError};

/// What an exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what it was asked; `ps`: nothing is unreaped.
    Ok = 0,
    /// `ps`: something is unreaped; `doctor`: something is missing; `demo`: it did not go as announced.
    Found = 1,
    /// Wrong usage, or a wrong configuration; clap's own code.
    Usage = 2,
    /// It failed: the message says what and why; `replay`: also when the recording is damaged or has no end.
    Failed = 3,
    /// It may not: the message says which rights are missing.
    Rights = 4,
    /// This kernel lacks something that it needs.
    Kernel = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// The code for an error.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        if error.is::<ConfigError>() {
            return Self::Usage;
        }
        let kernel =
            error.downcast_ref::<KernelError>().or_else(|| match error.downcast_ref::<EvidenceError>() {
                Some(EvidenceError::Kernel(error)) => Some(error),
                _ => None,
            });
        match kernel {
            Some(KernelError::NoRights(_)) => Self::Rights,
            Some(
                KernelError::NoBtf { .. }
                | KernelError::BadBtf(_)
                | KernelError::MissingType(_)
                | KernelError::MissingMember { .. }
                | KernelError::Program { .. },
            ) => Self::Kernel,
            _ => Self::Failed,
        }
    }
}
