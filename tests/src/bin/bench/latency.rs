//! How soon a zombie is told, on a host with many processes that is busy.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Value, json};
use supervisor_lab::{Lines, Owned};
use supervisor_tests::{Event, supervisor_bin};

use crate::{load::Load, progress};

const GRACE: Duration = Duration::from_secs(1);
const LIVING: u32 = 10_000;
const RATE: u32 = 2000;
const ZOMBIES: usize = 200;
/// Not a multiple of a tick, so that they come at all moments between two.
const PAUSE: Duration = Duration::from_millis(137);
const LIMIT: Duration = Duration::from_secs(30);

/// A watch whose lines are read at once.
struct Reader {
    lines: Receiver<(Event, Timestamp)>,
    _process: Owned,
}

impl Reader {
    fn start() -> Result<Self> {
        let mut command = Command::new(supervisor_bin()?);
        command
            .args(["watch", "-o", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Owned::start(&mut command)?;
        let child = process.child();
        let (stdout, stderr) = child.stdout.take().zip(child.stderr.take()).context("no pipes")?;
        let said = Lines::of(stderr);
        said.next("supervisor to attach", LIMIT)?;
        // Nobody reads its messages from here on, and there are few of them.
        thread::spawn(move || while said.next_within(LIMIT).is_ok_and(|line| line.is_some()) {});
        // Stamped as they come, whenever they are asked for.
        let (sender, lines) = channel();
        let events = BufReader::new(stdout).lines().map_while(|line| serde_json::from_str(&line.ok()?).ok());
        let mut stamped = events.map(|event| (Event(event), Timestamp::now()));
        thread::spawn(move || stamped.try_for_each(|it| sender.send(it)));
        Ok(Self { lines, _process: process })
    }

    /// The next event about a child of this process, and when it was read.
    fn next_under(&self, parent: u32) -> Result<(Event, Timestamp)> {
        loop {
            let (event, read) = self.lines.recv_timeout(LIMIT).context("no finding comes")?;
            if event.is_under(parent) {
                return Ok((event, read));
            }
        }
    }
}

/// From an exit to the line about it, and from the start to the first line.
pub(crate) fn measure() -> Result<Value> {
    progress(&format!("latency: {LIVING} living processes, {RATE} exits a second"));
    let mut load = Load::start(false)?;
    let (mut crowd, mut storm) = (Load::start(false)?, Load::start(true)?);
    load.run("zombies 1")?;
    let mut first = Vec::new();
    for _ in 0..5 {
        let started = Instant::now();
        let reader = Reader::start()?;
        reader.next_under(load.pid())?;
        first.push(started.elapsed().saturating_sub(GRACE).as_secs_f64() * 1000.0);
    }
    load.run("end")?;

    crowd.run(&format!("living {LIVING}"))?;
    let length = PAUSE * ZOMBIES as u32 + Duration::from_secs(3);
    let reader = Reader::start()?;
    storm.begin(&format!("storm {RATE} healthy {}", length.as_millis()))?;
    for _ in 0..ZOMBIES {
        load.run("zombies 1")?;
        thread::sleep(PAUSE);
    }
    let mut latencies = Vec::new();
    for _ in 0..ZOMBIES {
        let (event, read) = reader.next_under(load.pid())?;
        let end: Timestamp = event.text("process.end")?.parse()?;
        let told = read.duration_since(end).as_secs_f64();
        latencies.push((told - GRACE.as_secs_f64()) * 1000.0);
    }
    let made = storm.end()?;
    load.run("end")?;
    crowd.run("end")?;
    latencies.sort_by(f64::total_cmp);
    let percentile = |of_hundred: usize| latencies[(latencies.len() - 1) * of_hundred / 100];
    Ok(json!({
        "living": LIVING,
        "exits_per_second": made.made as f64 / made.took.as_secs_f64(),
        "zombies": ZOMBIES,
        "beyond_grace_ms": {"median": percentile(50), "p99": percentile(99), "most": percentile(100)},
        "first_finding_after_start_ms": crate::cycles::median(first),
    }))
}
