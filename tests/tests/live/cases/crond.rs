//! OpenCCU/OpenCCU#316: crond waits for its jobs by their pids, in rounds, and each job is a zombie until the next
//! round.

use std::fs;

use anyhow::{Context, Result};
use supervisor_lab::{Lab, program};
use supervisor_tests::{Event, Guard, Watch, supervisor_bin};

use super::{FIXTURE, Truth, finding_under, silent_about};

/// The jobs of one minute. crond waits after ten seconds, when the second job still runs, and again ten seconds later.
const JOBS: &str = "* * * * * sleep 0.1\n* * * * * sleep 11\n";

/// The test asks the commands in at most this many rounds.
const ROUNDS: usize = 5;

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
    // The verdict about the first zombie may be unsure. `holds_in` is for zombies that follow a known outcome.
    let first = finding_under(&mut watch, crond, |_| true)?.pid("process.pid")?;
    watch.keep(&[crond]);
    watch.wait_for("the first round", |event| event.says("zombie-reaped", first))?;
    let truth = Truth {
        family: "F18",
        position: "own-child",
        cause: "periodic",
        prognosis: "late",
        no_remedy: &["restart", "end busybox", "end crond", "kill"],
        ..Truth::default()
    };
    let mut seen = vec![first];
    let (second, told) = loop {
        let is_new = |event: &Event| !seen.iter().any(|pid| event.is_about(*pid));
        let pid = finding_under(&mut watch, crond, is_new)?.pid("process.pid")?;
        let told = truth.is_told_of(&mut watch, pid, crond);
        seen.push(pid);
        match told {
            Ok(told) => break (pid, told),
            // On a busy machine the next round can come before the test has asked all commands.
            Err(_) if seen.len() < ROUNDS && watch.seen(|it| it.says("zombie-reaped", pid))?.is_some() => {}
            Err(error) => return Err(error),
        }
    };
    told.field("supervisor.pattern")?;
    watch.wait_for("the second round", |event| event.says("zombie-reaped", second))?;
    let outcome = watch.stop()?;
    truth.holds_in(&outcome.events, second)?;
    silent_about(&outcome.events, &[crond])
}
