//! The limits on a broker's bytes: the size of each protocol line and of each message. The client library has no such
//! limits: it reads until a line ends.
//!
//! The protocol has lines that end with `\r\n`. After the line of a `MSG` or `HMSG` comes the message, and `\r\n`. The
//! size of the message is the last word of the line.

/// The largest protocol line. The longest that a broker sends is `INFO`, with the addresses of all servers of its
/// cluster; it takes 4 KiB from clients by default.
pub(super) const MAX_LINE: usize = 64 << 10;
/// The largest message that is sent. A broker takes messages of this size by default.
pub(super) const MAX_PAYLOAD: usize = 1 << 20;
/// The largest message that is read. A broker returns a stored message in base64, with its headers.
pub(super) const MAX_MESSAGE: usize = 2 * MAX_PAYLOAD;

/// A broker has sent more than it may, or something that is no NATS protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Excess {
    /// The line is too long.
    #[error("the broker sent a protocol line longer than {} KiB, which is not read", MAX_LINE >> 10)]
    Line,
    /// The message is too large.
    #[error("the broker sent a message larger than {} MiB, which is not read", MAX_MESSAGE >> 20)]
    Message,
    /// The size of the message is no number.
    #[error("the broker sent a message without a size")]
    NoSize,
}

/// Checks the bytes of a broker, and stops at the first excess.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// The part of the line that has arrived.
    line: Vec<u8>,
    /// How many bytes of the message are still to arrive.
    left: usize,
}

impl Limits {
    /// Takes the next bytes.
    ///
    /// # Errors
    ///
    /// If a line or a message is too large: from then on, nothing may be passed on.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<(), Excess> {
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if self.line.len() + part.len() > MAX_LINE {
                return Err(Excess::Line);
            }
            self.line.extend_from_slice(part);
            bytes = rest;
            // The library ends a line only at both characters.
            if self.line.ends_with(b"\r\n") {
                self.left = size(&self.line)?;
                self.line.clear();
            }
        }
        Ok(())
    }
}

/// How many bytes follow a line.
fn size(line: &[u8]) -> Result<usize, Excess> {
    if !line.starts_with(b"MSG ") && !line.starts_with(b"HMSG ") {
        return Ok(0);
    }
    let line = std::str::from_utf8(line).map_err(|_| Excess::NoSize)?;
    let size: usize =
        line.split_whitespace().next_back().and_then(|it| it.parse().ok()).ok_or(Excess::NoSize)?;
    if size > MAX_MESSAGE { Err(Excess::Message) } else { Ok(size + "\r\n".len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes it whole, and byte by byte, with the same result.
    fn taken(text: &[u8]) -> Result<(), Excess> {
        let whole = Limits::default().take(text);
        let mut limits = Limits::default();
        let in_bytes = text.iter().try_for_each(|byte| limits.take(&[*byte]));
        assert_eq!(whole, in_bytes);
        whole
    }

    #[test]
    fn the_normal_bytes_of_a_broker_pass() {
        let said = "PING\r\nMSG a 1 5\r\nhe\r\nl\r\nHMSG a 1 reply 12 17\r\nNATS/1.0\r\n\r\nhello\r\n+OK\r\n";
        assert_eq!(taken(said.as_bytes()), Ok(()));
    }

    #[test]
    fn a_line_without_an_end_is_stopped() {
        assert_eq!(taken(&vec![b'x'; MAX_LINE]), Ok(()));
        assert_eq!(taken(&vec![b'x'; MAX_LINE + 1]), Err(Excess::Line));
        // Only both characters end a line.
        assert_eq!(taken(&b"xxxx\n".repeat(MAX_LINE / 5 + 1)), Err(Excess::Line));
    }

    #[test]
    fn a_message_that_is_too_large_is_stopped_at_its_line() {
        assert_eq!(taken(format!("MSG a 1 {MAX_MESSAGE}\r\n").as_bytes()), Ok(()));
        assert_eq!(taken(format!("MSG a 1 {}\r\n", MAX_MESSAGE + 1).as_bytes()), Err(Excess::Message));
        assert_eq!(taken(format!("HMSG a 1 12 {}\r\n", MAX_MESSAGE + 1).as_bytes()), Err(Excess::Message));
        assert_eq!(taken(b"MSG a 1 99999999999999999999999999\r\n"), Err(Excess::NoSize));
        assert_eq!(taken(b"MSG a 1 -1\r\n"), Err(Excess::NoSize));
    }

    #[test]
    fn the_limit_of_a_line_does_not_hold_for_a_message() {
        let long = [b"MSG a 1 100000\r\n".as_slice(), &vec![b'x'; 100_000], b"\r\nPING\r\n"].concat();
        assert_eq!(taken(&long), Ok(()));
    }
}
