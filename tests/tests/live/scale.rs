//! Tests two thousand unreaped processes: all are found, every command reports them, and the watch stays small. `cargo
//! xtask bench` measures how long the commands take.

use std::{
    collections::HashSet,
    process::{Command, Stdio},
};

use anyhow::Result;
use supervisor_tests::{Watch, events_of, fixture, resident_kib, supervisor_bin};

const ZOMBIES: usize = 2000;
/// The memory that the watch may use, in KiB.
const MEMORY: u64 = 40 << 10;

/// The output of a command.
fn answer(args: &[&str]) -> Result<String> {
    let output = Command::new(supervisor_bin()?).args(args).stdin(Stdio::null()).output()?;
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn two_thousand_zombies_are_found_and_listed() -> Result<()> {
    let mut watch = Watch::start(&[])?;
    let before = resident_kib(watch.pid())?;
    let mut fixture = fixture!("never-wait", &ZOMBIES.to_string())?;
    let pids = (0..ZOMBIES).map(|_| fixture.fact("zombie")?.pid("pid")).collect::<Result<Vec<u32>>>()?;
    watch.wait_for_all("zombie-detected", &pids)?;

    let one = pids[ZOMBIES / 2].to_string();
    let list = answer(&["ps", "-o", "json"])?;
    let story = answer(&["explain", &one])?;
    let line = answer(&["check", "--min-age", "0s"])?;
    let after = resident_kib(watch.pid())?;
    println!("resident: {before} KiB before, {after} KiB with them");

    let listed = events_of(&list)?;
    let found = listed.iter().map(|event| event.pid("process.pid")).collect::<Result<HashSet<u32>>>()?;
    assert!(pids.iter().all(|pid| found.contains(pid)), "ps does not list all");
    assert!(story.contains(&one), "{story}");
    assert!(line.contains(&format!("{ZOMBIES} of fixture[{}] (F4)", fixture.pid())), "{line}");

    fixture.send("reap")?;
    fixture.fact("reaped")?;
    fixture.end()?;
    watch.wait_for_all("zombie-reaped", &pids)?;
    watch.stop()?;
    assert!(after < MEMORY, "the watch has {after} KiB in memory");
    Ok(())
}
