//! Messages that wait on disk. The collector appends them, the sink's thread takes them, and they stay until they are
//! delivered.
//!
//! A spool is a directory of numbered segments. Each segment is a sequence of frames: length and CRC-32 of the body
//! (little-endian `u32` each), then the body. A new run begins a new segment, so that only the end of a segment can be
//! torn. Appended messages survive the agent. Synced messages survive the machine; the sync comes at most [`SYNC`]
//! after the append.

mod delivered;
mod frame;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use delivered::Delivered;
pub(super) use reader::Reader;
pub(super) use writer::Writer;

use super::Message;
use crate::lock;

/// Appended messages are synced to the disk within this time.
pub(super) const SYNC: Duration = Duration::from_secs(1);

/// The state that both ends share.
#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    /// Size of all segments that exist.
    bytes: AtomicU64,
    /// The position of the writer.
    end: Mutex<Position>,
    /// Frames that are not delivered.
    messages: AtomicU64,
}

/// Decodes the body of a frame, and encodes the message again. A fuzz target calls it.
pub(super) fn decode_again(body: &[u8]) -> Option<(Message, Message)> {
    let message = frame::decode(body)?;
    let again = frame::encode(&message).ok()?;
    let again = frame::decode(&again[frame::HEADER as usize..])?;
    Some((message, again))
}

/// A position in a spool: a segment, and an offset in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    segment: u64,
    offset: u64,
}

/// Opens a spool that holds at most `limit` bytes. It is made if it does not exist, with mode 0700. The reader begins
/// after the messages that an earlier run has delivered.
///
/// # Errors
///
/// If the directory cannot be made, if its content cannot be read, or if another reader has it.
pub(super) fn open(dir: &Path, limit: u64) -> io::Result<(Writer, Reader)> {
    // Two readers would deliver and remove the same messages.
    let lock = lock::directory(dir, &format!("{} is in use by another sink or agent", dir.display()))?;
    let delivered = Delivered::open(dir)?;
    let segments = segments(dir)?;
    let bytes = segments.iter().map(|number| size(dir, *number)).sum::<io::Result<u64>>()?;
    // This also covers a spool where everything was delivered and removed: the reader must not begin after the next
    // message that is written.
    let next = segments.last().copied().unwrap_or(0).max(delivered.position().segment) + 1;
    let shared = Arc::new(Shared {
        dir: dir.to_owned(),
        bytes: AtomicU64::new(bytes),
        end: Mutex::new(Position { segment: next, offset: 0 }),
        messages: AtomicU64::new(0),
    });
    let reader = Reader::open(Arc::clone(&shared), delivered, &segments, lock)?;
    Ok((Writer::open(shared, limit, next), reader))
}

/// How many bytes wait in the spool in a directory, if there is one.
///
/// # Errors
///
/// If the directory cannot be read.
pub(super) fn waiting(dir: &Path) -> io::Result<u64> {
    let delivered = Delivered::read(dir)?;
    let mut bytes = 0;
    for number in segments(dir)?.into_iter().filter(|number| *number >= delivered.segment) {
        let before = if number == delivered.segment { delivered.offset } else { 0 };
        bytes += size(dir, number)?.saturating_sub(before);
    }
    Ok(bytes)
}

impl Shared {
    fn end(&self) -> Position {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(name(segment))
}

fn name(segment: u64) -> String {
    format!("{segment:016}.spool")
}

/// The size of a segment; 0 if there is none.
fn size(dir: &Path, segment: u64) -> io::Result<u64> {
    match path(dir, segment).metadata() {
        Ok(metadata) => Ok(metadata.size()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// The segments that exist, oldest first. A file with any other name is no segment.
fn segments(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let file = entry?.file_name();
        let number = file.to_str().and_then(|file| file.strip_suffix(".spool")?.parse::<u64>().ok());
        found.extend(
            number.filter(|number| *number < u64::MAX && file.to_str() == Some(name(*number).as_str())),
        );
    }
    found.sort_unstable();
    Ok(found)
}

/// A view of how much waits, for code that only watches.
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
