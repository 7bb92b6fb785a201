//! Tests the text of a scrape after events and snapshots, and the behaviour of the server.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
};

use supervisor_collect::kernel::{MapFill, ProgramRuns};
use supervisor_conclude::conclusions::Conclusions;
use supervisor_deliver::sink::Stats;
use supervisor_ebpf::Counters;
use supervisor_model::{
    clock::Wall,
    event::Loss,
    evidence::sample::{host, incident},
    filter::Filter,
    observation::{Observation, Seen},
};

use super::*;

const S: u64 = 1_000_000_000;
const BUILD: Build = Build { version: "1.2.3", hooks: "tp_btf+iter" };

fn metrics() -> Metrics {
    Metrics::new(BUILD)
}

/// The value of one sample.
fn value<'a>(text: &'a str, sample: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))
}

#[test]
fn a_finding_is_counted_from_open_to_close() {
    let metrics = metrics();
    let mut conclusions = Conclusions::new(host(), S, Filter::default());
    let evidence = incident();
    let id = evidence.id.expect("it is known");
    let exit_ns = evidence.exit_ns.expect("it was seen");
    let seen = Seen::Unreaped { id, existing: false, evidence: Box::new(evidence) };
    for event in conclusions.take(&Observation::at(exit_ns + S, seen)) {
        metrics.observe(&event);
    }
    metrics.set(Snapshot {
        open: OpenFindings::count(conclusions.open(), conclusions.namespaces(), conclusions.exits()),
        ..Snapshot::default()
    });
    let text = metrics.render(Exposition::OpenMetrics).expect("it renders");
    let open = "supervisor_open_findings{family=\"F1\",runtime=\"crun\",state=\"unreaped\"}";
    assert_eq!(value(&text, open), Some("1"), "{text}");
    assert_eq!(value(&text, "supervisor_findings_opened_total{kind=\"zombie\"}"), Some("1"));
    assert_eq!(value(&text, "supervisor_findings_closed_total{kind=\"zombie\"}"), Some("0"));
    assert_eq!(value(&text, "supervisor_findings_opened_total{kind=\"namespace\"}"), Some("0"));

    let reaped = Seen::Reaped { id, free_ns: Some(exit_ns + 7 * S), release: None };
    for event in conclusions.take(&Observation::at(exit_ns + 7 * S, reaped)) {
        metrics.observe(&event);
    }
    metrics.set(Snapshot {
        open: OpenFindings::count(conclusions.open(), conclusions.namespaces(), conclusions.exits()),
        ..Snapshot::default()
    });
    let text = metrics.render(Exposition::OpenMetrics).expect("it renders");
    assert_eq!(value(&text, open), None, "{text}");
    assert_eq!(value(&text, "supervisor_findings_closed_total{kind=\"zombie\"}"), Some("1"));
    assert_eq!(value(&text, "supervisor_dwell_seconds_sum"), Some("7.0"));
    assert_eq!(value(&text, "supervisor_dwell_seconds_bucket{le=\"5.0\"}"), Some("0"));
    assert_eq!(value(&text, "supervisor_dwell_seconds_bucket{le=\"10.0\"}"), Some("1"));
}

/// A snapshot with one of everything.
fn snapshot() -> Snapshot {
    Snapshot {
        counters: Counters { forks: 11, exits: 9, frees: 8, lost_events: 3, ..Counters::default() },
        suppressed: 40,
        sinks: vec![(
            "a \"b\"\\\n".to_owned(),
            Stats { delivered: 6, dropped: 1, is_up: true, waiting_bytes: 512, ..Stats::default() },
        )],
        maps: vec![
            MapFill { name: "UNREAPED", entries: Some(4), max_entries: 65_536 },
            MapFill { name: "EXECS", entries: None, max_entries: 8192 },
        ],
        programs: vec![ProgramRuns {
            name: "sched_process_exit".to_owned(),
            run_time: Duration::from_millis(1500),
            runs: 70,
        }],
        ..Snapshot::default()
    }
}

