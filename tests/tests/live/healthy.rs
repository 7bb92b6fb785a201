//! Tests of processes that look like unreaped processes and are none.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use supervisor_tests::{Event, WAIT_LIMIT, Watch, finding_of, fixture, of_process};

/// The grace period of the watches in these tests.
const GRACE: Duration = Duration::from_secs(1);

/// Fails if there is an event about any of these processes, or about a child of them.
fn nothing_about(mut watch: Watch, pids: &[u32]) -> Result<()> {
    watch.keep(pids);
    let outcome = watch.stop()?;
    for &pid in pids {
        let about = outcome.events.iter().find(|event| event.is_about(pid) || event.is_under(pid));
        assert_eq!(about, None, "process {pid} is healthy");
    }
    Ok(())
}

/// Runs a case that returns how long a process was unreaped, and the events about it. It repeats the case until that
/// time is shorter than the grace period, because a busy machine can take longer. Then there must be no events.
pub(crate) fn within_grace(case: impl Fn() -> Result<(Duration, Vec<Event>)>) -> Result<()> {
    let deadline = Instant::now() + WAIT_LIMIT;
    loop {
        let (unreaped, events) = case()?;
        if unreaped < GRACE {
            assert_eq!(events, [], "it was unreaped for {unreaped:?}");
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the machine is too busy: {unreaped:?} is no short time");
    }
}

/// Runs a fixture with three children, for which it need not wait.
fn children_of(fixture: &str) -> Result<()> {
    let mut watch = Watch::recorded(&format!("none-{fixture}"))?;
    let fixture = fixture!(fixture)?;
    let mut pids = vec![fixture.pid()];
    for _ in 0..3 {
        pids.push(fixture.fact("child")?.pid("pid")?);
    }
    watch.settle(env!("CARGO_BIN_EXE_fixture"))?;
    fixture.end()?;
    nothing_about(watch, &pids)
}

#[test]
fn children_of_a_parent_that_ignores_sigchld() -> Result<()> {
    children_of("ignored")
}

#[test]
fn children_of_a_parent_with_sa_nocldwait() -> Result<()> {
    children_of("no-cld-wait")
}

#[test]
fn a_process_whose_first_thread_has_ended() -> Result<()> {
    let mut watch = Watch::recorded("none-leader-exits")?;
    let fixture = fixture!("leader-exits")?;
    let pid = fixture.fact("child")?.pid("pid")?;
    watch.settle(env!("CARGO_BIN_EXE_fixture"))?;
    fixture.end()?;
    nothing_about(watch, &[pid])
}

#[test]
fn a_process_whose_first_thread_ended_before_the_watch() -> Result<()> {
    let fixture = fixture!("leader-exits")?;
    let pid = fixture.fact("child")?.pid("pid")?;
    let mut watch = Watch::recorded("none-leader-exited-before")?;
    watch.settle(env!("CARGO_BIN_EXE_fixture"))?;
    fixture.end()?;
    nothing_about(watch, &[pid])
}

#[test]
fn an_exec_from_a_thread_that_is_not_the_leader() -> Result<()> {
    let mut watch = Watch::start(&[])?;
    let fixture = fixture!("exec-from-thread")?;
    let pid = fixture.fact("child")?.pid("pid")?;
    watch.settle(env!("CARGO_BIN_EXE_fixture"))?;
    fixture.end()?;
    watch.settle(env!("CARGO_BIN_EXE_fixture"))?;
    nothing_about(watch, &[pid])
}

#[test]
fn a_parent_that_reaps_within_the_grace_period() -> Result<()> {
    within_grace(|| {
        let mut watch = Watch::recorded("none-reaped-in-time")?;
        let fixture = fixture!("reap-after", "300")?;
        let exited = fixture.fact("exited")?;
        let pid = exited.pid("pid")?;
        let reaped = fixture.fact("reaped")?;
        watch.settle(env!("CARGO_BIN_EXE_fixture"))?;
        fixture.end()?;
        watch.keep(&[pid]);
        let events = watch.stop()?.events;
        let unreaped = Duration::from_nanos(reaped.number("latest")? - exited.number("earliest")?);
        Ok((unreaped, events.into_iter().filter(|it| it.is_about(pid) || it.is_under(pid)).collect()))
    })
}

#[test]
fn a_process_that_is_exiting_and_no_zombie_yet() -> Result<()> {
    let mut watch = Watch::start(&[])?;
    let mut fixture = fixture!("held-init")?;
    let held = fixture.fact("held")?;
    let (init, zombie) = (held.pid("init")?, held.pid("zombie")?);
    // The process that blocks it is itself unreaped, and must be found.
    watch.wait_for("the zombie", |event| event.says("zombie-detected", zombie))?;
    watch.settle(env!("CARGO_BIN_EXE_fixture"))?;
    fixture.send("release")?;
    fixture.fact("released")?;
    watch.wait_for("the zombie's end", |event| event.says("zombie-reaped", zombie))?;
    watch.settle(env!("CARGO_BIN_EXE_fixture"))?;
    fixture.end()?;

    let outcome = watch.stop()?;
    finding_of(&outcome.events, zombie)?;
    // There is an event that its namespace is blocked, but none that it was a zombie.
    let about = of_process(&outcome.events, init);
    assert!(about.iter().all(|event| event.action().starts_with("namespace-")), "{about:#?}");
    Ok(())
}

#[test]
fn processes_whose_last_two_threads_exit_together() -> Result<()> {
    let mut watch = Watch::start(&[])?;
    let fixture = fixture!("races", "2000")?;
    let pid = fixture.pid();
    fixture.fact("done")?;
    watch.settle(env!("CARGO_BIN_EXE_fixture"))?;
    fixture.end()?;
    nothing_about(watch, &[pid])
}
