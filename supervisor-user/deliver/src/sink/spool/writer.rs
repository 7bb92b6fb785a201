//! The writing end of a spool.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    sync::{Arc, atomic::Ordering},
};

use super::{Gauge, Position, Shared, frame, path};
use crate::{plain_file, sink::message::Message};

/// Appends messages.
#[derive(Debug)]
pub(in crate::sink) struct Writer {
    shared: Arc<Shared>,
    limit: u64,
    /// A segment is closed when it has this size.
    segment_bytes: u64,
    number: u64,
    file: Option<File>,
    offset: u64,
}

impl Writer {
    pub(super) fn open(shared: Arc<Shared>, limit: u64, number: u64) -> Self {
        // The space of delivered messages is freed in whole segments.
        let segment_bytes = (limit / 16).clamp(4 << 10, 16 << 20);
        Self { shared, limit, segment_bytes, number, file: None, offset: 0 }
    }

    /// Appends a message in one write; false if there is no room left under the limit.
    ///
    /// # Errors
    ///
    /// If the message is too large for a spool, or writing to the disk fails. A part of the message that was written is
    /// cut off; if that fails too, the part stays in the segment.
    pub(in crate::sink) fn push(&mut self, message: &Message) -> io::Result<bool> {
        let frame = frame::encode(message)?;
        let size = frame.len() as u64;
        let has_room = self.shared.bytes.load(Ordering::Relaxed) + size <= self.limit;
        // Only a segment that is not written to any more can be freed.
        if self.offset >= self.segment_bytes || (!has_room && self.offset > 0) {
            self.next();
        }
        if !has_room {
            return Ok(false);
        }
        let offset = self.offset;
        let file = match &mut self.file {
            Some(file) => file,
            empty => {
                let mut options = OpenOptions::new();
                options.append(true).create(true).mode(0o600);
                empty.insert(plain_file::open(&path(&self.shared.dir, self.number), &mut options)?)
            }
        };
        if let Err(error) = file.write_all(&frame) {
            // A part of the frame may be in the file. The next segment begins if that part cannot be removed, and also if
            // this one has messages: the disk may be full, and only a segment that is not written to any more can be freed.
            let is_removed = file.set_len(offset).is_ok();
            if offset > 0 || !is_removed {
                self.next();
            }
            return Err(error);
        }
        self.offset += size;
        self.shared.bytes.fetch_add(size, Ordering::Relaxed);
        self.shared.messages.fetch_add(1, Ordering::Relaxed);
        self.publish();
        Ok(true)
    }

    /// Begins the next segment.
    fn next(&mut self) {
        self.number += 1;
        self.offset = 0;
        self.file = None;
        self.publish();
    }

    /// Shows the reader what was appended.
    fn publish(&self) {
        *self.shared.end.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Position { segment: self.number, offset: self.offset };
    }

    /// Whether at least half of it is free.
    pub(in crate::sink) fn has_room(&self) -> bool {
        self.shared.bytes.load(Ordering::Relaxed) <= self.limit / 2
    }

    pub(in crate::sink) fn gauge(&self) -> Gauge {
        Gauge(Arc::clone(&self.shared))
    }
}
