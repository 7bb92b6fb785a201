//! Tests that the real Prometheus scrapes an agent, and that its counters agree with the events.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result};
use supervisor_lab::until;
use supervisor_tests::{Agent, Fixture, Prometheus, WAIT_LIMIT, http_get, promtool};

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/prometheus-rules.yml");

#[test]
fn prometheus_counts_what_happened() -> Result<()> {
    // A name of its own excludes the zombies of other tests and of the host from the counts.
    let dir = tempfile::tempdir()?;
    let name = format!("prom-{}", std::process::id());
    let program = dir.path().join(&name);
    supervisor_lab::copy_program(env!("CARGO_BIN_EXE_fixture"), &program)?;
    let program = program.to_str().context("a plain path")?;
    let mut agent = Agent::start(&format!(
        "[filter]\ncomm = \"{name}\"\n[metrics]\nlisten = \"127.0.0.1:0\"\nbpf_stats = true\n\
         [sinks.out]\npolicy = \"block\"\n[sinks.out.stdout]\n"
    ))?;
    let target = agent.hears("metrics are at http://")?;
    let target: SocketAddr = target.strip_suffix("/metrics").context("no address")?.parse()?;
    for path in ["/healthz", "/readyz"] {
        until(&format!("{path} to be good"), WAIT_LIMIT, || {
            let (head, _) = http_get(target, path, "*/*")?;
            Ok(head.starts_with("HTTP/1.0 200").then_some(()))
        })?;
    }
    let prometheus = Prometheus::start(target, Path::new(RULES))?;
    prometheus.wait_for("up", 1.0)?;
    prometheus.wait_for(r#"supervisor_findings_opened_total{kind="zombie"}"#, 0.0)?;
    let exits_before = prometheus.value("supervisor_exits_total")?;
    let reaps_before = prometheus.value("supervisor_reaps_total")?;

    let (opened, closed) = (5, 3);
    let mut reaps = Fixture::start(program, &["never-wait", &closed.to_string()])?;
    let keeps = Fixture::start(program, &["never-wait", &(opened - closed).to_string()])?;
    prometheus.wait_for(r#"supervisor_findings_opened_total{kind="zombie"}"#, opened.into())?;
    let open = r#"sum(supervisor_open_findings{family="F4",runtime="none",state="unreaped"})"#;
    prometheus.wait_for(open, opened.into())?;
    for _ in 0..closed {
        reaps.fact("zombie")?;
    }
    reaps.send("reap")?;
    reaps.fact("reaped")?;
    prometheus.wait_for(r#"supervisor_findings_closed_total{kind="zombie"}"#, closed.into())?;
    prometheus.wait_for(open, (opened - closed).into())?;
    prometheus.wait_for("sum(supervisor_open_findings)", (opened - closed).into())?;
    prometheus.wait_for("supervisor_dwell_seconds_count", closed.into())?;
    let dwell = prometheus.value("supervisor_dwell_seconds_sum")?;
    assert!(dwell > f64::from(closed), "each was unreaped for longer than the grace period: {dwell} s");
    prometheus.wait_for(r#"supervisor_findings_opened_total{kind="namespace"}"#, 0.0)?;

    // The sink's count of delivered events equals the lines of output.
    let mut lines = 0;
    until("all events to come out, and to be counted", WAIT_LIMIT, || {
        while agent.event(Duration::ZERO)?.is_some() {
            lines += 1;
        }
        let delivered = prometheus.query(r#"supervisor_sink_delivered_total{sink="out"}"#)?;
        Ok((lines >= opened + closed && delivered == Some(lines.into())).then_some(()))
    })
    .with_context(|| format!("{lines} events came out"))?;
    for (expression, value) in [
        (r#"supervisor_sink_dropped_total{sink="out"}"#, 0.0),
        (r#"supervisor_sink_waiting_events{sink="out"}"#, 0.0),
        (r#"supervisor_sink_up{sink="out"}"#, 1.0),
        (r#"supervisor_map_max_entries{map="UNREAPED"}"#, 65_536.0),
        ("supervisor_tick_age_seconds < bool 5", 1.0),
        (r#"supervisor_map_entries{map="UNREAPED"} >= bool 2"#, 1.0),
        (r#"supervisor_bpf_runs_total{program="sched_process_exit"} >= bool 5"#, 1.0),
        (r#"supervisor_bpf_run_time_seconds_total{program="sched_process_exit"} > bool 0"#, 1.0),
        ("supervisor_cpu_seconds_total > bool 0", 1.0),
        ("supervisor_resident_memory_bytes > bool 1e6", 1.0),
        ("supervisor_build_info", 1.0),
    ] {
        prometheus.wait_for(expression, value)?;
    }

    let (head, text) = http_get(target, "/metrics", "*/*")?;
    assert!(head.contains("text/plain"), "{head}");
    let complaints = promtool(&["check", "metrics"], &text)?;
    assert_eq!(complaints, "", "{text}");
    promtool(&["check", "rules", RULES], "")?;
    assert!(prometheus.rules_are_evaluated()? >= 9);

    let exits = prometheus.value("supervisor_exits_total")?;
    let reaps_seen = prometheus.value("supervisor_reaps_total")?;
    assert!(exits >= exits_before + f64::from(opened), "{exits_before} to {exits}");
    assert!(reaps_seen >= reaps_before + f64::from(closed), "{reaps_before} to {reaps_seen}");
    reaps.end()?;
    keeps.end()?;
    let said = agent.stop()?;
    let counted = said.iter().find_map(|line| line.strip_prefix("counted: ")).context("no counts")?;
    let counted = counted.split_whitespace().find_map(|it| it.strip_prefix("exits=")).context("no exits")?;
    assert!(
        exits <= counted.parse::<f64>()?,
        "the last scrape cannot have seen more than the end: {counted}"
    );
    Ok(())
}
