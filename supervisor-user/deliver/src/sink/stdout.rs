//! Writes events to standard output.

use std::io::{self, Write as _};

use super::{Delivered, Message, SinkError};

/// Writes to standard output, each message in one write.
#[derive(Debug, Default)]
pub struct StdoutSink {}

impl StdoutSink {
    #[expect(clippy::unused_self, reason = "it stands beside sinks that have something to know")]
    pub(super) fn deliver(&mut self, batch: &[Message]) -> Delivered {
        let mut stdout = io::stdout().lock();
        for (count, message) in batch.iter().enumerate() {
            let line = [&*message.payload, b"\n"].concat();
            if let Err(error) = stdout.write_all(&line).and_then(|()| stdout.flush()) {
                // A write to a terminal that has hung up fails with EIO.
                let is_gone =
                    error.kind() == io::ErrorKind::BrokenPipe || error.raw_os_error() == Some(libc::EIO);
                let error = if is_gone {
                    SinkError::Closed("standard output".to_owned())
                } else {
                    SinkError::unavailable("cannot write to standard output", error)
                };
                return Delivered { count, error: Some(error) };
            }
        }
        Delivered { count: batch.len(), error: None }
    }
}
