//! Tests of `supervisor explain PID` for processes that are not reaped, and for processes that only look like it.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use supervisor_lab::pid_namespace;
use supervisor_tests::{Event, Watch, events_of, fixture, supervisor_bin};

/// All events about a process.
fn events(pid: u32) -> Result<Vec<Event>> {
    let mut command = Command::new(supervisor_bin()?);
    let output = command.args(["explain", &pid.to_string(), "-o", "json"]).stdin(Stdio::null()).output()?;
    let messages = String::from_utf8_lossy(&output.stderr);
    events_of(&String::from_utf8(output.stdout)?).with_context(|| messages.into_owned())
}

/// The first event about a process.
fn explain(pid: u32) -> Result<Event> {
    events(pid)?.into_iter().next().context("explain said nothing")
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
    let all = events(held.pid("init")?)?;
    let families: Vec<&str> =
        all.iter().map(|event| event.text("supervisor.family.id")).collect::<Result<_>>()?;
    assert_eq!(families, ["F8", "F12"], "the PID namespace comes first, then its PID 1");
    let explained = &all[1];
    let verdict = explained.text("supervisor.verdict")?;
    assert!(verdict.contains("zap_pid_ns_processes"), "{verdict}");
    fixture.end()
}

/// The text and the exit code.
fn story(args: &[&str]) -> Result<(String, Option<i32>)> {
    let output = Command::new(supervisor_bin()?).arg("explain").args(args).stdin(Stdio::null()).output()?;
    Ok((String::from_utf8(output.stdout)?, output.status.code()))
}

#[test]
fn explain_uses_the_records_of_a_running_watch() -> Result<()> {
    let mut watch = Watch::start(&[])?;
    let fixture = fixture!("never-wait", "1")?;
    let pid = fixture.fact("zombie")?.pid("pid")?;
    watch.wait_for("the finding", |event| event.says("zombie-detected", pid))?;
    let explained = explain(pid)?;
    assert_eq!(explained.text("supervisor.hooks")?, "iter+agent");
    assert!(explained.get("process.end").is_some(), "when it exited was seen");
    assert!(!explained.flag("supervisor.reaper.adopted")?, "and who forked it");
    assert_eq!(explained.list("supervisor.creators")?[0].pid("pid")?, fixture.pid());

    let (text, code) = story(&[&pid.to_string()])?;
    assert_eq!(code, Some(1));
    for part in ["UNREAPED", "What to do", "What will not help", "must reap", "Evidence", "[1]"] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    fixture.end()?;
    watch.stop()?;
    Ok(())
}

#[test]
fn a_namespace_is_explained_with_its_blockers() -> Result<()> {
    let mut fixture = fixture!("blockers", "zombie", "tracer")?;
    let fact = fixture.fact("blocked")?;
    let ino = pid_namespace(fact.pid("init")?)?.to_string();
    let (text, code) = story(&["--pidns", &ino])?;
    assert_eq!(code, Some(1));
    for pid in [fact.pid("init")?, fact.pid("zombie")?, fact.pid("traced")?] {
        assert!(text.contains(&pid.to_string()), "{pid} is missing in:\n{text}");
    }
    fixture.send("release")?;
    fixture.fact("released")?;
    fixture.end()?;
    // The namespace has ended. Its inode number may already be that of another one.
    let (text, code) = story(&["--pidns", &ino])?;
    let init = format!("[{}]", fact.pid("init")?);
    assert!(code == Some(3) || !text.contains(&init), "it is gone, and this is said:\n{text}");
    Ok(())
}

#[test]
fn a_living_process_and_an_absent_pid_are_recognised() -> Result<()> {
    let (text, code) = story(&[&std::process::id().to_string()])?;
    assert!(text.contains("it has not exited"), "{text}");
    assert_eq!(code, Some(0));
    assert_eq!(story(&["4194305"])?.1, Some(3));
    let (text, code) = story(&["--family", "f17"])?;
    assert!(text.starts_with("F17 "), "{text}");
    assert_eq!(code, Some(0));
    Ok(())
}
