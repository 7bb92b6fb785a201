//! Tests of the cases in which no zombie is freed, and of the printed reasons.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use supervisor_lab::Owned;
use supervisor_tests::{Fixture, child_of, fixture, signal, supervisor_bin};

use super::{reap, reap_json, zombies};

/// Fails unless a reap of this pid is refused with these words.
#[track_caller]
fn is_refused(pid: u32, words: &str) {
    for options in [&["--dry-run", "--force"][..], &["--yes", "--force", "--no-nudge"]] {
        let pid = pid.to_string();
        let args: Vec<&str> = options.iter().copied().chain([&*pid]).collect();
        let (said, code) = reap(&args).expect("supervisor runs");
        assert!(code == Some(1) && said.contains("refused ") && said.contains(words), "{code:?}: {said}");
    }
}

fn zombie_of(mut fixture: Fixture, words: &str) -> Result<()> {
    let zombie = fixture.next("zombie")?.pid("pid")?;
    is_refused(zombie, words);
    fixture.send("release")?;
    fixture.fact("released")?;
    fixture.end()
}

#[test]
fn a_process_that_has_not_exited_is_refused() -> Result<()> {
    let fixture = fixture!("sleeper")?;
    is_refused(fixture.pid(), "it is not a zombie: its state is S");
    fixture.end()
}

#[test]
fn a_zombie_that_a_tracer_must_collect_is_refused() -> Result<()> {
    zombie_of(fixture!("traced", "leader")?, "traces it and must collect it first")
}

#[test]
fn a_stopped_reaper_is_not_stopped_again() -> Result<()> {
    zombie_of(fixture!("parent-stopped")?, "it is stopped")
}

#[test]
fn a_frozen_reaper_is_refused_until_it_is_thawed() -> Result<()> {
    zombie_of(fixture!("parent-frozen", "v2")?, "thaw it first")
}

/// While it is stopped, it has a zombie.
#[test]
fn another_supervisor_is_never_stopped() -> Result<()> {
    let mut command = Command::new(supervisor_bin()?);
    command.args(["leaks", "--", "sleep", "600"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut leaks = Owned::start(&mut command)?;
    let supervisor = leaks.child().id();
    let sleep = child_of(supervisor, "the command", |it| it.comm == "sleep")?.pid;
    signal(supervisor, Signal::STOP)?;
    signal(sleep, Signal::KILL)?;
    let zombie = zombies(supervisor, 1)?[0];
    is_refused(zombie, "it is supervisor itself");
    signal(supervisor, Signal::CONT)
}

#[test]
fn a_container_that_does_not_exist_is_no_success() -> Result<()> {
    let (said, code) = reap(&["--all", "--container", "no-such-container", "--yes"])?;
    ensure!(code == Some(1) && said.contains("no process is seen in a container"), "{code:?}: {said}");
    Ok(())
}

#[test]
fn a_reaper_in_uninterruptible_sleep_is_left_alone() -> Result<()> {
    zombie_of(fixture!("parent-vforks")?, "uninterruptible sleep")
}

#[test]
fn a_seccomp_filter_that_forbids_the_wait_is_named() -> Result<()> {
    let mut fixture = fixture!("filtered", "forbids-wait")?;
    fixture.fact("ready")?;
    let zombie = zombies(fixture.pid(), 1)?[0].to_string();
    let (said, code) = reap(&["--yes", "--force", &zombie])?;
    ensure!(code == Some(1) && said.contains("its seccomp filter does not allow wait4"), "{code:?}: {said}");
    fixture.send("go on")?;
    fixture.fact("continued")?;
    fixture.end()
}

#[test]
fn a_parents_own_child_needs_force_and_the_consequence_is_printed() -> Result<()> {
    let fixture = fixture!("never-wait", "1")?;
    let zombie = zombies(fixture.pid(), 1)?[0].to_string();
    let (said, code) = reap(&["--yes", &zombie])?;
    ensure!(code == Some(1) && said.contains("needs force"), "{code:?}: {said}");
    ensure!(said.contains("fails with ECHILD and the exit status is lost"), "{said}");
    let (events, code) = reap_json(&["--yes", "--force", &zombie])?;
    ensure!(code == Some(0) && events.len() == 1, "{code:?}: {events:#?}");
    assert_eq!(events[0].text("supervisor.reap.outcome")?, "freed");
    ensure!(events[0].flag("supervisor.reap.forced")?, "{}", events[0].0);
    Ok(())
}
