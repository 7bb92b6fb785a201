use std::os::unix::net::UnixDatagram;

use anyhow::Result;

use super::*;
use crate::{
    config::JournaldConfig,
    sink::{JournaldSink, message::Head},
};

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

const LIMIT: Duration = Duration::from_secs(20);

fn message() -> Message {
    let head = Head {
        id: String::new(),
        action: String::new(),
        at: jiff::Timestamp::UNIX_EPOCH,
        severity: 1,
        finding: None,
        is_news: true,
        sentence: String::new(),
    };
    let payload: Arc<[u8]> = vec![b'x'; 8 << 10].into();
    Message { head, ecs: Arc::clone(&payload), payload }
}

/// A sink for the journal, with its socket at this path and room for seven messages.
fn worker(socket: &Path) -> SinkWorker {
    let journald = JournaldConfig { socket: socket.to_owned() };
    let place = Destination::Journald(JournaldSink::open(&journald).unwrap());
    let buffer = supervisor_model::values::Bytes(64 << 10);
    let config = SinkConfig { buffer, journald: Some(journald), stdout: None, ..SinkConfig::to_stdout() };
    SinkWorker::start("out", &config, place, Path::new("/nonexistent"), watch::channel(false).1).unwrap()
}

/// Puts messages in until one is dropped. Returns how many were dropped, and how many of them because the sink failed.
fn drops(worker: &mut SinkWorker) -> DropCount {
    let begun = Instant::now();
    while worker.unreported().all == 0 {
        assert!(begun.elapsed() < LIMIT, "nothing is dropped");
        block_on(async {
            worker.push(&message()).await;
            Ok(())
        })
        .unwrap();
    }
    worker.unreported()
}

#[test]
fn the_drops_of_a_sink_that_is_down_count_as_failed() {
    let dir = tempfile::tempdir().unwrap();
    let mut worker = worker(&dir.path().join("socket"));
    worker.try_push(&message());
    let begun = Instant::now();
    while worker.stats().failures == 0 {
        assert!(begun.elapsed() < LIMIT, "the delivery does not fail");
        std::thread::yield_now();
    }
    assert_eq!(drops(&mut worker), DropCount { all: 1, failed: 1 });
    worker.reported(DropCount { all: 1, failed: 1 });
    assert_eq!(worker.unreported(), DropCount::default());
    worker.missed(3);
    assert_eq!(worker.unreported(), DropCount { all: 3, failed: 3 });
}

#[test]
fn the_drops_of_a_slow_sink_do_not_count_as_failed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    // The socket takes as many messages as its queue has room for.
    let _socket = UnixDatagram::bind(&path).unwrap();
    assert_eq!(drops(&mut worker(&path)), DropCount { all: 1, failed: 0 });
}
