//! Tests of the NATS sink with a real broker: the messages that arrive, and the sink's behaviour when the broker is
//! away, silent, or refuses.

mod access;
mod bucket;

use std::{
    collections::{HashMap, HashSet},
    fs,
    net::TcpListener,
    ops::ControlFlow,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use nkeys::KeyPair;
use serde_json::json;
use supervisor_deliver::{
    config::NatsConfig,
    nats::{Access, Link, bucket_stream, keys_of},
    sink::{FindingState, Head, Message, nats::NatsSink},
};
use supervisor_lab::until;
use supervisor_model::{facts::HostIdentity, values::Time};
use supervisor_tests::{Broker, WAIT_LIMIT, supervisor_bin};
use tokio::time::timeout;

const STREAM: &str = "SUPERVISOR";
const BUCKET: &str = "supervisor-findings";
/// The limit for an answer of the broker in these tests: longer than a busy machine needs, and short enough for the
/// tests in which the broker never answers.
const ANSWER: Duration = Duration::from_secs(5);

fn config(url: &str) -> NatsConfig {
    let mut config: NatsConfig =
        serde_json::from_value(json!({ "servers": [url] })).expect("a server is enough");
    config.ack_timeout = Time(ANSWER);
    config.heartbeat = Time(Duration::from_millis(300));
    config
}

fn host(name: &str, boot: &str) -> HostIdentity {
    HostIdentity {
        id: Some(format!("id of {name}")),
        hostname: name.to_owned(),
        boot_id: boot.to_owned(),
        kernel: "6.1".to_owned(),
        ticks_per_second: 100,
    }
}

fn sink(config: &NatsConfig) -> Result<NatsSink> {
    Ok(NatsSink::open(config, "lab", &host("node1", "boot"))?)
}

/// The opening or closing of a finding.
fn message(finding: &str, is_open: bool) -> Message {
    let action = if is_open { "zombie-detected" } else { "zombie-reaped" };
    let document = json!({
        "event": { "action": action },
        "host": { "boot": { "id": "boot" } },
        "supervisor": { "finding": { "id": finding } },
    });
    let ecs: Vec<u8> = serde_json::to_vec(&document).expect("it is JSON");
    Message {
        head: Head {
            id: format!("{finding}-{action}"),
            action: action.to_owned(),
            at: Timestamp::UNIX_EPOCH,
            severity: 3,
            finding: Some(FindingState { id: finding.to_owned(), is_open }),
            is_news: true,
            sentence: "it is unreaped".to_owned(),
        },
        payload: ecs.clone().into(),
        ecs: ecs.into(),
    }
}

/// The id by which the broker knows the message.
fn known_as(message: &Message) -> String {
    let id: String = message.head.id.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
    format!("lab.node1.{id}")
}

fn ids(ids: &[&str]) -> HashSet<String> {
    ids.iter().map(|&id| id.to_owned()).collect()
}

/// The openings and closings of this many findings.
fn messages(findings: usize) -> Vec<Message> {
    (0..findings).flat_map(|it| [true, false].map(|is_open| message(&format!("f{it}"), is_open))).collect()
}

fn run<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work)
}

/// How many messages a delivery has sent, and how many it may send.
struct Progress {
    delivered: AtomicUsize,
    failed: AtomicUsize,
    allowed: AtomicUsize,
}

/// Delivers all messages as the engine does: it tries failed ones again.
async fn deliver_all(sink: &mut NatsSink, messages: &[Message]) -> Result<Vec<String>> {
    let allowed = AtomicUsize::new(messages.len());
    let progress = Progress { delivered: AtomicUsize::new(0), failed: AtomicUsize::new(0), allowed };
    deliver_by(sink, messages, &progress).await
}

