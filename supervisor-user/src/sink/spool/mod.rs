//! Messages that wait on disk: appended by the tracer, taken by the sink's thread, and kept until they are delivered.
//!
//! A spool is a directory of numbered segments, each a row of frames: length and CRC-32 of the body (little-endian
//! `u32` each), then the body. A new run begins a new segment, so that only the end of a segment can be torn.
//! What was appended survives the agent; what was synced, at most [`SYNC`] earlier, survives the machine.

mod frame;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub(super) use reader::Reader;
pub(super) use writer::Writer;

/// What was appended is synced to the disk within this time.
pub(super) const SYNC: Duration = Duration::from_secs(1);

/// What both ends know.
#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    /// Size of all segments that exist.
    bytes: AtomicU64,
    /// Where the writer is: number of the segment and bytes in it.
    end: std::sync::Mutex<Position>,
    /// Frames that are not delivered.
    messages: AtomicU64,
}

/// A place in a spool.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
struct Position {
    segment: u64,
    offset: u64,
}

/// Opens a spool that holds at most so many bytes; it is made if it does not exist, with mode 0700. The reader begins
/// behind what was delivered by an earlier run.
///
/// # Errors
///
/// If the directory cannot be made, or what is in it cannot be read.
pub(super) fn open(dir: &Path, limit: u64) -> io::Result<(Writer, Reader)> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let segments = segments(dir)?;
    let bytes =
        segments.iter().filter_map(|number| path(dir, *number).metadata().ok()).map(|it| it.size()).sum();
    let next = segments.last().map_or(1, |last| last + 1);
    let shared = Arc::new(Shared {
        dir: dir.to_owned(),
        bytes: AtomicU64::new(bytes),
        end: std::sync::Mutex::new(Position { segment: next, offset: 0 }),
        messages: AtomicU64::new(0),
    });
    let reader = Reader::open(Arc::clone(&shared), &segments)?;
    Ok((Writer::open(shared, limit, next), reader))
}

impl Shared {
    fn end(&self) -> Position {
        *self.end.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:016}.spool"))
}

/// The segments that exist, oldest first.
fn segments(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        found.extend(name.to_str().and_then(|name| name.strip_suffix(".spool")?.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// How much waits, for those that look on.
#[derive(Clone, Debug)]
pub(super) struct Gauge(Arc<Shared>);

impl Gauge {
    pub(super) fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn messages(&self) -> u64 {
        self.0.messages.load(Ordering::Relaxed)
    }
}
