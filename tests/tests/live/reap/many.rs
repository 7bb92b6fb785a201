//! Tests a reaper with very many zombies.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use supervisor_tests::fixture;

use super::{reap_json, zombies};

/// The length of a stop depends on the machine, so this test is for a quiet machine: `--ignored`.
#[test]
#[ignore = "measures times"]
fn ten_thousand_zombies_are_freed_within_ten_seconds_by_stops_below_a_millisecond() -> Result<()> {
    const COUNT: u64 = 10_000;
    let fixture = fixture!("never-wait", &COUNT.to_string())?;
    zombies(fixture.pid(), COUNT)?;
    let reaper = fixture.pid().to_string();
    let start = Instant::now();
    let (events, code) = reap_json(&["--reaper", &reaper, "--force", "--yes", "--no-nudge"])?;
    let lasted = start.elapsed();
    ensure!(code == Some(0) && events.len() as u64 == COUNT, "{code:?}: {} events", events.len());
    let stops = events.iter().map(|event| event.number("supervisor.reap.stopped_us"));
    let mut stops = stops.collect::<Result<Vec<u64>>>()?;
    stops.sort_unstable();
    let p99 = stops[stops.len() * 99 / 100];
    println!("{COUNT} zombies in {lasted:?}, p50 {} us, p99 {p99} us", stops[stops.len() / 2]);
    ensure!(lasted < Duration::from_secs(10), "it took {lasted:?}");
    ensure!(p99 < 1000, "a stop lasted {p99} us");
    Ok(())
}