/// The same, up to the allowed number, and records the progress.
async fn deliver_by(sink: &mut NatsSink, messages: &[Message], progress: &Progress) -> Result<Vec<String>> {
    let (deadline, mut errors, mut done) = (Instant::now() + WAIT_LIMIT, Vec::new(), 0);
    while done < messages.len() {
        ensure!(Instant::now() < deadline, "{done} of {} after {WAIT_LIMIT:?}: {errors:?}", messages.len());
        let allowed = progress.allowed.load(Ordering::Relaxed).min(done + 200);
        if allowed == done {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        let delivered = sink.deliver(&messages[done..allowed]).await;
        done += delivered.count;
        progress.delivered.store(done, Ordering::Relaxed);
        if let Some(error) = delivered.error {
            errors.push(error.to_string());
            progress.failed.store(errors.len(), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(errors)
}

/// One delivery that must fail, with an error that says this, and must not wait for ever.
async fn fails(sink: &mut NatsSink, words: &[&str]) -> Result<()> {
    let batch = [message("f", true)];
    let delivered = timeout(WAIT_LIMIT, sink.deliver(&batch)).await.context("it waits for ever")?;
    ensure!(delivered.count == 0, "it was delivered");
    let error = delivered.error.context("no error")?.to_string();
    for word in words {
        ensure!(error.contains(word), "`{word}` is not in: {error}");
    }
    Ok(())
}

#[test]
fn events_arrive_once_in_order_and_the_bucket_has_what_is_open() -> Result<()> {
    let broker = Broker::start()?;
    run(async {
        let mut sink = sink(&config(&broker.url()))?;
        let mut sent = messages(300);
        sent.push(message("open.\r\n* >", true));
        deliver_all(&mut sink, &sent).await?;
        // A restart of the agent sends the last messages again.
        deliver_all(&mut sink, &sent[100..]).await?;

        let stored = broker.stored(STREAM).await?;
        let (ids, expected): (Vec<_>, Vec<_>) =
            (stored.iter().map(|it| it.id.clone()).collect(), sent.iter().map(known_as).collect());
        assert_eq!(ids[..600], expected[..600]);
        assert_eq!(ids.len(), 601);
        assert_eq!(stored[0].subject, "supervisor.lab.node1.zombie-detected");
        assert_eq!(stored[1].subject, "supervisor.lab.node1.zombie-reaped");
        assert_eq!(broker.keys(BUCKET).await?, ["lab.node1", "lab.node1.open______"]);
        Ok(())
    })
}

#[test]
fn no_event_is_lost_or_reordered_after_the_broker_was_killed_twice() -> Result<()> {
    let mut broker = Broker::start()?;
    let url = broker.url();
    let sent = messages(4000);
    let total = sent.len();
    let progress = Arc::new(Progress {
        delivered: AtomicUsize::new(0),
        failed: AtomicUsize::new(0),
        allowed: AtomicUsize::new(total / 2),
    });
    let known = Arc::clone(&progress);
    let agent = thread::spawn(move || {
        run(async {
            let mut sink = sink(&config(&url))?;
            deliver_by(&mut sink, &sent, &known).await
        })
    });
    for part in [total / 4, total / 2] {
        let reaches = |what: &str, number: &AtomicUsize, least: usize| {
            until(what, WAIT_LIMIT, || Ok((number.load(Ordering::Relaxed) >= least).then_some(())))
        };
        reaches("a part to be delivered", &progress.delivered, part)?;
        let failed = progress.failed.load(Ordering::Relaxed);
        broker.kill()?;
        // There were messages left to deliver, however late the broker was killed. They are delivered when it is back.
        progress.allowed.store(part + total / 2, Ordering::Relaxed);
        reaches("its death to be noticed", &progress.failed, failed + 1)?;
        broker.restart()?;
    }
    let errors = agent.join().expect("it does not panic")?;
    println!("{} deliveries failed: {errors:?}", errors.len());
    assert!(errors.len() >= 2, "two deaths were not noticed");
    run(async {
        let stored = broker.stored(STREAM).await?;
        println!("{} stored of {total} sent", stored.len());
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (place, it) in stored.iter().enumerate() {
            seen.entry(&it.id).or_insert(place);
        }
        for it in (0..total / 2).map(|it| format!("f{it}")) {
            let open = seen.get(known_as(&message(&it, true)).as_str()).context("an opening is missing")?;
            let close = seen.get(known_as(&message(&it, false)).as_str()).context("a closing is missing")?;
            assert!(open < close, "{it} was closed before it was opened");
        }
        assert_eq!(broker.keys(BUCKET).await?, ["lab.node1"]);
        Ok(())
    })
}

#[test]
fn a_server_that_never_answers_blocks_nobody() -> Result<()> {
    // The kernel accepts connections, and no program reads from them.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("nats://{}", listener.local_addr()?);
    run(async {
        let mut sink = sink(&config(&url))?;
        fails(&mut sink, &["cannot connect", "127.0.0.1", "timed out"]).await?;
        drop(listener);
        // The kernel resets a connection that it had accepted before. It refuses the next one.
        match fails(&mut sink, &["cannot connect", "refused"]).await {
            Err(_) => fails(&mut sink, &["cannot connect", "refused"]).await,
            ok => ok,
        }
    })
}

#[test]
fn the_sink_reconnects_to_a_broker_that_stops_acknowledging() -> Result<()> {
    let mut broker = Broker::start()?;
    run(async {
        let mut sink = sink(&config(&broker.url()))?;
        deliver_all(&mut sink, &messages(10)).await?;
        broker.freeze()?;
        fails(&mut sink, &["127.0.0.1"]).await?;
        fails(&mut sink, &["cannot connect"]).await?;
        broker.thaw()?;
        deliver_all(&mut sink, &messages(20)).await?;
        let mut ids: Vec<String> = broker.stored(STREAM).await?.into_iter().map(|it| it.id).collect();
        ids.retain(|id| *id != known_as(&message("f", true)));
        assert_eq!(ids, messages(20).iter().map(known_as).collect::<Vec<_>>());
        Ok(())
    })
}

#[test]
fn an_event_that_is_too_large_is_cut_and_stops_nothing() -> Result<()> {
    let broker = Broker::with(|_| Ok("max_payload: 8192".to_owned()))?;
    run(async {
        let mut large = message("large", true);
        let argument = "\u{1b}[31m\"\n\u{202e}".repeat(4000);
        let document = json!({
            "event": { "action": "zombie-detected" },
            "process": { "args": vec![argument; 9] },
            "supervisor": { "finding": { "id": "large" } },
        });
        large.payload = serde_json::to_vec(&document)?.into();
        large.ecs = large.payload.clone();
        deliver_all(&mut sink(&config(&broker.url()))?, &[large, message("next", true)]).await?;
        let stored = broker.stored(STREAM).await?;
        assert_eq!(stored.len(), 2);
        assert_eq!(stored[0].payload.pointer("/supervisor/finding/id"), Some(&json!("large")));
        assert_eq!(broker.keys(BUCKET).await?.len(), 3);
        Ok(())
    })
}

#[test]
fn a_stream_of_deliveries_delays_no_heartbeat() -> Result<()> {
    let broker = Broker::start()?;
    run(async {
        let mut sink = sink(&config(&broker.url()))?;
        deliver_all(&mut sink, &[message("f0", true)]).await?;
        let bucket = broker.jetstream().await?.get_key_value(BUCKET).await?;
        let (deadline, mut number, mut beats) = (Instant::now() + WAIT_LIMIT, 1, HashSet::new());
        // The first heartbeat comes with the connection.
        while beats.len() < 5 {
            ensure!(Instant::now() < deadline, "{} heartbeats among {number} deliveries", beats.len());
            // The engine does the same: it drops `serve` when a batch arrives.
            drop(timeout(Duration::from_millis(1), sink.serve()).await);
            deliver_all(&mut sink, &[message(&format!("f{number}"), true)]).await?;
            number += 1;
            beats.insert(bucket.entry("lab.node1").await?.context("no heartbeat")?.revision);
        }
        assert_eq!(broker.stored(STREAM).await?.len(), number);
        Ok(())
    })
}
