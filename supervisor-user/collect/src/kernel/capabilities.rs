//! Reads the capabilities and the PID namespace of this process, and says whether it may trace.

use procfs::process::Process;

use super::KernelError;

/// `CAP_SYS_PTRACE`. These four are bit numbers of `include/uapi/linux/capability.h`.
const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// The capabilities that the tool uses, and its view of the host's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The process may load tracing programs: `CAP_BPF` and `CAP_PERFMON`, or `CAP_SYS_ADMIN`.
    pub bpf: bool,
    /// The process may read the details of every process in `/proc`: `CAP_SYS_PTRACE`.
    pub ptrace: bool,
    /// The process runs in the initial PID namespace, so it sees the host's processes under their host pids.
    pub host_pids: bool,
}

/// Reads the capabilities and the PID namespace of this process.
///
/// # Errors
///
/// If `/proc/self` cannot be read.
pub fn capabilities() -> Result<Capabilities, KernelError> {
    let unreadable = |source: procfs::ProcError| KernelError::Io {
        what: "cannot read /proc/self (is /proc mounted?)",
        source: std::io::Error::other(source),
    };
    let status = Process::myself().and_then(|myself| myself.status()).map_err(unreadable)?;
    let ns = std::fs::read_link("/proc/self/ns/pid")
        .map_err(|source| KernelError::Io { what: "cannot read /proc/self/ns/pid", source })?;
    let has = |bit: u32| status.capeff >> bit & 1 == 1;
    Ok(Capabilities {
        bpf: has(SYS_ADMIN) || (has(BPF) && has(PERFMON)),
        ptrace: has(SYS_PTRACE),
        host_pids: ns.to_str() == Some(&format!("pid:[{}]", supervisor_ebpf::INITIAL_PID_NS_INO)),
    })
}

impl Capabilities {
    /// Fails with a one-sentence reason if the hooks cannot be used with these capabilities.
    ///
    /// # Errors
    ///
    /// [`KernelError::NoCapabilities`].
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
        Err(KernelError::NoCapabilities(sentence.to_owned()))
    }
}
