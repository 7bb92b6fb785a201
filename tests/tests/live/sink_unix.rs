//! Tests of the Unix socket sink with real readers: quick ones, and one that never reads.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use supervisor_deliver::{
    config::UnixConfig,
    sink::{Message, UnixSink},
};
use supervisor_model::values::Bytes;
use supervisor_tests::{HOSTILE, WAIT_LIMIT, hostile, recorded, repeated, resident_kib};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

fn config(path: &Path) -> UnixConfig {
    UnixConfig { path: path.to_owned(), reader_buffer: Bytes(256 << 10), max_readers: 4 }
}

/// Serves until there are this many readers.
async fn serve_until(sink: &mut UnixSink, readers: usize) -> Result<()> {
    let deadline = Instant::now() + WAIT_LIMIT;
    while sink.readers() != readers {
        ensure!(Instant::now() < deadline, "there are {} readers, not {readers}", sink.readers());
        // `serve` is dropped and called again, as between batches.
        let _over = tokio::time::timeout(Duration::from_millis(5), sink.serve()).await;
    }
    Ok(())
}

/// Delivers all messages, in batches as the agent does, with time to serve between them.
async fn deliver(sink: &mut UnixSink, messages: &[Message]) -> Result<()> {
    for batch in messages.chunks(50) {
        let delivered = sink.deliver(batch).await;
        ensure!(delivered.error.is_none() && delivered.count == batch.len(), "{delivered:?}");
        let _over = tokio::time::timeout(Duration::from_millis(1), sink.serve()).await;
    }
    Ok(())
}

/// Reads this many lines, in the background.
fn reader(path: &Path, lines: usize) -> Result<JoinHandle<Result<Vec<String>>>> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(WAIT_LIMIT))?;
    Ok(thread::spawn(move || {
        BufReader::new(stream).lines().take(lines).map(|line| Ok(line?)).collect::<Result<Vec<_>>>()
    }))
}

fn lines_of(messages: &[Message]) -> Result<Vec<String>> {
    messages.iter().map(|it| Ok(String::from_utf8(it.payload.to_vec())?)).collect()
}

/// A reader that compares lines in the background, and keeps none of them.
struct Comparing {
    done: Arc<AtomicUsize>,
    thread: JoinHandle<Result<()>>,
}

impl Comparing {
    fn start(path: &Path, expected: &Arc<Vec<String>>) -> Result<Self> {
        let (stream, expected) = (UnixStream::connect(path)?, Arc::clone(expected));
        stream.set_read_timeout(Some(WAIT_LIMIT))?;
        let done = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&done);
        let thread = thread::spawn(move || {
            let mut lines = BufReader::new(stream).lines();
            for (i, expected) in expected.iter().enumerate() {
                let line = lines.next().context("the end, too early")??;
                ensure!(line == *expected, "line {i} is another one: {line}");
                counter.store(i + 1, Ordering::Relaxed);
            }
            Ok(())
        });
        Ok(Self { done, thread })
    }

    /// Whether it has read this many lines. If it cannot go on, `join` returns the reason.
    fn has(&self, lines: usize) -> bool {
        self.thread.is_finished() || self.done.load(Ordering::Relaxed) >= lines
    }
}

/// This test measures the memory of this process.
mod alone {
    use super::*;

