//! Writing a recording.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{Counted, End, Header, LastLine, MAX_LINE, Reason, RecordingError};
use crate::{clock, observation::Observation};

/// Only who may see the processes may see what is recorded of them.
const MODE: u32 = 0o600;
/// What was observed is in the file after this long, and one tick: then it is there even if the recorder is killed.
const FLUSH: Duration = Duration::from_millis(500);
/// zstd's own default: quick, and ten times smaller than the text.
const LEVEL: i32 = 3;

/// A recording that is being written.
pub struct Writer {
    file: String,
    encoder: zstd::Encoder<'static, BufWriter<Counting>>,
    only_matching: bool,
    observations: u64,
    left_out: u64,
    flushed: Instant,
    is_dirty: bool,
}

/// How much was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Observations.
    pub observations: u64,
    /// Observations that were too long.
    pub left_out: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

impl Writer {
    /// Makes the file, readable by its owner only, and writes the header. A file that exists is replaced with
    /// `force` only, and never something that is no file.
    ///
    /// # Errors
    ///
    /// If it exists, or cannot be written.
    pub fn create(path: &Path, force: bool, header: &Header) -> Result<Self, RecordingError> {
        let file = path.display().to_string();
        let at = |reason| RecordingError { file: file.clone(), line: 0, reason };
        if let Ok(before) = fs::symlink_metadata(path)
            && force
        {
            if !before.is_file() {
                return Err(at(Reason::NotReplaced));
            }
            fs::remove_file(path).map_err(|error| at(Reason::Write(error)))?;
        }
        let opened = File::options().write(true).create_new(true).mode(MODE).open(path);
        let opened = opened.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => at(Reason::Exists),
            _ => at(Reason::Write(error)),
        })?;
        let output = BufWriter::new(Counting { file: opened, bytes: 0 });
        let mut encoder = zstd::Encoder::new(output, LEVEL).map_err(|error| at(Reason::Write(error)))?;
        encoder.include_checksum(true).map_err(|error| at(Reason::Write(error)))?;
        let mut writer = Self {
            file,
            encoder,
            only_matching: header.only_matching,
            observations: 0,
            left_out: 0,
            flushed: Instant::now(),
            is_dirty: false,
        };
        writer.line(header)?;
        writer.flush()?;
        Ok(writer)
    }

    /// Adds an observation, unless only those are recorded that the filters let through, and they do not.
    ///
    /// # Errors
    ///
    /// If the file cannot be written, as on a full disk.
    pub fn take(&mut self, observation: &Observation, is_wanted: bool) -> Result<(), RecordingError> {
        if is_wanted || !self.only_matching { self.write(observation) } else { Ok(()) }
    }

    /// Adds an observation, or counts it if it is too long to be read again.
    ///
    /// # Errors
    ///
    /// If the file cannot be written, as on a full disk.
    pub fn write(&mut self, observation: &Observation) -> Result<(), RecordingError> {
        if self.line(observation)? {
            self.observations += 1;
        } else {
            self.left_out += 1;
        }
        Ok(())
    }

    /// Hands what was added to the file if that is due; to be called every tick.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn tick(&mut self) -> Result<(), RecordingError> {
        if self.is_dirty && self.flushed.elapsed() >= FLUSH { self.flush() } else { Ok(()) }
    }

    /// Writes the last line.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn finish(mut self, counted: Counted) -> Result<Written, RecordingError> {
        let Self { observations, left_out, .. } = self;
        let end = End { at_ns: clock::now_ns(), observations, left_out, counted };
        self.line(&LastLine { end })?;
        let Self { file, encoder, .. } = self;
        let finish = || {
            let counting = encoder.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
            // Somebody may carry it away at once, on a machine that is about to be restarted.
            counting.file.sync_all()?;
            Ok(Written { observations, left_out, bytes: counting.bytes })
        };
        finish().map_err(|error| RecordingError { file, line: 0, reason: Reason::Write(error) })
    }

    /// Adds a line; false if it is too long.
    fn line(&mut self, line: &impl Serialize) -> Result<bool, RecordingError> {
        let mut text = serde_json::to_vec(line).map_err(|error| self.error(error.into()))?;
        if text.len() >= MAX_LINE {
            return Ok(false);
        }
        text.push(b'\n');
        self.is_dirty = true;
        self.encoder.write_all(&text).map_err(|error| self.error(error))?;
        Ok(true)
    }

    fn flush(&mut self) -> Result<(), RecordingError> {
        self.encoder.flush().map_err(|error| self.error(error))?;
        self.flushed = Instant::now();
        self.is_dirty = false;
        Ok(())
    }

    fn error(&self, error: io::Error) -> RecordingError {
        RecordingError { file: self.file.clone(), line: 0, reason: Reason::Write(error) }
    }
}

/// A file, and how much was written into it.
struct Counting {
    file: File,
    bytes: u64,
}

impl io::Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
