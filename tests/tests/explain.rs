//! `supervisor explain PID`: what is not reaped, and what only looks like it.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use supervisor_tests::{Event, fixture, supervisor_bin};

/// What is said of a process. It need be no finding, so only what is asked for is looked at.
fn explain(pid: u32) -> Result<Event> {
    let mut command = Command::new(supervisor_bin()?);
    let output = command.args(["explain", &pid.to_string(), "-o", "json"]).stdin(Stdio::null()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let line = text
        .lines()
        .next()
        .with_context(|| format!("explain said nothing, and: {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok(Event(serde_json::from_str(line)?))
}

#[test]
fn f4_a_zombie() -> Result<()> {
    let fixture = fixture!("never-wait", "1")?;
    let explained = explain(fixture.fact("zombie")?.pid("pid")?)?;
    assert_eq!(explained.text("supervisor.family.id")?, "F4");
    assert!(explained.text("supervisor.verdict")?.contains(&fixture.pid().to_string()));
    fixture.end()
}

#[test]
fn f9_a_process_whose_first_thread_has_ended() -> Result<()> {
    let fixture = fixture!("leader-exits")?;
    let child = fixture.fact("child")?;
    let explained = explain(child.pid("pid")?)?;
    assert_eq!(explained.text("supervisor.family.id")?, "F9");
    let verdict = explained.text("supervisor.verdict")?;
    for word in ["live-thread", &child.pid("thread")?.to_string()] {
        assert!(verdict.contains(word), "{word} is not in the verdict: {verdict}");
    }
    fixture.end()
}

#[test]
fn f12_a_process_that_is_exiting() -> Result<()> {
    let fixture = fixture!("held-init")?;
    let held = fixture.fact("held")?;
    let explained = explain(held.pid("init")?)?;
    assert_eq!(explained.text("supervisor.family.id")?, "F12");
    let verdict = explained.text("supervisor.verdict")?;
    assert!(verdict.contains("zap_pid_ns_processes"), "{verdict}");
    fixture.end()
}
