//! A file: one event, one line, one write. The file is rotated by size and age. Writing goes on when there is room
//! again, when the directory is there again, and when somebody else has moved the file away.

mod repair;
mod rotated;

use std::{
    fs::{self, File, OpenOptions},
    future::pending,
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    time::{Duration, SystemTime},
};

use self::rotated::Rotated;
use super::{Delivered, Message, SinkError, warn};
use crate::{config::FileConfig, lock, plain_file};

/// Only users who may see the processes may read the events about them.
const MODE: u32 = 0o600;
/// The age is checked at least this often: the clock may have been set.
const LOOK: Duration = Duration::from_mins(1);

/// A file that events are appended to.
#[derive(Debug)]
pub struct FileSink {
    config: FileConfig,
    open: Option<Open>,
    rotated: Rotated,
}

/// The file while it is open; it is locked, so that no other agent writes into it.
#[derive(Debug)]
struct Open {
    file: File,
    /// Device and inode: another file may have its name by now.
    id: (u64, u64),
    size: u64,
    begun: SystemTime,
}

impl FileSink {
    /// Does no I/O: the file is opened when there is something to write.
    ///
    /// # Errors
    ///
    /// If the path names no file.
    pub fn open(config: &FileConfig) -> Result<Self, SinkError> {
        if config.path.file_name().is_none() {
            return Err(SinkError::unavailable(config.path.display().to_string(), "it names no file"));
        }
        let rotated = Rotated::new(&config.path, config.keep, config.compress);
        Ok(Self { config: config.clone(), open: None, rotated })
    }

    /// Appends the messages. Counted messages are in the file. They survive this process. They survive the machine as
    /// far as its file system has written them by then.
    pub fn deliver(&mut self, batch: &[Message]) -> Delivered {
        self.notice();
        let mut line = Vec::new();
        for (count, message) in batch.iter().enumerate() {
            line.clear();
            line.extend_from_slice(&message.payload);
            line.push(b'\n');
            if let Err(error) = self.write(&line) {
                // The next delivery opens the file again, and so inspects it again.
                self.open = None;
                return Delivered { count, error: Some(error) };
            }
        }
        Delivered { count: batch.len(), error: None }
    }

    /// Rotates the file when it is old enough, even if no event comes.
    pub async fn serve(&mut self) {
        let Some(limit) = self.config.rotate_age else { return pending().await };
        loop {
            self.notice();
            let done =
                self.ensure().map(|_| ()).and_then(|()| if self.is_due(0) { self.rotate() } else { Ok(()) });
            if done.is_err() {
                // The next event meets the same error, and reports it.
                self.open = None;
            }
            let left = self.open.as_ref().map_or(LOOK, |open| limit.0.saturating_sub(age(open.begun)));
            tokio::time::sleep(left.clamp(Duration::from_millis(10), LOOK)).await;
        }
    }

    fn write(&mut self, line: &[u8]) -> Result<(), SinkError> {
        self.ensure()?;
        if self.is_due(line.len() as u64) {
            self.rotate()?;
        }
        let written = self.ensure()?.append(line);
        written
            .map_err(|error| SinkError::unavailable(format!("writing {}", self.config.path.display()), error))
    }

    /// Notices that the file has been moved or deleted, or cut by somebody else.
    fn notice(&mut self) {
        let Some(open) = &mut self.open else { return };
        match fs::symlink_metadata(&self.config.path) {
            Ok(there) if (there.dev(), there.ino()) == open.id => open.size = there.len(),
            _ => self.open = None,
        }
    }

    /// The open file. If it is not open, it is opened, made and repaired.
    fn ensure(&mut self) -> Result<&mut Open, SinkError> {
        if self.open.is_none() {
            let open = Open::at(&self.config.path)?;
            // Only the owner of the lock may touch the rotated files.
            self.rotated.tidy();
            self.open = Some(open);
        }
        Ok(self.open.as_mut().expect("it has just been opened"))
    }

    /// Whether the file must be rotated before `more` bytes can be written.
    fn is_due(&self, more: u64) -> bool {
        let Some(open) = self.open.as_ref().filter(|open| open.size > 0) else { return false };
        open.size + more > self.config.rotate_size.0
            || self.config.rotate_age.is_some_and(|limit| age(open.begun) >= limit.0)
    }

    fn rotate(&mut self) -> Result<(), SinkError> {
        let failed =
            |error| SinkError::unavailable(format!("rotating {}", self.config.path.display()), error);
        self.rotated.rotate().map_err(failed)?;
        self.open = None;
        self.ensure().map(|_| ())
    }
}

fn age(begun: SystemTime) -> Duration {
    begun.elapsed().unwrap_or_default()
}

impl Open {
    fn at(path: &Path) -> Result<Self, SinkError> {
        let name = path.display();
        let failed = |error: io::Error| {
            if error.raw_os_error() == Some(libc::ELOOP) {
                let cause = "it is a symbolic link, which is not followed";
                return SinkError::unavailable(format!("opening {name}"), cause);
            }
            let hint =
                if error.kind() == io::ErrorKind::NotFound { ", whose directory must exist" } else { "" };
            SinkError::unavailable(format!("opening {name}{hint}"), error)
        };
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(MODE);
        let file = plain_file::open(path, &mut options).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !lock::file(&file).map_err(failed)? {
            let cause = "another agent writes to it: give each its own file";
            return Err(SinkError::unavailable(format!("locking {name}"), cause));
        }
        let size = repair::repair(&file, &name)
            .map_err(|error| SinkError::unavailable(format!("repairing the end of {name}"), error))?;
        // If the file system does not know when a file was made, this is the time of this opening.
        let begun = metadata.created().unwrap_or_else(|_| SystemTime::now());
        Ok(Self { file, id: (metadata.dev(), metadata.ino()), size, begun })
    }

    /// Appends a line in one write. If only a part was written, that part is removed again.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < line.len() {
            match self.file.write(&line[written..]) {
                Ok(0) => return self.take_back(written, io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.take_back(written, error),
            }
        }
        self.size += line.len() as u64;
        Ok(())
    }

    /// Cuts off the written part of a line. If that fails too, the part is cut off when the file is opened again.
    fn take_back(&self, written: usize, error: io::Error) -> io::Result<()> {
        if written > 0
            && let Ok(metadata) = self.file.metadata()
            && let Err(also) = self.file.set_len(metadata.len().saturating_sub(written as u64))
        {
            warn(&format!("a part of a line cannot be taken back yet: {also}"));
        }
        Err(error)
    }
}
