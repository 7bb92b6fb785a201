//! Sends events to systemd's journal, in its native protocol: fields with values of any bytes.

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::AsFd as _,
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::{Delivered, Message, SinkError, datagram::Datagrams};
use crate::config::JournaldConfig;

/// The journal.
#[derive(Debug)]
pub struct JournaldSink {
    name: String,
    datagrams: Datagrams,
}

impl JournaldSink {
    /// Does no I/O: the socket is connected when there is something to deliver.
    ///
    /// # Errors
    ///
    /// If the socket's path is not absolute.
    pub fn open(config: &JournaldConfig) -> Result<Self, SinkError> {
        let name = config.socket.display().to_string();
        if !config.socket.is_absolute() {
            return Err(SinkError::unavailable(name, "the journal's socket must be an absolute path"));
        }
        Ok(Self { name, datagrams: Datagrams::to(&config.socket) })
    }

    /// Hands the messages to the journal. Counted messages are in its socket: the journal does not acknowledge them.
    pub async fn deliver(&mut self, batch: &[Message]) -> Delivered {
        for (count, message) in batch.iter().enumerate() {
            if let Err(error) = self.send(&entry(message)).await {
                let what = format!("sending to the journal at {}", self.name);
                return Delivered { count, error: Some(SinkError::unavailable(what, error)) };
            }
        }
        Delivered { count: batch.len(), error: None }
    }

    async fn send(&mut self, entry: &[u8]) -> io::Result<()> {
        match self.datagrams.send(entry).await {
            // The kernel's limit for a datagram depends on its settings. A file has no limit that an entry could reach.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMSGSIZE | libc::ENOBUFS)) => {
                self.datagrams.send_file(sealed(entry)?.as_fd()).await
            }
            result => result,
        }
    }
}

/// A file in memory that nobody can change any more: the journal takes no other file.
fn sealed(entry: &[u8]) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("supervisor-event", flags)?);
    file.write_all(entry)?;
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(file)
}

/// The fields of one entry.
pub(super) fn entry(message: &Message) -> Vec<u8> {
    let head = &message.head;
    let mut entry = Vec::with_capacity(message.payload.len() + 512);
    let mut field = |name: &str, value: &[u8]| {
        entry.extend_from_slice(name.as_bytes());
        if value.contains(&b'\n') {
            entry.push(b'\n');
            entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            entry.push(b'=');
        }
        entry.extend_from_slice(value);
        entry.push(b'\n');
    };
    field("MESSAGE", head.sentence.as_bytes());
    field("PRIORITY", head.syslog_severity().to_string().as_bytes());
    field("SYSLOG_IDENTIFIER", b"supervisor");
    field("SUPERVISOR_ID", head.id.as_bytes());
    field("SUPERVISOR_ACTION", head.action.as_bytes());
    field("SUPERVISOR_TIMESTAMP", head.at.to_string().as_bytes());
    if let Some(finding) = &head.finding {
        field("SUPERVISOR_FINDING", finding.id.as_bytes());
        field("SUPERVISOR_FINDING_OPEN", if finding.is_open { b"1" } else { b"0" });
    }
    field("SUPERVISOR_EVENT", &message.payload);
    entry
}
