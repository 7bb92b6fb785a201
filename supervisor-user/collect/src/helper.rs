//! This program again as a child process: it does one kind of work with few capabilities. Work that another process can
//! hold up belongs there: a thread that the kernel cannot kill would keep this process from its end.

use std::{
    io,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::{Child, Command, Stdio},
};

use rustix::thread::{CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities};

/// Starts this program under another name with a hidden subcommand. Its standard input is the other end of the socket. It
/// keeps those of these capabilities that this process is permitted.
///
/// # Errors
///
/// If there are too many descriptors or processes, or the program cannot be executed.
pub fn start(name: &str, subcommand: &str, kept: CapabilitySet) -> io::Result<(UnixStream, Child)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = program();
    command.arg0(name).arg(subcommand);
    // It can outlive us, so it holds none of our outputs open.
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: it makes system calls only, none of which allocates or takes a lock.
    unsafe { command.pre_exec(move || prepare(kept)) };
    let child = command.spawn()?;
    Ok((ours, child))
}

/// This program, also when its file was replaced.
#[must_use]
pub fn program() -> Command {
    Command::new("/proc/self/exe")
}

/// Between fork and exec.
fn prepare(kept: CapabilitySet) -> io::Result<()> {
    // A signal to the process group must not end it: the collector needs it until its own end, which closes the socket.
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: no handler is involved.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // It must hold no descriptor open that the collector inherited. Before Linux 5.11 the call fails, and it does.
    // SAFETY: it marks descriptors, and closes none before the exec.
    let _older_kernel =
        unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    // An exec keeps the capabilities of a user other than root only if they are ambient.
    let mut sets = capabilities(None)?;
    let kept = sets.permitted & kept;
    sets.inheritable |= kept;
    set_capabilities(None, sets)?;
    for capability in kept.iter() {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}
