//! What can go wrong between us and the kernel.

use std::io;

use thiserror::Error;

/// An error of the kernel side. Each names the thing, the cause and, where there is one, the next step.
#[derive(Debug, Error)]
pub enum KernelError {
    /// The running kernel describes no types.
    #[error(
        "cannot read {path}: {source}; the kernel must be built with CONFIG_DEBUG_INFO_BTF=y (Debian, Ubuntu, Fedora, RHEL 8.2+ and SUSE kernels are)"
    )]
    NoBtf {
        /// The file.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The type information could not be parsed.
    #[error("the kernel's BTF cannot be parsed: {0}")]
    BadBtf(String),
    /// The kernel has no such type.
    #[error(
        "this kernel's BTF has no type `{0}`, which supervisor needs; please report the kernel's version"
    )]
    MissingType(&'static str),
    /// The type has no such member.
    #[error(
        "this kernel's `{type_name}` has no `{member}`, which supervisor needs; please report the kernel's version"
    )]
    MissingMember {
        /// The type.
        type_name: &'static str,
        /// The member path.
        member: &'static str,
    },
    /// The process may not do it.
    #[error("{0}")]
    NoRights(String),
    /// The object or a map could not be loaded.
    #[error("the eBPF object cannot be loaded: {0}")]
    Load(#[source] aya::EbpfError),
    /// A program was refused.
    #[error("the kernel refused the eBPF program `{program}`: {source}")]
    Program {
        /// The program.
        program: &'static str,
        /// Why, with the verifier's log.
        source: Box<aya::programs::ProgramError>,
    },
    /// A map operation failed.
    #[error("eBPF map {map}: {source}")]
    Map {
        /// The map.
        map: &'static str,
        /// Why.
        source: aya::maps::MapError,
    },
    /// Something is missing in the built object.
    #[error("the built-in eBPF object has no `{0}`; this is a bug in supervisor's build")]
    NotInObject(&'static str),
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl KernelError {
    /// The error of a load. The capabilities are there by then, so that what is not permitted is forbidden by something else.
    pub(super) fn of_load(error: aya::EbpfError) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(this) = cause {
            let io_error = this.downcast_ref::<io::Error>();
            if io_error.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
                return Self::NoRights(
                    "the kernel refuses bpf(2) although the capabilities are there: a seccomp profile (see deploy/seccomp.json) \
                     or the kernel's lockdown forbids it"
                        .to_owned(),
                );
            }
            cause = this.source();
        }
        Self::Load(error)
    }
}
