//! How long commands take to answer: those that look once, beside a watch with two thousand findings, and the demo.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use supervisor_tests::{Fixture, Watch, supervisor_bin};

use crate::{load::fixture, progress};

const ZOMBIES: usize = 2000;
/// Each is measured so often; the shortest time counts, in which the machine did nothing else.
const TRIES: usize = 3;

/// A row for each command.
pub(crate) fn measure() -> Result<Value> {
    progress(&format!("commands: {ZOMBIES} open findings"));
    let mut watch = Watch::start(&[])?;
    let mut fixture = Fixture::start(&fixture()?.to_string_lossy(), &["never-wait", &ZOMBIES.to_string()])?;
    let pids = (0..ZOMBIES).map(|_| fixture.fact("zombie")?.pid("pid")).collect::<Result<Vec<u32>>>()?;
    watch.wait_for_all("zombie-detected", &pids)?;
    let one = pids[ZOMBIES / 2].to_string();
    let mut rows = Vec::new();
    for args in [&["ps", "-o", "json"][..], &["explain", &one], &["check", "--min-age", "0s"]] {
        let times = (0..TRIES).map(|_| Ok(run(args, 2)?.1)).collect::<Result<Vec<Duration>>>()?;
        let best = times.into_iter().min().context("no tries")?;
        rows.push(json!({"command": args[0], "seconds": best.as_secs_f64()}));
    }
    fixture.send("reap")?;
    fixture.fact("reaped")?;
    fixture.end()?;
    watch.stop()?;

    let (list, _) = run(&["demo", "--list"], 0)?;
    let shown = list.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|_| words.next() == Some("yes"))
    });
    let mut longest = Duration::ZERO;
    for family in [None].into_iter().chain(shown.map(Some)) {
        progress(&format!("commands: demo {}", family.unwrap_or_default()));
        let args: Vec<&str> = ["demo"].into_iter().chain(family).collect();
        longest = longest.max(run(&args, 0)?.1);
    }
    rows.push(json!({"command": "demo", "seconds": longest.as_secs_f64()}));
    Ok(Value::Array(rows))
}

/// What a command prints, and how long it takes. Its exit code is this at most: to have found something is no failure.
fn run(args: &[&str], worst: i32) -> Result<(String, Duration)> {
    let started = Instant::now();
    let mut command = Command::new(supervisor_bin()?);
    let output = command.args(args).stdin(Stdio::null()).output()?;
    let took = started.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code().is_some_and(|code| code <= worst),
        "{args:?} ended with {}: {said}",
        output.status
    );
    Ok((String::from_utf8(output.stdout)?, took))
}
