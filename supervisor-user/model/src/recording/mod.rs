//! Recordings: observations in a file, so that the same conclusions can be drawn elsewhere and later.
//!
//! A recording is lines of JSON, compressed with zstd: a [`Header`], the
//! [`Observation`](crate::observation::Observation)s in the order in which they came, and an [`End`]. A recording
//! without an end was cut: its writer was killed, or the copy is not complete.
//!
//! A field that is added to an observation later is an `Option` or has `#[serde(default)]`, so that older recordings
//! stay readable. Any other change of the content of the lines makes a new [`FORMAT`].

mod error;
mod lines;
mod reader;
mod writer;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use supervisor_ebpf::Counters;

pub use self::{
    error::{Reason, RecordingError},
    reader::RecordingReader,
    writer::{RecordingWriter, Written},
};
use crate::{
    clock::{self, Wall},
    facts::HostIdentity,
};

/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// The maximum length of a line that is read or written. It is enough for a PID namespace with some 40,000 members. A
/// hostile line of this length takes half a GiB of memory for a moment.
pub const MAX_LINE: usize = 16 << 20;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Which format this is.
    #[serde(rename = "supervisor_recording")]
    pub format: u32,
    /// Version of the supervisor that wrote it.
    pub version: String,
    /// The host that was watched.
    pub host: HostIdentity,
    /// The grace period: a process was observed after it was unreaped for this long.
    pub grace_ns: u64,
    /// Which hooks were in use.
    pub hooks: Option<String>,
    /// Id of the agent's run that made the recording.
    pub agent_id: String,
    /// Whether observations that led to no finding were left out.
    #[serde(default)]
    pub only_matching: bool,
    /// When the recording began.
    pub recorded: Timestamp,
}

/// The last line. If it is there, the recording is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When the watch ended, by `CLOCK_BOOTTIME`.
    pub at_ns: u64,
    /// The number of observations in the recording.
    pub observations: u64,
    /// The number of observations that were left out, because they were longer than a line may be.
    #[serde(default)]
    pub left_out: u64,
    /// The counters of the kernel side.
    pub counted: Counted,
}

/// The counters of the kernel side, from the start of the watch to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Processes forked.
    pub forks: u64,
    /// Threads created.
    pub threads: u64,
    /// Execs.
    pub execs: u64,
    /// Processes that exited.
    pub exits: u64,
    /// Wait calls.
    pub waits: u64,
    /// Processes that were freed.
    pub reaps: u64,
    /// Reaps that were emitted.
    pub events: u64,
    /// The number of records that could not be stored or emitted.
    pub lost: u64,
}

impl Header {
    /// The header of a recording that begins now.
    #[must_use]
    pub fn new(host: HostIdentity, grace_ns: u64, hooks: Option<String>, agent_id: String) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host,
            grace_ns,
            hooks,
            agent_id,
            only_matching: false,
            recorded: Wall::now().timestamp(clock::now_ns()),
        }
    }
}

impl Counted {
    /// From the kernel side's counters and the sum of all losses.
    #[must_use]
    pub fn new(counters: &Counters, lost: u64) -> Self {
        Self {
            forks: counters.forks,
            threads: counters.thread_forks,
            execs: counters.execs,
            exits: counters.exits,
            waits: counters.waits,
            reaps: counters.frees,
            events: counters.events,
            lost,
        }
    }
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { forks, threads, execs, exits, waits, reaps, events, lost } = self;
        write!(
            f,
            "forks={forks} threads={threads} execs={execs} exits={exits} waits={waits} reaps={reaps} \
             events={events} lost={lost}"
        )
    }
}

/// The last line in the form that the file has.
#[derive(Serialize, Deserialize)]
struct LastLine {
    end: End,
}
