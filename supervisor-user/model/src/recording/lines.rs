//! Reads the lines of a compressed file. The file is not trusted, so the memory for reading it is bounded.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
};

use super::{MAX_LINE, Reason, RecordingError};

/// Every zstd file begins with these bytes.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Frames that need more memory than 2 to the power of this are refused. The frames of the writer need a quarter of it.
const MAX_WINDOW_LOG: u32 = 23;

/// The lines of a file, and the name of the file.
pub(super) struct Lines {
    file: String,
    text: BufReader<Box<dyn Read>>,
    /// Reused for every line.
    buffer: Vec<u8>,
    line: u64,
}

/// Opens a regular file. If it is a pipe, the open does not wait for a writer.
pub(super) fn open(path: &Path) -> Result<File, Reason> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(Reason::Open)?;
    let kind = file.metadata().map_err(Reason::Open)?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    Err(Reason::NoFile(if kind.is_dir() {
        "directory"
    } else if kind.is_fifo() {
        "pipe"
    } else {
        "device"
    }))
}

impl Lines {
    /// Starts to read. `name` is the name of the file in errors.
    pub(super) fn of(name: &str, mut source: impl Read + 'static) -> Result<Self, RecordingError> {
        let start = || {
            let mut magic = Vec::new();
            let limit = MAGIC.len() as u64;
            (&mut source).take(limit).read_to_end(&mut magic).map_err(Reason::Read)?;
            if magic.is_empty() {
                return Err(Reason::Empty);
            }
            if magic != MAGIC {
                return Err(if MAGIC.starts_with(&magic) { Reason::Cut } else { Reason::NotCompressed });
            }
            let whole = io::Cursor::new(magic).chain(BufReader::new(source));
            let mut decoder = zstd::Decoder::with_buffer(whole).map_err(Reason::Damaged)?;
            decoder.window_log_max(MAX_WINDOW_LOG).map_err(Reason::Damaged)?;
            Ok(BufReader::new(Box::new(decoder) as Box<dyn Read>))
        };
        let file = name.to_owned();
        match start() {
            Ok(text) => Ok(Self { file, text, buffer: Vec::new(), line: 0 }),
            Err(reason) => Err(RecordingError { file, line: 0, reason }),
        }
    }

    /// The next line without its newline, if there is a next line. A line that has no newline is cut.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, RecordingError> {
        self.line += 1;
        self.buffer.clear();
        let limit = MAX_LINE as u64 + 1;
        match (&mut self.text).take(limit).read_until(b'\n', &mut self.buffer) {
            Ok(0) => Ok(None),
            Ok(_) if self.buffer.pop_if(|last| *last == b'\n').is_some() => Ok(Some(&self.buffer)),
            Ok(_) if self.buffer.len() > MAX_LINE => Err(self.error(Reason::TooLong)),
            Ok(_) => Err(self.error(Reason::Cut)),
            Err(error) => Err(self.error(match error.kind() {
                io::ErrorKind::UnexpectedEof => Reason::Cut,
                _ if error.raw_os_error().is_some() => Reason::Read(error),
                _ => Reason::Damaged(error),
            })),
        }
    }

    /// An error with this reason, at the line that was read last.
    pub(super) fn error(&self, reason: Reason) -> RecordingError {
        RecordingError { file: self.file.clone(), line: self.line, reason }
    }
}
