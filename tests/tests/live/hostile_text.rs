//! Tests of an attacker's names and arguments that would begin another metric, subject, frame or field. The agent has
//! all destinations whose syntax has these.

use std::{
    net::UdpSocket,
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use supervisor_tests::{Agent, Besieged, Broker, Den, Event, Fixture};

const LIMIT: Duration = Duration::from_secs(30);
/// This text would be a line of metrics, a field of the journal, or a frame of syslog. It also ends labels and
/// subjects.
const HOSTILE: &str = "x\"}\n666 .*>\nINJECTED=1\n<13>1 - - - - -\r\n\u{1b}]0;\u{202e}\\";

/// A zombie of the attacker whose file, name and arguments are hostile.
fn zombie(den: &Den) -> Result<(Fixture, u32)> {
    // A name has no slash, and the kernel keeps 15 bytes of it.
    let program = den.path(HOSTILE)?;
    supervisor_lab::copy_program("/bin/false", &program)?;
    let fixture = den.attack(&["spawns", &program, HOSTILE, "supervisor_injected 666\n"])?;
    let pid = fixture.fact("zombie")?.pid("pid")?;
    Ok((fixture, pid))
}

/// The datagram about a process.
fn datagram(mut receive: impl FnMut(&mut [u8]) -> std::io::Result<usize>, pid: u32) -> Result<Vec<u8>> {
    let (mut datagram, about) = (vec![0; 1 << 20], format!("\"pid\":{pid},"));
    loop {
        let length = receive(&mut datagram)?;
        if String::from_utf8_lossy(&datagram[..length]).contains(&about) {
            return Ok(datagram[..length].to_vec());
        }
    }
}

/// The names of the fields of a journal entry in its native protocol.
fn field_names(entry: &[u8]) -> Result<Vec<String>> {
    let (mut names, mut rest) = (Vec::new(), entry);
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').context("a line without an end")?;
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        let (name, behind) = if let Some(equals) = line.iter().position(|byte| *byte == b'=') {
            (&line[..equals], after)
        } else {
            // A value with newlines: its length, the value, and a newline.
            let (length, value) = after.split_first_chunk().context("no length")?;
            (line, value.get(u64::from_le_bytes(*length) as usize + 1..).context("a cut value")?)
        };
        names.push(String::from_utf8(name.to_vec())?);
        rest = behind;
    }
    Ok(names)
}

/// Fails unless each line of the metrics is a comment, or a name with labels and a number.
fn are_metrics(text: &str) -> Result<()> {
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').with_context(|| format!("no metric: {line:?}"))?;
        let is_named = name.starts_with("supervisor_") || name.starts_with("process_");
        ensure!(is_named && value.parse::<f64>().is_ok(), "no metric: {line:?}");
        ensure!(!name.contains("injected") && !name.contains("666"), "it was injected: {line:?}");
    }
    Ok(())
}

#[test]
fn no_name_begins_a_metric_a_subject_a_frame_or_a_field() -> Result<()> {
    let den = Den::new(env!("CARGO_BIN_EXE_fixture"))?;
    let dir = tempfile::tempdir()?;
    let broker = Broker::start()?;
    let syslog = UdpSocket::bind("127.0.0.1:0")?;
    let journal = UnixDatagram::bind(dir.path().join("journal.sock"))?;
    syslog.set_read_timeout(Some(LIMIT))?;
    journal.set_read_timeout(Some(LIMIT))?;
    let sinks = format!(
        "[sinks.syslog.syslog]\naddress = \"udp:{}\"\n\
         [sinks.journal.journald]\nsocket = \"{}/journal.sock\"\n[sinks.siem.nats]\nservers = [\"{}\"]\n",
        syslog.local_addr()?,
        dir.path().display(),
        broker.url()
    );
    // The host's configured name goes into subjects and frames too.
    let host = "[host]\nname = \"a b.*>\\n<13>1\\\"}\"\n";
    let agent = Besieged::of(|config| Agent::start_in(dir.path(), &format!("{config}{sinks}{host}")))?;
    let (attacker, pid) = zombie(&den)?;
    let found = agent.reports(pid, LIMIT)?;
    ensure!(
        found.get("process.args").is_some_and(|args| args.to_string().contains("INJECTED")),
        "{}",
        found.0
    );
    ensure!(!found.text("message")?.contains(char::is_control), "{}", found.0);

    are_metrics(&agent.metrics()?)?;
    let frame = String::from_utf8(datagram(|block| syslog.recv(block), pid)?)?;
    let (header, json) = frame.split_at(frame.find('{').context("a frame without JSON")?);
    ensure!(!header.contains(['\n', '\r']) && header.split(' ').count() >= 7, "{header:?}");
    ensure!(!json.trim_end().contains('\n'), "more than one line: {json:?}");
    Event(serde_json::from_str(json)?).pid("process.pid")?;

    let names = field_names(&datagram(|block| journal.recv(block), pid)?)?;
    ensure!(names.iter().all(|name| name != "INJECTED"), "{names:?}");
    let is_field = |name: &String| {
        name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_') && !name.is_empty()
    };
    ensure!(names.iter().all(is_field), "{names:?}");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let deadline = Instant::now() + LIMIT;
    let stored = loop {
        let stored = runtime.block_on(broker.stored("SUPERVISOR"))?;
        if stored.iter().any(|message| Event(message.payload.clone()).is_about(pid)) {
            break stored;
        }
        ensure!(Instant::now() < deadline, "it does not come to the broker");
    };
    for subject in stored.iter().map(|message| &message.subject) {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        ensure!(subject.chars().all(is_plain), "{subject:?}");
    }
    attacker.end()?;
    agent.agent.stop()?;
    Ok(())
}
