//! Tests of the NATS sink with a real broker: the messages that arrive, and the sink's behaviour when the broker is
//! away, silent, or refuses.

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
        fails(&mut sink, &["cannot connect", "refused"]).await
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
fn a_refused_password_is_reported_and_a_corrected_file_gives_access() -> Result<()> {
    let broker = Broker::with(|_| Ok("authorization { user: agent, password: \"a:b c\" }".to_owned()))?;
    let file = broker.dir().join("password");
    let mut config = config(&broker.url());
    config.user_password = Some(file.clone());
    run(async {
        let mut sink = sink(&config)?;
        fails(&mut sink, &["password", "No such file"]).await?;
        fs::write(&file, "agent\n")?;
        fails(&mut sink, &["USER:PASSWORD"]).await?;
        fs::write(&file, "agent:wrong\n")?;
        fails(&mut sink, &["cannot connect", "authorization"]).await?;
        fs::write(&file, "agent:a:b c\n")?;
        deliver_all(&mut sink, &messages(1)).await?;
        Ok(())
    })
}

#[test]
fn a_missing_permission_is_named() -> Result<()> {
    let broker = Broker::with(|_| {
        Ok("authorization { users: [{ user: agent, password: x, permissions: { publish: { deny: \"supervisor.>\" } } }] }"
            .to_owned())
    })?;
    let file = broker.dir().join("password");
    fs::write(&file, "agent:x")?;
    let mut config = config(&broker.url());
    config.user_password = Some(file);
    run(async {
        fails(&mut sink(&config)?, &["Permissions Violation", "supervisor.lab.node1.zombie-detected"]).await
    })
}

#[test]
fn certificates_are_checked_on_both_sides() -> Result<()> {
    let broker = Broker::with(|dir| {
        make_certificates(dir)?;
        let path = |name: &str| dir.join(name).display().to_string();
        let (cert, key, ca) = (path("server.pem"), path("server.key"), path("ca.pem"));
        Ok(format!("tls {{ cert_file: \"{cert}\", key_file: \"{key}\", ca_file: \"{ca}\", verify: true }}"))
    })?;
    let plain = config(&broker.url());
    let with_ca = NatsConfig { tls_ca: Some(broker.dir().join("ca.pem")), ..plain.clone() };
    let with_all = NatsConfig {
        tls_cert: Some(broker.dir().join("client.pem")),
        tls_key: Some(broker.dir().join("client.key")),
        ..with_ca.clone()
    };
    let other_ca = NatsConfig { tls_ca: Some(broker.dir().join("other.pem")), ..with_all.clone() };
    run(async {
        fails(&mut sink(&plain)?, &["cannot connect"]).await?;
        fails(&mut sink(&with_ca)?, &["cannot connect"]).await?;
        fails(&mut sink(&other_ca)?, &["cannot connect", "certificate"]).await?;
        deliver_all(&mut sink(&with_all)?, &messages(5)).await?;
        Ok(())
    })
}

