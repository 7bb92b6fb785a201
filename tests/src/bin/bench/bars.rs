//! What is promised, and whether it is so.

use serde_json::{Value, json};

use crate::contender::Contender;

const VFORK: &str = "vfork + _exit + waitpid";

/// A promise: what, what was measured, what it may be at most.
struct Bars(Vec<Value>);

impl Bars {
    fn at_most(&mut self, what: &str, measured: Option<f64>, limit: Option<f64>, unit: &str) {
        if let (Some(measured), Some(limit)) = (measured, limit) {
            self.0.push(json!({
                "what": what,
                "measured": measured,
                "at_most": limit,
                "unit": unit,
                "met": measured <= limit,
            }));
        }
    }
}

/// Every promise that something was measured for.
#[expect(clippy::too_many_lines, reason = "a table of bars")]
pub(crate) fn of(result: &Value) -> Vec<Value> {
    let mut bars = Bars(Vec::new());
    let added = |contender: Contender, work: &str| {
        row(&result["cycles"], contender, |it| it["work"] == work)?["added_ns"].as_f64()
    };
    let own = added(Contender::Supervisor, VFORK);
    for peer in [Contender::Bpftrace, Contender::Exitsnoop] {
        let what = format!("time added to a cycle of vfork, against a tenth of what {} adds", peer.name());
        bars.at_most(&what, own, added(peer, VFORK).map(|it| it / 10.0), "ns");
    }
    let floor = added(Contender::Floor, VFORK).map(|it| it * 3.0);
    bars.at_most("the same, against three times what empty programs add", own, floor, "ns");
    let getppid = row(&result["cycles"], Contender::Supervisor, |it| it["work"] == "getppid");
    let slower = getppid.and_then(|it| Some(it["added_ns"].as_f64()? / it["bare_ns"].as_f64()? * 100.0));
    bars.at_most("a getppid loop is slower by", slower, Some(2.0), "%");

    let full = |it: &Value| it["wanted_rate"] == 0 && it["leaks"] == false;
    let at_full = |contender| row(&result["cost"], contender, full).and_then(|it| it["cpu_percent"].as_f64());
    bars.at_most(
        "own CPU, healthy exits at full speed",
        at_full(Contender::Supervisor),
        Some(0.3),
        "% of a core",
    );
    let agent = result["agent"]["cpu_percent"].as_f64();
    let what = "own CPU of an agent with every sink, 5,000 healthy exits a second";
    bars.at_most(what, agent, Some(0.5), "% of a core");
    for peer in [Contender::Bpftrace, Contender::Exitsnoop] {
        let what = format!("CPU of a trace of exits at full speed, against half of {}", peer.name());
        bars.at_most(&what, at_full(Contender::Trace), at_full(peer).map(|it| it / 2.0), "% of a core");
    }
    let idle = row(&result["cost"], Contender::Supervisor, |it| it["idle"] == true);
    bars.at_most(
        "wake-ups while nothing happens",
        idle.and_then(|it| it["wakeups_per_second"].as_f64()),
        Some(5.0),
        "a second",
    );

    let latency = result["latency"]["beyond_grace_ms"]["p99"].as_f64();
    bars.at_most(
        "a finding is told after the grace period within (99th percentile)",
        latency,
        Some(300.0),
        "ms",
    );

    let memory = &result["kernel_memory"];
    let mib = memory["map_bytes"].as_f64().map(|it| it / f64::from(1 << 20));
    bars.at_most("kernel maps", mib, Some(32.0), "MiB");
    bars.at_most("kernel maps, against what doctor says", mib, memory["doctor_mib"].as_f64(), "MiB");
    let growth = result["growth"].as_array().map(Vec::as_slice).unwrap_or_default();
    let with = |living: u64, zombies: u64| {
        growth.iter().find(|it| {
            it["living"].as_u64().unwrap_or(0) == living && it["zombies"].as_u64().unwrap_or(0) == zombies
        })
    };
    let resident = with(10_000, 1000).and_then(|it| Some(it["resident_kib"].as_f64()? / 1024.0));
    bars.at_most("memory with 10,000 living processes and 1,000 open findings", resident, Some(16.0), "MiB");
    let cpu = |it: &Value| it["cpu_percent"].as_f64();
    let few = with(100, 0).and_then(cpu).map(|it| it * 1.5 + 0.05);
    bars.at_most(
        "own CPU with 20,000 living processes, against that with 100",
        with(20_000, 0).and_then(cpu),
        few,
        "% of a core",
    );
    let ps = with(0, 30_000).and_then(|it| it["ps_ms"].as_f64());
    bars.at_most("ps with 30,000 zombies, all listed", ps, Some(1500.0), "ms");

    for row in result["commands"].as_array().into_iter().flatten() {
        let (what, limit) = match row["command"].as_str().unwrap_or_default() {
            "demo" => ("demo, of the incident or of one family, takes".to_owned(), 15.0),
            name => (format!("{name} with 2,000 zombies takes"), 3.0),
        };
        bars.at_most(&what, row["seconds"].as_f64(), Some(limit), "s");
    }
    let top = |field: &str| result["top"][field].as_f64();
    bars.at_most("a key of top with 30,000 findings is answered within", top("key_ms"), Some(50.0), "ms");
    let refreshed = top("key_after_refresh_ms");
    bars.at_most("the same, if it waits for a refresh of the screen", refreshed, Some(50.0), "ms");
    bars.at_most("CPU of an idle top with 300 findings", top("idle_percent"), Some(1.0), "%");
    let slower = result["leaks"]["build"]["slower_percent"].as_f64();
    bars.at_most("a build of 20,000 processes takes longer under leaks by", slower, Some(3.0), "%");
    bars.0
}

/// The row of a contender that fits.
pub(crate) fn row(rows: &Value, contender: Contender, fits: impl Fn(&Value) -> bool) -> Option<&Value> {
    rows.as_array()?.iter().find(|row| row["contender"] == contender.name() && fits(row))
}
