//! Zombies that are older than the watch.

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use supervisor_tests::{Event, Watch, finding_of, fixture};

/// Each process computes by itself the time of day at which the machine started. It can be interrupted between its two
/// reads of the clocks, so two processes can disagree, but by less than this.
const CLOCKS: SignedDuration = SignedDuration::from_millis(500);

#[test]
fn zombies_made_before_the_start_are_reported_and_so_is_their_reap() -> Result<()> {
    let before = Timestamp::now();
    let mut fixture = fixture!("never-wait", "3")?;
    let mut pids = Vec::new();
    for _ in 0..3 {
        pids.push(fixture.fact("zombie")?.pid("pid")?);
    }
    let after = Timestamp::now();
    let mut watch = Watch::start(&[])?;
    for &pid in &pids {
        let found = watch.wait_for("an existing zombie", |event| event.says("zombie-existing", pid))?;
        // Only an older watch, of another test, can have seen the exit.
        if let Ok(end) = found.text("process.end") {
            let end: Timestamp = end.parse()?;
            let early = before.duration_since(end);
            assert!(early < CLOCKS && end.duration_since(after) < CLOCKS, "{before} to {after}: {}", found.0);
        }
        assert_eq!(found.text("event.kind")?, "state");
        assert_eq!(found.number("process.exit_code")?, 7);
        assert_eq!(found.pid("process.parent.pid")?, fixture.pid());
    }
    fixture.send("reap")?;
    fixture.fact("reaped")?;
    for &pid in &pids {
        watch.wait_for("its reap", |event| event.says("zombie-reaped", pid))?;
    }
    fixture.end()?;
    let outcome = watch.stop()?;
    for &pid in &pids {
        finding_of(&outcome.events, pid)?;
    }
    Ok(())
}

/// A watch of another test could be older, and end during this test.
mod alone {
    use super::*;

    #[test]
    fn a_later_watch_uses_the_records_of_an_older_one() -> Result<()> {
        let end = |event: &Event| -> Result<Timestamp> { Ok(event.text("process.end")?.parse()?) };
        let mut older = Watch::start(&[])?;
        // Only a watch that ran at that time knows who has adopted a process, and whether a process waits.
        let mut fixture = fixture!("adopts")?;
        let pid = fixture.fact("zombie")?.pid("pid")?;
        let first = older.wait_for("the zombie", |event| event.says("zombie-detected", pid))?;
        let mut later = Watch::start(&[])?;
        let same = later.wait_for("the same", |event| event.says("zombie-existing", pid))?;
        // Any event that the later watch could have taken for the exit comes a grace period later: a second.
        let (seen, known) = (end(&first)?, end(&same)?);
        assert!(seen.duration_since(known).abs() < CLOCKS, "{seen} and {known}");
        for field in
            ["supervisor.family.id", "supervisor.cause", "supervisor.prognosis", "supervisor.confidence"]
        {
            assert_eq!(first.text(field)?, same.text(field)?, "{} and {}", first.0, same.0);
        }
        fixture.send("release")?;
        fixture.fact("released")?;
        for watch in [&mut older, &mut later] {
            watch.wait_for("its reap", |event| event.says("zombie-reaped", pid))?;
        }
        fixture.end()?;
        for watch in [older, later] {
            finding_of(&watch.stop()?.events, pid)?;
        }
        Ok(())
    }
}
