//! What `exec` into a container leaves to a PID 1 that never reaps; and what it leaves when it is a health check.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use supervisor_tests::{Container, Event, Watch, supervisor_bin};
use supervisor_user::scenario::{Lab, Runtime};

/// The health check's period, and how far from it the one that was found may be.
const PERIOD: Duration = Duration::from_secs(2);
const CHECKS: usize = 6;

/// It forks a child that outlives it.
const CHECK: [&str; 3] = ["sh", "-c", "sleep 0.1 &"];

fn orphan_of_an_exec(runtime: Runtime) -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    lab.add_busybox(&["sh", "sleep"])?;
    let mut watch = Watch::recorded(&format!("f3-{}-exec", runtime.name()))?;
    let container = Container::run(&lab, runtime, &["sleep", "120"])?;
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

    // The end of the container is the end of its namespace, which reaps.
    container.remove()?;
    watch.wait_for("its end", |event| event.says("zombie-reaped", pid))?;
    watch.stop()?;
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
    let container = Container::run(&lab, Runtime::Runc, &["sleep", "120"])?;
    let init = container.init();
    watch.keep(&[init]);
    let started = Instant::now();
    let mut times = Vec::new();
    for check in 0..CHECKS {
        let due = started + PERIOD * check as u32;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        times.push(Instant::now());
        container.exec(&CHECK)?;
    }
    // A slow machine cannot keep the pace.
    let pauses = times.windows(2).map(|pair| pair[1] - pair[0]);
    let (least, most) = (pauses.clone().min().unwrap_or_default(), pauses.max().unwrap_or_default());
    let found = watch.wait_for("a finding that calls it a health check", |event| {
        let origin = event.text("supervisor.origin");
        event.is_under(init) && origin.is_ok_and(|it| it == "healthcheck")
    })?;
    assert_eq!(found.text("supervisor.family.id")?, "F3");
    let period = Duration::from_nanos(found.number("supervisor.origin_period_ns")?);
    let truth = least.mul_f64(0.8)..=most.mul_f64(1.2);
    assert!(truth.contains(&period), "the period is {period:?}, and the truth {truth:?}");
    container.remove()?;
    watch.stop()?.events.last().context("nothing was found")?;
    Ok(())
}
