//! A broker that sends more than it may: before the handshake and after it, what reads it stays small and says why it
//! ends.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use supervisor_tests::supervisor_bin;

const INFO: &str = "INFO {\"server_id\":\"x\",\"server_name\":\"x\",\"version\":\"2.10.0\",\"go\":\"\",\"host\":\"\",\
                    \"port\":1,\"headers\":true,\"max_payload\":99999999999,\"proto\":1,\"jetstream\":true}\r\n";
/// What a reader may use at most: of these brokers' bytes it holds a line at most.
const MOST_KIB: i64 = 64 << 10;
/// Long enough for a reader without limits to take hundreds of megabytes.
const ANSWER: &str = "5s";

/// Sends the same until the other side hangs up.
fn flood(stream: &mut TcpStream, begin: &str) {
    let block = vec![b'x'; 64 << 10];
    if stream.write_all(begin.as_bytes()).is_ok() {
        while stream.write_all(&block).is_ok() {}
    }
}

/// Lets a client in.
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

/// What `supervisor ps --from` says of a broker, and how much memory it has used at most, in KiB.
fn read_from(broker: impl Fn(&mut TcpStream) + Send + 'static) -> Result<(String, i64)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("nats://{}", listener.local_addr()?);
    // It ends with this program.
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
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
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().context("no pipe")?, &mut said)?;
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: it is our child and nobody else waits for it; both pointers are valid for writes.
    let pid = unsafe { libc::wait4(child.id().cast_signed(), &raw mut status, 0, usage.as_mut_ptr()) };
    ensure!(pid == child.id().cast_signed(), "wait4: {}", std::io::Error::last_os_error());
    // SAFETY: any bytes are a rusage, and it was zeroed.
    let usage = unsafe { usage.assume_init() };
    ensure!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 3, "status {status}: {said}");
    ensure!(started.elapsed() < Duration::from_secs(10), "it took {:?}: {said}", started.elapsed());
    Ok((said, usage.ru_maxrss))
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
fn what_is_no_broker_is_refused() -> Result<()> {
    let (said, _) = read_from(|stream| drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")))?;
    ensure!(said.contains("no NATS broker"), "{said}");
    Ok(())
}
