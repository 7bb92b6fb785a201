//! Tests of the packaged conmon. It loops over `waitpid(-1)`, unlike the monitor of the incident. In one test, conmon
//! itself is not reaped.

use std::{
    fs,
    os::unix::fs::symlink,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use supervisor_lab::{Lab, NO_SUCH_COMMAND, Owned, PidNs, Pod, Runtime, bundle, private_cgroup2};
use supervisor_tests::{Case, WAIT_LIMIT, Watch, supervisor_bin};

#[test]
fn conmon_reaps_what_crun_leaves_in_a_joined_namespace() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    let pod = Pod::start(&lab)?;
    let mut watch = Watch::recorded("none-conmon")?;

    let id = lab.container_id("conmon");
    let bundle = bundle(&lab, &id, PidNs::Joined(&pod), &[NO_SUCH_COMMAND])?;
    let log = bundle.join("conmon.log");
    let mut command = Command::new("conmon");
    // With `--sync`, conmon stays a child of this test.
    command.args(["--sync", "--full-attach", "-c", &id, "-u", &id, "-n", "conmon-test"]);
    command.arg("-r").arg(Runtime::Crun.find().context("crun is not installed")?);
    command.arg("-b").arg(&bundle).arg("-p").arg(bundle.join("pidfile"));
    command.arg("--socket-dir-path").arg(lab.path()).arg("--exit-dir").arg(lab.path());
    command.arg("-l").arg(format!("k8s-file:{}", log.display()));
    command.arg("--runtime-arg").arg(format!("--root={}", lab.state("crun").display()));
    command.args(["--runtime-arg", "--cgroup-manager=disabled"]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut conmon = Owned::start(private_cgroup2(&mut command))?;
    let conmon_pid = conmon.pid();
    watch.keep(&[conmon_pid]);
    let status = conmon.end(WAIT_LIMIT)?;
    let said = fs::read_to_string(log).unwrap_or_default();
    assert_eq!(status.code(), Some(1), "the command does not exist, so conmon has to fail: {said}");

    watch.settle(env!("CARGO_BIN_EXE_fixture"))?;
    let outcome = watch.stop()?;
    let about = |pid| outcome.events.iter().filter(move |event| event.is_about(pid) || event.is_under(pid));
    assert_eq!(about(conmon_pid).next(), None, "conmon or a child of it was found");
    let here = |event: &&supervisor_tests::Event| {
        event.number("supervisor.pid_ns.ino").is_ok_and(|ino| ino == pod.ns_ino())
    };
    assert_eq!(outcome.events.iter().find(here), None, "something was found in the pod");
    Ok(())
}

#[test]
fn f7_a_conmon_whose_engine_does_not_wait() -> Result<()> {
    let dir = tempfile::Builder::new().prefix("supervisor-lab-").tempdir()?;
    let engine = dir.path().join("podman");
    symlink(env!("CARGO_BIN_EXE_fixture"), &engine)?;
    let case = Case {
        args: &["spawns", "conmon", "--version"],
        family: "F7",
        verdict: &["conmon"],
        ..Case::default()
    };
    case.check(engine.to_str().context("the path is no UTF-8")?)
}
