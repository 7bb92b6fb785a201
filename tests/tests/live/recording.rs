//! Tests that a user without any capabilities can replay a recording of real processes, and gets the events of the
//! watch.

use std::{
    fs::{self, File},
    io,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use supervisor_lab::{Lines, Owned, until};
use supervisor_model::{observation::Seen, recording::RecordingReader};
use supervisor_tests::{Event, Outcome, WAIT_LIMIT, Watch, events_of, finding_of, fixture, supervisor_bin};

/// `nobody`, in every distribution.
const NOBODY: u32 = 65534;

/// Records two processes for which no process waits, and their end.
fn record(file: &Path, options: &[&str]) -> Result<(Outcome, Vec<u32>)> {
    let mut watch = Watch::record(file, options)?;
    let mut fixture = fixture!("never-wait", "2")?;
    let pids = [fixture.fact("zombie")?.pid("pid")?, fixture.fact("zombie")?.pid("pid")?];
    for pid in pids {
        watch.wait_for("the finding", |event| event.says("zombie-detected", pid))?;
    }
    fixture.send("reap")?;
    fixture.fact("reaped")?;
    for pid in pids {
        watch.wait_for("the finding's end", |event| event.says("zombie-reaped", pid))?;
    }
    Ok((watch.stop()?, pids.to_vec()))
}

/// The output of `supervisor replay -o json -` for a recording, started as `nobody`.
fn replay_as_nobody(file: &Path) -> Result<Vec<String>> {
    // Other users may have no permission to enter the build directory.
    let place = tempfile::tempdir()?;
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755))?;
    let binary = place.path().join("supervisor");
    supervisor_lab::copy_program(supervisor_bin()?, &binary)?;

    let mut command = Command::new(&binary);
    command.args(["replay", "-o", "json", "-"]).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.uid(NOBODY).gid(NOBODY);
    let mut process = Owned::start(&mut command)?;
    // It waits for its input, so the test can read its status meanwhile.
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
    for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        let line = status.lines().find(|line| line.starts_with(name)).context("no capabilities in status")?;
        ensure!(line.ends_with("\t0000000000000000"), "the replay was to have no capabilities: {line}");
    }
    let ids = format!("\nUid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}\n");
    ensure!(status.contains(&ids), "the replay was to run as nobody: {status}");

    let child = process.child();
    let mut stdin = child.stdin.take().context("replay has no input")?;
    let (stdout, stderr) = child.stdout.take().zip(child.stderr.take()).context("replay has no pipes")?;
    let (stdout, stderr) = (Lines::of(stdout), Lines::of(stderr));
    io::copy(&mut File::open(file)?, &mut stdin)?;
    drop(stdin);
    let mut lines = Vec::new();
    while let Some(line) = stdout.next("the end of the replay", WAIT_LIMIT)? {
        lines.push(line);
    }
    let mut messages = Vec::new();
    while let Some(line) = stderr.next("the end of the replay's messages", WAIT_LIMIT)? {
        messages.push(line);
    }
    let status = process.end(WAIT_LIMIT)?;
    ensure!(status.success(), "replay ended with {status}: {}", messages.join("\n"));
    Ok(lines)
}

/// The events about these processes. Their sequence numbers are left out: an audit event of another test's `supervisor reap`
/// has a number too, and is in no recording.
fn about(lines: &[String], pids: &[u32]) -> Result<Vec<Value>> {
    let mut events = Vec::new();
    for line in lines {
        let mut event = Event(serde_json::from_str(line)?);
        if pids.iter().any(|pid| event.is_about(*pid)) {
            event.0["event"]["sequence"].take();
            events.push(event.0);
        }
    }
    let opened_and_closed = 2 * pids.len();
    ensure!(events.len() >= opened_and_closed, "{} events are about {pids:?}", events.len());
    Ok(events)
}