    #[test]
    fn one_reader_that_never_reads_costs_the_others_nothing() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("events.sock");
        runtime()?.block_on(async {
            let mut sink = UnixSink::open(&config(&path))?;
            assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o7777, 0o600);
            // No reader is connected, so the sink keeps nothing for later.
            let early = repeated(3)?;
            deliver(&mut sink, &early).await?;
            let messages = repeated(3000)?;
            let size: usize = messages.iter().map(|it| it.payload.len()).sum();
            ensure!(size > 8 << 20, "{size} bytes fit into the buffers");
            let expected = Arc::new(lines_of(&messages)?);
            let quick = [Comparing::start(&path, &expected)?, Comparing::start(&path, &expected)?];
            let mut stuck = UnixStream::connect(&path)?;
            serve_until(&mut sink, 3).await?;

            let before = resident_kib(std::process::id())?;
            // A quick reader has read the last batch before the next one comes, on a busy machine too.
            let (mut sent, deadline) = (0, Instant::now() + WAIT_LIMIT);
            for batch in messages.chunks(50) {
                deliver(&mut sink, batch).await?;
                sent += batch.len();
                while !quick.iter().all(|it| it.has(sent)) {
                    ensure!(Instant::now() < deadline, "the quick readers have not got {sent} events");
                    let _over = tokio::time::timeout(Duration::from_millis(1), sink.serve()).await;
                }
            }
            let after = resident_kib(std::process::id())?;
            // The test holds the messages themselves. The memory for lines that wait for a reader is bounded.
            ensure!(after < before + (4 << 10), "memory grew from {before} to {after} KiB");
            assert_eq!((sink.cut_off(), sink.refused(), sink.readers() <= 2), (1, 0, true));
            for reader in quick {
                reader.thread.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??;
            }
            // The reader that was cut off finds the first events, and then the end.
            let mut rest = String::new();
            let _cut_in_a_character = stuck.read_to_string(&mut rest);
            ensure!(rest.is_empty() || rest.starts_with(&expected[0]), "other events");
            // A new reader gets the events from now on. Before it connects, the sink has to notice that the others have gone.
            serve_until(&mut sink, 0).await?;
            let late = reader(&path, 1)?;
            serve_until(&mut sink, 1).await?;
            deliver(&mut sink, &messages[7..8]).await?;
            let lines = late.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
            assert_eq!(lines, expected[7..8]);
            drop(sink);
            ensure!(!path.exists(), "the socket's file is left");
            Ok(())
        })
    }
}

#[test]
fn waiting_lines_are_read_at_the_end_and_a_silent_reader_delays_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("events.sock");
    runtime()?.block_on(async {
        let mut sink = UnixSink::open(&UnixConfig { reader_buffer: Bytes(64 << 20), ..config(&path) })?;
        let messages = repeated(400)?;
        let expected = Arc::new(lines_of(&messages)?);
        let mut late = UnixStream::connect(&path)?;
        serve_until(&mut sink, 1).await?;
        let size: usize = messages.iter().map(|it| it.payload.len()).sum();
        ensure!(size > 512 << 10, "{size} bytes fit into the kernel's buffer");
        let delivered = sink.deliver(&messages).await;
        ensure!(delivered.error.is_none() && delivered.count == messages.len(), "{delivered:?}");
        // It begins to read only when all events are delivered. Then most of them wait for it.
        late.set_read_timeout(Some(WAIT_LIMIT))?;
        let late = thread::spawn(move || -> Result<String> {
            let mut text = String::new();
            late.read_to_string(&mut text)?;
            Ok(text)
        });
        sink.finish().await;
        drop(sink);
        let text = late.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
        ensure!(text.ends_with('\n') && text.lines().eq(expected.iter()), "{} bytes came", text.len());

        let mut sink = UnixSink::open(&UnixConfig { reader_buffer: Bytes(64 << 20), ..config(&path) })?;
        let _stuck = UnixStream::connect(&path)?;
        serve_until(&mut sink, 1).await?;
        let delivered = sink.deliver(&messages).await;
        ensure!(delivered.error.is_none() && delivered.count == messages.len(), "{delivered:?}");
        let begun = Instant::now();
        let finished = tokio::time::timeout(WAIT_LIMIT, sink.finish()).await;
        finished.context("it waits for ever for one that never reads")?;
        let took = begun.elapsed();
        ensure!(took.as_millis() >= 80, "it gave one that never reads {took:?} only");
        Ok(())
    })
}

#[test]
fn hostile_names_break_no_line() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("events.sock");
    runtime()?.block_on(async {
        let mut sink = UnixSink::open(&UnixConfig { reader_buffer: Bytes(64 << 20), ..config(&path) })?;
        let messages = hostile()?;
        ensure!(messages.iter().any(|it| it.payload.len() > 30_000), "no event is long");
        let all = reader(&path, messages.len())?;
        serve_until(&mut sink, 1).await?;
        deliver(&mut sink, &messages).await?;
        while !all.is_finished() {
            let _over = tokio::time::timeout(Duration::from_millis(5), sink.serve()).await;
        }
        let mut names = 0;
        for line in all.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?? {
            let event: Value = serde_json::from_str(&line)?;
            let args = event["process"]["args"][0].as_str().unwrap_or_default();
            names += usize::from(args.contains(HOSTILE));
        }
        ensure!(names > 10, "{names} names came through as they are");
        Ok(())
    })
}

