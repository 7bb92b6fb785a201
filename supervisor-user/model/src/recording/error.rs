//! What can be wrong with a recording.

use std::{
    fmt::{self, Display, Formatter},
    io,
};

use thiserror::Error;

use super::{FORMAT, MAX_LINE};
use crate::words::clean;

/// A recording cannot be written, or read any further.
#[derive(Debug, Error)]
pub struct RecordingError {
    /// The file.
    pub file: String,
    /// The line, from 1; 0 if it is about the file as a whole.
    pub line: u64,
    /// What is wrong.
    #[source]
    pub reason: Reason,
}

/// What is wrong.
#[derive(Debug)]
pub enum Reason {
    /// It cannot be opened.
    Open(io::Error),
    /// It is a directory, a pipe or something else that is no file.
    NoFile(&'static str),
    /// A file of that name exists, and is not to be overwritten.
    Exists,
    /// Something else than a file has that name, and is never replaced.
    NotReplaced,
    /// It cannot be written.
    Write(io::Error),
    /// It cannot be read.
    Read(io::Error),
    /// It holds nothing.
    Empty,
    /// It is compressed in another way, or not at all.
    NotCompressed,
    /// Its first line is none of a recording's.
    NoHeader,
    /// It has a format that is not known yet.
    Newer {
        /// Which.
        format: u32,
        /// Version of the supervisor that wrote it.
        version: String,
    },
    /// Its clock has this many ticks a second, which none has.
    Ticks(u64),
    /// A line is not what it should be.
    Line(serde_json::Error),
    /// A line is longer than any that is written.
    TooLong,
    /// The compressed data are damaged.
    Damaged(io::Error),
    /// It has no end.
    Cut,
    /// It holds another number of observations than its last line says.
    Miscounted {
        /// How many it holds.
        found: u64,
        /// How many its last line says.
        said: u64,
    },
    /// Something stands behind its last line.
    AfterEnd,
}

impl RecordingError {
    /// Whether everything before the place is as it was written, and only the rest is missing.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        matches!(self.reason, Reason::Cut)
    }
}

impl Display for RecordingError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file),
            line => write!(f, "{}, line {line}", self.file),
        }
    }
}

impl Display for Reason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => write!(f, "cannot be opened: {error}"),
            Self::NoFile(what) => {
                write!(f, "is a {what}, no file; give a recording's name, or - to read standard input")
            }
            Self::Exists => write!(f, "exists; choose another name, or give --force to replace it"),
            Self::NotReplaced => {
                write!(
                    f,
                    "is a directory, a link or a device, which --force does not replace; choose another name"
                )
            }
            Self::Write(error) => write!(f, "cannot be written: {error}"),
            Self::Read(error) => write!(f, "cannot be read: {error}"),
            Self::Empty => write!(f, "is empty: nothing was recorded, or the copy failed"),
            Self::NotCompressed => {
                write!(f, "is no recording: it is not compressed with zstd, as `supervisor record` does")
            }
            Self::NoHeader => write!(f, "is no recording: its first line does not say so"),
            Self::Newer { format, version } => write!(
                f,
                "was made by supervisor {version}, format {format}; this one reads up to {FORMAT}: upgrade"
            ),
            Self::Ticks(ticks) => write!(f, "is damaged: its clock has {ticks} ticks a second"),
            Self::Line(error) => {
                // It may quote the line, and does not know which it is of the file.
                let error = clean(&error.to_string()).replace(" at line 1 column ", " at column ");
                write!(f, "is damaged: {error}")
            }
            Self::TooLong => write!(f, "is damaged: longer than {} MiB", MAX_LINE >> 20),
            Self::Damaged(error) => write!(f, "is damaged: {error}; copy the file again"),
            Self::Cut => write!(
                f,
                "the recording ends without its last line: its recorder was killed, or the copy is not whole; \
                 what stands before is good"
            ),
            Self::Miscounted { found, said } => {
                write!(f, "is damaged: {found} observations are left of {said}")
            }
            Self::AfterEnd => write!(f, "is damaged: something stands behind the end"),
        }
    }
}

impl std::error::Error for Reason {}
