//! Recordings: what was observed, in a file, so that the same conclusions can be drawn elsewhere and later.
//!
//! A recording is lines of JSON, compressed with zstd: a [`Header`], the [`Observation`](crate::observation::Observation)s
//! as they came, and an [`End`]. One without an end was cut: its writer was killed, or it was not copied whole.
//!
//! A field that is added to an observation later is an `Option` or has `#[serde(default)]`, so that older
//! recordings stay readable. Any other change of what stands in the lines makes a new [`FORMAT`].

mod error;
mod lines;
mod reader;
mod writer;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use supervisor_ebpf::Counters;

pub use self::{
    error::{Reason, RecordingError},
    reader::Reader,
    writer::{Writer, Written},
};
use crate::{
    clock::{self, Wall},
    facts::HostIdentity,
};

/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// The longest line that is read, and written: a PID namespace with some 40,000 members. A hostile line of this length
/// takes half a GiB for a moment.
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
    /// From when on a process was observed.
    pub grace_ns: u64,
    /// Which hooks were in use.
    pub hooks: Option<String>,
    /// Id of that run of the agent.
    pub agent_id: String,
    /// Whether observations that no finding came from were left out.
    #[serde(default)]
    pub only_matching: bool,
    /// When the recording began.
    pub recorded: Timestamp,
}

/// The last line: the recording is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When the watch ended, by `CLOCK_BOOTTIME`.
    pub at_ns: u64,
    /// How many observations there are.
    pub observations: u64,
    /// How many were longer than a line may be, and are left out.
    #[serde(default)]
    pub left_out: u64,
    /// What the kernel side counted.
    pub counted: Counted,
}

/// What the kernel side counted from the start of the watch to its end.
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
    /// Reaps that were told.
    pub events: u64,
    /// What could not be stored or told.
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

/// The last line as it stands in the file.
#[derive(Serialize, Deserialize)]
struct LastLine {
    end: End,
}