#[test]
fn excess_readers_are_disconnected_and_silent_readers_stay_until_they_close() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("events.sock");
    runtime()?.block_on(async {
        let mut sink = UnixSink::open(&config(&path))?;
        let mut readers: Vec<UnixStream> =
            (0..4).map(|_| UnixStream::connect(&path)).collect::<Result<_, _>>()?;
        serve_until(&mut sink, 4).await?;
        let mut fifth = UnixStream::connect(&path)?;
        fifth.set_read_timeout(Some(WAIT_LIMIT))?;
        let deadline = Instant::now() + WAIT_LIMIT;
        while sink.refused() == 0 {
            ensure!(Instant::now() < deadline, "the fifth is not sent away");
            let _over = tokio::time::timeout(Duration::from_millis(5), sink.serve()).await;
        }
        assert_eq!((fifth.read(&mut [0; 8])?, sink.refused(), sink.readers()), (0, 1, 4));
        // A reader that closes its sending side still reads, and the sink ignores data that a reader sends.
        readers[0].shutdown(std::net::Shutdown::Write)?;
        readers[1].write_all(&vec![b'x'; 100 << 10])?;
        drop(readers.pop());
        serve_until(&mut sink, 3).await?;
        let batch = &recorded()?[..1];
        deliver(&mut sink, batch).await?;
        for reader in readers.drain(..) {
            reader.set_read_timeout(Some(WAIT_LIMIT))?;
            let mut line = String::new();
            BufReader::new(reader).read_line(&mut line)?;
            assert_eq!(line.trim_end(), std::str::from_utf8(&batch[0].payload)?);
        }
        // They have hung up, so there is space again.
        let again = UnixStream::connect(&path)?;
        serve_until(&mut sink, 1).await?;
        drop(again);
        Ok(())
    })
}

#[test]
fn a_dead_agents_socket_is_replaced_and_a_live_ones_is_not() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("events.sock");
    runtime()?.block_on(async {
        // A killed agent leaves its socket file.
        drop(UnixListener::bind(&path)?);
        ensure!(fs::symlink_metadata(&path)?.file_type().is_socket());
        let first = UnixSink::open(&config(&path))?;
        let error = UnixSink::open(&config(&path)).err().context("two agents have one socket")?.to_string();
        ensure!(
            error.contains("events.sock") && error.contains("a running program listens there"),
            "{error}"
        );
        drop(first);
        ensure!(!path.exists());
        fs::write(&path, "kept")?;
        let error = UnixSink::open(&config(&path)).err().context("a file was replaced")?.to_string();
        ensure!(error.contains("no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path)?, "kept");

        // The directory of the socket is made later, and the file is then deleted.
        let path = dir.path().join("sub/events.sock");
        let mut sink = UnixSink::open(&config(&path))?;
        let batch = &recorded()?[..1];
        let delivered = sink.deliver(batch).await;
        ensure!(delivered.count == 0, "{delivered:?}");
        let error = delivered.error.context("delivered to nowhere")?.to_string();
        ensure!(error.contains("sub/events.sock") && error.contains("No such file"), "{error}");
        fs::create_dir(dir.path().join("sub"))?;
        deliver(&mut sink, batch).await?;
        ensure!(path.exists());
        fs::remove_file(&path)?;
        deliver(&mut sink, batch).await?;
        let one = reader(&path, 1)?;
        serve_until(&mut sink, 1).await?;
        deliver(&mut sink, batch).await?;
        assert_eq!(one.join().map_err(|_| anyhow::anyhow!("it panicked"))??, lines_of(batch)?);
        // The sink does not remove a file that now belongs to another process.
        fs::remove_file(&path)?;
        let _other = UnixListener::bind(&path)?;
        drop(sink);
        ensure!(path.exists(), "another's socket was removed");
        Ok(())
    })
}
