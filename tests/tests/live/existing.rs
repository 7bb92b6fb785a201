//! Zombies that are older than the watch.

use anyhow::Result;
use supervisor_tests::{Watch, finding_of, fixture};

#[test]
fn zombies_made_before_the_start_are_reported_and_so_is_their_reap() -> Result<()> {
    let mut fixture = fixture!("never-wait", "3")?;
    let mut pids = Vec::new();
    for _ in 0..3 {
        pids.push(fixture.fact("zombie")?.pid("pid")?);
    }
    let mut watch = Watch::start(&[])?;
    for &pid in &pids {
        let found = watch.wait_for("an existing zombie", |event| event.says("zombie-existing", pid))?;
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
