//! Tests of `supervisor run` across restarts and changes of its configuration.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use jiff::{SignedDuration, Timestamp};
use supervisor_lab::until;
use supervisor_tests::{Agent, Event, Fixture, WAIT_LIMIT, events_in, fixture, supervisor_bin};

const OUT: &str = "[sinks.out]\npolicy = \"block\"\n[sinks.out.stdout]\n";
/// The time in which one reaper's findings are counted.
const PER: Duration = Duration::from_secs(3);

/// The one zombie of a fixture that does not reap it yet.
fn zombie() -> Result<(Fixture, u32)> {
    let fixture = fixture!("never-wait", "1")?;
    let pid = fixture.fact("zombie")?.pid("pid")?;
    Ok((fixture, pid))
}

fn reap(mut fixture: Fixture) -> Result<()> {
    fixture.send("reap")?;
    fixture.fact("reaped")?;
    fixture.end()
}

fn is(action: &str, pid: u32) -> impl Fn(&Event) -> bool {
    move |event| event.action() == action && event.pid("process.pid").ok() == Some(pid)
}

#[test]
fn a_restart_reopens_open_findings_and_closes_ended_ones() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::start_in(dir.path(), OUT)?;
    let (stays, staying) = zombie()?;
    let (goes, going) = zombie()?;
    let first = agent.wait_for("the first", is("zombie-detected", staying))?;
    let second = agent.wait_for("the second", is("zombie-detected", going))?;
    agent.stop()?;
    reap(goes)?;

    let mut agent = Agent::start_in(dir.path(), OUT)?;
    let closed = agent.wait_for("what is gone to be closed", is("zombie-reaped", going))?;
    assert_eq!(closed.text("supervisor.finding.id")?, second.text("supervisor.finding.id")?);
    assert!(closed.get("event.duration").is_none(), "when it was reaped was not seen");
    let again = agent.wait_for("the other to be opened again", is("zombie-existing", staying))?;
    assert_eq!(again.text("supervisor.finding.id")?, first.text("supervisor.finding.id")?);
    // The agent reads the wall clock for each event, and can be interrupted there. Any event that the second run could
    // have taken for the exit comes a grace period later: a second.
    let end = |event: &Event| -> Result<Timestamp> { Ok(event.text("process.end")?.parse()?) };
    let apart = end(&again)?.duration_since(end(&first)?).abs();
    assert!(apart < SignedDuration::from_millis(500), "its exit was seen by the first run: {apart}");

    // The agent is killed, so the next run does not know what was delivered. Then a close comes with its opening.
    let (killed, pid) = zombie()?;
    let third = agent.wait_for("the third", is("zombie-detected", pid))?;
    agent.kill()?;
    reap(killed)?;
    let agent = Agent::start_in(dir.path(), OUT)?;
    let opened = agent.wait_for("the third again", is("zombie-detected", pid))?;
    let closed = agent.wait_for("its end", is("zombie-reaped", pid))?;
    for event in [opened, closed] {
        assert_eq!(event.text("supervisor.finding.id")?, third.text("supervisor.finding.id")?);
    }
    reap(stays)?;
    let closed = agent.wait_for("the end of what had stayed", is("zombie-reaped", staying))?;
    assert!(closed.number("event.duration")? > 1_000_000_000, "from the exit that the first run saw");
    agent.stop()?;
    Ok(())
}

#[test]
fn a_reload_applies_a_new_configuration_and_refuses_a_wrong_one() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("events.json");
    let to_file = |format: &str| {
        format!("[sinks.file]\nformat = \"{format}\"\n[sinks.file.file]\npath = \"{}\"\n", file.display())
    };
    let mut agent = Agent::start_in(dir.path(), OUT)?;
    let (one, first) = zombie()?;
    agent.wait_for("the first", is("zombie-detected", first))?;

    agent.reconfigure(&format!("{OUT}{}", to_file("xml")))?;
    let refused = agent.hears("supervisor: the new configuration is refused, and the old one goes on: ")?;
    assert!(refused.contains("supervisor.toml:6: sinks.file.format: unknown variant"), "{refused}");

    agent.reconfigure(&format!("grace = \"1h\"\n{OUT}{}", to_file("ecs")))?;
    agent.hears("supervisor: goes on with the new configuration")?;
    assert_eq!(agent.hears("supervisor: from the next start on: ")?, "grace");
    let (two, second) = zombie()?;
    agent.wait_for("the second, within the old grace period", is("zombie-detected", second))?;
    until("the new sink to have it", WAIT_LIMIT, || {
        Ok(events_in(&file)?.iter().any(is("zombie-detected", second)).then_some(()))
    })?;
    assert!(!events_in(&file)?.iter().any(is("zombie-detected", first)), "that was told before");
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    reap(one)?;
    reap(two)?;
    agent.wait_for("its end", is("zombie-reaped", second))?;
    agent.stop()?;
    Ok(())
}

#[test]
fn many_zombies_of_one_reaper_are_reported_as_a_count() -> Result<()> {
    let agent = Agent::start(&format!("[flood]\nper_reaper = 10\nper = \"{}s\"\n{OUT}", PER.as_secs()))?;
    let started = Instant::now();
    let mut flood = fixture!("never-wait", "100")?;
    let parent = flood.pid();
    for _ in 0..100 {
        flood.fact("zombie")?;
    }
    let (mut opened, mut suppressed) = (0, 0);
    while opened + suppressed < 100 {
        let event = agent.wait_for("a hundred to be told or counted", |event| {
            event.get("process.parent.pid").and_then(serde_json::Value::as_u64) == Some(u64::from(parent))
                || event.get("supervisor.suppressed.reaper.pid").and_then(serde_json::Value::as_u64)
                    == Some(u64::from(parent))
        })?;
        match event.action() {
            "zombie-detected" => opened += 1,
            "findings-suppressed" => suppressed += event.number("supervisor.suppressed.count")?,
            other => bail!("{other}"),
        }
    }
    // Ten in each of these periods. The first and the last period may have been cut short.
    let times = started.elapsed().as_secs() / PER.as_secs() + 2;
    assert!((10..=10 * times).contains(&opened), "{opened} were told one by one in {times} times");
    assert!(suppressed > 0, "all were told one by one");
    flood.send("reap")?;
    flood.fact("reaped")?;
    for i in 0..100 {
        agent.wait_for(&format!("end {i} of a hundred"), |event| {
            event.action() == "zombie-reaped" && event.pid("process.parent.pid").ok() == Some(parent)
        })?;
    }
    flood.end()?;
    agent.stop()?;
    Ok(())
}

#[test]
fn a_wrong_configuration_exits_as_wrong_usage() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("wrong.toml");
    fs::write(&file, "\ngrace = \"soon\"\n")?;
    for args in [["run", "--config"], ["config", "--check"]] {
        let output = Command::new(supervisor_bin()?).args(args).arg(&file).stdin(Stdio::null()).output()?;
        let said = String::from_utf8(output.stderr)?;
        let wanted = format!("supervisor: {}:2: grace: `soon` is no time", file.display());
        assert!(said.starts_with(&wanted), "{said}");
        assert_eq!((said.lines().count(), output.status.code()), (1, Some(2)));
    }
    let printed = Command::new(supervisor_bin()?).args(["config", "--print-default"]).output()?;
    fs::write(&file, &printed.stdout)?;
    let output = Command::new(supervisor_bin()?).args(["config", "--check"]).arg(&file).output()?;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
