//! The errors of recordings, and their texts.

use std::{
    fmt::{self, Display, Formatter},
    io,
};

use thiserror::Error;

use super::{FORMAT, MAX_LINE};
use crate::words::clean;

/// The error of a recording that cannot be written, or cannot be read any further.
#[derive(Debug, Error)]
pub struct RecordingError {
    /// The file.
    pub file: String,
    /// The number of the line, from 1. 0 if the error is about the whole file.
    pub line: u64,
    /// The reason of the error.
    #[source]
    pub reason: Reason,
}

/// The reason of an error.
#[derive(Debug)]
pub enum Reason {
    /// It cannot be opened.
    Open(io::Error),
    /// It is not a regular file, but a directory, a pipe or something else.
    NoFile(&'static str),
    /// A file with that name exists, and must not be overwritten.
    Exists,
    /// Something that is not a regular file has that name. It is never replaced.
    NotReplaced,
    /// It cannot be written.
    Write(io::Error),
    /// It cannot be read.
    Read(io::Error),
    /// It is empty.
    Empty,
    /// It is not compressed, or not with zstd.
    NotCompressed,
    /// Its first line is not the first line of a recording.
    NoHeader,
    /// It has a format that this version does not know yet.
    Newer {
        /// The format.
        format: u32,
        /// Version of the supervisor that wrote it.
        version: String,
    },
    /// Its clock has this number of ticks a second, which no clock has.
    Ticks(u64),
    /// A line does not have the expected content.
    Line(serde_json::Error),
    /// A line is longer than the writer ever writes.
    TooLong,
    /// The compressed data are damaged.
    Damaged(io::Error),
    /// It has no end.
    Cut,
    /// The number of its observations differs from the number in its last line.
    Miscounted {
        /// The number of observations that it holds.
        found: u64,
        /// The number in its last line.
        said: u64,
    },
    /// There is more data behind its last line.
    AfterEnd,
}

impl RecordingError {
    /// Whether everything before the error is as it was written, and only the rest is missing.
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
                // The error may quote the line, and it does not know the number of the line in the file.
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
