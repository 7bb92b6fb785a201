//! Copies programs so that the copies can be executed at once.

use std::{
    fs::{self, File},
    io,
    os::fd::AsRawFd as _,
    path::Path,
    thread,
    time::Duration,
};

/// The time between two attempts.
const POLL: Duration = Duration::from_millis(1);

/// Copies a program. When this returns, no process has the copy open for writing. This matters because the kernel
/// refuses to execute a file that is open for writing (`ETXTBSY`), and a process that another thread forks meanwhile
/// inherits the descriptor.
pub fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    fs::copy(from, &to)?;
    let copy = File::open(to)?;
    let lease = |kind: libc::c_int| {
        // SAFETY: the descriptor is open, and no memory is passed.
        match unsafe { libc::fcntl(copy.as_raw_fd(), libc::F_SETLEASE, kind) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    // The kernel grants a read lease only while no process has the file open for writing (fcntl(2)). Not every file
    // system has leases.
    while let Err(error) = lease(libc::F_RDLCK) {
        match error.kind() {
            io::ErrorKind::WouldBlock => thread::sleep(POLL),
            _ => return Ok(()),
        }
    }
    lease(libc::F_UNLCK)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_copy_can_be_executed_while_other_threads_fork() {
        let dir = tempfile::tempdir().expect("a folder");
        let run = |name: &str| {
            for _ in 0..100 {
                let path = dir.path().join(name);
                copy_program("/bin/true", &path).expect("copied");
                assert!(Command::new(&path).status().expect("started").success());
            }
        };
        thread::scope(|scope| {
            for name in ["one", "two", "three", "four"] {
                scope.spawn(move || run(name));
            }
        });
    }
}
