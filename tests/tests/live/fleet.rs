//! Tests of `supervisor ps --from` and `supervisor watch --from`: all nodes that report to one broker, and those that
//! have stopped reporting.

use std::{
    net::TcpListener,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::kv::Store;
use rustix::process::Signal;
use serde_json::{Value, json};
use supervisor_collect::host::{Host as _, Proc};
use supervisor_deliver::{config::NatsConfig, sink::NatsSink};
use supervisor_lab::{Lines, Owned, until};
use supervisor_tests::{Agent, Broker, WAIT_LIMIT, fixture, freeze, supervisor_bin};

mod list;

/// A node is stale after three of these. That is longer than a busy machine keeps an agent from running.
const HEARTBEAT: &str = "3s";

/// The output of `ps --from`.
struct Listed {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn ps(broker: &Broker, options: &[&str]) -> Result<Listed> {
    let mut command = Command::new(supervisor_bin()?);
    command.args(["ps", "--from", &broker.url(), "--nats-timeout", "30s"]).args(options).stdin(Stdio::null());
    let output = command.output()?;
    Ok(Listed {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
}

impl Listed {
    /// The lines that have all these words.
    fn with(&self, words: &[&str]) -> usize {
        self.stdout.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }
}

fn agent(broker: &Broker, name: &str) -> Result<Agent> {
    let url = broker.url();
    Agent::start(&format!(
        r#"
grace = "300ms"
cluster = "lab"
[host]
name = "{name}.example.com"
id = "id-of-{name}"
[sinks.siem]
nats = {{ servers = ["{url}"], heartbeat = "{HEARTBEAT}" }}
"#
    ))
}

#[test]
#[expect(clippy::too_many_lines, reason = "one scenario in its order")]
fn two_nodes_are_shown_and_one_that_dies_turns_stale() -> Result<()> {
    let broker = Broker::start()?;
    let missing = ps(&broker, &[])?;
    assert_eq!(missing.code, Some(3), "{}", missing.stderr);
    assert!(missing.stderr.contains("no bucket"), "{}", missing.stderr);

    let _alive = agent(&broker, "node-a")?;
    let mut dying = agent(&broker, "node-b")?;
    let mut fixture = fixture!("never-wait", "1")?;
    let pid = fixture.fact("zombie")?.pid("pid")?.to_string();
    let listed = until("both nodes to show it", WAIT_LIMIT, || {
        let listed = ps(&broker, &["--pid", &pid])?;
        Ok((listed.with(&["fixture", &pid, "reports"]) == 2).then_some(listed))
    })?;
    println!("{}", listed.stdout);
    assert_eq!(listed.code, Some(1));
    for node in ["node-a.example.com", "node-b.example.com"] {
        assert_eq!(listed.with(&[node, &pid, "fixture", "exit 7", "F4", "reports"]), 1, "{}", listed.stdout);
    }

    let one = ps(&broker, &["--pid", &pid, "--host", "node-a.example.com", "-o", "json"])?;
    let [line] = one.stdout.lines().collect::<Vec<_>>()[..] else { panic!("{}", one.stdout) };
    let document: Value = serde_json::from_str(line)?;
    assert_eq!(document.pointer("/host/hostname"), Some(&json!("node-a.example.com")));
    assert_eq!(document.pointer("/host/id"), Some(&json!("id-of-node-a")));
    for (options, code) in [
        (["--reaper", &fixture.pid().to_string()], 1),
        (["--comm", "nothing-has-this-name"], 0),
        (["--host", "node-c"], 3),
        (["--cluster", "elsewhere"], 3),
    ] {
        let listed = ps(&broker, &options)?;
        assert_eq!(listed.code, Some(code), "{options:?}: {}{}", listed.stdout, listed.stderr);
    }

    // Both have seen the same process of the same kernel, and the stream has the events of both.
    for node in ["node-a_example_com", "node-b_example_com"] {
        let openings: Vec<_> = run(broker.stored("SUPERVISOR"))?
            .into_iter()
            .filter(|it| {
                ["detected", "existing"]
                    .map(|how| format!("supervisor.lab.{node}.zombie-{how}"))
                    .contains(&it.subject)
            })
            .filter(|it| it.payload.pointer("/process/pid").map(Value::to_string) == Some(pid.clone()))
            .collect();
        assert_eq!(openings.len(), 1, "{node}: {openings:?}");
        assert!(openings[0].id.starts_with(&format!("lab.{node}.")), "{}", openings[0].id);
    }

    let watch = Watch::start(&broker, &["--pid", &pid])?;
    let begun = watch.stderr.next("the watch to begin", WAIT_LIMIT)?.context("it ended")?;
    assert!(begun.starts_with("watching"), "{begun}");
    for node in ["node-a_example_com", "node-b_example_com"] {
        let line = watch.stdout.next("what is open", WAIT_LIMIT)?.context("the watch ended")?;
        assert!(line.contains(&format!("lab/{node}  zombie-existing")) && line.contains(&pid), "{line}");
    }

    let json = Watch::start(&broker, &["--pid", &pid, "--host", "node-b.example.com", "-o", "json"])?;
    let line = json.stdout.next("what is open", WAIT_LIMIT)?.context("the watch ended")?;
    assert_eq!(
        serde_json::from_str::<Value>(&line)?.pointer("/host/hostname"),
        Some(&json!("node-b.example.com"))
    );

    dying.kill()?;
    json.says("supervisor: cluster lab: node node-b.example.com is stale since 20")?;
    let line = watch.hears("lab/node-b_example_com  node-stale")?;
    assert!(line.contains("node node-b.example.com is stale since 20"), "{line}");
    let listed = until("node-b to turn stale", WAIT_LIMIT, || {
        let listed = ps(&broker, &["--pid", &pid])?;
        Ok((listed.with(&["stale"]) > 0).then_some(listed))
    })?;
    println!("{}", listed.stdout);
    assert_eq!(listed.with(&["node-b.example.com", &pid, "stale, last contact"]), 1, "{}", listed.stdout);
    assert_eq!(listed.with(&["node-a.example.com", &pid, "reports"]), 1, "{}", listed.stdout);

    fixture.send("reap")?;
    fixture.fact("reaped")?;
    fixture.end()?;
    let line = watch.hears("lab/node-a_example_com  zombie-reaped")?;
    assert!(line.contains(&pid), "{line}");
    let listed = until("node-a to take it back", WAIT_LIMIT, || {
        let listed = ps(&broker, &["--pid", &pid])?;
        Ok((listed.with(&["node-a"]) == 0).then_some(listed))
    })?;
    // Its last report stays, and is marked.
    assert_eq!((listed.code, listed.with(&["node-b", &pid, "stale"])), (Some(1), 1), "{}", listed.stdout);
    // A node that is stale is not healthy, even if no finding matches.
    let listed = ps(&broker, &["--comm", "nothing-has-this-name"])?;
    assert_eq!(
        (listed.code, listed.with(&["node-b.example.com", "stale"])),
        (Some(1), 1),
        "{}",
        listed.stdout
    );

    let _again = agent(&broker, "node-b")?;
    let line = watch.hears("lab/node-b_example_com  node-reports")?;
    assert!(line.contains("node node-b.example.com reports again"), "{line}");
    Ok(())
}

/// `watch --from`.
struct Watch {
    process: Owned,
    stdout: Lines,
    stderr: Lines,
}

impl Watch {
    fn start(broker: &Broker, options: &[&str]) -> Result<Self> {
        let mut command = Command::new(supervisor_bin()?);
        command.args(["watch", "--from", &broker.url(), "--nats-timeout", "10s"]).args(options);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Owned::start(&mut command)?;
        let child = process.child();
        let (stdout, stderr) = child.stdout.take().zip(child.stderr.take()).context("it has no pipes")?;
        Ok(Self { process, stdout: Lines::of(stdout), stderr: Lines::of(stderr) })
    }

    /// Reads on until it has printed this on standard error.
    fn says(&self, words: &str) -> Result<()> {
        loop {
            let line = self.stderr.next(words, WAIT_LIMIT)?;
            if line.with_context(|| format!("it ended before it said {words}"))?.contains(words) {
                return Ok(());
            }
        }
    }

    /// Reads on until a line has this. A node may be slow on a busy machine, and be reported as stale for a moment.
    fn hears(&self, words: &str) -> Result<String> {
        let deadline = Instant::now() + WAIT_LIMIT;
        loop {
            ensure!(Instant::now() < deadline, "other lines came, and not `{words}`");
            let line = self.stdout.next(words, WAIT_LIMIT)?.context("the watch ended")?;
            if line.contains(words) {
                return Ok(line);
            }
        }
    }

    /// Reads the next line, which must have this.
    fn tells(&self, words: &str) -> Result<()> {
        let line = self.stdout.next(words, WAIT_LIMIT)?.context("the watch ended")?;
        ensure!(line.contains(words), "`{words}` is not in: {line}");
        ensure!(!line.contains('\u{1b}'), "{line:?}");
        Ok(())
    }
}

/// Makes the stream, as an agent would.
fn make_stream(broker: &Broker) -> Result<()> {
    run(async {
        let config = async_nats::jetstream::stream::Config {
            name: "SUPERVISOR".to_owned(),
            subjects: vec!["supervisor.>".to_owned()],
            ..Default::default()
        };
        broker.jetstream().await?.create_stream(config).await?;
        Ok(())
    })
}

fn publish(broker: &Broker, payloads: impl IntoIterator<Item = Vec<u8>>) -> Result<()> {
    run(async {
        let jetstream = broker.jetstream().await?;
        for payload in payloads {
            jetstream.publish("supervisor.lab.node.x", payload.into()).await?.await?;
        }
        Ok(())
    })
}

fn numbered(from: u64, to: u64) -> impl Iterator<Item = Vec<u8>> {
    (from..to).map(|number| {
        let event = json!({ "event": { "action": "x" }, "message": format!("event {number}.\u{1b}[2J") });
        event.to_string().into_bytes()
    })
}

fn run<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// The bucket of findings. An agent makes it, because that knows its settings.
async fn bucket(broker: &Broker) -> Result<Store> {
    let config: NatsConfig = serde_json::from_value(json!({ "servers": [broker.url()] }))?;
    let delivered = NatsSink::open(&config, "lab", &Proc::new()?.identity().anonymous())?.deliver(&[]).await;
    ensure!(delivered.error.is_none(), "{:?}", delivered.error);
    Ok(broker.jetstream().await?.get_key_value("supervisor-findings").await?)
}

fn heartbeat(host: &str, ns: u64) -> Value {
    json!({
        "@timestamp": "2026-01-01T00:00:00Z",
        "host": { "hostname": host },
        "agent": { "version": "1" },
        "supervisor": { "heartbeat_ns": ns },
    })
}

#[test]
fn the_data_of_a_hostile_node_is_harmless() -> Result<()> {
    let broker = Broker::start()?;
    let hostile = "a\n\u{1b}[2J\u{202e}\u{0}\"".repeat(2000);
    run(async {
        let bucket = bucket(&broker).await?;
        bucket.purge("lab.anonymous").await?;
        let document = json!({
            "@timestamp": "2026-01-01T00:00:00Z",
            "process": { "pid": 7, "name": hostile, "end": "9999-12-30T00:00:00Z" },
            "container": { "id": hostile },
            "supervisor": {
                "finding": { "kind": "zombie" },
                "family": { "id": hostile },
                "reaper": { "pid": 1, "name": hostile },
            },
        });
        // It pretends to be another node, and gives itself a heartbeat that never becomes stale.
        for (key, value) in [
            ("lab.evil", heartbeat("innocent", u64::MAX)),
            ("lab.evil.1", document),
            ("lab.evil.2", json!({ "process": { "pid": -1 } })),
            ("lab.evil.3", json!(["\u{1b}"])),
            ("lab.evil.4.5", json!({})),
            ("other", json!({})),
        ] {
            bucket.put(key, serde_json::to_vec(&value)?.into()).await?;
        }
        bucket.put("lab.evil.6", vec![0xff; 900_000].into()).await?;
        Ok(())
    })?;
    let listed = ps(&broker, &[])?;
    assert_eq!(listed.code, Some(1), "{}", listed.stderr);
    assert_eq!(listed.stdout.lines().count(), 2, "{}", listed.stdout);
    assert!(listed.stdout.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", listed.stdout);
    assert!(!listed.stdout.contains('\u{202e}') && !listed.stdout.contains("innocent"), "{}", listed.stdout);
    assert!(listed.stdout.lines().all(|line| line.chars().count() < 500), "{}", listed.stdout);
    assert!(listed.stderr.contains("5 entries"), "{}", listed.stderr);
    let raw = ps(&broker, &["-o", "json"])?;
    assert_eq!(raw.stdout.lines().count(), 1);
    for options in [&[][..], &["-o", "json"]] {
        let watch = Watch::start(&broker, options)?;
        watch.says("5 entries")?;
        let line = watch.stdout.next("what is open", WAIT_LIMIT)?.context("the watch ended")?;
        assert!(!line.chars().any(char::is_control) && !line.contains("innocent"), "{line:?}");
        assert_eq!(serde_json::from_str::<Value>(&line).is_ok(), !options.is_empty(), "{line}");
    }
    assert!(serde_json::from_str::<Value>(&raw.stdout).is_ok());
    Ok(())
}

#[test]
fn an_agent_without_events_says_that_its_broker_is_gone() -> Result<()> {
    let mut broker = Broker::start()?;
    let mut agent = agent(&broker, "node-a")?;
    until("the node to report", WAIT_LIMIT, || {
        Ok(ps(&broker, &["--comm", "nothing-has-this-name"])?
            .stderr
            .contains("nodes that report: 1")
            .then_some(()))
    })?;
    broker.kill()?;
    // By chance, it may have an event of another zombie on this host.
    let said = agent.hears("supervisor: ")?;
    assert!(said.contains("NATS 127.0.0.1"), "{said}");
    broker.restart()?;
    until("the node to report again", WAIT_LIMIT, || {
        Ok(ps(&broker, &["--comm", "nothing-has-this-name"])?
            .stderr
            .contains("nodes that report: 1")
            .then_some(()))
    })?;
    Ok(())
}

#[test]
fn a_watch_leaves_nothing_out_when_the_broker_is_killed() -> Result<()> {
    let mut broker = Broker::start()?;
    make_stream(&broker)?;
    publish(&broker, numbered(0, 3))?;
    let watch = Watch::start(&broker, &[])?;
    watch.says("watching")?;
    publish(&broker, numbered(3, 203))?;
    broker.kill()?;
    watch.says("trying again")?;
    broker.restart()?;
    publish(&broker, numbered(203, 303))?;
    for number in 3..303 {
        watch.tells(&format!("lab/node  x  event {number}."))?;
    }
    Ok(())
}

#[test]
fn a_watch_says_what_the_broker_has_dropped_and_reads_a_new_stream_from_its_beginning() -> Result<()> {
    let mut broker = Broker::start()?;
    make_stream(&broker)?;
    publish(&broker, numbered(0, 3))?;
    let mut watch = Watch::start(&broker, &[])?;
    watch.says("watching")?;
    publish(&broker, numbered(3, 5))?;
    watch.tells("event 3.")?;
    watch.tells("event 4.")?;

    // Seven of ten are removed before the broker is back.
    broker.kill()?;
    watch.says("trying again")?;
    freeze(&mut watch.process)?;
    broker.restart()?;
    publish(&broker, numbered(5, 15))?;
    run(async {
        let stream = broker.jetstream().await?.get_stream("SUPERVISOR").await?;
        stream.purge().sequence(13).await?;
        Ok(())
    })?;
    watch.process.signal(Signal::CONT)?;
    watch.says("7 events of stream SUPERVISOR are not reported")?;
    for number in 12..15 {
        watch.tells(&format!("event {number}."))?;
    }

    // No event of the new stream was printed yet. The new stream has first fewer and then more events than the old one.
    for count in [4, 40] {
        freeze(&mut watch.process)?;
        broker.wipe()?;
        make_stream(&broker)?;
        publish(&broker, numbered(100, 100 + count))?;
        watch.process.signal(Signal::CONT)?;
        for number in 100..100 + count {
            watch.tells(&format!("event {number}."))?;
        }
    }
    Ok(())
}

#[test]
fn a_filter_passes_losses_and_counts_unreadable_events() -> Result<()> {
    let broker = Broker::start()?;
    make_stream(&broker)?;
    let mut watch = Watch::start(&broker, &["--pid", "7"])?;
    watch.says("watching")?;
    let zombie = |pid: u32| {
        json!({
            "@timestamp": "2026-01-01T00:00:00Z", "ecs": { "version": "9" }, "message": format!("zombie {pid}"),
            "process": { "pid": pid, "name": "x" }, "supervisor": { "finding": { "kind": "zombie" } },
        })
    };
    let loss =
        json!({ "ecs": { "version": "9" }, "message": "a loss", "supervisor": { "loss": { "exits": 3 } } });
    let ocsf = json!({ "class_uid": 2004, "message": "in OCSF", "finding_info": { "uid": "x" } });
    let all = [zombie(8), ocsf.clone(), loss, ocsf, json!("text"), zombie(7)];
    publish(&broker, all.map(|it| it.to_string().into_bytes()))?;
    watch.tells("a loss")?;
    watch.tells("zombie 7")?;
    watch.says("events of lab/node are in another format than ECS and cannot be filtered")?;
    watch.process.signal(Signal::INT)?;
    watch.says("3 events of another format were left out")
}

#[test]
fn a_server_that_never_answers_is_named_and_blocks_nobody() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let place = listener.local_addr()?.to_string();
    for name in ["ps", "watch"] {
        let mut command = Command::new(supervisor_bin()?);
        command.args([name, "--from", &format!("nats://{place}"), "--nats-timeout", "500ms"]);
        let mut process = Owned::start(command.stdin(Stdio::null()).stderr(Stdio::piped()))?;
        let stderr = Lines::of(process.child().stderr.take().context("it has no pipe")?);
        let mut said = String::new();
        while let Some(line) = stderr.next("it to end", WAIT_LIMIT)? {
            said.push_str(&line);
        }
        assert_eq!(process.end(WAIT_LIMIT)?.code(), Some(3), "{said}");
        assert!(said.contains(&place) && said.contains("timed out"), "{said}");
    }
    Ok(())
}

#[test]
fn lost_and_suppressed_findings_are_listed_again() -> Result<()> {
    let mut broker = Broker::start()?;
    let url = broker.url();
    let agent = Agent::start(&format!(
        "grace = \"300ms\"\ncluster = \"lab\"\n[host]\nname = \"node-w\"\n[flood]\nper_reaper = 2\nper = \"1h\"\n\
         [sinks.siem]\nnats = {{ servers = [\"{url}\"], heartbeat = \"400ms\" }}\n"
    ))?;
    let mut fixture = fixture!("never-wait", "5")?;
    let reaper = fixture.pid().to_string();
    let lists = |broker: &Broker, count: usize| {
        until(&format!("{count} of node-w"), WAIT_LIMIT, || {
            let listed = ps(broker, &["--reaper", &reaper])?.with(&["node-w", "fixture"]);
            Ok((listed == count).then_some(()))
        })
    };
    // First the list has only the events that passed the flood limit. Once the broker has lost them, it has all open
    // findings.
    lists(&broker, 2)?;
    broker.wipe()?;
    lists(&broker, 5)?;
    fixture.send("reap")?;
    lists(&broker, 0)?;
    fixture.end()?;
    agent.stop()?;
    Ok(())
}
