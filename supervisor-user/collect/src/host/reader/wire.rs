//! The protocol between the collector and its reader. A frame is a length and a JSON document.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use supervisor_model::facts::OciPlaces;

/// Bytes of the length in front of a document.
const HEADER: usize = size_of::<u32>();
/// A longer document is refused. The longest is a request with 64 paths of 4,096 bytes, each byte escaped.
const MAX_FRAME: usize = 4 << 20;

/// One question about the host. The reader answers each with one frame.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Request {
    Process(u32),
    Arguments { pid: u32, start_ticks: u64 },
    ThreadGroup(u32),
    Threads(u32),
    Calls(u32),
    HasIoUring(u32),
    PipeWriters,
    Cgroup(u32),
    Frozen(u32),
    RemoteMounts(u32),
    Cpu(u32),
    PidBudget { pid: u32, v1_group: Option<String>, neighbour: Option<u32> },
    Oci(Vec<OciPlaces>),
    IsRootsFile(String),
}

impl Request {
    /// Whether an unprivileged process can delay the answer for as long as it likes: see the table in the module above.
    pub(super) fn can_be_held_up(&self) -> bool {
        matches!(self, Self::Arguments { .. } | Self::Calls(_) | Self::Oci(_) | Self::IsRootsFile(_))
    }
}

/// A document as a frame.
pub(super) fn frame(document: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; HEADER];
    serde_json::to_writer(&mut frame, document)?;
    let len = u32::try_from(frame.len() - HEADER).map_err(io::Error::other)?;
    frame[..HEADER].copy_from_slice(&len.to_le_bytes());
    Ok(frame)
}

/// The document of the frame at the beginning of these bytes; `None` until the whole frame is there.
pub(super) fn whole(bytes: &[u8]) -> io::Result<Option<&[u8]>> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    let len = u32::from_le_bytes(*header) as usize;
    if len > MAX_FRAME {
        return Err(io::Error::other(format!("a frame of {len} bytes is longer than {MAX_FRAME}")));
    }
    Ok(rest.get(..len))
}

/// Waits for a frame; `None` at the end of the stream.
pub(super) fn read<T: DeserializeOwned>(mut stream: impl Read) -> io::Result<Option<T>> {
    let mut bytes = vec![0; HEADER];
    match stream.read_exact(&mut bytes) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    while whole(&bytes)?.is_none() {
        let mut part = [0; 4096];
        let len = stream.read(&mut part)?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&part[..len]);
    }
    let document = whole(&bytes)?.unwrap_or_default();
    Ok(Some(serde_json::from_slice(document)?))
}

/// Sends a frame.
pub(super) fn write(mut stream: impl Write, document: &impl Serialize) -> io::Result<()> {
    stream.write_all(&frame(document)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_back_and_a_part_of_one_is_not() {
        let request = Request::Arguments { pid: 7, start_ticks: 8 };
        let frame = frame(&request).unwrap();
        for len in 0..frame.len() {
            assert_eq!(whole(&frame[..len]).unwrap(), None, "{len} bytes");
        }
        assert_eq!(read::<Request>(frame.as_slice()).unwrap(), Some(request));
        assert_eq!(read::<Request>([].as_slice()).unwrap(), None);
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused() {
        assert!(whole(&u32::MAX.to_le_bytes()).is_err());
    }
}