#[test]
fn a_replay_without_rights_prints_the_same_events() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("some.zst");
    let (outcome, pids) = record(&file, &[])?;
    for pid in &pids {
        finding_of(&outcome.events, *pid)?;
    }
    ensure!(outcome.messages.iter().any(|line| line.contains("Look at it before you share it")));
    assert_eq!(about(&replay_as_nobody(&file)?, &pids)?, about(&outcome.lines, &pids)?);
    Ok(())
}

#[test]
fn an_anonymous_recording_does_not_show_the_host() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("some.zst");
    let (outcome, pids) = record(&file, &["--anonymous"])?;
    assert_eq!(about(&replay_as_nobody(&file)?, &pids)?, about(&outcome.lines, &pids)?);
    let text = outcome.lines.join("\n");
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    ensure!(!text.contains(boot_id.trim()), "the boot id is told");
    let host = &RecordingReader::open(&file)?.header().host.clone();
    assert_eq!((host, &*host.hostname), (&host.anonymous(), "anonymous"));
    Ok(())
}

#[test]
fn only_matching_processes_are_recorded_on_request() -> Result<()> {
    let (one, two) = (fixture!("never-wait", "1")?, fixture!("never-wait", "1")?);
    let (pid, _other) = (one.fact("zombie")?.pid("pid")?, two.fact("zombie")?.pid("pid")?);
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("some.zst");
    let mut watch = Watch::record(&file, &["--only-matching", "--pid", &pid.to_string()])?;
    watch.wait_for("the finding", |event| event.says("zombie-existing", pid))?;
    let outcome = watch.stop()?;
    let mut found = 0;
    for observation in RecordingReader::open(&file)? {
        match observation?.seen {
            Seen::Unreaped { id, .. } => {
                assert_eq!(id.tgid, pid);
                found += 1;
            }
            Seen::Lost { .. } => {}
            other => panic!("recorded, and does not match: {other:?}"),
        }
    }
    ensure!(found > 0, "nothing was recorded");
    // Only the number of unreaped processes under the same limit differs: the recording does not have the others.
    let without_budget = |lines: &[String]| -> Result<Vec<Value>> {
        let mut events = Vec::new();
        for line in lines {
            let mut event: Value = serde_json::from_str(line)?;
            event["supervisor"].as_object_mut().context("an event without our names")?.remove("budget");
            events.push(event);
        }
        Ok(events)
    };
    assert_eq!(without_budget(&replay_as_nobody(&file)?)?, without_budget(&outcome.lines)?);
    Ok(())
}

#[test]
fn a_recorder_that_is_killed_leaves_what_it_saw() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("some.zst");
    let fixture = fixture!("never-wait", "1")?;
    let pid = fixture.fact("zombie")?.pid("pid")?;
    let mut watch = Watch::record(&file, &[])?;
    watch.wait_for("the finding", |event| event.says("zombie-existing", pid))?;
    // The observation is in the file soon, not only at the end.
    until("the observation to be in the file", WAIT_LIMIT, || {
        let mut seen = RecordingReader::open(&file)?.filter_map(Result::ok);
        Ok(seen.any(|it| matches!(it.seen, Seen::Unreaped { id, .. } if id.tgid == pid)).then_some(()))
    })?;
    watch.kill()?;

    let replay = |options: &[&str]| -> Result<(Option<i32>, String, String)> {
        let output = Command::new(supervisor_bin()?).arg("replay").arg(&file).args(options).output()?;
        Ok((output.status.code(), String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
    };
    let (code, events, messages) = replay(&["-o", "json"])?;
    assert_eq!(code, Some(3), "{messages}");
    let is_shown = events_of(&events)?.iter().any(|event| event.says("zombie-existing", pid));
    ensure!(is_shown, "what was seen is not shown: {events}");
    ensure!(messages.contains("the recording ends without its last line"), "{messages}");
    let (code, partial, messages) = replay(&["-o", "json", "--partial"])?;
    assert_eq!((code, partial), (Some(0), events), "{messages}");
    ensure!(messages.contains("warning"), "{messages}");
    Ok(())
}
