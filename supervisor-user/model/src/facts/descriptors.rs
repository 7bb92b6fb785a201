//! The files that the descriptors of processes lead to: pipes, their writers and readers, and sockets.

use serde::{Deserialize, Serialize};

/// The maximum number of writers that are named for one pipe.
pub const MAX_WRITERS: usize = 4;

/// The file that a descriptor leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenFile {
    /// A pipe without a name, with its inode number.
    Pipe(u64),
    /// A socket.
    Socket,
    /// Anything else, or it could not be read.
    Other,
}

/// A pipe that a process reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipeFacts {
    /// Its inode number.
    pub ino: u64,
    /// Other processes that hold its write end open, at most [`MAX_WRITERS`].
    pub writers: Vec<PipeWriter>,
    /// Whether all processes were searched and all writers are named. If it is false, there may be more writers.
    pub is_complete: bool,
}

/// A process that holds the write end of a pipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipeWriter {
    /// Host pid.
    pub pid: u32,
    /// Name.
    pub comm: String,
    /// Whether the unreaped process is among its ancestors, if its creators are known.
    pub is_descendant: Option<bool>,
    /// Its process group, as a pid of the initial PID namespace; 0 if it is not known.
    pub pgrp: u32,
    /// Its parent; 0 if the parent is not known. Recordings of older versions do not have it.
    #[serde(default)]
    pub parent: u32,
}

/// Which processes hold the write ends of pipes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipeWriters {
    /// The inode number of a pipe, and the pid of a process that can write to it. Each pair is here once.
    pub pairs: Vec<(u64, u32)>,
    /// The same pairs for processes that can read from a pipe.
    #[serde(default)]
    pub readers: Vec<(u64, u32)>,
    /// Whether all processes were searched.
    pub is_complete: bool,
}
