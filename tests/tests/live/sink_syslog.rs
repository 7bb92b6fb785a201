//! Tests of the syslog sink with the real rsyslogd. The test starts rsyslogd with its own configuration.

use std::{
    fs,
    io::Read as _,
    net::{TcpListener, UdpSocket},
    os::unix::net::{UnixDatagram, UnixListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use supervisor_deliver::{
    config::{Facility, SyslogConfig},
    sink::{Message, SyslogSink},
};
use supervisor_lab::{Owned, until};
use supervisor_model::values::Bytes;
use supervisor_render::Format;
use supervisor_tests::{
    HOSTILE, WAIT_LIMIT, end_by, hostile, hostile_in, message, octet_counted, recorded, repeated,
};
use supervisor_user::schema::SchemaSubject;
use tempfile::TempDir;
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

/// The host name in the messages.
const HOST: &str = "node-1.example";

/// The server. It writes the messages of each transport into a separate file, in its default format.
struct Rsyslog {
    dir: TempDir,
    udp: u16,
    tcp: u16,
    process: Option<Owned>,
}

impl Rsyslog {
    fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        // The port was free a moment ago. Another process takes it meanwhile only by chance.
        let udp = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        let tcp = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let place = dir.path().display();
        let config = format!(
            r#"global(workDirectory="{place}" maxMessageSize="64k")
module(load="imuxsock" SysSock.Use="off")
module(load="imudp")
module(load="imtcp")
template(name="whole" type="string" string="%pri% %hostname% %app-name% %procid% %msgid% %structured-data% %msg%\n")
ruleset(name="unix") {{ action(type="omfile" file="{place}/unix.out" template="whole") }}
ruleset(name="udp") {{ action(type="omfile" file="{place}/udp.out" template="whole") }}
ruleset(name="tcp") {{ action(type="omfile" file="{place}/tcp.out" template="whole") }}
input(type="imuxsock" Socket="{place}/log" UseSpecialParser="off" ParseHostname="on" ruleset="unix")
input(type="imudp" address="127.0.0.1" port="{udp}" rcvbufSize="16m" ruleset="udp")
input(type="imtcp" address="127.0.0.1" port="{tcp}" ruleset="tcp")
"#
        );
        fs::write(dir.path().join("rsyslog.conf"), config)?;
        let mut server = Self { dir, udp, tcp, process: None };
        server.restart()?;
        Ok(server)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn address(&self, way: &str) -> String {
        match way {
            "unix" => format!("unix:{}", self.path("log").display()),
            "udp" => format!("udp:127.0.0.1:{}", self.udp),
            _ => format!("tcp:localhost:{}", self.tcp),
        }
    }

    fn stop(&mut self) -> Result<()> {
        end_by(Signal::TERM, &mut self.process, WAIT_LIMIT)
    }

    fn restart(&mut self) -> Result<()> {
        self.stop()?;
        let errors = self.path("errors");
        let mut command = Command::new("/usr/sbin/rsyslogd");
        command.arg("-n").arg("-f").arg(self.path("rsyslog.conf")).arg("-i").arg(self.path("pid"));
        command.stdin(Stdio::null()).stderr(fs::File::create(&errors)?);
        let (log, udp, tcp) = (self.path("log"), self.udp, self.tcp);
        let process = self.process.insert(Owned::start(&mut command)?);
        until("rsyslogd to listen", WAIT_LIMIT, || {
            if let Some(status) = process.child().try_wait()? {
                anyhow::bail!("rsyslogd ended with {status}: {}", fs::read_to_string(&errors)?);
            }
            let unix = UnixDatagram::unbound()?.connect(&log);
            let tcp = std::net::TcpStream::connect(("127.0.0.1", tcp));
            // A datagram to a port without a listener is lost. The kernel lists the listeners.
            let udp = fs::read_to_string("/proc/net/udp")?.contains(&format!(" 0100007F:{udp:04X} "));
            Ok((unix.is_ok() && tcp.is_ok() && udp).then_some(()))
        })
    }

    /// The lines that came over one transport.
    fn lines(&self, way: &str, count: usize) -> Result<Vec<Line>> {
        let path = self.path(&format!("{way}.out"));
        let text = until(&format!("{count} messages over {way}"), WAIT_LIMIT, || {
            // The file is not there yet, or it ends within a character.
            let Ok(text) = fs::read_to_string(&path) else { return Ok(None) };
            Ok((text.lines().count() >= count && text.ends_with('\n')).then_some(text))
        })?;
        text.lines().map(Line::parse).collect()
    }
}

/// A message as the server has parsed it.
struct Line {
    pri: String,
    head: String,
    sequence: u64,
    payload: String,
}

impl Line {
    fn parse(line: &str) -> Result<Self> {
        let parse = || {
            let (pri, rest) = line.split_once(' ')?;
            let (head, rest) = rest.split_once(" [meta sequenceId=\"")?;
            let (sequence, payload) = rest.split_once("\"] ")?;
            Some(Self {
                pri: pri.to_owned(),
                head: head.to_owned(),
                sequence: sequence.parse().ok()?,
                payload: payload.to_owned(),
            })
        };
        parse().with_context(|| format!("not understood: {line}"))
    }

    fn event(&self) -> Result<Value> {
        serde_json::from_str(&self.payload).with_context(|| format!("no JSON: {}", self.payload))
    }
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

fn config(address: &str) -> Result<SyslogConfig> {
    let address = address.parse().map_err(anyhow::Error::msg)?;
    Ok(SyslogConfig { address, facility: Facility::default(), max_size: Bytes(64 << 10) })
}

fn sink(address: &str) -> Result<SyslogSink> {
    Ok(SyslogSink::open(&config(address)?, HOST)?)
}

fn deliver(runtime: &Runtime, sink: &mut SyslogSink, messages: &[Message]) -> Result<()> {
    let delivered = runtime.block_on(sink.deliver(messages));
    ensure!(delivered.error.is_none() && delivered.count == messages.len(), "{delivered:?}");
    Ok(())
}

/// One event, with arguments of this many bytes.
fn of_size(args: usize) -> Result<Message> {
    let mut event: Value = serde_json::from_slice(&recorded()?[0].ecs)?;
    event["process"]["args"] = vec!["x".repeat(args / 3); 3].into();
    message(&event)
}

#[test]
fn every_event_arrives_whole_over_each_way() -> Result<()> {
    let (server, runtime) = (Rsyslog::start()?, runtime()?);
    let mut messages = recorded()?;
    messages.extend(hostile()?);
    ensure!(messages.iter().any(|it| it.payload.len() > 32_000), "no event is long");
    let longest = messages.iter().map(|it| it.payload.len()).max();
    ensure!(longest < Some(65_000), "the longest is of {longest:?} bytes");
    for way in ["unix", "udp", "tcp"] {
        let mut sink = sink(&server.address(way))?;
        // Datagrams are not confirmed, so the server gets some time to read them.
        for batch in messages.chunks(20) {
            deliver(&runtime, &mut sink, batch)?;
        }
        let lines = server.lines(way, messages.len())?;
        assert_eq!(lines.len(), messages.len(), "over {way}");
        for (i, (line, message)) in lines.iter().zip(&messages).enumerate() {
            let sent: Value = serde_json::from_slice(&message.payload)?;
            assert_eq!(line.event()?, sent, "over {way}");
            assert_eq!(line.sequence, i as u64 + 1);
            // 3 is `daemon`.
            assert_eq!(line.pri, (3 * 8 + message.head.syslog_severity()).to_string());
            let head = format!("{HOST} supervisor {} {}", std::process::id(), message.head.action);
            assert_eq!(line.head, head, "over {way}");
        }
        ensure!(lines.iter().any(|line| line.event().is_ok_and(|it| it.to_string().contains("\\u0000"))));
    }
    Ok(())
}

#[test]
fn a_large_event_is_shortened_and_says_so() -> Result<()> {
    let (server, runtime) = (Rsyslog::start()?, runtime()?);
    let messages = [of_size(30_000)?, of_size(100_000)?, of_size(60)?];
    for way in ["unix", "udp", "tcp"] {
        deliver(&runtime, &mut sink(&server.address(way))?, &messages)?;
        let lines = server.lines(way, 3)?;
        let events = lines.iter().map(Line::event).collect::<Result<Vec<_>>>()?;
        assert_eq!(events[0], serde_json::from_slice::<Value>(&messages[0].payload)?, "{way}");
        let mut whole: Value = serde_json::from_slice(&messages[1].payload)?;
        let mut short = events[1].clone();
        let left_out = short["supervisor"].as_object_mut().and_then(|it| it.remove("shortened"));
        let left_out = left_out.context("it does not say that it is shortened")?;
        ensure!(left_out.as_array().is_some_and(|it| it.iter().any(|it| it == "process.args")), "{left_out}");
        // The other parts did not change.
        for part in ["message", "event", "host", "container"] {
            assert_eq!(short[part], whole[part]);
        }
        assert_eq!(short["supervisor"]["verdict"], whole["supervisor"]["verdict"]);
        assert_eq!(events[2]["process"], serde_json::from_slice::<Value>(&messages[2].payload)?["process"]);
        whole["process"].as_object_mut().context("no process")?.remove("args");
        assert_eq!(short["process"]["executable"], whole["process"]["executable"]);
    }
    // The smallest frame that is possible: an id, an action and the beginning of the sentence.
    let config = SyslogConfig { max_size: Bytes(480), ..config(&server.address("unix"))? };
    deliver(&runtime, &mut SyslogSink::open(&config, HOST)?, &messages[..1])?;
    let event = server.lines("unix", 4)?[3].event()?;
    let whole: Value = serde_json::from_slice(&messages[0].payload)?;
    assert_eq!(event["supervisor"]["shortened"], serde_json::json!(["*"]));
    for path in ["/supervisor/finding/id", "/event/action", "/@timestamp"] {
        assert_eq!(event.pointer(path), whole.pointer(path));
    }
    Ok(())
}

#[test]
fn a_shortened_event_still_fits_the_schema() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("log");
    let socket = UnixDatagram::bind(&path)?;
    let runtime = runtime()?;
    for (format, subject) in [(Format::Ecs, SchemaSubject::Ecs), (Format::Ocsf, SchemaSubject::Ocsf)] {
        let validator = jsonschema::options().should_validate_formats(true).build(&subject.schema())?;
        let messages = hostile_in(format)?;
        let (mut whole, mut shortened, mut essential) = (0, 0, 0);
        for size in [480, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10] {
            let config =
                SyslogConfig { max_size: Bytes(size), ..config(&format!("unix:{}", path.display()))? };
            // The longest host name that Linux allows.
            let mut sink = SyslogSink::open(&config, &"h".repeat(64))?;
            for message in &messages {
                deliver(&runtime, &mut sink, std::slice::from_ref(message))?;
                let mut frame = vec![0; 1 << 20];
                let length = socket.recv(&mut frame)?;
                ensure!(length as u64 <= size, "{length} bytes are more than {size}");
                ensure!(!frame[..length].contains(&0x7f), "a control character that rsyslog rewrites");
                let frame = std::str::from_utf8(&frame[..length])?;
                let (_, json) = frame.split_once("\"] ").context("no content")?;
                let event: Value = serde_json::from_str(json)?;
                let supervisor = event.get("unmapped").unwrap_or(&event).get("supervisor");
                match supervisor.and_then(|it| it.get("shortened")?.as_array()).map(Vec::as_slice) {
                    Some([all]) if all == "*" => {
                        essential += 1;
                        let paths = match format {
                            Format::Ocsf => ["/finding_info/uid", "/metadata/event_code"],
                            _ => ["/supervisor/finding/id", "/event/action"],
                        };
                        let sent: Value = serde_json::from_slice(&message.payload)?;
                        for path in paths {
                            assert_eq!(event.pointer(path), sent.pointer(path), "{path}: {json}");
                        }
                        continue;
                    }
                    Some(_) => shortened += 1,
                    None => whole += 1,
                }
                let wrong: Vec<String> = validator.iter_errors(&event).map(|it| it.to_string()).collect();
                ensure!(wrong.is_empty(), "{}: {json}", wrong.join("; "));
            }
        }
        ensure!(
            whole > 20 && shortened > 20 && essential > 20,
            "{whole} whole, {shortened} shortened, {essential} essential"
        );
    }
    Ok(())
}

#[test]
fn a_restarted_server_is_found_again() -> Result<()> {
    let (mut server, runtime) = (Rsyslog::start()?, runtime()?);
    let batch = repeated(300)?;
    let ways = ["unix", "tcp"];
    let mut sinks = ways.iter().map(|way| sink(&server.address(way))).collect::<Result<Vec<_>>>()?;
    for (sink, way) in sinks.iter_mut().zip(ways) {
        deliver(&runtime, sink, &batch[..150])?;
        server.lines(way, 150)?;
    }
    server.stop()?;
    for (sink, way) in sinks.iter_mut().zip(ways) {
        let delivered = runtime.block_on(sink.deliver(&batch[150..]));
        assert_eq!(delivered.count, 0, "over {way}");
        let error = delivered.error.context("delivered to nobody")?.to_string();
        ensure!(error.contains("sending to") && error.contains(way), "{error}");
    }
    server.restart()?;
    for (sink, way) in sinks.iter_mut().zip(ways) {
        deliver(&runtime, sink, &batch[150..])?;
        let numbers = server
            .lines(way, 300)?
            .iter()
            .map(|line| line.event()?["event"]["sequence"].as_u64().context("no number"))
            .collect::<Result<Vec<_>>>()?;
        assert_eq!(numbers, (1..=300).collect::<Vec<_>>(), "over {way}");
    }
    Ok(())
}

#[test]
fn a_server_that_takes_nothing_is_an_error_and_not_a_loss() -> Result<()> {
    // The server accepts, and never reads. The buffers in between hold a part.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("tcp:{}", listener.local_addr()?);
    let (mut sink, runtime) = (sink(&address)?, runtime()?);
    let batch = repeated(6000)?;
    let delivered = runtime.block_on(async { timeout(WAIT_LIMIT, sink.deliver(&batch)).await });
    let delivered = delivered.context("it waits for ever for a server that takes nothing")?;
    let error = delivered.error.context("delivered to nobody")?.to_string();
    ensure!(error.contains("it takes nothing more") || error.contains("acknowledges nothing"), "{error}");
    ensure!(delivered.count < batch.len(), "all were delivered");

    // The server closes in the middle. The part that it has not read comes again, and in order.
    let closing = thread::spawn(move || -> Result<(usize, Vec<u8>)> {
        let (stuck, _) = listener.accept()?;
        drop(stuck);
        let (mut first, _) = listener.accept()?;
        let mut block = vec![0; 100_000];
        first.read_exact(&mut block)?;
        drop(first);
        let (mut second, _) = listener.accept()?;
        let mut rest = Vec::new();
        second.read_to_end(&mut rest)?;
        Ok((block.len(), rest))
    });
    let (mut count, deadline) = (0, Instant::now() + WAIT_LIMIT);
    while count < batch.len() {
        ensure!(Instant::now() < deadline, "only {count} were delivered");
        count += runtime.block_on(sink.deliver(&batch[count..])).count;
    }
    drop(sink);
    let (_, rest) = closing.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
    let (events, whole) = octet_counted(&rest)?;
    assert_eq!(whole, rest.len(), "the last frame is cut");
    let numbers = events.iter().map(|it| it.number("event.sequence")).collect::<Result<Vec<_>>>()?;
    let last = *numbers.last().context("nothing came")?;
    assert_eq!(last, 6000);
    ensure!(numbers.is_sorted() && numbers.windows(2).all(|two| two[1] == two[0] + 1), "order or a gap");
    ensure!(numbers[0] <= 40, "it goes on with {}, and 100 kB were read before", numbers[0]);
    Ok(())
}

#[test]
fn a_local_stream_socket_gets_lines() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path: &Path = &dir.path().join("log");
    let listener = UnixListener::bind(path)?;
    let reader = thread::spawn(move || -> Result<String> {
        let mut text = String::new();
        listener.accept()?.0.read_to_string(&mut text)?;
        Ok(text)
    });
    let mut messages = hostile()?;
    messages.truncate(20);
    let mut text = messages[0].clone();
    text.payload = format!("for people {HOSTILE}").into_bytes().into();
    messages.push(text);
    let (mut sink, runtime) = (sink(&format!("unix:{}", path.display()))?, runtime()?);
    deliver(&runtime, &mut sink, &messages)?;
    drop(sink);
    let text = reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    assert_eq!(text.lines().count(), messages.len());
    for (line, message) in text.lines().zip(&messages[..20]) {
        let (_, json) = line.split_once("] ").context("no content")?;
        assert_eq!(serde_json::from_str::<Value>(json)?, serde_json::from_slice::<Value>(&message.payload)?);
    }
    // UTF-8 text is marked, as the RFC requires, and is one line.
    let last = text.lines().last().context("no line")?;
    ensure!(last.contains("] \u{feff}for people a b") && !last.contains('\u{1b}'), "{last}");
    Ok(())
}

#[test]
fn the_snippet_for_rsyslog_is_valid() -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rsyslog.conf");
    let output = Command::new("/usr/sbin/rsyslogd").arg("-N1").arg("-f").arg(file).output()?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.success() && said.lines().all(|line| !line.contains("error")), "{said}");
    Ok(())
}
