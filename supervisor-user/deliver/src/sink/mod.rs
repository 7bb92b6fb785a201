//! The sinks: one file for each kind of destination. [`worker`] has the parts that all sinks share: buffers and
//! repeated attempts.

mod datagram;
mod file;
#[doc(hidden)]
pub mod fuzz;
mod journald;
pub mod message;
pub mod nats;
mod queue;
mod shorten;
mod spool;
mod stdout;
mod syslog;
mod unix;
pub mod worker;

use std::{collections::HashSet, future, io, path::Path};

use supervisor_model::words::clean;
use supervisor_render::Context;

use crate::{config::SinkConfig, say::say};

pub use file::FileSink;
pub use journald::JournaldSink;
pub use message::{FindingState, Head, Message};
pub use nats::NatsSink;
pub use stdout::StdoutSink;
pub use syslog::SyslogSink;
pub use unix::UnixSink;
pub use worker::{DropCount, SinkWorker, Stats, Stop};

/// A destination of events.
#[derive(Debug)]
pub enum Destination {
    /// Standard output.
    Stdout(StdoutSink),
    /// A file.
    File(FileSink),
    /// A Unix stream socket.
    Unix(UnixSink),
    /// A syslog server.
    Syslog(SyslogSink),
    /// systemd's journal.
    Journald(JournaldSink),
    /// NATS `JetStream`.
    Nats(Box<NatsSink>),
}

impl Destination {
    /// Opens the destination that a configuration names. It is no error if the destination is only unavailable now.
    ///
    /// # Errors
    ///
    /// If nothing can ever be written there.
    pub fn open(config: &SinkConfig, cluster: &str, context: &Context) -> Result<Self, SinkError> {
        let SinkConfig { stdout, file, unix, syslog, journald, nats, .. } = config;
        if stdout.is_some() {
            return Ok(Self::Stdout(StdoutSink::default()));
        }
        if let Some(file) = file {
            return FileSink::open(file).map(Self::File);
        }
        if let Some(unix) = unix {
            return UnixSink::open(unix).map(Self::Unix);
        }
        if let Some(syslog) = syslog {
            return SyslogSink::open(syslog, &context.host.hostname).map(Self::Syslog);
        }
        if let Some(journald) = journald {
            return JournaldSink::open(journald).map(Self::Journald);
        }
        if let Some(nats) = nats {
            return Ok(Self::Nats(Box::new(NatsSink::open(nats, cluster, &context.host)?)));
        }
        Err(SinkError::NoPlace)
    }

    /// Delivers messages, in order, up to the first that cannot be delivered.
    async fn deliver(&mut self, batch: &[Message]) -> Delivered {
        match self {
            Self::Stdout(sink) => sink.deliver(batch),
            Self::File(sink) => sink.deliver(batch),
            Self::Unix(sink) => sink.deliver(batch).await,
            Self::Syslog(sink) => sink.deliver(batch).await,
            Self::Journald(sink) => sink.deliver(batch).await,
            Self::Nats(sink) => sink.deliver(batch).await,
        }
    }

    /// Does its work between deliveries. It can be dropped at any time, and is called again.
    async fn serve(&mut self) {
        match self {
            Self::File(sink) => sink.serve().await,
            Self::Unix(sink) => sink.serve().await,
            Self::Nats(sink) => sink.serve().await,
            Self::Stdout(_) | Self::Syslog(_) | Self::Journald(_) => future::pending().await,
        }
    }

    /// Lets readers take their waiting events, for a moment, before the destination is dropped.
    async fn finish(&mut self) {
        if let Self::Unix(sink) = self {
            sink.finish().await;
        }
    }

    /// Makes a destination that keeps open findings forget those that are not open any more. `open` has the ids of the
    /// open ones. Returns the ids that the destination should have and does not have.
    async fn retain(&mut self, open: &HashSet<String>) -> Result<Vec<String>, SinkError> {
        match self {
            Self::Nats(sink) => sink.retain(open).await,
            _ => Ok(Vec::new()),
        }
    }

    /// Whether the destination has lost its open findings. It reports a loss once.
    fn take_list_lost(&mut self) -> bool {
        if let Self::Nats(sink) = self { sink.take_list_lost() } else { false }
    }

    /// Whether the destination knows that nothing can be delivered now, even if there is nothing to deliver.
    fn is_down(&self) -> bool {
        if let Self::Nats(sink) = self { sink.is_down() } else { false }
    }

    /// Readers that were too slow and were cut off.
    fn cut_off(&self) -> u64 {
        match self {
            Self::Unix(sink) => sink.cut_off(),
            Self::Stdout(_) | Self::File(_) | Self::Syslog(_) | Self::Journald(_) | Self::Nats(_) => 0,
        }
    }
}

/// How many bytes wait in the spool in a directory. A directory without a spool has none.
///
/// # Errors
///
/// If the directory cannot be read.
pub fn waiting(dir: &Path) -> io::Result<u64> {
    spool::waiting(dir)
}

/// The result of delivering a batch of messages.
#[derive(Debug)]
pub struct Delivered {
    /// How many messages from the beginning are safe, in order. The sink does not get them again.
    pub count: usize,
    /// Why it stopped there. The rest is tried again, later.
    pub error: Option<SinkError>,
}

/// Why a message could not be delivered, in one sentence: what failed, and why.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The destination could not be reached, or did not take the message.
    #[error("{what}: {why}")]
    Unavailable {
        /// What was tried, with the name of the destination.
        what: String,
        /// What the destination or the kernel reports.
        why: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The configuration names no destination.
    #[error("it names no place, such as stdout, file or nats")]
    NoPlace,
    /// Nobody will ever read from there again: a pipe without a reader.
    #[error("the reader of {0} is gone")]
    Closed(String),
}

impl SinkError {
    /// An unavailable destination, with the error that occurred.
    pub fn unavailable(
        what: impl Into<String>,
        why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { what: what.into(), why: why.into() }
    }
}

/// Reports a problem that is no failed delivery.
fn warn(what: &str) {
    say(&format!("supervisor: {}", clean(what)));
}
