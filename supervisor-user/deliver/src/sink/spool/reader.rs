//! The reading end of a spool. It remembers which messages were delivered.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{
    Delivered, Position, SYNC, Shared,
    frame::{self, Next},
    path, segments, size,
};
use crate::{plain_file, sink::message::Message};

/// Takes messages, in order.
#[derive(Debug)]
pub(in crate::sink) struct Reader {
    shared: Arc<Shared>,
    saved: Delivered,
    /// Everything before this position is delivered.
    delivered: Position,
    /// Messages that are read and not delivered, each with the position after it.
    read: VecDeque<(Message, Position)>,
    at: Position,
    /// The segment at that position, if it is open.
    file: Option<File>,
    /// Damaged parts that were skipped.
    damaged: u64,
    synced: (Instant, Position),
    _lock: File,
}

impl Reader {
    pub(super) fn open(
        shared: Arc<Shared>,
        saved: Delivered,
        existing: &[u64],
        lock: File,
    ) -> io::Result<Self> {
        let delivered = saved.position();
        let mut reader = Self {
            saved,
            delivered,
            at: delivered,
            read: VecDeque::new(),
            file: None,
            damaged: 0,
            synced: (Instant::now(), shared.end()),
            shared,
            _lock: lock,
        };
        reader.count(existing)?;
        reader.remove_delivered()?;
        Ok(reader)
    }

    /// Counts the messages that earlier runs have left.
    fn count(&mut self, existing: &[u64]) -> io::Result<()> {
        let mut count = 0;
        for number in existing.iter().filter(|number| **number >= self.delivered.segment) {
            let mut offset = if *number == self.delivered.segment { self.delivered.offset } else { 0 };
            let file = segment(&self.shared.dir, *number)?;
            let end = size(&self.shared.dir, *number)?;
            while let Next::Message(_, size) = frame::read(&file, offset, end)? {
                count += 1;
                offset += size;
            }
        }
        self.shared.messages.store(count, Ordering::Relaxed);
        Ok(())
    }

    /// The messages that are to be delivered next, at most `count`. They stay until [`Reader::advance`].
    ///
    /// # Errors
    ///
    /// If the disk cannot be read where the next one is.
    pub(in crate::sink) fn first(&mut self, count: usize) -> io::Result<Vec<Message>> {
        while self.read.len() < count {
            match self.read_one() {
                Ok(true) => {}
                Err(error) if self.read.is_empty() => return Err(error),
                // Messages that were read before an error can be delivered.
                Ok(false) | Err(_) => break,
            }
        }
        Ok(self.read.iter().take(count).map(|(message, _)| message.clone()).collect())
    }

    /// Reads another message. Returns whether there was one.
    fn read_one(&mut self) -> io::Result<bool> {
        loop {
            let end = self.shared.end();
            if self.at >= end {
                return Ok(false);
            }
            let is_last = self.at.segment == end.segment;
            let limit = if is_last { end.offset } else { size(&self.shared.dir, self.at.segment)? };
            let next = if limit > self.at.offset {
                let file = match &mut self.file {
                    Some(file) => file,
                    empty => empty.insert(segment(&self.shared.dir, self.at.segment)?),
                };
                frame::read(file, self.at.offset, limit)?
            } else {
                Next::End
            };
            match next {
                Next::Message(message, size) => {
                    self.at.offset += size;
                    self.read.push_back((*message, self.at));
                    return Ok(true);
                }
                Next::End if is_last => return Ok(false),
                Next::End => {}
                Next::Damaged => {
                    self.damaged += 1;
                    if is_last {
                        // Messages that were appended after it cannot be found.
                        self.at = end;
                        self.shared.messages.store(self.read.len() as u64, Ordering::Relaxed);
                        return Ok(false);
                    }
                }
            }
            let later = segments(&self.shared.dir)?.into_iter().find(|number| *number > self.at.segment);
            self.at = Position { segment: later.unwrap_or(end.segment).min(end.segment), offset: 0 };
            self.file = None;
        }
    }

    /// Records that the first messages are delivered. That is saved within [`SYNC`]. So after a crash some messages may
    /// be delivered again, and none is omitted.
    pub(in crate::sink) fn advance(&mut self, count: usize) {
        let count = count.min(self.read.len());
        for (_, behind) in self.read.drain(..count) {
            self.delivered = behind;
        }
        subtract(&self.shared.messages, count as u64);
    }

    /// Damaged parts that were skipped since the last call. At least this many messages are lost.
    pub(in crate::sink) fn take_damaged(&mut self) -> u64 {
        std::mem::take(&mut self.damaged)
    }

    /// When [`Reader::sync`] has something to do.
    pub(in crate::sink) fn next_sync(&self) -> Option<Instant> {
        let (at, end) = self.synced;
        (self.delivered != self.saved.position() || self.shared.end() != end).then(|| at + SYNC)
    }

    /// Syncs appended messages, saves what was delivered, and frees its space.
    ///
    /// # Errors
    ///
    /// If writing to the disk fails.
    pub(in crate::sink) fn sync(&mut self) -> io::Result<()> {
        let end = self.shared.end();
        let (_, before) = std::mem::replace(&mut self.synced, (Instant::now(), end));
        // On a full disk, this makes room first.
        self.remove_delivered()?;
        for number in before.segment.max(self.delivered.segment)..=end.segment {
            match segment(&self.shared.dir, number) {
                Ok(file) => file.sync_data()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if self.delivered != self.saved.position() {
            self.saved.save(self.delivered)?;
        }
        Ok(())
    }

    /// Removes segments whose messages are all delivered. The next run also skips a segment that is missing.
    fn remove_delivered(&mut self) -> io::Result<()> {
        let end = self.shared.end();
        for number in segments(&self.shared.dir)? {
            let size = size(&self.shared.dir, number)?;
            let is_done = number < self.delivered.segment
                || (number == self.delivered.segment
                    && number < end.segment
                    && self.delivered.offset >= size);
            if !is_done {
                break;
            }
            match fs::remove_file(path(&self.shared.dir, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            subtract(&self.shared.bytes, size);
        }
        Ok(())
    }
}

/// Opens a segment for reading.
fn segment(dir: &Path, number: u64) -> io::Result<File> {
    plain_file::open(&path(dir, number), OpenOptions::new().read(true))
}

/// Damage can make a gauge wrong, and it must not wrap.
fn subtract(gauge: &AtomicU64, less: u64) {
    let subtract = |value: u64| Some(value.saturating_sub(less));
    let _always_some = gauge.fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract);
}
