//! Exit codes, the same for every command.

use std::process::ExitCode;

use supervisor_collect::{gather::EvidenceError, kernel::KernelError};

use crate::config::ConfigError;

/// An exit code and its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CommandExit {
    /// The command succeeded.
    Ok = 0,
    /// The command found something, or something is missing.
    Found = 1,
    /// Wrong usage, or a wrong configuration; clap's own code.
    Usage = 2,
    /// The command failed: the message says what failed and why.
    Failed = 3,
    /// Capabilities or other permissions are missing: the message says which.
    Capabilities = 4,
    /// This kernel lacks something that the command needs.
    Kernel = 5,
}

impl From<CommandExit> for ExitCode {
    fn from(exit: CommandExit) -> Self {
        Self::from(exit as u8)
    }
}

impl CommandExit {
    /// All of them, in order.
    pub const ALL: [Self; 6] =
        [Self::Ok, Self::Found, Self::Usage, Self::Failed, Self::Capabilities, Self::Kernel];

    /// The meaning, with the words of the help and the README.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done; `ps`: nothing is unreaped",
            Self::Found => {
                "`ps`, `explain`: it is unreaped, a PID namespace is blocked, or a process cannot exit; `ps --from` \
                 also: a node is stale; `reap`: one or more are not freed; `doctor`: something is missing; `demo`: it did not go as announced"
            }
            Self::Usage => "wrong usage, or a wrong configuration",
            Self::Failed => {
                "failed: the message says what and why; `replay`: also if the recording is damaged or cut (cut: not \
                 with `--partial`)"
            }
            Self::Capabilities => "capabilities are missing",
            Self::Kernel => "this kernel lacks something that it needs",
        }
    }

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
            Some(KernelError::NoCapabilities(_)) => Self::Capabilities,
            Some(
                KernelError::NoBtf { .. }
                | KernelError::BadBtf(_)
                | KernelError::TooOld(_)
                | KernelError::MissingType(_)
                | KernelError::MissingMember { .. }
                | KernelError::Program { .. },
            ) => Self::Kernel,
            _ => Self::Failed,
        }
    }
}
