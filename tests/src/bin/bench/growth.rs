//! How the cost of a watch grows with open findings, and with living processes.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use supervisor_lab::until;
use supervisor_tests::{resident_kib, supervisor_bin};

use crate::{
    contender::{Contender, Running},
    load::Load,
    measure::{cpu_ns, wakeups},
    progress,
};

const ZOMBIES: [usize; 4] = [100, 1000, 10_000, 30_000];
const LIVING: [usize; 4] = [100, 1000, 10_000, 20_000];
/// How long each is measured.
const LENGTH: Duration = Duration::from_secs(10);
/// How long telling all of them may take.
const LIMIT: Duration = Duration::from_mins(3);

/// A row for each number of either.
pub(crate) fn measure() -> Result<Value> {
    let mut rows = Vec::new();
    for count in LIVING {
        progress(&format!("growth: {count} living processes"));
        rows.push(with("living", count)?);
    }
    for count in ZOMBIES {
        progress(&format!("growth: {count} open findings"));
        rows.push(with("zombies", count)?);
    }
    progress("growth: 10000 living processes with 1000 open findings");
    let mut crowd = Load::start(false)?;
    crowd.run("living 10000")?;
    let mut both = with("zombies", 1000)?;
    both["living"] = json!(10_000);
    rows.push(both);
    Ok(Value::Array(rows))
}

fn with(what: &str, count: usize) -> Result<Value> {
    let mut load = Load::start(false)?;
    let running = Running::start(Contender::Supervisor, &mut load)?;
    let started = Instant::now();
    load.run(&format!("{what} {count}"))?;
    let mut told_within = None;
    if what == "zombies" {
        let lines = BufReader::new(File::open(running.output())?);
        let mut told = Told { lines, line: String::new(), count: 0 };
        until("all to be told", LIMIT, || Ok((told.read()? >= count).then_some(())))?;
        told_within = Some(started.elapsed().as_secs_f64());
    }
    // The looks at what is new come closest together at first.
    thread::sleep(Duration::from_secs(2));
    let before = (cpu_ns(running.pid())?, wakeups(running.pid())?);
    thread::sleep(LENGTH);
    let used = cpu_ns(running.pid())? - before.0;
    let woken = wakeups(running.pid())? - before.1;
    let (ps_json, _) = ps(&["-o", "json"])?;
    let (ps, listed) = ps(&[])?;
    let memory = resident_kib(running.pid())?;
    running.stop()?;
    load.run("end")?;
    if what == "zombies" {
        ensure!(listed >= count, "ps lists {listed} of {count}");
    }
    Ok(json!({
        what: count,
        "cpu_percent": used as f64 / LENGTH.as_nanos() as f64 * 100.0,
        "wakeups_per_second": woken as f64 / LENGTH.as_secs_f64(),
        "resident_kib": memory,
        "told_within_seconds": told_within,
        "ps_ms": ps.as_secs_f64() * 1000.0,
        "ps_json_ms": ps_json.as_secs_f64() * 1000.0,
    }))
}

/// How many findings were told in a file that grows.
struct Told {
    lines: BufReader<File>,
    line: String,
    count: usize,
}

impl Told {
    fn read(&mut self) -> Result<usize> {
        // The rest of a line that is being written comes with a later read.
        while self.lines.read_line(&mut self.line)? > 0 && self.line.ends_with('\n') {
            self.count += usize::from(self.line.contains(r#""action":"zombie-detected""#));
            self.line.clear();
        }
        Ok(self.count)
    }
}

/// How long `ps` takes, and how many lines it writes.
fn ps(args: &[&str]) -> Result<(Duration, usize)> {
    let started = Instant::now();
    let output = Command::new(supervisor_bin()?).arg("ps").args(args).stdin(Stdio::null()).output()?;
    Ok((started.elapsed(), String::from_utf8_lossy(&output.stdout).lines().count()))
}
