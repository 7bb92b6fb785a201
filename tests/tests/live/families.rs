//! Tests of every family of unreaped processes: real processes make a zombie, `watch` finds it, distinguishes its
//! family from the others, and closes it.

use std::os::unix::fs::symlink;

use anyhow::{Context, Result};
use supervisor_tests::{Case, Event, Watch, finding_of, fixture};

const FIXTURE: &str = env!("CARGO_BIN_EXE_fixture");

#[test]
fn f1_a_subreaper_that_does_not_wait_for_what_it_adopts() -> Result<()> {
    Case { args: &["adopts"], family: "F1", verdict: &["adopted"], ..Case::default() }.check(FIXTURE)
}

#[test]
fn f2_pid_1_that_does_not_wait_for_what_it_adopts() -> Result<()> {
    for then in ["never-waits", "waits-for-other"] {
        let case = Case {
            args: &["pid1-adopts", then],
            family: "F2",
            reaper: "init",
            verdict: &["PID 1"],
            advice: &["init"],
        };
        case.check(FIXTURE)?;
    }
    Ok(())
}

#[test]
fn f4_a_parent_that_never_waits_for_its_own_child() -> Result<()> {
    // An init would not help: it reaps the processes that it adopts, and this zombie still has its parent.
    let case =
        Case { args: &["pid1-own"], family: "F4", reaper: "init", advice: &["init"], ..Case::default() };
    case.check(FIXTURE)
}

#[test]
fn f20_a_parent_that_waits_for_another_child_first() -> Result<()> {
    Case { args: &["waits-for-other"], family: "F20", reaper: "parent", advice: &["init"], ..Case::default() }
        .check(FIXTURE)
}

#[test]
fn f4_a_parent_that_never_waits_at_all() -> Result<()> {
    let mut watch = Watch::recorded("f4-never-wait")?;
    let mut fixture = fixture!("never-wait", "1")?;
    let pid = fixture.fact("zombie")?.pid("pid")?;
    watch.keep(&[pid]);
    let found = watch.wait_for("the zombie", |event| event.says("zombie-detected", pid))?;
    fixture.send("reap")?;
    watch.wait_for("its end", |event| event.says("zombie-reaped", pid))?;
    watch.stop()?;
    Case { family: "F4", advice: &["init"], ..Case::default() }.compare(&found)
}

#[test]
fn f5_an_init_that_is_neither_pid_1_nor_a_subreaper() -> Result<()> {
    let case = Case {
        args: &["init-not-pid1", "tini", "--", FIXTURE, "orphan-maker", "stays"],
        family: "F5",
        reaper: "init",
        verdict: &["tini"],
        advice: &["tini -s"],
    };
    case.check(FIXTURE)
}

#[test]
fn f6_a_stage_of_a_runtime() -> Result<()> {
    let dir = tempfile::Builder::new().prefix("supervisor-lab-").tempdir()?;
    let runc = dir.path().join("runc");
    symlink(FIXTURE, &runc)?;
    let runc = runc.to_str().context("the path is no UTF-8")?;
    let args = ["spawns", runc, "create", "no-such-container"];
    Case { args: &args, family: "F6", verdict: &["runc"], ..Case::default() }.check(FIXTURE)
}

#[test]
fn f10_a_tracer_holds_a_process_or_one_thread_of_it() -> Result<()> {
    for what in ["leader", "thread"] {
        let args = ["traced", what];
        let verdict = ["idle-tracer"];
        Case { args: &args, family: "F10", reaper: "parent", verdict: &verdict, advice: &[] }
            .check(FIXTURE)?;
    }
    Ok(())
}

#[test]
fn f11_the_parent_cannot_run() -> Result<()> {
    let cases: [(&[&str], &str); 4] = [
        (&["parent-stopped"], "stopped"),
        (&["parent-vforks"], "vfork"),
        (&["parent-frozen", "v1"], "frozen"),
        (&["parent-frozen", "v2"], "frozen"),
    ];
    for (args, state) in cases {
        Case { args, family: "F11", reaper: "parent", verdict: &[state], advice: &[] }.check(FIXTURE)?;
    }
    Ok(())
}

#[test]
fn f14_the_child_does_not_send_sigchld() -> Result<()> {
    for signal in ["0", "10"] {
        Case { args: &["exit-signal", signal], family: "F14", advice: &["__WALL"], ..Case::default() }
            .check(FIXTURE)?;
    }
    Ok(())
}

#[test]
fn f15_a_peek_is_no_reap() -> Result<()> {
    Case { args: &["peek"], family: "F15", verdict: &["WNOWAIT"], ..Case::default() }.check(FIXTURE)
}

#[test]
fn f17_one_wait_for_every_sigchld() -> Result<()> {
    let mut watch = Watch::recorded("f17-coalesced")?;
    let mut fixture = fixture!("coalesced", "4")?;
    let pids = (0..3).map(|_| fixture.fact("zombie")?.pid("pid")).collect::<Result<Vec<u32>>>()?;
    watch.keep(&pids);
    let found = pids
        .iter()
        .map(|&pid| watch.wait_for("a lost child", |event| event.says("zombie-detected", pid)))
        .collect::<Result<Vec<_>>>()?;
    // SIGCHLD was delivered, and each wait got another child. Without another exit, the next wait does not come.
    let is_leaked = |event: &Event, pid| {
        let text = |field: &str| event.text(field).unwrap_or_default();
        event.is_about(pid)
            && text("supervisor.prognosis") == "leaked"
            && text("supervisor.cause") == "coalesced"
            && text("supervisor.confidence") == "high"
    };
    for &pid in &pids {
        watch.wait_for("a lost child that stays", |event| is_leaked(event, pid))?;
    }
    fixture.send("release")?;
    fixture.fact("released")?;
    for &pid in &pids {
        watch.wait_for("its end", |event| event.says("zombie-reaped", pid))?;
    }
    fixture.end()?;
    let outcome = watch.stop()?;
    for (event, pid) in found.iter().zip(pids) {
        finding_of(&outcome.events, pid)?;
        Case { family: "F17", advice: &["WNOHANG"], ..Case::default() }.compare(event)?;
    }
    Ok(())
}

#[test]
fn f18_a_parent_that_reaps_seldom() -> Result<()> {
    let mut watch = Watch::recorded("f18-slow-reaper")?;
    // The zombie must be found before the next round. The round is long enough for that on a busy machine too.
    let mut fixture = fixture!("slow-reaper", "6000")?;
    for _ in 0..2 {
        assert!(fixture.fact("round")?.number("reaped")? > 0, "every round is to reap something");
    }
    fixture.send("zombie")?;
    let pid = fixture.fact("zombie")?.pid("pid")?;
    watch.keep(&[pid]);
    let found = watch.wait_for("the zombie", |event| event.says("zombie-detected", pid))?;
    // It reaps by itself, without a request.
    fixture.fact("round")?;
    watch.wait_for("its end", |event| event.says("zombie-reaped", pid))?;
    fixture.end()?;
    let outcome = watch.stop()?;
    finding_of(&outcome.events, pid)?;
    Case { family: "F18", ..Case::default() }.compare(&found)
}
