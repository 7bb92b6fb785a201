//! The end where messages come out, and where is remembered what was delivered.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, BufReader, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use super::{
    Position, SYNC, Shared,
    frame::{self, Next},
    path, segments,
};
use crate::sink::message::Message;

/// The file that says what was delivered.
const DELIVERED: &str = "delivered.json";

/// Takes messages, in order.
#[derive(Debug)]
pub(in crate::sink) struct Reader {
    shared: Arc<Shared>,
    /// Up to here everything is delivered.
    delivered: Position,
    saved: Position,
    /// Read and not delivered, each with the place behind it.
    read: VecDeque<(Message, Position)>,
    at: Position,
    file: Option<BufReader<File>>,
    /// Damaged parts that were passed over.
    damaged: u64,
    synced: (Instant, Position),
}

impl Reader {
    pub(super) fn open(shared: Arc<Shared>, existing: &[u64]) -> io::Result<Self> {
        let saved = match fs::read(shared.dir.join(DELIVERED)) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Position::default(),
            Err(error) => return Err(error),
        };
        let mut reader = Self {
            delivered: saved,
            saved,
            at: saved,
            read: VecDeque::new(),
            file: None,
            damaged: 0,
            synced: (Instant::now(), shared.end()),
            shared,
        };
        reader.count(existing)?;
        reader.remove_delivered()?;
        Ok(reader)
    }

    /// Counts what earlier runs have left.
    fn count(&mut self, existing: &[u64]) -> io::Result<()> {
        let mut count = 0;
        for number in existing.iter().filter(|number| **number >= self.delivered.segment) {
            let Some((mut file, mut left)) = self.open_segment(*number)? else { continue };
            while let Next::Message(_, size) = frame::read(&mut file, left)? {
                count += 1;
                left -= size;
            }
        }
        self.shared.messages.store(count, Ordering::Relaxed);
        Ok(())
    }

    /// A segment behind what was delivered of it, and how many bytes are left in it.
    fn open_segment(&self, number: u64) -> io::Result<Option<(BufReader<File>, u64)>> {
        let mut file = match File::open(path(&self.shared.dir, number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let offset = if number == self.delivered.segment { self.delivered.offset } else { 0 };
        let left = file.metadata()?.size().saturating_sub(offset);
        file.seek(SeekFrom::Start(offset))?;
        Ok(Some((BufReader::new(file), left)))
    }

    /// The messages that are to be delivered next, at most so many; they stay until [`Reader::advance`].
    ///
    /// # Errors
    ///
    /// If the disk cannot be read.
    pub(in crate::sink) fn first(&mut self, count: usize) -> io::Result<Vec<Message>> {
        while self.read.len() < count && self.read_one()? {}
        Ok(self.read.iter().take(count).map(|(message, _)| message.clone()).collect())
    }

    /// Whether there was another.
    fn read_one(&mut self) -> io::Result<bool> {
        let end = self.shared.end();
        loop {
            if self.at >= end {
                return Ok(false);
            }
            let limit = if self.at.segment == end.segment {
                end.offset
            } else {
                match path(&self.shared.dir, self.at.segment).metadata() {
                    Ok(metadata) => metadata.size(),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                    Err(error) => return Err(error),
                }
            };
            let left = limit.saturating_sub(self.at.offset);
            if left > 0 && self.file.is_none() {
                let mut file = File::open(path(&self.shared.dir, self.at.segment))?;
                file.seek(SeekFrom::Start(self.at.offset))?;
                self.file = Some(BufReader::new(file));
            }
            let next = match &mut self.file {
                Some(file) if left > 0 => frame::read(file, left)?,
                _ => Next::End,
            };
            match next {
                Next::Message(message, size) => {
                    self.at.offset += size;
                    self.read.push_back((*message, self.at));
                    return Ok(true);
                }
                Next::End if self.at.segment == end.segment => return Ok(false),
                Next::End => {}
                Next::Damaged => self.damaged += 1,
            }
            let later = segments(&self.shared.dir)?.into_iter().find(|number| *number > self.at.segment);
            self.at = Position { segment: later.unwrap_or(end.segment).min(end.segment), offset: 0 };
            self.file = None;
        }
    }

    /// Says that the first ones are delivered. It is remembered within [`SYNC`], so that after a crash some may be
    /// delivered again, and none is left out.
    pub(in crate::sink) fn advance(&mut self, count: usize) {
        for (_, behind) in self.read.drain(..count.min(self.read.len())) {
            self.delivered = behind;
            self.shared.messages.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Damaged parts that were passed over since the last call: at least so many messages are lost.
    pub(in crate::sink) fn take_damaged(&mut self) -> u64 {
        std::mem::take(&mut self.damaged)
    }

    /// When [`Reader::sync`] has something to do.
    pub(in crate::sink) fn next_sync(&self) -> Option<Instant> {
        let (at, end) = self.synced;
        (self.delivered != self.saved || self.shared.end() != end).then(|| at + SYNC)
    }

    /// Syncs what was appended, and remembers what was delivered.
    ///
    /// # Errors
    ///
    /// If the disk does not take it.
    pub(in crate::sink) fn sync(&mut self) -> io::Result<()> {
        let end = self.shared.end();
        let (_, before) = std::mem::replace(&mut self.synced, (Instant::now(), end));
        for number in before.segment.max(self.delivered.segment)..=end.segment {
            match File::open(path(&self.shared.dir, number)) {
                Ok(file) => file.sync_data()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if self.delivered != self.saved {
            self.save()?;
            self.remove_delivered()?;
        }
        Ok(())
    }

    /// Writes the place anew and puts it into the place of the old one.
    fn save(&mut self) -> io::Result<()> {
        let new = self.shared.dir.join("delivered.json.new");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(&self.delivered)?)?;
        file.sync_data()?;
        fs::rename(new, self.shared.dir.join(DELIVERED))?;
        self.saved = self.delivered;
        Ok(())
    }

    /// Removes segments of which everything is delivered.
    fn remove_delivered(&mut self) -> io::Result<()> {
        let end = self.shared.end();
        for number in segments(&self.shared.dir)? {
            let path = path(&self.shared.dir, number);
            let size = path.metadata()?.size();
            let is_done = number < self.delivered.segment
                || (number == self.delivered.segment
                    && number < end.segment
                    && self.delivered.offset >= size);
            if !is_done {
                break;
            }
            fs::remove_file(path)?;
            self.shared.bytes.fetch_sub(size, Ordering::Relaxed);
        }
        Ok(())
    }
}
