//! `supervisor check`: one line, performance data and the exit codes of monitoring plugins.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use supervisor_lab::pid_namespace;
use supervisor_tests::{Watch, fixture, supervisor_bin};

/// The line and the exit code.
fn check(args: &[&str]) -> Result<(String, Option<i32>)> {
    let mut command = Command::new(supervisor_bin()?);
    let output = command.arg("check").args(args).stdin(Stdio::null()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let line = text.strip_suffix('\n').context("it is no whole line")?;
    assert!(!line.contains('\n'), "one line, and no more: {text}");
    Ok((line.to_owned(), output.status.code()))
}

#[test]
fn thresholds_and_ages() -> Result<()> {
    let mut fixture = fixture!("never-wait", "2")?;
    let parent = fixture.pid().to_string();
    fixture.fact("zombie")?;
    fixture.fact("zombie")?;
    let mine = |args: &[&str]| check(&[&["--reaper", &parent], args].concat());

    let (line, code) = mine(&["--min-age", "0s"])?;
    let start = format!("SUPERVISOR WARNING - 2 unreaped processes: 2 of fixture[{parent}] (F4) | ");
    assert!(line.starts_with(&start), "{line}");
    assert!(line.contains("unreaped=2;1;10;0 leaked=0;;;0 late=0;;;0 blocked=0;;1;0 stuck=0;;1;0"), "{line}");
    assert_eq!(code, Some(1));
    let (line, code) = mine(&["--min-age", "0s", "--warning", "3"])?;
    assert!(line.starts_with("SUPERVISOR OK - 2 unreaped"), "{line}");
    assert_eq!(code, Some(0));
    assert_eq!(mine(&["--min-age", "0s", "--critical", "2"])?.1, Some(2));
    // No process of this test can be that old.
    let (line, code) = mine(&["--min-age", "1h"])?;
    assert!(
        line.starts_with("SUPERVISOR OK - no process is unreaped for 1 h 0 min or longer | unreaped=0;"),
        "{line}"
    );
    assert_eq!(code, Some(0));

    fixture.send("reap")?;
    fixture.fact("reaped")?;
    assert_eq!(mine(&["--min-age", "0s"])?.1, Some(0));
    fixture.end()
}

#[test]
fn the_age_is_that_of_the_exit_while_a_watch_runs() -> Result<()> {
    let mut watch = Watch::start(&[])?;
    let fixture = fixture!("never-wait", "1")?;
    let parent = fixture.pid().to_string();
    let pid = fixture.fact("zombie")?.pid("pid")?;
    watch.wait_for("the finding", |event| event.says("zombie-detected", pid))?;
    let (line, code) = check(&["--reaper", &parent, "--min-age", "500ms"])?;
    assert!(line.contains(" oldest="), "{line}");
    assert_eq!(code, Some(1));
    fixture.end()?;
    watch.stop()?;
    Ok(())
}

#[test]
fn a_namespace_that_cannot_end_is_critical() -> Result<()> {
    let mut fixture = fixture!("blockers", "zombie")?;
    let init = fixture.fact("blocked")?.pid("init")?;
    let ino = pid_namespace(init)?.to_string();
    let (line, code) = check(&["--pidns", &ino, "--min-age", "0s"])?;
    assert!(line.starts_with("SUPERVISOR CRITICAL - "), "{line}");
    assert!(line.contains(&format!("PID namespace {ino} cannot end")), "{line}");
    assert!(line.contains(" blocked=1;;1;0"), "{line}");
    assert_eq!(code, Some(2));
    fixture.send("release")?;
    fixture.fact("released")?;
    fixture.end()
}

#[test]
fn what_cannot_be_checked_is_unknown() -> Result<()> {
    let mut command = Command::new(supervisor_bin()?);
    let status = command.args(["check", "--no-such-flag"]).stderr(Stdio::null()).status()?;
    assert_eq!(status.code(), Some(3), "2 would mean that the host is in a critical state");
    Ok(())
}
