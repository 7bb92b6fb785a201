//! Tests of processes that an `exec` into a container leaves to a PID 1 that never reaps, and of an `exec` that is a
//! health check.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use supervisor_lab::{Lab, Runtime};
use supervisor_tests::{Event, RunningContainer, WAIT_LIMIT, Watch, supervisor_bin};

/// The health check's period.
const PERIOD: Duration = Duration::from_secs(2);

/// The check forks a child that outlives it.
const CHECK: [&str; 3] = ["sh", "-c", "sleep 0.1 &"];

/// Executes a check in a container of this runtime, and compares the event about the process that the check leaves.
pub(crate) fn orphan_of_an_exec(runtime: Runtime) -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    lab.add_busybox(&["sh", "sleep"])?;
    let mut watch = Watch::recorded(&format!("f3-{}-exec", runtime.name()))?;
    let container = RunningContainer::run(&lab, runtime, &["sleep", "600"])?;
    let init = container.init();
    watch.keep(&[init]);
    container.exec(&CHECK)?;

    let found = watch.wait_for("the orphan of the exec", |event| {
        event.action() == "zombie-detected" && event.is_under(init)
    })?;
    let pid = found.pid("process.pid")?;
    assert_eq!(found.text("process.name")?, "sleep");
    assert_eq!(found.pid("supervisor.reaper.pid")?, init);
    assert!(found.flag("supervisor.reaper.is_pidns_init")?);
    assert!(found.flag("supervisor.reaper.adopted")?);
    assert_eq!(found.text("container.id")?, container.id());
    let creators = found.list("supervisor.creators")?;
    let executed = |it: &Event| {
        it.text("role").is_ok_and(|role| role == "runtime")
            && it.text("verb").is_ok_and(|verb| verb == "exec")
    };
    assert!(creators.iter().any(executed), "no exec among the creators: {creators:#?}");
    assert_eq!(found.text("supervisor.family.id")?, "F3");
    assert_eq!(found.text("supervisor.origin")?, "exec");
    assert!(found.text("supervisor.verdict")?.contains("exec"), "{}", found.text("supervisor.verdict")?);

    // The end of the container ends its namespace, and that reaps the zombie.
    container.remove()?;
    watch.wait_for("its end", |event| event.says("zombie-reaped", pid))?;
    watch.stop()?;
    Ok(())
}

/// Executes a check in every period until a finding under this PID 1 calls it a health check. Returns the finding and
/// the pauses between the checks. A busy machine may need some checks to reach the pace.
pub(crate) fn checks_until_found(
    watch: &mut Watch,
    init: u32,
    period: Duration,
    check: impl Fn() -> Result<()>,
) -> Result<(Event, Vec<Duration>)> {
    let deadline = Instant::now() + WAIT_LIMIT;
    let mut times: Vec<Instant> = Vec::new();
    loop {
        let found = watch.seen(|event| {
            let origin = event.text("supervisor.origin");
            event.is_under(init) && origin.is_ok_and(|it| it == "healthcheck")
        })?;
        if let Some(found) = found {
            return Ok((found, times.windows(2).map(|pair| pair[1] - pair[0]).collect()));
        }
        ensure!(Instant::now() < deadline, "no finding calls it a health check");
        if let Some(last) = times.last() {
            thread::sleep((*last + period).saturating_duration_since(Instant::now()));
        }
        times.push(Instant::now());
        check()?;
    }
}

/// Whether a finding reports the period of checks with these pauses. The tolerance is that of pauses that count as
/// equal.
pub(crate) fn is_period_of(found: &Event, pauses: &[Duration]) -> Result<()> {
    let period = Duration::from_nanos(found.number("supervisor.origin_period_ns")?);
    let (least, most) =
        (pauses.iter().min().context("one check")?, pauses.iter().max().context("one check")?);
    let truth = least.mul_f64(0.75)..=most.mul_f64(1.25);
    ensure!(truth.contains(&period), "the period is {period:?}, and the truth {truth:?}");
    Ok(())
}

#[test]
fn an_orphan_of_runc_exec() -> Result<()> {
    orphan_of_an_exec(Runtime::Runc)
}

#[test]
fn an_orphan_of_crun_exec() -> Result<()> {
    orphan_of_an_exec(Runtime::Crun)
}

#[test]
fn an_exec_every_two_seconds_is_a_health_check() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    lab.add_busybox(&["sh", "sleep"])?;
    let mut watch = Watch::recorded("f3-healthcheck")?;
    let container = RunningContainer::run(&lab, Runtime::Runc, &["sleep", "600"])?;
    let init = container.init();
    watch.keep(&[init]);
    let (found, pauses) = checks_until_found(&mut watch, init, PERIOD, || container.exec(&CHECK))?;
    assert_eq!(found.text("supervisor.family.id")?, "F3");
    is_period_of(&found, &pauses)?;
    container.remove()?;
    watch.stop()?.events.last().context("nothing was found")?;
    Ok(())
}
