//! Tests of processes that were told to exit and cannot exit. Each is found, with its cause, and so is its end. Healthy
//! exits give no finding.

use std::time::Instant;

use anyhow::{Context, Result};
use supervisor_tests::{Event, Fixture, Watch, events_of, fixture, of_process, run_json};
use tempfile::NamedTempFile;

/// A file over which a file system can be mounted.
fn place() -> Result<(NamedTempFile, String)> {
    let file = NamedTempFile::new()?;
    let path = file.path().to_str().context("the path is no UTF-8")?.to_owned();
    Ok((file, path))
}

/// Waits for the opening of the finding, releases the process, and waits for the end of the finding.
fn opened_and_closed(mut watch: Watch, mut fixture: Fixture, pid: u32) -> Result<Event> {
    let opened = watch.wait_for("the finding", |event| event.says("exit-blocked", pid))?;
    fixture.send("release")?;
    fixture.fact("released")?;
    let closed = watch.wait_for("its end", |event| event.says("exit-finished", pid))?;
    fixture.end()?;
    let outcome = watch.stop()?;
    assert_eq!(closed.text("supervisor.finding.id")?, opened.text("supervisor.finding.id")?);
    assert!(closed.number("event.duration")? >= opened.number("supervisor.ending_ns")?);
    let actions: Vec<&str> = of_process(&outcome.events, pid).iter().map(|event| event.action()).collect();
    assert_eq!(actions, ["exit-blocked", "exit-finished"]);
    Ok(opened)
}

#[track_caller]
fn contains(event: &Event, field: &str, words: &[&str]) {
    let text = event.get(field).map(ToString::to_string).unwrap_or_default();
    for word in words {
        assert!(text.contains(word), "`{word}` is not in {field}: {text}");
    }
}

#[test]
fn a_thread_that_waits_for_fuse_is_named_with_its_mount_and_the_killer() -> Result<()> {
    let (_file, path) = place()?;
    let watch = Watch::start(&[])?;
    let fixture = fixture!("stuck-in-fuse", &path)?;
    let stuck = fixture.fact("stuck")?;
    let (pid, thread) = (stuck.pid("pid")?, stuck.pid("thread")?);
    let killer = fixture.pid();
    let opened = opened_and_closed(watch, fixture, pid)?;
    assert_eq!(opened.number("supervisor.grace_ns")?, 5_000_000_000);
    assert_eq!(opened.pid("supervisor.killed_by.pid")?, killer);
    assert_eq!(opened.text("supervisor.killed_by.name")?, "fixture");
    assert_eq!(opened.text("supervisor.family.id")?, "F9");
    assert_eq!(opened.text("supervisor.confidence")?, "high");
    assert_eq!(opened.text("supervisor.finding.kind")?, "exit");
    assert_eq!(opened.number("event.severity")?, 4);
    contains(&opened, "supervisor.verdict", &["file-reader", &thread.to_string(), "dead-server", &path]);
    contains(&opened, "supervisor.remedies", &["/sys/fs/fuse/connections/", "abort"]);
    contains(&opened, "supervisor.wont_help", &["SIGKILL once more"]);
    Ok(())
}

#[test]
fn pid_1_that_cannot_exit_blocks_its_namespace() -> Result<()> {
    let (_file, path) = place()?;
    let watch = Watch::start(&[])?;
    let fixture = fixture!("stuck-in-fuse", &path, "pid1")?;
    let pid = fixture.fact("stuck")?.pid("pid")?;
    let opened = opened_and_closed(watch, fixture, pid)?;
    let block = opened.list("supervisor.blocks")?.into_iter().next().context("it blocks nothing")?;
    assert_eq!(block.pid("init.pid")?, pid);
    assert_eq!(block.number("ino")?, opened.number("supervisor.pid_ns.ino")?);
    assert_eq!(opened.number("event.severity")?, 5);
    contains(&opened, "supervisor.verdict", &["PID 1 of PID namespace"]);
    Ok(())
}

#[test]
fn the_remedy_for_a_killed_process_in_a_frozen_v1_group_is_to_thaw_it() -> Result<()> {
    let watch = Watch::start(&[])?;
    let fixture = fixture!("killed-frozen", "v1")?;
    let pid = fixture.fact("killed")?.pid("pid")?;
    let opened = opened_and_closed(watch, fixture, pid)?;
    assert_eq!(opened.text("supervisor.family.id")?, "F12");
    contains(&opened, "supervisor.verdict", &["state D"]);
    Ok(())
}

#[test]
fn a_process_that_exits_is_no_finding_even_with_the_shortest_grace_period() -> Result<()> {
    let mut watch = Watch::start(&["--exit-grace", "0s"])?;
    // Version 2 lets a frozen process die.
    let mut frozen = fixture!("killed-frozen", "v2")?;
    let frozen_pid = frozen.fact("killed")?.pid("pid")?;
    let heavy = fixture!("killed-heavy", "1024")?;
    let heavy_pid = heavy.fact("killed")?.pid("pid")?;
    watch.settle(env!("CARGO_BIN_EXE_fixture"))?;
    frozen.send("release")?;
    frozen.fact("released")?;
    frozen.end()?;
    heavy.end()?;
    let outcome = watch.stop()?;
    for pid in [frozen_pid, heavy_pid] {
        let stuck = of_process(&outcome.events, pid).iter().any(|event| event.action() == "exit-blocked");
        assert!(!stuck, "pid {pid} has exited: {:#?}", outcome.events);
    }
    Ok(())
}

#[test]
fn a_process_that_was_stuck_before_the_watch_is_found_by_watch_ps_and_check() -> Result<()> {
    let (_file, path) = place()?;
    let before = Instant::now();
    let mut fixture = fixture!("stuck-in-fuse", &path)?;
    let pid = fixture.fact("stuck")?.pid("pid")?;
    let only = pid.to_string();
    let (events, code) = run_json(&["ps", "-o", "json", "--pid", &only])?;
    assert_eq!(code, Some(1));
    let [event] = &events[..] else { anyhow::bail!("one line was to be listed: {events:#?}") };
    assert!(event.says("exit-blocked", pid), "{}", event.0);
    // Only a watch of another test can have seen the time of the kill.
    if let Ok(ending) = event.number("supervisor.ending_ns") {
        let since = before.elapsed();
        assert!(u128::from(ending) <= since.as_nanos(), "not killed for longer than {since:?}: {}", event.0);
    }

    let mut watch = Watch::start(&[])?;
    watch.wait_for("the finding", |event| event.says("exit-blocked", pid))?;
    let mut check = std::process::Command::new(supervisor_tests::supervisor_bin()?);
    let output = check.args(["check", "--min-age", "0s", "--pid", &only]).output()?;
    let line = String::from_utf8(output.stdout)?;
    assert!(line.starts_with("SUPERVISOR CRITICAL - "), "{line}");
    assert!(line.contains("cannot exit") && line.contains(" stuck=1;;1;0"), "{line}");
    fixture.send("release")?;
    fixture.fact("released")?;
    watch.wait_for("its end", |event| event.says("exit-finished", pid))?;
    fixture.end()?;
    let outcome = watch.stop()?;
    // The printed events fit the contract.
    events_of(&outcome.lines.join("\n"))?;
    Ok(())
}
