//! Sends events to a syslog server, in the format of RFC 5424: over a local socket, UDP, or TCP with octet counting
//! (RFC 6587).

mod frame;
mod stream;
mod transport;

use std::io;

use self::{frame::Header, transport::Transport};
use super::{Delivered, Message, SinkError};
use crate::config::{SyslogAddress, SyslogConfig};

/// The most that fits into a UDP datagram over IPv4.
const MAX_DATAGRAM: usize = 65_507;
/// How many bytes are sent over a connection before the sink waits for their acknowledgement.
const CHUNK: usize = 256 << 10;
/// No limit is smaller than this: every receiver must take it.
const LEAST: usize = 480;

/// The frame of a message to a host of that name. A fuzz target calls it.
pub(super) fn framed(message: &Message, hostname: &str, limit: usize) -> Vec<u8> {
    Header::new(crate::config::Facility::default(), hostname).frame(message, 0, limit.max(LEAST))
}

/// A syslog server.
#[derive(Debug)]
pub struct SyslogSink {
    address: SyslogAddress,
    header: Header,
    /// The largest frame.
    limit: usize,
    transport: Transport,
}

impl SyslogSink {
    /// Does no I/O: it connects when there is something to deliver. Messages call this host `hostname`.
    ///
    /// # Errors
    ///
    /// If the largest frame is smaller than what every server takes.
    pub fn open(config: &SyslogConfig, hostname: &str) -> Result<Self, SinkError> {
        let limit = usize::try_from(config.max_size.0).unwrap_or(usize::MAX);
        if limit < LEAST {
            let cause = format!("{} is too small for a frame: at least {LEAST}B", config.max_size);
            return Err(SinkError::unavailable(config.address.to_string(), cause));
        }
        Ok(Self {
            limit: if let SyslogAddress::Udp(..) = config.address { limit.min(MAX_DATAGRAM) } else { limit },
            header: Header::new(config.facility, hostname),
            transport: Transport::to(&config.address),
            address: config.address.clone(),
        })
    }

    /// Sends the messages. Over a connection, counted messages have reached the server's machine; over a local socket,
    /// the server's queue; over UDP, the network.
    pub async fn deliver(&mut self, batch: &[Message]) -> Delivered {
        let mut count = 0;
        while count < batch.len() {
            match self.send_some(&batch[count..]).await {
                Ok(sent) => count += sent,
                Err(error) => {
                    let error = SinkError::unavailable(format!("sending to {}", self.address), error);
                    return Delivered { count, error: Some(error) };
                }
            }
        }
        Delivered { count, error: None }
    }

    /// Sends one message, or as many as are confirmed together. Returns how many.
    async fn send_some(&mut self, batch: &[Message]) -> io::Result<usize> {
        let mut frames = Vec::new();
        let mut size = 0;
        for message in batch {
            if !frames.is_empty() && (size >= CHUNK || !self.transport.is_stream()) {
                break;
            }
            frames.push(self.header.frame(message, frames.len() as u32, self.limit));
            size += frames.last().map_or(0, Vec::len);
        }
        while let Err(error) = self.transport.send(&frames).await {
            // The kernel takes no datagram of that size, whatever the server takes.
            if error.raw_os_error() != Some(libc::EMSGSIZE) || size <= LEAST || frames.len() != 1 {
                return Err(error);
            }
            self.limit = (size / 4 * 3).max(LEAST);
            frames = vec![self.header.frame(&batch[0], 0, self.limit)];
            let smaller = frames[0].len();
            if smaller >= size {
                return Err(error);
            }
            size = smaller;
        }
        self.header.sent(frames.len() as u32);
        Ok(frames.len())
    }
}
