//! Tests of several processes that have the same pid, one directly after the other.

use std::time::Duration;

use anyhow::Result;
use supervisor_tests::{Watch, fixture, of_process};

use crate::healthy::within_grace;

#[test]
fn a_reused_pid_is_another_process() -> Result<()> {
    let mut watch = Watch::start(&[])?;
    let mut fixture = fixture!("reuse")?;
    let pid = fixture.fact("zombie")?.pid("pid")?;
    let first = watch.wait_for("the first zombie", |event| event.says("zombie-detected", pid))?;

    fixture.send("zombie")?;
    assert_eq!(fixture.fact("zombie")?.pid("pid")?, pid, "the pid was to be reused");
    let other_than_first = |id: &str| first.text("supervisor.finding.id").is_ok_and(|it| it != id);
    let second = watch.wait_for("the second zombie", |event| {
        event.says("zombie-detected", pid) && event.text("supervisor.finding.id").is_ok_and(other_than_first)
    })?;

    fixture.send("alive")?;
    assert_eq!(fixture.fact("alive")?.pid("pid")?, pid, "the pid was to be reused");
    watch.settle(env!("CARGO_BIN_EXE_fixture"))?;
    let outcome_of_the_living = watch.stop()?;
    fixture.send("end")?;
    fixture.end()?;

    let events = of_process(&outcome_of_the_living.events, pid);
    let told: Vec<(&str, &str)> = events
        .iter()
        .map(|it| Ok((it.action(), it.text("supervisor.finding.id")?)))
        .collect::<Result<_>>()?;
    let (one, two) = (first.text("supervisor.finding.id")?, second.text("supervisor.finding.id")?);
    let wanted =
        [("zombie-detected", one), ("zombie-reaped", one), ("zombie-detected", two), ("zombie-reaped", two)];
    assert_eq!(told, wanted);
    assert_eq!(first.number("process.exit_code")?, 1);
    assert_eq!(second.number("process.exit_code")?, 2);
    assert_ne!(first.text("process.entity_id")?, second.text("process.entity_id")?);
    Ok(())
}

#[test]
fn short_zombies_of_one_pid_do_not_add_up() -> Result<()> {
    within_grace(|| {
        let mut watch = Watch::start(&[])?;
        // Six zombies of 0.4 s each: every one stays within the grace period, and together they are far beyond it.
        let fixture = fixture!("reuse-within-grace", "6", "400")?;
        let done = fixture.fact("done")?;
        watch.settle(env!("CARGO_BIN_EXE_fixture"))?;
        fixture.end()?;
        let outcome = watch.stop()?;
        let longest = Duration::from_nanos(done.number("longest")?);
        Ok((longest, of_process(&outcome.events, done.pid("pid")?).into_iter().cloned().collect()))
    })
}
