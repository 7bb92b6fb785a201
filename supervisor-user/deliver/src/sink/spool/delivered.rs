//! Keeps the position of a reader on disk. The file is written in place, so that a full disk does not prevent that.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use super::Position;
use crate::plain_file;

const NAME: &str = "delivered";
/// The file: segment and offset, and the CRC-32 of both, little-endian.
const LEN: usize = 20;

/// The file, and the position in it.
#[derive(Debug)]
pub(super) struct Delivered {
    file: File,
    position: Position,
}

impl Delivered {
    /// Reads the file, and makes it if there is none. A damaged file means that nothing was delivered: then everything
    /// in the spool is delivered again.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = plain_file::open(&dir.join(NAME), &mut options)?;
        let position = position(&file)?;
        let delivered = Self { file, position };
        if position == Position::default() {
            // Written now, the file has its room on disk.
            delivered.write(position)?;
        }
        Ok(delivered)
    }

    /// The position in the file, if the file exists. Nothing is made.
    pub(super) fn read(dir: &Path) -> io::Result<Position> {
        match plain_file::open(&dir.join(NAME), OpenOptions::new().read(true)) {
            Ok(file) => position(&file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Position::default()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Saves another position.
    pub(super) fn save(&mut self, position: Position) -> io::Result<()> {
        self.write(position)?;
        self.file.sync_data()?;
        self.position = position;
        Ok(())
    }

    fn write(&self, Position { segment, offset }: Position) -> io::Result<()> {
        let mut bytes = [segment.to_le_bytes(), offset.to_le_bytes()].concat();
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        self.file.write_all_at(&bytes, 0)
    }
}

/// The position in the file; the beginning if the file is damaged or cut.
fn position(file: &File) -> io::Result<Position> {
    let mut bytes = [0; LEN];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => Ok(decode(&bytes).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Position::default()),
        Err(error) => Err(error),
    }
}

fn decode(bytes: &[u8; LEN]) -> Option<Position> {
    let (position, checksum) = bytes.split_last_chunk::<4>()?;
    let (segment, offset) = (position.first_chunk::<8>()?, position.last_chunk::<8>()?);
    let position = Position { segment: u64::from_le_bytes(*segment), offset: u64::from_le_bytes(*offset) };
    let is_whole = crc32fast::hash(&bytes[..LEN - 4]) == u32::from_le_bytes(*checksum);
    Some(position).filter(|position| is_whole && position.segment < u64::MAX)
}
