//! A parent that waits late: opened once, closed once, with the right time between exit and reap.

use anyhow::Result;
use supervisor_tests::{Watch, finding_of, fixture};

use crate::release::is_attached;

const TOLERANCE_NS: u64 = 100_000_000;

#[test]
fn a_parent_that_waits_after_three_seconds() -> Result<()> {
    let mut watch = Watch::start(&[])?;
    let fixture = fixture!("reap-after", "3000")?;
    let exited = fixture.fact("exited")?;
    let pid = exited.pid("pid")?;
    let reaped = fixture.fact("reaped")?;
    watch.wait_for("the reap", |event| event.says("zombie-reaped", pid))?;
    let parent = fixture.pid();
    fixture.end()?;

    let outcome = watch.stop()?;
    let (open, close) = finding_of(&outcome.events, pid)?;
    assert_eq!(open.action(), "zombie-detected");
    assert_eq!(open.pid("process.parent.pid")?, parent);
    assert!(!open.flag("supervisor.reaper.adopted")?, "the parent created it itself");
    let least = reaped.number("earliest")? - exited.number("latest")?;
    let most = reaped.number("latest")? - exited.number("earliest")?;
    let dwell = close.number("event.duration")?;
    println!("true dwell {least}..{most} ns, reported {dwell} ns");
    assert!((least.saturating_sub(TOLERANCE_NS)..=most + TOLERANCE_NS).contains(&dwell));
    // Never too early; and where the reap itself is seen, not late either.
    assert!(dwell >= least, "it was reaped later than that");
    assert!(dwell <= most || !is_attached(close)?, "it was reaped sooner than that");
    // Reported in time as well: after the grace period, and well before the parent waits.
    let age = open.number("supervisor.age_ns")?;
    assert!((1_000_000_000..2_000_000_000).contains(&age), "detected {age} ns after the exit");
    Ok(())
}
