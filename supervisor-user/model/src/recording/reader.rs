//! Reads a recording, one observation after the other.

use std::{
    io::{self, Read},
    path::Path,
};

use serde::Deserialize;

use super::{
    End, FORMAT, Header, LastLine, Reason, RecordingError,
    lines::{Lines, open},
};
use crate::{observation::Observation, words::clean};

/// The beginning of the last line. No other line begins like this.
const LAST: &[u8] = b"{\"end\":";

/// Reads a recording: an iterator over its observations, which ends with the first error.
pub struct RecordingReader {
    lines: Lines,
    header: Header,
    observations: u64,
    end: Option<End>,
    is_done: bool,
}

/// The fields of the first line that are read before any other field of it is trusted.
#[derive(Deserialize)]
struct Probe {
    supervisor_recording: u32,
    #[serde(default)]
    version: String,
}

impl RecordingReader {
    /// Opens a file; `-` is standard input. Any other pipe is refused, and the call does not wait for it.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened, or is not a recording that can be read.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        if path == Path::new("-") {
            return Self::new("standard input", io::stdin().lock());
        }
        let name = path.display().to_string();
        match open(path) {
            Ok(file) => Self::new(&name, file),
            Err(reason) => Err(RecordingError { file: name, line: 0, reason }),
        }
    }

    /// Reads from any source. `name` is the name of the source in errors.
    ///
    /// # Errors
    ///
    /// If the source is not a recording that can be read.
    pub fn new(name: &str, source: impl Read + 'static) -> Result<Self, RecordingError> {
        let mut lines = Lines::of(name, source)?;
        let header = read_header(&mut lines)?;
        Ok(Self { lines, header, observations: 0, end: None, is_done: false })
    }

    /// The content of its first line.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The number of observations that were read so far.
    #[must_use]
    pub fn observations(&self) -> u64 {
        self.observations
    }

    /// The content of its last line, after that line was read.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    fn read_observation(&mut self) -> Result<Option<Observation>, RecordingError> {
        let lines = &mut self.lines;
        let Some(line) = lines.next()? else { return Err(lines.error(Reason::Cut)) };
        if !line.starts_with(LAST) {
            let observation =
                serde_json::from_slice(line).map_err(|error| lines.error(Reason::Line(error)))?;
            self.observations += 1;
            return Ok(Some(observation));
        }
        let LastLine { end } =
            serde_json::from_slice(line).map_err(|error| lines.error(Reason::Line(error)))?;
        if end.observations != self.observations {
            let (found, said) = (self.observations, end.observations);
            return Err(lines.error(Reason::Miscounted { found, said }));
        }
        // The checksum is behind the data, so the reader has to read on to check it.
        if lines.next()?.is_some() {
            return Err(lines.error(Reason::AfterEnd));
        }
        self.end = Some(end);
        Ok(None)
    }
}

impl Iterator for RecordingReader {
    type Item = Result<Observation, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let next = self.read_observation().transpose();
        self.is_done = !matches!(next, Some(Ok(_)));
        next
    }
}

fn read_header(lines: &mut Lines) -> Result<Header, RecordingError> {
    let Some(line) = lines.next()? else { return Err(lines.error(Reason::Cut)) };
    let read = || {
        let Probe { supervisor_recording: format, version } =
            serde_json::from_slice(line).map_err(|_no_header| Reason::NoHeader)?;
        if format > FORMAT {
            let version = clean(&version.chars().take(40).collect::<String>());
            return Err(Reason::Newer { format, version });
        }
        let header: Header = serde_json::from_slice(line).map_err(Reason::Line)?;
        // Later code divides by this number.
        match header.host.ticks_per_second {
            1..=1_000_000_000 => Ok(header),
            ticks => Err(Reason::Ticks(ticks)),
        }
    };
    read().map_err(|reason| lines.error(reason))
}
