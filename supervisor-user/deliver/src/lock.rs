//! Locks of the agent. If another user can take a lock, that user can turn the agent off: `flock` asks only for a
//! descriptor of the file, and any reader of a file or directory has one. So locks are in a file of mode 0600. A lock
//! of any other file counts only while no other user can open that file.

use std::{
    env,
    fs::{self, File, Metadata, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::process::geteuid;

/// Permissions of the group and of others. With an access control list, those of the group are its mask.
const OTHERS: u32 = 0o077;
/// Permissions of the group and of others to rename and remove files of a directory.
const OTHERS_WRITE: u32 = 0o022;

/// Makes a directory with mode 0700, and keeps other agents out of it until the returned file is closed. A directory
/// that others can write to, as container engines make it, gets that mode if only the agent uses it.
///
/// # Errors
///
/// If the directory cannot be made, belongs to another user, or is shared with other users; if other users can open its
/// lock; or if another agent has it: then `taken` is the error.
pub fn directory(dir: &Path, taken: &str) -> io::Result<File> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let metadata = fs::metadata(dir)?;
    if !is_ours(&metadata) {
        return Err(unsafe_path("it belongs to another user: give it to the agent's, or name another one"));
    }
    if metadata.mode() & OTHERS_WRITE != 0 {
        close_to_others(dir, geteuid().as_raw(), &shared_directories())?;
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

/// Gives a directory mode 0700. Fails if it is one of `shared`, or if users other than `uid` have files in it.
fn close_to_others(dir: &Path, uid: u32, shared: &[PathBuf]) -> io::Result<()> {
    let opened = File::open(dir)?;
    let why = if is_one_of(&opened.metadata()?, shared) {
        Some("all users keep temporary files in it".to_owned())
    } else {
        foreign_entry(dir, uid)?
    };
    if let Some(why) = why {
        let what_to_do = "name a directory that only the agent uses, such as a new one in it";
        return Err(unsafe_path(format!("other users can write to it, and {why}: {what_to_do}")));
    }
    // `fchmod()`, because deploy/seccomp.json does not list `chmod()`.
    opened.set_permissions(Permissions::from_mode(0o700))
}

/// Directories for temporary files of all users.
fn shared_directories() -> Vec<PathBuf> {
    let named = env::var_os("TMPDIR").map(PathBuf::from);
    ["/tmp", "/var/tmp", "/dev/shm"].map(PathBuf::from).into_iter().chain(named).collect()
}

/// Whether a directory is one of `others`, by any path.
fn is_one_of(metadata: &Metadata, others: &[PathBuf]) -> bool {
    let is_same = |other: Metadata| (other.dev(), other.ino()) == (metadata.dev(), metadata.ino());
    others.iter().filter_map(|path| fs::metadata(path).ok()).any(is_same)
}

/// An entry of a directory that does not belong to `uid`, in words.
fn foreign_entry(dir: &Path, uid: u32) -> io::Result<Option<String>> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // For a link, this is the metadata of the link itself. A removed entry belongs to nobody.
        let owner = match entry.metadata() {
            Ok(metadata) => metadata.uid(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if owner != uid {
            return Ok(Some(format!(
                "the entry {:?} in it belongs to user {owner}",
                entry.file_name().to_string_lossy()
            )));
        }
    }
    Ok(None)
}

/// Takes the lock of a file that events are written to; false if another agent has it. If other users can open the
/// file, its lock means nothing and is not taken.
///
/// # Errors
///
/// If the file system has no locks.
pub fn file(file: &File) -> io::Result<bool> {
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

/// Whether a file belongs to the agent's user, and only that user can open it.
fn is_private(metadata: &Metadata) -> bool {
    metadata.is_file() && is_ours(metadata) && metadata.mode() & OTHERS == 0
}

fn unsafe_path(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why.into())
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

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_directory_with_no_files_of_others_is_closed_to_them() {
        let dir = tempfile::tempdir().unwrap();
        // The first time it is empty, then it holds the agent's own files.
        for others in [0o777, 0o1777, 0o770] {
            chmod(dir.path(), others);
            directory(dir.path(), "taken").unwrap();
            assert_eq!(mode(dir.path()), 0o700);
            fs::create_dir_all(dir.path().join("spool")).unwrap();
        }
    }

    #[test]
    fn a_directory_with_a_file_of_another_user_is_refused_and_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("theirs"), "").unwrap();
        chmod(dir.path(), 0o1777);
        // A test that is not root cannot make such a file: the other user is the agent here.
        let error = close_to_others(dir.path(), geteuid().as_raw() + 1, &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let says = error.to_string();
        assert!(says.contains("\"theirs\"") && says.contains("name a directory"), "{says}");
        assert_eq!(mode(dir.path()), 0o1777);
    }

    #[test]
    fn a_directory_that_others_cannot_write_to_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        for own in [0o700, 0o755] {
            chmod(dir.path(), own);
            directory(dir.path(), "taken").unwrap();
            assert_eq!(mode(dir.path()), own);
        }
    }

    #[test]
    fn the_directories_for_temporary_files_are_shared() {
        let dir = tempfile::tempdir().unwrap();
        let shared = shared_directories();
        assert!(!is_one_of(&fs::metadata(dir.path()).unwrap(), &shared));
        // `env::temp_dir()` is `$TMPDIR`, if that is set.
        for path in ["/tmp", "/var/tmp", "/dev/shm"].map(PathBuf::from).into_iter().chain([env::temp_dir()]) {
            assert!(shared.contains(&path), "{}", path.display());
        }
    }

    #[test]
    fn a_shared_directory_is_refused_by_any_path_and_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let (shared, link) = (dir.path().join("shared"), dir.path().join("link"));
        fs::create_dir(&shared).unwrap();
        chmod(&shared, 0o1777);
        symlink(&shared, &link).unwrap();
        for path in [&shared, &link, &dir.path().join("./shared")] {
            let error = close_to_others(path, geteuid().as_raw(), std::slice::from_ref(&shared)).unwrap_err();
            assert!(error.to_string().contains("temporary files"), "{error}");
            assert_eq!(mode(&shared), 0o1777);
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
    fn the_lock_of_a_file_that_others_can_open_is_ignored() {
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
