//! Tests that set the wall clock while processes are unreaped. The findings, their times and their ages follow another
//! clock.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use supervisor_tests::{Event, Watch, finding_of, fixture};

const HOUR: i64 = 3600;
/// Each zombie of this test lives less than this, and each step of the clock is longer.
const LONG: Duration = Duration::from_mins(30);

fn set_clock_by(seconds: i64) -> Result<()> {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Realtime);
    clock_settime(ClockId::Realtime, Timespec { tv_sec: tv_sec + seconds, tv_nsec })
        .context("the clock cannot be set")
}

/// Steps of the clock that are undone when this is dropped, so also if the test fails.
struct Steps(i64);

impl Steps {
    fn by(&mut self, seconds: i64) -> Result<()> {
        set_clock_by(seconds)?;
        self.0 += seconds;
        Ok(())
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        // The clock was set before, so it can be set now.
        let _ = set_clock_by(-self.0);
    }
}

fn is_young(event: &Event) -> Result<()> {
    let age = Duration::from_nanos(event.number("supervisor.age_ns")?);
    ensure!(age < LONG, "it is {age:?} old: {}", event.0);
    let (end, at): (jiff::Timestamp, jiff::Timestamp) =
        (event.text("process.end")?.parse()?, event.text("@timestamp")?.parse()?);
    let apart = at.duration_since(end).unsigned_abs();
    ensure!(apart < LONG, "it is told {apart:?} from its exit: {}", event.0);
    Ok(())
}

#[test]
#[ignore = "it sets the machine's clock: `cargo xtask vm` runs it"]
fn a_clock_that_is_set_changes_no_finding() -> Result<()> {
    let mut steps = Steps(0);
    let mut watch = Watch::start(&[])?;
    let mut pids = Vec::new();
    for step in [HOUR, -2 * HOUR, 0] {
        let mut fixture = fixture!("never-wait", "1")?;
        let pid = fixture.fact("zombie")?.pid("pid")?;
        steps.by(step)?;
        let found = watch.wait_for("the zombie", |event| event.says("zombie-detected", pid))?;
        is_young(&found)?;
        steps.by(-step / 2)?;
        fixture.send("reap")?;
        fixture.fact("reaped")?;
        watch.wait_for("its end", |event| event.says("zombie-reaped", pid))?;
        fixture.end()?;
        pids.push(pid);
    }
    let outcome = watch.stop()?;
    for pid in pids {
        let (_, close) = finding_of(&outcome.events, pid)?;
        is_young(close)?;
    }
    Ok(())
}
