//! Bug reports played with fixtures that make the system calls of the reported programs: parents that wait, and miss
//! one child.

use std::os::unix::fs::symlink;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, getpgid};
use supervisor_lab::Lab;
use supervisor_tests::{Fixture, Watch, fixture, of_process, supervisor_bin};

use super::{FIXTURE, Truth, silent_about};

/// Runs a fixture that prints `zombie pid=… parent=…`, compares, and lets it release the zombie.
fn compare(truth: &Truth<'_>, watch: Watch, fixture: Fixture) -> Result<()> {
    let fact = fixture.fact("zombie")?;
    compare_with(truth, watch, fixture, fact.pid("pid")?, fact.pid("parent")?)
}

/// The same with a fixture that has already printed its fact.
fn compare_with(
    truth: &Truth<'_>,
    mut watch: Watch,
    mut fixture: Fixture,
    zombie: u32,
    reaper: u32,
) -> Result<()> {
    watch.keep(&[zombie]);
    truth.is_told_of(&mut watch, zombie, reaper)?;
    fixture.send("release")?;
    fixture.fact("released")?;
    watch.wait_for("its end", |event| event.says("zombie-reaped", zombie))?;
    fixture.end()?;
    let outcome = watch.stop()?;
    truth.holds_in(&outcome.events, zombie)?;
    silent_about(&outcome.events, &[reaper])
}

/// systemd/systemd#2961: one SIGCHLD stands for many exits, and the handler waits only for the pid that the signal
/// names.
#[test]
fn a_handler_waits_for_the_pid_that_the_signal_names() -> Result<()> {
    let watch = Watch::recorded("case-si-pid")?;
    let truth = Truth {
        family: "F17",
        position: "own-child",
        cause: "coalesced",
        prognosis: "leaked",
        remedies: &["WNOHANG"],
        wont_help: &["init"],
        ..Truth::default()
    };
    compare(&truth, watch, fixture!("waits-for-the-named")?)
}

/// syslog-ng/syslog-ng#2099: the handler reaps any child, until a JVM in the process resets SIGCHLD to its default.
#[test]
fn a_library_replaces_the_handler_that_reaped() -> Result<()> {
    let watch = Watch::recorded("case-handler-replaced")?;
    let truth = Truth {
        family: "F22",
        position: "own-child",
        cause: "handler-replaced",
        prognosis: "leaked",
        remedies: &["handler"],
        wont_help: &["init"],
        ..Truth::default()
    };
    compare(&truth, watch, fixture!("handler-replaced")?)
}

/// awesomeWM/awesome#1193: a program restarts itself by exec, and the new image does not know the child of the old one.
#[test]
fn a_program_restarts_itself_by_exec() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    let [before, after] = ["wm-before", "wm-after"].map(|name| lab.path().join(name));
    for name in [&before, &after] {
        symlink(FIXTURE, name)?;
    }
    let watch = Watch::recorded("case-image-replaced")?;
    let truth = Truth {
        family: "F23",
        position: "own-child",
        cause: "image-replaced",
        prognosis: "leaked",
        names: &["wm-before", "wm-after"],
        remedies: &["exec"],
        // It waits by pid: a loop over any child would take the statuses of its other children.
        no_remedy: &["waitpid(-1"],
        wont_help: &["init"],
        ..Truth::default()
    };
    let after = after.to_str().context("no UTF-8")?;
    let fixture = Fixture::start(before.to_str().context("no UTF-8")?, &["image-replaced", after])?;
    compare(&truth, watch, fixture)
}

/// The parent reaps between two pieces of work, and one piece takes long.
#[test]
fn a_parent_is_busy() -> Result<()> {
    let watch = Watch::recorded("case-busy")?;
    let truth = Truth {
        family: "F24",
        position: "own-child",
        cause: "busy",
        prognosis: "late",
        no_remedy: &["restart", "end fixture", "kill"],
        wont_help: &["init"],
        ..Truth::default()
    };
    compare(&truth, watch, fixture!("busy")?)
}

/// A reaper with an `io_uring` can wait without a wait call (`IORING_OP_WAITID`), so no verdict about it is sure.
#[test]
fn a_parent_waits_through_an_io_uring() -> Result<()> {
    let mut watch = Watch::start(&[])?;
    let mut fixture = fixture!("reaps-by-io-uring")?;
    let zombie = fixture.fact("zombie")?.pid("pid")?;
    let truth = Truth {
        family: "F4",
        position: "own-child",
        cause: "unseen",
        prognosis: "unknown",
        no_remedy: &["supervisor reap"],
        ..Truth::default()
    };
    truth.is_told_of(&mut watch, zombie, fixture.pid())?;
    fixture.send("reap")?;
    fixture.fact("reaped")?;
    watch.wait_for("its end", |event| event.says("zombie-reaped", zombie))?;
    fixture.end()?;
    let events = watch.stop()?.events;
    truth.holds_in(&events, zombie)?;
    for event in of_process(&events, zombie) {
        ensure!(event.text("supervisor.confidence")? != "high", "nothing is sure: {}", event.0);
        ensure!(event.text("supervisor.prognosis")? != "leaked", "it was reaped: {}", event.0);
    }
    Ok(())
}

/// TritonDataCenter/containerpilot#409: PID 1 reaps its own process group only.
#[test]
fn pid_1_waits_for_its_own_group() -> Result<()> {
    let watch = Watch::recorded("case-pgid-init")?;
    let fixture = fixture!("pid1-waits-for-group")?;
    let fact = fixture.fact("zombie")?;
    let (zombie, init) = (fact.pid("pid")?, fact.pid("init")?);
    let [its_own, init_own] = [zombie, init].map(|pid| getpgid(Pid::from_raw(pid as i32)));
    let truth = Truth {
        family: "F2",
        position: "adopted-by-init",
        cause: "waits-for-group",
        prognosis: "leaked",
        names: &[&its_own?.to_string(), &init_own?.to_string()],
        remedies: &["init"],
        ..Truth::default()
    };
    compare_with(&truth, watch, fixture, zombie, init)
}
