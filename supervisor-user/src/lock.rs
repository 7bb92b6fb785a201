//! Locks of the agent. A lock that another user can take is a switch that turns the agent off: `flock` asks only for a
//! descriptor of the file, and any reader of a file or directory has one. So locks live in a file of mode 0600, and a
//! lock of any other file counts only while no other user can open that file.

use std::{
    fs::{self, File, Metadata, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use rustix::process::geteuid;

/// Permissions of the group and of others. With an access control list, those of the group are its mask.
const OTHERS: u32 = 0o077;
/// Permissions of the group and of others to rename and remove files of a directory.
const OTHERS_WRITE: u32 = 0o022;

/// Makes a directory, with mode 0700, and keeps other agents out of it until the file that is returned is closed. One
/// that others can write to, as container engines make them, gets that mode.
///
/// # Errors
///
/// If the directory cannot be made or is another user's, if other users can open its lock, or if another agent has it:
/// then `taken` is the error.
pub(crate) fn directory(dir: &Path, taken: &str) -> io::Result<File> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let metadata = fs::metadata(dir)?;
    if !is_ours(&metadata) {
        return Err(unsafe_path("it belongs to another user: give it to the agent's, or name another one"));
    }
    if metadata.mode() & OTHERS_WRITE != 0 {
        // `fchmod()`: deploy/seccomp.json has no `chmod()`.
        File::open(dir)?.set_permissions(Permissions::from_mode(0o700))?;
    }
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if !is_private(&file.metadata()?) {
        return Err(unsafe_path(
            "other users can open the file `lock` in it, and so hold the lock: remove it",
        ));
    }
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(io::ErrorKind::ResourceBusy, taken)),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Takes the lock of a file that events are written to; false if another agent has it. Where other users can open the
/// file, its lock says nothing and is not taken.
///
/// # Errors
///
/// If the file system has no locks.
pub(crate) fn file(file: &File) -> io::Result<bool> {
    if !is_private(&file.metadata()?) {
        return Ok(true);
    }
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn is_ours(metadata: &Metadata) -> bool {
    metadata.uid() == geteuid().as_raw()
}

/// Whether only its owner, who is us, can open a file.
fn is_private(metadata: &Metadata) -> bool {
    metadata.is_file() && is_ours(metadata) && metadata.mode() & OTHERS == 0
}

fn unsafe_path(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_second_agent_is_kept_out_until_the_first_ends() {
        let dir = tempfile::tempdir().unwrap();
        let first = directory(dir.path(), "taken").unwrap();
        assert_eq!(directory(dir.path(), "taken").unwrap_err().to_string(), "taken");
        drop(first);
        directory(dir.path(), "taken").unwrap();
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_closed_to_them() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o777, 0o1777, 0o770] {
            chmod(dir.path(), mode);
            directory(dir.path(), "taken").unwrap();
            assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o7777, 0o700);
        }
    }

    #[test]
    fn a_lock_that_others_can_open_or_that_is_a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("lock");
        fs::write(&lock, "").unwrap();
        chmod(&lock, 0o644);
        let error = directory(dir.path(), "taken").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
        fs::remove_file(&lock).unwrap();
        symlink(dir.path().join("target"), &lock).unwrap();
        assert_eq!(directory(dir.path(), "taken").unwrap_err().raw_os_error(), Some(libc::ELOOP));
        assert!(!dir.path().join("target").exists());
    }

    #[test]
    fn the_lock_of_a_file_that_others_can_open_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        fs::write(&path, "").unwrap();
        let open = || File::open(&path).unwrap();
        let other = open();
        other.try_lock().unwrap();
        chmod(&path, 0o600);
        assert!(!file(&open()).unwrap());
        chmod(&path, 0o644);
        assert!(file(&open()).unwrap());
    }
}
