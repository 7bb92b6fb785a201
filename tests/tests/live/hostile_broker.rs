//! Tests of a broker that sends more than it may, before the handshake and after it. The reader stays small and says
//! why it ends.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use supervisor_tests::supervisor_bin;

const INFO: &str = "INFO {\"server_id\":\"x\",\"server_name\":\"x\",\"version\":\"2.10.0\",\"go\":\"\",\"host\":\"\",\
                    \"port\":1,\"headers\":true,\"max_payload\":99999999999,\"proto\":1,\"jetstream\":true}\r\n";
/// The peak memory of a reader. Of the bytes of these brokers it holds one line at most.
const MOST_KIB: u64 = 64 << 10;
/// In this time, a reader without limits would take hundreds of megabytes.
const ANSWER: &str = "5s";
/// The time between two samples of its memory. The kernel keeps the peak, so only growth after the last sample is
/// missed.
const SAMPLE: Duration = Duration::from_millis(2);

/// Sends the same bytes until the other side hangs up.
fn flood(stream: &mut TcpStream, begin: &str) {
    let block = vec![b'x'; 64 << 10];
    if stream.write_all(begin.as_bytes()).is_ok() {
        while stream.write_all(&block).is_ok() {}
    }
}

/// Accepts a client.
fn handshake(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(INFO.as_bytes())?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while !line.starts_with("PING") {
        line.clear();
        ensure!(reader.read_line(&mut line)? > 0, "the client has hung up");
    }
    Ok(stream.write_all(b"PONG\r\n")?)
}

/// The number of `  1234 kB`.
fn kib(field: &str) -> Option<u64> {
    field.split_whitespace().next()?.parse().ok()
}

/// The output of `supervisor ps --from` about a broker, and its peak memory, in KiB.
fn read_from(broker: impl Fn(&mut TcpStream) + Send + 'static) -> Result<(String, u64)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("nats://{}", listener.local_addr()?);
    // The broker answers only after the first memory sample. On a busy machine the child could otherwise end before it.
    let (first_sample, begin) = mpsc::channel::<()>();
    // This thread ends with this program.
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            begin.recv().ok();
            broker(&mut stream);
        }
    });
    let started = Instant::now();
    let mut child = Command::new(supervisor_bin()?)
        .args(["ps", "--from", &url, "--nats-timeout", ANSWER])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    // `ru_maxrss` of the child would also count the memory of this program: `setmax_mm_hiwater_rss()` in `exec_mmap()`.
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak = None;
    let mut first_sample = Some(first_sample);
    let status = loop {
        // The child is ours and we have not waited for it, so the pid is still its own. A zombie has no memory and no
        // such line.
        let now = fs::read_to_string(&status_file)?;
        peak = peak.max(now.lines().find_map(|line| line.strip_prefix("VmHWM:")).and_then(kib));
        first_sample.take();
        if let Some(status) = child.try_wait()? {
            break status;
        }
        thread::sleep(SAMPLE);
    };
    let mut said = String::new();
    child.stderr.take().context("no pipe")?.read_to_string(&mut said)?;
    ensure!(status.code() == Some(3), "{status}: {said}");
    ensure!(started.elapsed() < Duration::from_secs(10), "it took {:?}: {said}", started.elapsed());
    Ok((said, peak.context("its memory was never seen")?))
}

#[test]
fn an_endless_line_is_refused_before_the_handshake_and_after_it() -> Result<()> {
    for (begin, is_let_in) in
        [("INFO {\"server_id\":\"", false), ("INFO {\"server_id\":\"", true), ("+OK", true)]
    {
        let (said, kib) = read_from(move |stream| {
            if !is_let_in || handshake(stream).is_ok() {
                flood(stream, begin);
            }
        })?;
        ensure!(said.contains("protocol line longer than 64 KiB"), "{begin}: {said}");
        ensure!(kib < MOST_KIB, "{begin}: {kib} KiB");
    }
    Ok(())
}

#[test]
fn a_message_that_is_too_large_is_refused() -> Result<()> {
    for line in ["MSG a 1 99999999999\r\n", "HMSG a 1 12 99999999999\r\n"] {
        let (said, kib) = read_from(move |stream| {
            if handshake(stream).is_ok() {
                flood(stream, line);
            }
        })?;
        ensure!(said.contains("message larger than 2 MiB"), "{line}: {said}");
        ensure!(kib < MOST_KIB, "{line}: {kib} KiB");
    }
    Ok(())
}

#[test]
fn a_server_that_is_no_broker_is_refused() -> Result<()> {
    let (said, _) = read_from(|stream| drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")))?;
    ensure!(said.contains("no NATS broker"), "{said}");
    Ok(())
}
