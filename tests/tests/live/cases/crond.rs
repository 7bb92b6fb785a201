//! OpenCCU/OpenCCU#316: crond asks for its jobs by their pids, in rounds, and each job is a zombie until the next round.

use std::fs;

use anyhow::{Context, Result};
use supervisor_tests::{Guard, Watch, supervisor_bin};
use supervisor_user::scenario::{Lab, program};

use super::{FIXTURE, Truth, finding_under, silent_about};

/// The jobs of one minute. crond asks after ten seconds, when the second still runs, and again ten seconds later.
const JOBS: &str = "* * * * * sleep 0.1\n* * * * * sleep 11\n";

#[test]
fn crond_reaps_in_rounds() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    let (tabs, log) = (lab.path().join("tabs"), lab.path().join("crond.log"));
    fs::create_dir(&tabs)?;
    fs::write(tabs.join("root"), JOBS)?;
    let mut watch = Watch::recorded("case-busybox-crond")?;
    let busybox = program("busybox").context("busybox is not installed")?;
    let (tabs, log) = (tabs.to_str().context("no UTF-8")?, log.to_str().context("no UTF-8")?);
    let guard = Guard::start(FIXTURE, &busybox, &["crond", "-f", "-L", log, "-c", tabs])?;
    let crond = guard.program();
    // What it says of the first may be unsure; `holds_in` is for those that follow an outcome.
    let first = finding_under(&mut watch, crond, |_| true)?.pid("process.pid")?;
    watch.keep(&[crond]);
    watch.wait_for("the first round", |event| event.says("zombie-reaped", first))?;
    let second = finding_under(&mut watch, crond, |event| !event.is_about(first))?.pid("process.pid")?;
    let truth = Truth {
        family: "F18",
        position: "own-child",
        cause: "periodic",
        prognosis: "late",
        no_remedy: &["restart", "end busybox", "end crond", "kill"],
        ..Truth::default()
    };
    let told = truth.is_told_of(&mut watch, second, crond)?;
    told.field("supervisor.pattern")?;
    watch.wait_for("the second round", |event| event.says("zombie-reaped", second))?;
    let outcome = watch.stop()?;
    truth.holds_in(&outcome.events, second)?;
    silent_about(&outcome.events, &[crond])
}
