//! Starts this program again as a child process, which does one kind of work with the capabilities that the caller
//! chooses: a reader gets two, and the child that frees zombies for `supervisor top` gets all. Work that another
//! process can block belongs in such a child: a thread that the kernel cannot kill would keep this process from ending.

use std::{
    io,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::{Child, Command, Stdio},
};

use rustix::thread::{CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities};

/// Starts this program under another name with a hidden subcommand. The child's standard input is the other end of the
/// socket. The child keeps the capabilities of `kept` that are permitted to this process.
///
/// # Errors
///
/// If there are too many descriptors or processes, or the program cannot be executed.
pub fn start(name: &str, subcommand: &str, kept: CapabilitySet) -> io::Result<(UnixStream, Child)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = program();
    command.arg0(name).arg(subcommand);
    // The child can outlive us, so it must not hold our outputs open.
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: the closure only makes system calls, and none of them allocates or takes a lock.
    unsafe { command.pre_exec(move || prepare(kept)) };
    let child = command.spawn()?;
    Ok((ours, child))
}

/// A command that runs this program, even if its file was replaced.
#[must_use]
pub fn program() -> Command {
    Command::new("/proc/self/exe")
}

/// Prepares the child between fork and exec.
fn prepare(kept: CapabilitySet) -> io::Result<()> {
    // A signal to the process group must not end the child: the collector needs it until the collector itself ends,
    // which closes the socket.
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: no handler is involved.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // The child must not hold a descriptor open that the collector inherited. Before Linux 5.11 the call fails, and the
    // child holds them open.
    // SAFETY: the call marks descriptors, and closes none before the exec.
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
