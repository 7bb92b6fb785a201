//! Opens files of the agent and of its administrator. A FIFO at their path must not keep the agent waiting. [`open`]
//! also refuses a symbolic link, which would lead the agent to another file. [`read`], for files that an administrator
//! has named, follows links.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Opens a regular file, or creates it if `options` say so. A symbolic link at the end of the path is refused with
/// `ELOOP`.
///
/// # Errors
///
/// If it cannot be opened, or is anything but a regular file.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // `O_NONBLOCK`: the open of a FIFO waits for its other end, and that of a device can wait too.
    regular(options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?)
}

/// Reads a text file that an administrator has named. Symbolic links are followed: mounted secrets and configurations
/// are often links.
///
/// # Errors
///
/// If it cannot be read, is no regular file, is longer than `limit` bytes, or is not UTF-8.
pub fn read(path: &Path, limit: u64) -> io::Result<String> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let mut text = String::new();
    regular(file)?.take(limit + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        let why = format!("it is larger than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(text)
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    #[test]
    fn a_link_and_a_fifo_are_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "text").unwrap();
        symlink(at("file"), at("link")).unwrap();
        mkfifoat(CWD, at("fifo"), Mode::RUSR | Mode::WUSR).unwrap();
        for options in [OpenOptions::new().read(true), OpenOptions::new().append(true).create(true)] {
            assert!(open(&at("file"), options).is_ok());
            assert_eq!(open(&at("link"), options).unwrap_err().raw_os_error(), Some(libc::ELOOP));
            // Without a reader, the open for writing fails with `ENXIO`.
            assert!(open(&at("fifo"), options).is_err());
        }
        assert_eq!(read(&at("link"), 4).unwrap(), "text");
        assert_eq!(read(&at("file"), 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read(&at("fifo"), 4).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(read(Path::new("/dev/zero"), 4).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