/// The limits of received data also hold for decrypted data.
#[test]
fn a_message_that_is_too_large_is_refused_in_tls_too() -> Result<()> {
    let broker = Broker::with(|dir| {
        make_certificates(dir)?;
        let path = |name: &str| dir.join(name).display().to_string();
        let (cert, key) = (path("server.pem"), path("server.key"));
        Ok(format!("max_payload: 8388608\ntls {{ cert_file: \"{cert}\", key_file: \"{key}\" }}"))
    })?;
    let ca = broker.dir().join("ca.pem");
    let list = || -> Result<(Option<i32>, String)> {
        let mut command = Command::new(supervisor_bin()?);
        command.args(["ps", "--from", &broker.url(), "--nats-tls-ca"]).arg(&ca);
        let output = command.stdin(Stdio::null()).output()?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    run(async {
        let config = NatsConfig { tls_ca: Some(ca.clone()), ..config(&broker.url()) };
        deliver_all(&mut sink(&config)?, &messages(1)).await?;
        let (code, said) = list()?;
        ensure!(code != Some(3), "{said}");
        let options = async_nats::ConnectOptions::new().add_root_certificates(ca.clone());
        let client = options.require_tls(true).connect(broker.url()).await?;
        let bucket = async_nats::jetstream::new(client).get_key_value(BUCKET).await?;
        bucket.put("lab.node1.large", vec![b'x'; 3 << 20].into()).await?;
        let (code, said) = list()?;
        ensure!(code == Some(3) && said.contains("message larger than 2 MiB"), "{code:?}: {said}");
        Ok(())
    })
}

/// An authority with a server and a client, and another authority.
fn make_certificates(dir: &Path) -> Result<()> {
    let openssl = |args: &str| -> Result<()> {
        let output = Command::new("openssl").args(args.split(' ')).current_dir(dir).output()?;
        ensure!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    fs::write(dir.join("server.ext"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")?;
    fs::write(dir.join("client.ext"), "extendedKeyUsage=clientAuth\nbasicConstraints=CA:FALSE\n")?;
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for ca in ["ca", "other"] {
        openssl(&format!("req -x509 {key} -keyout {ca}.key -out {ca}.pem -days 2 -subj /CN={ca}"))?;
    }
    for name in ["server", "client"] {
        openssl(&format!("req -new {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"))?;
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.pem"
        ))?;
    }
    Ok(())
}

#[test]
fn findings_of_an_earlier_boot_and_closed_findings_are_removed() -> Result<()> {
    let broker = Broker::start()?;
    let config = config(&broker.url());
    run(async {
        let open: Vec<Message> = ["a", "b", "c"].map(|id| message(id, true)).into();
        deliver_all(&mut sink(&config)?, &open).await?;
        let mut neighbour = NatsSink::open(&config, "lab", &host("node2", "boot"))?;
        deliver_all(&mut neighbour, &open).await?;
        let neighbours = ["lab.node2", "lab.node2.a", "lab.node2.b", "lab.node2.c"];

        // The same boot: its findings may still be open.
        let mut again = sink(&config)?;
        deliver_all(&mut again, &[message("d", true)]).await?;
        assert_eq!(again.retain(&ids(&["b", "d", "e"])).await?, ["e"]);
        assert_eq!(broker.keys(BUCKET).await?[..3], ["lab.node1", "lab.node1.b", "lab.node1.d"]);

        let mut rebooted = NatsSink::open(&config, "lab", &host("node1", "another boot"))?;
        rebooted.deliver(&[]).await;
        let keys = broker.keys(BUCKET).await?;
        assert_eq!(keys[0], "lab.node1");
        assert_eq!(keys[1..], neighbours);
        Ok(())
    })
}

#[test]
fn a_broker_that_lost_its_store_gets_the_open_findings_again_and_no_old_events() -> Result<()> {
    let mut broker = Broker::start()?;
    run(async {
        let config = config(&broker.url());
        let mut sink = sink(&config)?;
        let mut neighbour = NatsSink::open(&config, "lab", &host("node2", "boot"))?;
        let open = ["a", "b", "c"].map(|id| message(id, true));
        deliver_all(&mut sink, &open).await?;
        neighbour.deliver(&[]).await;
        assert!(sink.take_list_lost(), "it was new");
        assert!(!sink.take_list_lost() && !neighbour.take_list_lost());
        assert!(sink.retain(&ids(&["a", "b", "c"])).await?.is_empty());

        broker.wipe()?;
        deliver_all(&mut sink, &[message("d", true)]).await?;
        assert!(sink.take_list_lost(), "nobody noticed that the list is lost");
        let mut missing = sink.retain(&ids(&["a", "b", "c", "d"])).await?;
        missing.sort();
        assert_eq!(missing, ["a", "b", "c"]);
        // Another client has made it again.
        until_beaten(&mut neighbour).await?;
        assert!(neighbour.take_list_lost());

        let again = open.map(|mut it| {
            it.head.is_news = false;
            it
        });
        deliver_all(&mut sink, &again).await?;
        assert!(sink.retain(&ids(&["a", "b", "c", "d"])).await?.is_empty());
        assert_eq!(sink.retain(&ids(&["a", "c", "d"])).await?, [""; 0]);
        assert_eq!(
            broker.keys(BUCKET).await?,
            ["lab.node1", "lab.node1.a", "lab.node1.c", "lab.node1.d", "lab.node2"]
        );
        let stored = broker.stored(STREAM).await?;
        assert_eq!(stored.iter().map(|it| &it.id).collect::<Vec<_>>(), ["lab.node1.d-zombie-detected"]);
        assert!(!sink.take_list_lost());
        Ok(())
    })
}

/// Serves until a heartbeat has arrived.
async fn until_beaten(sink: &mut NatsSink) -> Result<()> {
    let deadline = Instant::now() + WAIT_LIMIT;
    loop {
        drop(timeout(Duration::from_secs(3), sink.serve()).await);
        if !sink.is_down() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "no heartbeat after {WAIT_LIMIT:?}");
    }
}

#[test]
fn a_sink_that_cannot_send_events_sends_no_heartbeat() -> Result<()> {
    let broker = Broker::start()?;
    run(async {
        let mut sink = sink(&config(&broker.url()))?;
        deliver_all(&mut sink, &messages(1)).await?;
        assert!(!sink.is_down());
        let jetstream = broker.jetstream().await?;
        let stream = jetstream.get_stream(STREAM).await?;
        let mut full = stream.cached_info().config.clone();
        full.max_messages = 2;
        full.discard = async_nats::jetstream::stream::DiscardPolicy::New;
        jetstream.update_stream(&full).await?;

        let new = [message("new", true)];
        // A heartbeat may be due at the first attempt, when the sink does not know yet.
        fails_with(&mut sink, &new, "maximum messages exceeded").await?;
        let bucket = jetstream.get_key_value(BUCKET).await?;
        let last = async || {
            Ok::<_, anyhow::Error>(bucket.entry("lab.node1").await?.context("no heartbeat")?.revision)
        };
        let before = last().await?;
        let end = Instant::now() + Duration::from_millis(300) * 5;
        while Instant::now() < end {
            drop(timeout(Duration::from_millis(200), sink.serve()).await);
            fails_with(&mut sink, &new, "maximum messages exceeded").await?;
            assert!(sink.is_down());
        }
        assert_eq!(last().await?, before, "it says that it reports, and does not");
        // The bucket accepts the change that the stream refuses.
        assert!(broker.keys(BUCKET).await?.contains(&"lab.node1.new".to_owned()));

        full.max_messages = 3;
        jetstream.update_stream(&full).await?;
        assert_eq!(deliver_all(&mut sink, &new).await?, [""; 0]);
        assert!(!sink.is_down());
        assert!(last().await? > before, "it reports again");
        Ok(())
    })
}

/// One delivery that must fail, with an error that says this.
async fn fails_with(sink: &mut NatsSink, batch: &[Message], word: &str) -> Result<()> {
    let delivered = sink.deliver(batch).await;
    let error = delivered.error.context("no error")?.to_string();
    ensure!(delivered.count == 0 && error.contains(word), "{}: {error}", delivered.count);
    Ok(())
}

#[test]
fn values_are_written_again_before_the_bucket_drops_them() -> Result<()> {
    let broker = Broker::start()?;
    let mut config = config(&broker.url());
    config.keep = Time::from_secs(8);
    run(async {
        let mut sink = sink(&config)?;
        deliver_all(&mut sink, &[message("a", true), message("b", true), message("b", false)]).await?;
        let bucket = broker.jetstream().await?.get_key_value(BUCKET).await?;
        let deadline = Instant::now() + WAIT_LIMIT;
        // The mark of the closed finding is younger than the value of the open one. When the broker has removed the
        // mark, it would also have removed the value if the sink had not written that again.
        while bucket.stream.get_info().await?.state.messages > 2 {
            ensure!(Instant::now() < deadline, "the mark of the closed one stays");
            // The engine does the same: it drops `serve` whenever a batch arrives.
            drop(timeout(Duration::from_millis(700), sink.serve()).await);
        }
        assert_eq!(broker.keys(BUCKET).await?, ["lab.node1", "lab.node1.a"]);
        Ok(())
    })
}

#[test]
fn a_bucket_that_changes_meanwhile_is_read_completely_and_the_read_ends() -> Result<()> {
    let broker = Broker::start()?;
    run(async {
        deliver_all(&mut sink(&config(&broker.url()))?, &messages(5)).await?;
        let jetstream = broker.jetstream().await?;
        let writer = tokio::spawn(async move {
            // The same kind of writes as heartbeats and changes of findings.
            for number in (0..).map(|it| it % 5) {
                for key in ["lab.node1".to_owned(), format!("lab.node1.f{number}")] {
                    jetstream.publish(format!("$KV.{BUCKET}.{key}"), "x".into()).await?.await?;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            anyhow::Ok(())
        });
        let access = Access { servers: vec![broker.url()], ..Access::default() };
        let link = Link::open(&access, "test", ANSWER).await?;
        let stream = link.stream(&bucket_stream(BUCKET)).await?.context("no bucket")?;
        let keys = keys_of(BUCKET, None);
        for _ in 0..1000 {
            let mut seen = HashSet::new();
            let reading = link.snapshot(&stream, &keys, |entry| {
                seen.insert(entry.subject.to_owned());
                ControlFlow::Continue(())
            });
            timeout(WAIT_LIMIT, reading).await??;
            assert_eq!(seen.len(), 6);
        }
        ensure!(!writer.is_finished(), "nothing was written meanwhile");
        writer.abort();
        Ok(())
    })
}

/// A busy broker can read what an abandoned connection had sent, after the same from the next one.
#[test]
fn a_late_copy_of_an_opening_does_not_put_a_closed_finding_back() -> Result<()> {
    let broker = Broker::start()?;
    run(async {
        let messages = [message("late", true), message("late", false)];
        deliver_all(&mut sink(&config(&broker.url()))?, &messages).await?;
        let mut next = sink(&config(&broker.url()))?;
        deliver_all(&mut next, &messages[..1]).await?;
        deliver_all(&mut next, &[message("other", true)]).await?;
        assert_eq!(broker.stored(STREAM).await?.len(), 3);
        let keys = broker.keys(BUCKET).await?;
        let has = |finding: &str| keys.contains(&format!("lab.node1.{finding}"));
        ensure!(has("other") && !has("late"), "{keys:?}");
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
fn a_wrong_configuration_is_refused_at_once() -> Result<()> {
    let good = config("nats://localhost");
    for (bad, word) in [
        (NatsConfig { servers: vec!["http://x".to_owned()], ..good.clone() }, "http://x"),
        (NatsConfig { bucket: "a.b".to_owned(), ..good.clone() }, "bucket"),
        (NatsConfig { stream: "a b".to_owned(), ..good.clone() }, "stream"),
        (NatsConfig { heartbeat: Time::from_secs(0), ..good.clone() }, "heartbeat"),
        (NatsConfig { tls_key: Some("key".into()), ..good.clone() }, "certificate"),
    ] {
        let error = sink(&bad).err().context("it was taken")?.to_string();
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
    Ok(())
}

#[test]
fn the_documented_permissions_are_enough() -> Result<()> {
    let rights = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md"))?;
    // The first list is that of the agent.
    let list = rights.split("```text").nth(1).and_then(|it| it.split("```").next()).context("no list")?;
    let (publish, _) = list.split_once("subscribe:").context("no subscribe")?;
    let allowed: Vec<String> = publish
        .replace("publish:", "")
        .replace("<cluster>", "lab")
        .replace("<host>", "node1")
        .split_whitespace()
        .map(|it| format!("\"{it}\""))
        .collect();
    let without_making = allowed[..allowed.len() - 2].join(", ");
    let user = |name: &str, allowed: &str| {
        format!(
            "{{ user: {name}, password: x, permissions: {{ publish: [{allowed}], subscribe: \"_INBOX.>\" }} }}"
        )
    };
    let broker = Broker::with(|_| {
        let users = [user("maker", &allowed.join(", ")), user("agent", &without_making)];
        Ok(format!("authorization {{ users: [{}] }}", users.join(", ")))
    })?;
    let file = broker.dir().join("password");
    let mut config = config(&broker.url());
    config.user_password = Some(file.clone());
    run(async {
        fs::write(&file, "agent:x")?;
        fails(&mut sink(&config)?, &["Permissions Violation", "STREAM.CREATE"]).await?;
        fs::write(&file, "maker:x")?;
        let errors = deliver_all(&mut sink(&config)?, &messages(3)).await?;
        assert_eq!(errors, [""; 0]);
        fs::write(&file, "agent:x")?;
        let mut sink = sink(&config)?;
        assert_eq!(deliver_all(&mut sink, &messages(5)).await?, [""; 0]);
        assert_eq!(sink.retain(&ids(&[])).await?, [""; 0]);
        // It cannot write events of its neighbour.
        let mut other = NatsSink::open(&config, "lab", &host("node2", "boot"))?;
        fails(&mut other, &["Permissions Violation", "node2"]).await
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

#[test]
fn a_credentials_file_gives_access() -> Result<()> {
    let [operator, account, system] =
        [KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account()];
    let user = KeyPair::new_user();
    let unlimited = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
        "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let account_claims = json!({ "type": "account", "version": 2, "limits": unlimited });
    let system_claims = json!({
        "type": "account", "version": 2,
        "limits": { "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1 },
    });
    let operator_claims = json!({ "type": "operator", "version": 2, "system_account": system.public_key() });
    let tokens = [
        token(&operator, &operator, &operator_claims)?,
        token(&operator, &account, &account_claims)?,
        token(&operator, &system, &system_claims)?,
    ];
    let broker = Broker::with(|_| {
        Ok(format!(
            "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {}, {}: {} }}",
            tokens[0],
            system.public_key(),
            account.public_key(),
            tokens[1],
            system.public_key(),
            tokens[2]
        ))
    })?;
    let user_claims =
        json!({ "type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1 });
    let user_token = token(&account, &user, &user_claims)?;
    let credentials = |seed: &KeyPair| -> Result<String> {
        Ok(format!(
            "-----BEGIN NATS USER JWT-----\n{user_token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            seed.seed()?
        ))
    };
    let file = broker.dir().join("agent.creds");
    let mut config = config(&broker.url());
    config.credentials = Some(file.clone());
    run(async {
        let mut sink = sink(&config)?;
        fails(&mut sink, &["agent.creds", "No such file"]).await?;
        fs::write(&file, credentials(&KeyPair::new_user())?)?;
        fails(&mut sink, &["cannot connect", "authorization"]).await?;
        fs::write(&file, credentials(&user)?)?;
        assert_eq!(deliver_all(&mut sink, &messages(2)).await?, [""; 0]);
        Ok(())
    })
}

/// A JSON web token of NATS.
fn token(issuer: &KeyPair, subject: &KeyPair, nats: &serde_json::Value) -> Result<String> {
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let claims = json!({
        "jti": "test", "iat": Timestamp::now().as_second(), "iss": issuer.public_key(), "name": "test",
        "sub": subject.public_key(), "nats": nats,
    });
    let text = format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
    let signature = issuer.sign(text.as_bytes())?;
    Ok(format!("{text}.{}", base64(&signature)))
}

/// Base64 as web tokens have it: without padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for letter in 0..=group.len() {
            text.push(char::from(LETTERS[(bits >> (18 - 6 * letter) & 63) as usize]));
        }
    }
    text
}
