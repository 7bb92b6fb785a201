//! The errors between the collector and the kernel, and their messages.

use std::io;

use aya::programs::ProgramError;
use supervisor_ebpf::Helper;
use thiserror::Error;

/// An error of the kernel side. Each message names the thing that failed, the cause and, if there is one, the next
/// step.
#[derive(Debug, Error)]
pub enum KernelError {
    /// The running kernel has no BTF.
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
    /// The kernel lacks helpers that the programs call.
    #[error("this kernel is too old: it has no {}; supervisor needs {NEEDED_KERNEL}", names(.0))]
    TooOld(Vec<Helper>),
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
    /// This process is not permitted to do it.
    #[error("{0}")]
    NoCapabilities(String),
    /// The object or a map could not be loaded.
    #[error("the eBPF object cannot be loaded: {0}")]
    Load(#[source] aya::EbpfError),
    /// The kernel refused a program. The message has the reason; [`KernelError::verifier_log`] has the whole log.
    #[error("the kernel refuses the eBPF program `{program}`: {}", reason(refusal))]
    Program {
        /// The program.
        program: &'static str,
        /// Why. This is not named `source`, because code that prints the sources of an error would print the verifier's
        /// log.
        refusal: Box<ProgramError>,
    },
    /// A map operation failed.
    #[error("eBPF map {map}: {source}")]
    Map {
        /// The map.
        map: &'static str,
        /// Why.
        source: aya::maps::MapError,
    },
    /// The built object lacks a program or a map.
    #[error("the built-in eBPF object has no `{0}`; this is a bug in supervisor's build")]
    NotInObject(&'static str),
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// The operation that failed.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// The supported kernels, in the words of the messages and the README.
pub const NEEDED_KERNEL: &str = "Linux 5.14 of RHEL 9.2 or later, 5.15, or 6.1 or later";

/// The helpers, each with the first version that has it.
fn names(helpers: &[Helper]) -> String {
    let names: Vec<String> =
        helpers.iter().map(|helper| format!("bpf_{}() (Linux {})", helper.name, helper.since)).collect();
    names.join(" and no ")
}

/// The verifier's reason in one line, or the error of the system call.
fn reason(refusal: &ProgramError) -> String {
    match refusal {
        ProgramError::LoadError { io_error, verifier_log } => {
            let complaint = last_complaint(&verifier_log.to_string());
            let say = |complaint| {
                format!("{complaint} (`supervisor doctor --verifier-log` shows all that the kernel says)")
            };
            complaint.map_or_else(|| io_error.to_string(), say)
        }
        other => other.to_string(),
    }
}

/// The line of a verifier's log that names the error: the last one before its statistics.
fn last_complaint(log: &str) -> Option<String> {
    let is_statistics = |line: &&str| line.starts_with("processed ") || line.starts_with("verification time");
    let lines = log.lines().map(str::trim).take_while(|line| !is_statistics(line));
    lines.filter(|line| !line.is_empty()).last().map(str::to_owned)
}

impl KernelError {
    /// The whole log of the verifier, if this error is a refused program.
    #[must_use]
    pub fn verifier_log(&self) -> Option<String> {
        match self {
            Self::Program { refusal, .. } => match &**refusal {
                ProgramError::LoadError { verifier_log, .. } => Some(verifier_log.to_string()),
                _ => None,
            },
            _ => None,
        }
    }

    /// The error of a load. The capabilities were checked before the load, so something else forbids what is not
    /// permitted.
    pub(super) fn of_load(error: aya::EbpfError) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(this) = cause {
            let io_error = this.downcast_ref::<io::Error>();
            if io_error.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
                return Self::NoCapabilities(
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

#[cfg(test)]
mod tests {
    use supervisor_ebpf::HELPERS;

    use super::*;

    #[test]
    fn the_reason_of_a_refusal_is_the_last_line_before_the_statistics() {
        let log = "0: R1=ctx()\nR3 invalid mem access 'scalar'\nprocessed 12 insns (limit 1000000)\nmore";
        assert_eq!(last_complaint(log).as_deref(), Some("R3 invalid mem access 'scalar'"));
        assert_eq!(last_complaint("processed 12 insns"), None);
        assert_eq!(last_complaint(""), None);
    }

    #[test]
    fn the_error_for_an_old_kernel_names_the_missing_helpers_and_the_needed_kernels() {
        let text = KernelError::TooOld(HELPERS.to_vec()).to_string();
        let expected = "this kernel is too old: it has no bpf_get_current_task_btf() (Linux 5.11) and no \
                        bpf_task_pt_regs() (Linux 5.15); supervisor needs Linux 5.14 of RHEL 9.2 or later, 5.15, or 6.1 \
                        or later";
        assert_eq!(text, expected);
        let readme = include_str!("../../../../README.md").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(readme.contains(NEEDED_KERNEL), "the README names other kernels");
    }
}
