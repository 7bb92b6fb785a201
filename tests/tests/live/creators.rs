//! Tests of the facts about a creator that now runs another program or has ended, and about a reaper whose handler was
//! replaced.

use std::os::unix::fs::symlink;

use anyhow::{Context as _, Result};
use supervisor_model::{evidence::Evidence, observation::Seen, recording::RecordingReader};
use supervisor_tests::{Event, Fact, Fixture, Watch};

const FIXTURE: &str = env!("CARGO_BIN_EXE_fixture");
/// `supervisor_ebpf::WAITED_ANY`.
const WAITED_ANY: u32 = 1;

/// The evidence and the event of a watch about a fixture's zombie; the fixture's fact, and its pid.
fn observed(args: &[&str]) -> Result<(Evidence, Event, Fact, u32)> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("some.zst");
    let mut watch = Watch::record(&file, &[])?;
    let mut fixture = Fixture::start(FIXTURE, args)?;
    let fact = fixture.fact("zombie")?;
    let pid = fact.pid("pid")?;
    let found = watch.wait_for("the zombie", |event| event.says("zombie-detected", pid))?.clone();
    fixture.send("release")?;
    fixture.fact("released")?;
    watch.wait_for("its end", |event| event.says("zombie-reaped", pid))?;
    let fixture_pid = fixture.pid();
    fixture.end()?;
    watch.stop()?;
    for observation in RecordingReader::open(&file)? {
        if let Seen::Unreaped { id, evidence, .. } = observation?.seen
            && id.tgid == pid
        {
            return Ok((*evidence, found, fact, fixture_pid));
        }
    }
    Err(anyhow::anyhow!("the zombie is not in the recording"))
}

/// As busybox `timeout` does, which forks its timer before it executes the command.
#[test]
fn a_program_that_the_creator_executed_after_the_fork_is_not_that_of_the_zombie() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let later = dir.path().join("later");
    symlink(FIXTURE, &later)?;
    let later = later.to_str().context("the path is not UTF-8")?;
    let (evidence, found, fact, _) = observed(&["executes-after-fork", later])?;
    assert_eq!(found.text("process.executable")?, FIXTURE, "{}", found.0);
    assert_eq!(found.text("supervisor.forked_as")?, FIXTURE, "{}", found.0);
    let creator = evidence.creators.first().context("no creator")?;
    assert_eq!(creator.id.tgid, fact.pid("creator")?);
    assert!(creator.has_executed_since, "{creator:?}");
    assert_eq!(creator.comm, "later");
    let reaper = evidence.reaper.as_ref().context("no reaper")?;
    let exec = reaper.exec.as_ref().context("its exec was not seen")?;
    assert_eq!((&*exec.filename, exec.previous_ns), (later, None));
    Ok(())
}

#[test]
fn how_a_creator_ended_and_who_killed_it_is_known() -> Result<()> {
    let (evidence, found, fact, killer) = observed(&["creator-is-killed"])?;
    let creator = evidence.creators.first().context("no creator")?;
    assert_eq!((creator.id.tgid, creator.gone), (fact.pid("creator")?, true));
    assert!(!creator.has_executed_since, "{creator:?}");
    let end = creator.end.as_ref().with_context(|| format!("its end is not known: {creator:?}"))?;
    assert_eq!(end.status, libc::SIGKILL);
    assert!(creator.id.start_ns < end.at_ns && end.at_ns < evidence.at_ns, "{end:?}");
    assert_eq!(end.killed_by, Some((killer, "fixture".to_owned())));
    assert!(found.get("supervisor.forked_as").is_none(), "{}", found.0);
    Ok(())
}

#[test]
fn a_replaced_handler_is_distinguished_from_an_unchanged_one() -> Result<()> {
    for (args, is_replaced) in [("replaces-handler", true), ("keeps-handler", false)] {
        let (evidence, ..) = observed(&[args])?;
        let reaper = evidence.reaper.as_ref().context("no reaper")?;
        assert_eq!(reaper.handler_changed, Some(is_replaced), "{reaper:?}");
        assert_eq!(reaper.takes_siginfo, Some(!is_replaced), "{reaper:?}");
        assert_eq!(reaper.wait.map(|wait| wait.kinds), Some(WAITED_ANY), "{reaper:?}");
    }
    Ok(())
}
