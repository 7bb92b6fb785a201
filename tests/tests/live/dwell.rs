//! Tests a parent that waits late: its finding is opened once and closed once, with the right time between exit and
//! reap.

use anyhow::Result;
use supervisor_lab::parts::sys;
use supervisor_tests::{Watch, finding_of, fixture};

use crate::release::is_attached;

#[test]
fn a_parent_that_waits_when_the_finding_is_reported() -> Result<()> {
    let mut watch = Watch::start(&[])?;
    let mut fixture = fixture!("reap-when-told")?;
    let exited = fixture.fact("exited")?;
    let pid = exited.pid("pid")?;
    watch.wait_for("the finding", |event| event.says("zombie-detected", pid))?;
    fixture.send("reap")?;
    let reaped = fixture.fact("reaped")?;
    watch.wait_for("the reap", |event| event.says("zombie-reaped", pid))?;
    let heard = sys::now();
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
    // If only the free is seen, its time is after the reap, but before the closing event was received.
    let most = if is_attached(close)? { most } else { heard - exited.number("earliest")? };
    println!("true dwell {least}..{most} ns, reported {dwell} ns");
    assert!(dwell >= least, "it was reaped later than that");
    assert!(dwell <= most, "it was reaped sooner than that");
    // The age is at least the grace period. `cargo xtask bench` measures how soon after it the event comes.
    let age = open.number("supervisor.age_ns")?;
    assert!((1_000_000_000..=most).contains(&age), "detected {age} ns after the exit");
    Ok(())
}
