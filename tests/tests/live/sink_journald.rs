//! Tests of the journald sink with systemd's own journal. The test starts the journal with its own files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use supervisor_deliver::{
    config::JournaldConfig,
    sink::{JournaldSink, Message},
};
use supervisor_lab::{Owned, until};
use supervisor_tests::{WAIT_LIMIT, end_by, hostile, recorded};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const JOURNALD: &str = "/lib/systemd/systemd-journald";
/// The journal drops nothing, and receives only the entries of the test.
const CONFIG: &str = "[Journal]
Storage=volatile
ReadKMsg=no
Audit=no
RateLimitIntervalSec=0
RateLimitBurst=0
ForwardToSyslog=no
";
/// In its own mount namespace, the journal sees files of the test as the system's files.
const START: &str = r#"mount --bind "$0/run" /run
mount --bind "$0/machine-id" /etc/machine-id
mount --bind "$0/journald.conf" /etc/systemd/journald.conf
exec "$1""#;

/// A journal, and the process that writes it.
struct Journal {
    dir: TempDir,
    process: Option<Owned>,
}

impl Journal {
    fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        fs::create_dir_all(dir.path().join("run/systemd/journal"))?;
        fs::write(dir.path().join("machine-id"), "0123456789abcdef0123456789abcdef\n")?;
        fs::write(dir.path().join("journald.conf"), CONFIG)?;
        let mut journal = Self { dir, process: None };
        journal.restart()?;
        Ok(journal)
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("run/systemd/journal/socket")
    }

    fn stop(&mut self) -> Result<()> {
        end_by(Signal::TERM, &mut self.process, WAIT_LIMIT)
    }

    fn restart(&mut self) -> Result<()> {
        self.stop()?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec", START]);
        command.arg(self.dir.path()).arg(JOURNALD).stdin(Stdio::null());
        let process = self.process.insert(Owned::start(&mut command)?);
        let socket = self.dir.path().join("run/systemd/journal/socket");
        until("the journal to listen", WAIT_LIMIT, || {
            ensure!(process.child().try_wait()?.is_none(), "{JOURNALD} cannot be started here");
            let probe = std::os::unix::net::UnixDatagram::unbound()?;
            Ok(probe.connect(&socket).is_ok().then_some(()))
        })
    }

    /// The entries that the agent made, in order, as `journalctl` shows them.
    fn entries(&self) -> Result<Vec<Value>> {
        let output = Command::new("journalctl")
            .arg("--directory")
            .arg(self.dir.path().join("run/log/journal"))
            .args(["--output=json", "--all", "--no-pager", "SYSLOG_IDENTIFIER=supervisor"])
            .output()?;
        ensure!(output.status.success(), "journalctl: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    fn wait_for(&self, count: usize) -> Result<Vec<Value>> {
        until(&format!("{count} entries"), WAIT_LIMIT, || {
            // There may be no file yet, or one that is being written.
            Ok(self.entries().ok().filter(|entries| entries.len() >= count))
        })
    }
}

/// A field's bytes: `journalctl` shows those that are not printable as numbers.
fn bytes(entry: &Value, name: &str) -> Result<Vec<u8>> {
    match entry.get(name).with_context(|| format!("{name} is missing in {entry}"))? {
        Value::String(text) => Ok(text.clone().into_bytes()),
        Value::Array(list) => list.iter().map(|it| Ok(it.as_u64().context("no byte")?.try_into()?)).collect(),
        other => anyhow::bail!("{name} is {other}"),
    }
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

fn open(socket: &Path) -> Result<JournaldSink> {
    Ok(JournaldSink::open(&JournaldConfig { socket: socket.to_owned() })?)
}

/// Fails if an entry is not this message, whole.
fn compare(entry: &Value, message: &Message) -> Result<()> {
    let head = &message.head;
    let severity = head.syslog_severity().to_string();
    for (name, value) in [
        ("MESSAGE", head.sentence.as_bytes()),
        ("PRIORITY", severity.as_bytes()),
        ("SUPERVISOR_ACTION", head.action.as_bytes()),
        ("SUPERVISOR_ID", head.id.as_bytes()),
        ("SUPERVISOR_EVENT", &message.payload),
    ] {
        ensure!(bytes(entry, name)? == value, "{name} is another one in {entry}");
    }
    match &head.finding {
        Some(finding) => {
            assert_eq!(bytes(entry, "SUPERVISOR_FINDING")?, finding.id.as_bytes());
            assert_eq!(bytes(entry, "SUPERVISOR_FINDING_OPEN")?, if finding.is_open { b"1" } else { b"0" });
        }
        None => ensure!(entry.get("SUPERVISOR_FINDING").is_none()),
    }
    Ok(())
}

#[test]
fn every_event_is_an_entry_with_its_fields() -> Result<()> {
    let mut journal = Journal::start()?;
    let mut sink = open(&journal.socket())?;
    let runtime = runtime()?;
    let mut messages = recorded()?;
    messages.extend(hostile()?);
    // Text for people has several lines. An entry that fits into no datagram is sent as a file in memory.
    let mut text = messages[0].clone();
    text.payload = b"first\n  second\n\nlast".as_slice().into();
    let mut long = messages[1].clone();
    long.payload = Arc::from(vec![b'y'; 5 << 20]);
    messages.extend([text, long]);
    let delivered = runtime.block_on(sink.deliver(&messages));
    ensure!(delivered.error.is_none() && delivered.count == messages.len(), "{delivered:?}");
    let entries = journal.wait_for(messages.len())?;
    assert_eq!(entries.len(), messages.len());
    for (entry, message) in entries.iter().zip(&messages) {
        compare(entry, message)?;
    }

    // While the journal does not run, there is an error. When it runs again, the same sink goes on.
    journal.stop()?;
    let delivered = runtime.block_on(sink.deliver(&messages[..2]));
    assert_eq!(delivered.count, 0);
    let error = delivered.error.context("delivered to nobody")?.to_string();
    ensure!(error.contains("sending to the journal at") && error.contains("refused"), "{error}");
    journal.restart()?;
    let delivered = runtime.block_on(sink.deliver(&messages[..2]));
    ensure!(delivered.error.is_none(), "{delivered:?}");
    let entries = journal.wait_for(messages.len() + 2)?;
    compare(&entries[messages.len() + 1], &messages[1])?;
    journal.stop()
}

#[test]
fn a_socket_that_is_not_there_is_an_error_with_its_name() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("socket");
    let mut sink = open(&socket)?;
    let delivered = runtime()?.block_on(sink.deliver(&recorded()?[..1]));
    let error = delivered.error.context("delivered to nowhere")?.to_string();
    ensure!(error.contains(&socket.display().to_string()) && error.contains("No such file"), "{error}");
    Ok(())
}
