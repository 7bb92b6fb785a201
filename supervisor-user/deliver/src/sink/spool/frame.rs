//! Encodes a message as bytes that can be checked, and decodes it.

use std::{fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::sink::message::{Head, Message};

/// The size of length and checksum.
pub(super) const HEADER: u64 = 8;
/// No event is nearly as large: a longer frame is damage.
const MAX_BODY: u32 = 64 << 20;

/// The data before the payload, in JSON. Its length comes before it.
#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    #[serde(flatten)]
    head: std::borrow::Cow<'a, Head>,
    /// Length of the payload. The ECS document follows it; nothing follows if that is the same as the payload.
    payload_len: usize,
}

/// The frame of a message.
pub(super) fn encode(message: &Message) -> io::Result<Vec<u8>> {
    let is_same = Arc::ptr_eq(&message.payload, &message.ecs);
    let envelope =
        Envelope { head: std::borrow::Cow::Borrowed(&message.head), payload_len: message.payload.len() };
    let envelope = serde_json::to_vec(&envelope)?;
    let mut body = Vec::with_capacity(4 + envelope.len() + message.payload.len());
    body.extend((envelope.len() as u32).to_le_bytes());
    body.extend(&envelope);
    body.extend(&*message.payload);
    if !is_same {
        body.extend(&*message.ecs);
    }
    let too_large = || io::Error::new(io::ErrorKind::FileTooLarge, "the event is too large for a spool");
    let len = u32::try_from(body.len()).ok().filter(|len| *len <= MAX_BODY).ok_or_else(too_large)?;
    let mut frame = Vec::with_capacity(HEADER as usize + body.len());
    frame.extend(len.to_le_bytes());
    frame.extend(crc32fast::hash(&body).to_le_bytes());
    frame.extend(body);
    Ok(frame)
}

/// The next frame.
pub(super) enum Next {
    /// A message, and how long its frame was.
    Message(Box<Message>, u64),
    /// There is no further frame.
    End,
    /// The bytes there are no whole frame.
    Damaged,
}

/// Reads the frame at an offset. It reads nothing from `end` on.
pub(super) fn read(file: &File, offset: u64, end: u64) -> io::Result<Next> {
    let left = end.saturating_sub(offset);
    if left == 0 {
        return Ok(Next::End);
    }
    let mut header = [0; HEADER as usize];
    if left < HEADER {
        return Ok(Next::Damaged);
    }
    file.read_exact_at(&mut header, offset)?;
    let (len, checksum) = header.split_at(4);
    let number = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_le_bytes);
    let len = number(len);
    if len > MAX_BODY || u64::from(len) > left - HEADER {
        return Ok(Next::Damaged);
    }
    let mut body = vec![0; len as usize];
    file.read_exact_at(&mut body, offset + HEADER)?;
    if crc32fast::hash(&body) != number(checksum) {
        return Ok(Next::Damaged);
    }
    Ok(decode(&body)
        .map_or(Next::Damaged, |message| Next::Message(Box::new(message), HEADER + u64::from(len))))
}

pub(super) fn decode(body: &[u8]) -> Option<Message> {
    let (len, rest) = body.split_first_chunk::<4>()?;
    let (envelope, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    let Envelope { head, payload_len } = serde_json::from_slice(envelope).ok()?;
    let (payload, ecs) = rest.split_at_checked(payload_len)?;
    let payload: Arc<[u8]> = payload.into();
    let ecs = if ecs.is_empty() { Arc::clone(&payload) } else { ecs.into() };
    Some(Message { head: head.into_owned(), payload, ecs })
}
