//! Tests of the command line: `ps`, filters, and the ways in which `watch` ends.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;
use supervisor_lab::{Lab, Pod, pid_namespace};
use supervisor_tests::{Fixture, Watch, fixture, run_json, supervisor_bin};
use supervisor_user::schema::SchemaSubject;

fn zombie() -> Result<(Fixture, u32)> {
    let fixture = fixture!("never-wait", "1")?;
    let pid = fixture.fact("zombie")?.pid("pid")?;
    Ok((fixture, pid))
}

#[test]
fn ps_lists_what_is_unreaped_now() -> Result<()> {
    let (mut fixture, pid) = zombie()?;
    let filter = pid.to_string();
    let (events, code) = run_json(&["ps", "-o", "json", "--pid", &filter])?;
    assert_eq!(code, Some(1));
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].text("event.kind")?, "state");
    assert_eq!(events[0].pid("process.pid")?, pid);
    assert_eq!(events[0].number("process.exit_code")?, 7);
    assert_eq!(events[0].pid("supervisor.reaper.pid")?, fixture.pid());

    let (events, code) = run_json(&["ps", "-o", "json"])?;
    assert_eq!(code, Some(1));
    assert!(events.iter().any(|event| event.is_about(pid)));

    fixture.send("reap")?;
    fixture.fact("reaped")?;
    let (events, code) = run_json(&["ps", "-o", "json", "--pid", &filter])?;
    assert_eq!((events.len(), code), (0, Some(0)));
    Ok(())
}

#[test]
fn ps_reports_the_same_in_ocsf() -> Result<()> {
    let (fixture, pid) = zombie()?;
    let filter = pid.to_string();
    let (native, _) = run_json(&["ps", "-o", "json", "--pid", &filter])?;
    let output = Command::new(supervisor_bin()?)
        .args(["ps", "-o", "ocsf", "--pid", &filter])
        .stdin(Stdio::null())
        .output()?;
    let printed = String::from_utf8(output.stdout)?;
    assert_eq!((printed.lines().count(), output.status.code()), (1, Some(1)), "{printed}");

    let event: Value = serde_json::from_str(&printed)?;
    let schema = jsonschema::options().should_validate_formats(true).build(&SchemaSubject::Ocsf.schema())?;
    let wrong: Vec<String> = schema.iter_errors(&event).map(|it| it.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}: {event}");
    assert_eq!(event["type_uid"], 200_401);
    let process = &event["evidences"][0]["process"];
    assert_eq!((&process["pid"], &process["parent_process"]["pid"]), (&pid.into(), &fixture.pid().into()));
    let [native] = &native[..] else { bail!("ps lists {} of one", native.len()) };
    assert_eq!(&process["cpid"], native.field("process.entity_id")?);
    assert_eq!(&event["finding_info"]["uid"], native.field("supervisor.finding.id")?);
    assert_eq!(&event["unmapped"]["supervisor"]["family"], native.field("supervisor.family")?);
    Ok(())
}

#[test]
fn filters_pass_the_findings_that_they_name() -> Result<()> {
    let (one, pid) = zombie()?;
    let (two, other) = zombie()?;
    let ns = pid_namespace(one.pid())?;
    let cases: [(&str, String, bool); 4] = [
        ("--pid", pid.to_string(), false),
        ("--reaper", one.pid().to_string(), false),
        ("--comm", "fixture".to_owned(), true),
        ("--pidns", ns.to_string(), true),
    ];
    for (option, value, other_too) in cases {
        let (events, _) = run_json(&["ps", "-o", "json", option, &value])?;
        assert!(events.iter().any(|event| event.is_about(pid)), "{option} {value}");
        assert_eq!(events.iter().any(|event| event.is_about(other)), other_too, "{option} {value}");

        let mut watch = Watch::start(&[option, &value])?;
        watch.wait_for("what the filter names", |event| event.says("zombie-existing", pid))?;
        if other_too {
            watch.wait_for("the other one", |event| event.says("zombie-existing", other))?;
        }
        let outcome = watch.stop()?;
        assert_eq!(outcome.events.iter().any(|event| event.is_about(other)), other_too, "{option} {value}");
    }
    for (option, value) in [("--comm", "no-such-name"), ("--pidns", "1"), ("--pid", "1"), ("--reaper", "0")] {
        let (events, code) = run_json(&["ps", "-o", "json", option, value])?;
        assert_eq!((events.len(), code), (0, Some(0)), "{option} {value}");
    }
    drop((one, two));
    Ok(())
}

#[test]
fn a_filter_for_a_pids_namespace_is_not_for_the_hosts() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    let pod = Pod::start(&lab)?;
    let (_fixture, pid) = zombie()?;
    let (events, _) = run_json(&["ps", "-o", "json", "--pidns", &pod.ns_ino().to_string()])?;
    assert!(!events.iter().any(|event| event.is_about(pid)));
    Ok(())
}

#[test]
fn filters_apply_to_new_findings_too() -> Result<()> {
    // A filter by reaper can name a process that has no children yet.
    let mut watch = Watch::start(&["--comm", "fixture"])?;
    let (mut one, pid) = zombie()?;
    watch.wait_for("a new zombie of that name", |event| event.says("zombie-detected", pid))?;
    one.send("reap")?;
    watch.wait_for("its end", |event| event.says("zombie-reaped", pid))?;
    let outcome = watch.stop()?;
    assert!(
        outcome.events.iter().all(|event| event.text("process.name").is_ok_and(|name| name == "fixture"))
    );
    Ok(())
}

#[test]
fn sigint_sigterm_and_duration_end_it_cleanly() -> Result<()> {
    for signal in [Signal::INT, Signal::TERM] {
        Watch::start(&[])?.stop_with(signal)?.counted()?;
    }
    let started = std::time::Instant::now();
    Watch::start(&["--duration", "2s"])?.finish()?.counted()?;
    let lasted = started.elapsed();
    assert!(lasted >= Duration::from_secs(2), "ended after {lasted:?}");
    Ok(())
}

#[test]
fn a_zombie_at_the_end_of_a_watch_stays_open() -> Result<()> {
    let (_fixture, pid) = zombie()?;
    let mut watch = Watch::start(&[])?;
    watch.wait_for("the zombie", |event| event.says("zombie-existing", pid))?;
    let outcome = watch.stop()?;
    let about: Vec<&str> =
        outcome.events.iter().filter(|it| it.is_about(pid)).map(supervisor_tests::Event::action).collect();
    assert_eq!(about, ["zombie-existing"]);
    outcome.messages.last().context("there is no summary")?;
    Ok(())
}
