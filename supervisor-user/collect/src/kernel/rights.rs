//! What this process may do.

use procfs::process::Process;

use super::KernelError;

/// `CAP_SYS_PTRACE` and the like: bit numbers of `include/uapi/linux/capability.h`.
const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// The rights that the tool uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// May load tracing programs: `CAP_BPF` and `CAP_PERFMON`, or `CAP_SYS_ADMIN`.
    pub bpf: bool,
    /// May read every process's details in `/proc`: `CAP_SYS_PTRACE`.
    pub ptrace: bool,
    /// Sees the host's processes under their host pids: it runs in the initial PID namespace.
    pub host_pids: bool,
}

/// Reads the rights of this process.
///
/// # Errors
///
/// If `/proc/self` cannot be read.
pub fn rights() -> Result<Rights, KernelError> {
    let unreadable = |source: procfs::ProcError| KernelError::Io {
        what: "cannot read /proc/self (is /proc mounted?)",
        source: std::io::Error::other(source),
    };
    let status = Process::myself().and_then(|myself| myself.status()).map_err(unreadable)?;
    let ns = std::fs::read_link("/proc/self/ns/pid")
        .map_err(|source| KernelError::Io { what: "cannot read /proc/self/ns/pid", source })?;
    let has = |bit: u32| status.capeff >> bit & 1 == 1;
    Ok(Rights {
        bpf: has(SYS_ADMIN) || (has(BPF) && has(PERFMON)),
        ptrace: has(SYS_PTRACE),
        host_pids: ns.to_str() == Some(&format!("pid:[{}]", supervisor_ebpf::INITIAL_PID_NS_INO)),
    })
}

impl Rights {
    /// Fails with one sentence if the hooks cannot be used with these rights.
    ///
    /// # Errors
    ///
    /// [`KernelError::NoRights`].
    pub fn require_tracing(self) -> Result<(), KernelError> {
        let sentence = if !self.bpf {
            "watching needs root, or CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE: run it with sudo"
        } else if !self.ptrace {
            "watching needs CAP_SYS_PTRACE beside CAP_BPF and CAP_PERFMON, to read exit statuses and namespaces in /proc: add it, or run with sudo"
        } else if !self.host_pids {
            "supervisor runs in a PID namespace of its own and cannot see the host's processes: run it on the host, or with `hostPID: true` or `--pid=host`"
        } else {
            return Ok(());
        };
        Err(KernelError::NoRights(sentence.to_owned()))
    }
}
