//! Two thousand unreaped processes: all are found, every command answers at once, and the watch stays small.

use std::{
    collections::HashSet,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Result;
use supervisor_tests::{Watch, events_of, fixture, resident_kib, supervisor_bin};

const ZOMBIES: usize = 2000;
/// How long a command may take. The machine may be busy, so the best of some tries counts.
const LIMIT: Duration = Duration::from_secs(3);
const TRIES: usize = 3;
/// What the watch may have in memory, in KiB.
const MEMORY: u64 = 40 << 10;

/// How long a command takes at best, and what it prints.
fn answer(args: &[&str]) -> Result<(Duration, String)> {
    let mut best = Duration::MAX;
    let mut printed = String::new();
    for _ in 0..TRIES {
        let started = Instant::now();
        let output = Command::new(supervisor_bin()?).args(args).stdin(Stdio::null()).output()?;
        best = best.min(started.elapsed());
        printed = String::from_utf8(output.stdout)?;
    }
    println!("{}: {best:?}", args.join(" "));
    Ok((best, printed))
}

#[test]
fn two_thousand_zombies() -> Result<()> {
    let mut watch = Watch::start(&[])?;
    let before = resident_kib(watch.pid())?;
    let mut fixture = fixture!("never-wait", &ZOMBIES.to_string())?;
    let pids = (0..ZOMBIES).map(|_| fixture.fact("zombie")?.pid("pid")).collect::<Result<Vec<u32>>>()?;
    let started = Instant::now();
    for &pid in &pids {
        watch.wait_for("every zombie", |event| event.says("zombie-detected", pid))?;
    }
    println!("{ZOMBIES} found {:?} after the last of them had exited", started.elapsed());

    let one = pids[ZOMBIES / 2].to_string();
    let (listed, list) = answer(&["ps", "-o", "json"])?;
    let (explained, story) = answer(&["explain", &one])?;
    let (checked, line) = answer(&["check", "--min-age", "0s"])?;
    let after = resident_kib(watch.pid())?;
    println!("resident: {before} KiB before, {after} KiB with them");

    let listed_events = events_of(&list)?;
    let found =
        listed_events.iter().map(|event| event.pid("process.pid")).collect::<Result<HashSet<u32>>>()?;
    assert!(pids.iter().all(|pid| found.contains(pid)), "ps does not list all");
    assert!(story.contains(&one), "{story}");
    assert!(line.contains(&format!("{ZOMBIES} of fixture[{}] (F4)", fixture.pid())), "{line}");

    fixture.send("reap")?;
    fixture.fact("reaped")?;
    fixture.end()?;
    for &pid in &pids {
        watch.wait_for("every end", |event| event.says("zombie-reaped", pid))?;
    }
    watch.stop()?;
    for (what, took) in [("ps", listed), ("explain", explained), ("check", checked)] {
        assert!(took < LIMIT, "{what} takes {took:?}");
    }
    assert!(after < MEMORY, "the watch has {after} KiB in memory");
    Ok(())
}
