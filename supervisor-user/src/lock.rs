//! A directory that only one process may use at a time.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// Makes a directory, with mode 0700, and keeps others out of it until the file that is returned is closed.
///
/// # Errors
///
/// If it cannot be made, or another has it: then `taken` is the error.
pub(crate) fn directory(dir: &Path, taken: &str) -> io::Result<File> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(dir.join("lock"))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
        Errno::WOULDBLOCK => io::Error::new(io::ErrorKind::ResourceBusy, taken),
        error => error.into(),
    })?;
    Ok(file)
}
