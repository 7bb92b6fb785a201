//! Reads files whose paths come from other processes. These paths are hostile: they can lead through symbolic links, to
//! a device, to a pipe, to a file of `/proc` that a read consumes, or to a file of another user.
//!
//! A path is walked one component at a time with `openat2(2)` and `O_PATH`, which opens no device and reads nothing.
//! The file is opened for reading only after its type, owner, mode and file system were checked on that descriptor.
//!
//! Symbolic links are followed only in directories that root alone can change, such as `/var/run` or a
//! `/var/lib/containers` that an administrator has moved to another disk. Nobody else can make a link there. Links of
//! `/proc` are never followed.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Read as _,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStringExt as _,
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, fstatfs, open, openat2, readlinkat},
    io::Errno,
};
use supervisor_model::facts::is_plain;

/// At most this many symbolic links are followed on one path.
const MAX_LINKS: usize = 8;

/// File systems that only show the state of the kernel, or that a process of a user serves (`f_type` of `statfs(2)`,
/// `include/uapi/linux/magic.h`). A read of their files can wait, consume or trigger something.
const FOREIGN: &[(u32, &str)] = &[
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x7472_6163, "tracefs"),
    (0x6462_6720, "debugfs"),
    (0x0027_e0eb, "cgroup"),
    (0x6367_7270, "cgroup2"),
    (0x6573_5546, "fuse"),
    (0x7363_6673, "securityfs"),
    (0x6265_6570, "configfs"),
    (0xcafe_4a11, "bpf"),
    (0x6165_676c, "pstore"),
    (0xde5e_81e4, "efivarfs"),
    (0x1cd1, "devpts"),
    (0x1980_0202, "mqueue"),
    (0x4249_4e4d, "binfmt_misc"),
    (0x0187, "autofs"),
];

/// Why a file is not read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// The path is relative, too long, or goes up.
    #[error("the path is not absolute and plain")]
    Path,
    /// The file does not exist, or cannot be opened.
    #[error("cannot be opened: {0}")]
    Open(#[from] Errno),
    /// A symbolic link that a user other than root may have made, or one link more than [`MAX_LINKS`].
    #[error("a symbolic link in a directory that others than root can change")]
    Link,
    /// It is a device, a pipe, a socket or a directory.
    #[error("not a regular file")]
    Type,
    /// The file, or a symbolic link on the way to it, is on a file system of [`FOREIGN`].
    #[error("on a file system of type {0}")]
    FileSystem(&'static str),
    /// The owner of the file has no authority over the container.
    #[error("owned by uid {0}")]
    Owner(u32),
    /// Users other than the owner can write to the file.
    #[error("writable by others than its owner")]
    Writable,
    /// The file has another hard link, so it may be the file of another container.
    #[error("has more than one hard link")]
    HardLink,
    /// It is too large.
    #[error("too large")]
    Size,
    /// The read failed.
    #[error("cannot be read")]
    Read,
}

/// The content of a regular file of that owner, of at most `max` bytes.
///
/// # Errors
///
/// The first reason not to read the file.
pub(super) fn read(path: &str, owner: u32, max: u64) -> Result<Vec<u8>, Refused> {
    let Found { file, stat, .. } = find(path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Refused::Type);
    }
    foreign(&file)?;
    if stat.st_uid != owner {
        return Err(Refused::Owner(stat.st_uid));
    }
    if others_can_write(&stat) {
        return Err(Refused::Writable);
    }
    if stat.st_nlink != 1 {
        return Err(Refused::HardLink);
    }
    if u64::try_from(stat.st_size).is_ok_and(|size| size > max) {
        return Err(Refused::Size);
    }
    // The descriptor is opened again, and not the path, so that this is the file that was checked. `O_NONBLOCK`: the
    // holder of a lease on the file (`fcntl(2)`) could delay the open.
    let again = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(open(again, flags, Mode::empty())?);
    let mut content = Vec::new();
    // The file may grow meanwhile.
    file.take(max + 1).read_to_end(&mut content).map_err(|_| Refused::Read)?;
    if content.len() as u64 > max { Err(Refused::Size) } else { Ok(content) }
}

/// Whether a path leads to a regular file that only root can change or replace. `None` if that is not known: the path
/// is not absolute and plain, or the file does not exist or cannot be opened.
#[must_use]
pub(super) fn is_roots(path: &str) -> Option<bool> {
    match find(path) {
        Ok(Found { file, stat, in_roots }) => {
            let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            Some(is_file && in_roots && is_roots_alone(&stat) && foreign(&file).is_ok())
        }
        // Somebody other than root may have made a link on the way, the path has too many links, or a link is on a file
        // system of `FOREIGN`.
        Err(Refused::Link | Refused::FileSystem(_)) => Some(false),
        Err(_) => None,
    }
}

/// The file that a path leads to.
struct Found {
    /// Opened with `O_PATH`.
    file: OwnedFd,
    stat: Stat,
    /// Whether only root can change each directory on the way.
    in_roots: bool,
}

fn find(path: &str) -> Result<Found, Refused> {
    if !is_plain(path) {
        return Err(Refused::Path);
    }
    let mut rest = names(Path::new(path));
    let mut at = step(None, "/".as_ref())?;
    let mut in_roots = true;
    let mut links = 0;
    while let Some(name) = rest.pop() {
        let (file, stat) = step(Some(&at.0), &name)?;
        in_roots &= is_roots_alone(&at.1);
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            at = (file, stat);
            continue;
        }
        foreign(&file)?;
        links += 1;
        if !in_roots || stat.st_uid != 0 || links > MAX_LINKS {
            return Err(Refused::Link);
        }
        let target = PathBuf::from(OsString::from_vec(readlinkat(&file, "", Vec::new())?.into_bytes()));
        if target.is_absolute() {
            at = step(None, "/".as_ref())?;
        }
        rest.extend(names(&target));
    }
    Ok(Found { file: at.0, stat: at.1, in_roots })
}

/// The components of a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev();
    parts.filter(|part| !matches!(part, Component::RootDir)).map(|part| part.as_os_str().to_owned()).collect()
}

/// Opens one component. A symbolic link is opened itself, and is not followed.
fn step(dir: Option<&OwnedFd>, name: &OsStr) -> Result<(OwnedFd, Stat), Refused> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = match dir {
        Some(dir) => openat2(dir, name, flags, Mode::empty(), resolve)?,
        None => openat2(CWD, name, flags, Mode::empty(), resolve)?,
    };
    let stat = fstat(&file)?;
    Ok((file, stat))
}

fn foreign(file: &OwnedFd) -> Result<(), Refused> {
    let kind = fstatfs(file)?.f_type as u32;
    match FOREIGN.iter().find(|(magic, _)| *magic == kind) {
        Some((_, name)) => Err(Refused::FileSystem(name)),
        None => Ok(()),
    }
}

/// Whether only root can change a file. For a directory: whether only root can replace root's files in it.
fn is_roots_alone(stat: &Stat) -> bool {
    // In a sticky directory only the owner of a file can move or remove it (`may_delete()`, `fs/namei.c`).
    let is_sticky_dir =
        FileType::from_raw_mode(stat.st_mode) == FileType::Directory && stat.st_mode & 0o1000 != 0;
    stat.st_uid == 0 && (is_sticky_dir || !others_can_write(stat))
}

/// Whether the mode of a file lets a user write who is neither the owner nor in the owner's private group.
fn others_can_write(stat: &Stat) -> bool {
    stat.st_mode & 0o002 != 0 || (stat.st_mode & 0o020 != 0 && stat.st_gid != stat.st_uid)
}

#[cfg(test)]
mod tests;