#[test]
fn a_scrape_renders_the_whole_snapshot() {
    let metrics = metrics();
    let loss = Loss { found: 5, closed: 2, ..Loss::default() };
    metrics.observe(&Event { at_ns: 0, wall: Wall::now(), kind: EventKind::Lost(loss) });
    metrics.set(snapshot());
    let text = metrics.render(Exposition::OpenMetrics).expect("it renders");
    for (sample, expected) in [
        ("supervisor_build_info{version=\"1.2.3\",hooks=\"tp_btf+iter\"}", "1"),
        ("supervisor_forks_total", "11"),
        ("supervisor_exits_total", "9"),
        ("supervisor_reaps_total", "8"),
        ("supervisor_lost_total{kind=\"reap-event\"}", "3"),
        ("supervisor_lost_total{kind=\"exit\"}", "0"),
        ("supervisor_events_suppressed_total", "40"),
        ("supervisor_resync_found_total", "5"),
        ("supervisor_resync_closed_total", "2"),
        ("supervisor_sink_delivered_total{sink=\"a \\\"b\\\"\\\\\\n\"}", "6"),
        ("supervisor_sink_waiting_bytes{sink=\"a \\\"b\\\"\\\\\\n\"}", "512"),
        ("supervisor_sink_up{sink=\"a \\\"b\\\"\\\\\\n\"}", "1"),
        ("supervisor_map_entries{map=\"UNREAPED\"}", "4"),
        ("supervisor_map_max_entries{map=\"EXECS\"}", "8192"),
        ("supervisor_bpf_run_time_seconds_total{program=\"sched_process_exit\"}", "1.5"),
        ("supervisor_bpf_runs_total{program=\"sched_process_exit\"}", "70"),
    ] {
        assert_eq!(value(&text, sample), Some(expected), "{sample} in {text}");
    }
    assert_eq!(value(&text, "supervisor_map_entries{map=\"EXECS\"}"), None, "not known is absent");
    let memory = value(&text, "supervisor_resident_memory_bytes").expect("it is known");
    assert!(memory.parse::<u64>().expect("a number") > 1024 * 1024, "{memory}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn the_book_names_every_metric_and_the_alerts_name_only_existing_ones() {
    let metrics = metrics();
    metrics.set(snapshot());
    let text = metrics.render(Exposition::Classic).expect("it renders");
    let names: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let mentioned = |text: &'static str| -> BTreeSet<&'static str> {
        text.split(|c: char| !c.is_ascii_lowercase() && c != '_')
            .filter(|word| word.starts_with("supervisor_"))
            .collect()
    };
    let book = mentioned(include_str!("../../../docs/metrics.md"));
    assert_eq!(book, names, "docs/metrics.md");
    let alerts = mentioned(include_str!("../../../deploy/prometheus-rules.yml"));
    assert!(alerts.is_subset(&names), "{:?}", alerts.difference(&names));
}

#[test]
fn runtimes_without_a_known_name_share_one_label() {
    let mut conclusions = Conclusions::new(host(), S, Filter::default());
    let mut finding = conclusions.explain(&incident());
    finding.runtime.as_mut().expect("it is known").name = "chosen by a process".to_owned();
    let other = finding.clone();
    finding.runtime = None;
    finding.diagnosis.family = None;
    let open = OpenFindings::count([&other, &other, &finding], [], []);
    let counts: Vec<_> = open.iter().collect();
    assert_eq!(counts, [(["F1", "other", "unreaped"], 2), (["unknown", "none", "unreaped"], 1)]);
}

/// Sends bytes and returns the answer.
fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
    // The server may close the connection before it has read all of a wrong request.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).expect("text")
}

fn get(address: SocketAddr, path: &str, more: &str) -> (String, String) {
    let answer = ask(address, format!("GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n").as_bytes());
    let (head, body) =
        answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {path}: {answer}"));
    (head.to_ascii_lowercase(), body.to_owned())
}

fn start(metrics: Metrics) -> (Server, Arc<Metrics>) {
    let metrics = Arc::new(metrics);
    let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), Arc::clone(&metrics)).expect("a free port");
    (server, metrics)
}

#[test]
fn the_server_answers_by_path_and_format() {
    let (server, metrics) = start(metrics());
    let address = server.address();
    let (head, body) =
        get(address, "/metrics", "Accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n");
    assert!(head.starts_with("http/1.1 200") && head.contains("application/openmetrics-text"), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    let (head, body) = get(address, "/metrics", "");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("# TYPE supervisor_exits_total counter\nsupervisor_exits_total 0\n"), "{body}");

    assert!(get(address, "/healthz", "").0.starts_with("http/1.1 200"), "it has just been started");
    assert!(get(address, "/readyz", "").0.starts_with("http/1.1 503"), "nothing is attached");
    metrics.set(Snapshot::default());
    assert!(get(address, "/readyz", "").0.starts_with("http/1.1 200"));
    assert!(get(address, "/", "").0.starts_with("http/1.1 404"));
    assert!(get(address, "/metrics/", "").0.starts_with("http/1.1 404"));
    assert!(
        ask(address, b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            .starts_with("HTTP/1.1 405")
    );

    if let Some(long_ago) = Instant::now().checked_sub(STALE + Duration::from_secs(2)) {
        lock(&metrics.state).at = long_ago;
        for path in ["/healthz", "/readyz"] {
            let (head, body) = get(address, path, "");
            assert!(
                head.starts_with("http/1.1 503") && body.contains("has not ticked for 17 s"),
                "{head} {body}"
            );
        }
        assert!(get(address, "/metrics", "").0.starts_with("http/1.1 200"), "they say how old they are");
    }
    drop(server);
    TcpStream::connect(address).expect_err("nobody listens any more");
}

/// The server answers requests that have arrived before their connections make room for newer ones.
#[test]
fn every_request_of_a_burst_is_answered() {
    let (server, _metrics) = start(metrics());
    let burst: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address()).expect("it listens");
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
            stream
        })
        .collect();
    for mut stream in burst {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[test]
fn slow_clients_and_large_requests_keep_nobody_out() {
    let (server, _metrics) = start(metrics());
    let address = server.address();
    let mut idle: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = TcpStream::connect(address).expect("it listens");
            stream.write_all(b"GET /met").expect("sent");
            stream
        })
        .collect();
    let before = Instant::now();
    assert!(get(address, "/healthz", "").0.starts_with("http/1.1 200"));
    assert!(before.elapsed() < Duration::from_secs(5), "it waited for the slow ones");
    // The oldest connection had to make room.
    let first = &mut idle[0];
    first.set_read_timeout(Some(Duration::from_secs(5))).expect("a time");
    let ended = first.read(&mut [0; 16]);
    assert!(
        matches!(ended, Ok(0))
            || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
    );

    let large = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(64 * 1024));
    assert!(!ask(address, large.as_bytes()).contains("200 OK"), "a head of 64 KiB");
    let many = "X: y\r\n".repeat(1000);
    assert!(!ask(address, format!("GET /metrics HTTP/1.1\r\n{many}\r\n").as_bytes()).contains("200 OK"));
    assert!(get(address, "/metrics", "").0.starts_with("http/1.1 200"));
}
