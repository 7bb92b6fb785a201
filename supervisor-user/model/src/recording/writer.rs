//! Writes a recording.

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

/// The mode of the file. Only a user who may see the processes may see the records of them.
const MODE: u32 = 0o600;
/// An observation is in the file after this time and one tick. From then on it is there even if the recorder is killed.
const FLUSH: Duration = Duration::from_millis(500);
/// The compression level: zstd's own default. It is quick, and the result is ten times smaller than the text.
const LEVEL: i32 = 3;

/// Writes one recording.
pub struct RecordingWriter {
    file: String,
    encoder: zstd::Encoder<'static, BufWriter<Counting>>,
    only_matching: bool,
    observations: u64,
    left_out: u64,
    flushed: Instant,
    is_dirty: bool,
}

/// The amount of data that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The number of observations.
    pub observations: u64,
    /// The number of observations that were too long, and were left out.
    pub left_out: u64,
    /// The size of the file, in bytes.
    pub bytes: u64,
}

impl RecordingWriter {
    /// Makes the file, which only its owner can read, and writes the header. An existing file is replaced only with
    /// `force`. Anything that is not a regular file is never replaced.
    ///
    /// # Errors
    ///
    /// If the file exists, or cannot be written.
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

    /// Adds an observation. Leaves it out if the recording holds only the observations that the filters select, and
    /// they do not select this one.
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

    /// Writes the added data to the file, if this is due. The caller calls it every tick.
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
            // A user may take the file away at once, from a machine that is about to be restarted.
            counting.file.sync_all()?;
            Ok(Written { observations, left_out, bytes: counting.bytes })
        };
        finish().map_err(|error| RecordingError { file, line: 0, reason: Reason::Write(error) })
    }

    /// Adds a line. Returns false if the line is too long.
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

/// A file, and the number of bytes that were written into it.
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
