//! Tests of the cases in which no zombie is freed, and of the printed reasons.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use supervisor_lab::Owned;
use supervisor_tests::{Fixture, child_of, fixture, signal, supervisor_bin};
use tempfile::NamedTempFile;

use super::{continues, reap, reap_json, zombies};

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
    for task in ["leader", "thread"] {
        zombie_of(fixture!("traced", task)?, "traces it and must collect it first")?;
    }
    Ok(())
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
    command.args(["leaks", "--settle", "0s", "--", "sleep", "600"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut leaks = Owned::start(&mut command)?;
    let supervisor = leaks.child().id();
    let sleep = child_of(supervisor, "the command", |it| it.comm == "sleep")?.pid;
    signal(supervisor, Signal::STOP)?;
    signal(sleep, Signal::KILL)?;
    let zombie = zombies(supervisor, 1)?[0];
    is_refused(zombie, "it is supervisor itself");
    signal(supervisor, Signal::CONT)?;
    // It was not harmed: it reports how its command ended, and removes its socket.
    assert_eq!(leaks.child().wait()?.code(), Some(128 + 9));
    Ok(())
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

/// Its main thread is dead, and the other one waits for a FUSE server.
#[test]
fn a_reaper_that_was_killed_and_cannot_exit_is_left_alone() -> Result<()> {
    let file = NamedTempFile::new()?;
    let path = file.path().to_str().context("the path is no UTF-8")?;
    let mut fixture = fixture!("stuck-in-fuse", path, "zombies", "1")?;
    let reaper = fixture.fact("stuck")?.pid("pid")?;
    is_refused(zombies(reaper, 1)?[0], "uninterruptible sleep");
    fixture.send("release")?;
    fixture.fact("released")?;
    fixture.end()
}

#[test]
fn a_seccomp_filter_that_forbids_the_wait_is_named() -> Result<()> {
    let fixture = fixture!("filtered", "forbids-wait")?;
    fixture.fact("ready")?;
    let zombie = zombies(fixture.pid(), 1)?[0].to_string();
    let (said, code) = reap(&["--yes", "--force", &zombie])?;
    ensure!(code == Some(1) && said.contains("its seccomp filter does not allow wait4"), "{code:?}: {said}");
    continues(fixture)
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

/// A reap of its zombie fails for this reason, the zombie stays, and the reaper goes on as before.
fn is_left_alone(fixture: Fixture, words: &str) -> Result<()> {
    let zombie = fixture.next("zombie")?.pid("pid")?;
    let (said, code) = reap(&["--yes", "--force", "--no-nudge", &zombie.to_string()])?;
    ensure!(code == Some(1) && said.contains(words), "{code:?}: {said}");
    assert_eq!(zombies(fixture.pid(), 1)?, [zombie]);
    continues(fixture)
}

#[test]
fn a_zombie_with_a_live_thread_is_refused() -> Result<()> {
    let fixture = fixture!("leader-exits")?;
    is_refused(fixture.fact("child")?.pid("pid")?, "other threads of it still live");
    fixture.end()
}

#[test]
fn a_reaper_that_a_version_1_freezer_holds_is_refused_until_it_is_thawed() -> Result<()> {
    zombie_of(fixture!("parent-frozen", "v1")?, "thaw it first")
}

/// Only one process can trace another one, and a thread counts as the process does.
#[test]
fn a_traced_reaper_is_refused_until_its_tracer_ends() -> Result<()> {
    for task in ["leader", "thread"] {
        let mut fixture = fixture!("traced-reaper", task)?;
        let fact = fixture.fact("zombie")?;
        let (zombie, tracer) = (fact.pid("pid")?, fact.pid("tracer")?);
        is_refused(zombie, &format!("process {tracer} traces it (a debugger or strace)"));
        fixture.send("release")?;
        fixture.fact("released")?;
        let (events, code) = reap_json(&["--yes", "--force", "--no-nudge", &zombie.to_string()])?;
        ensure!(code == Some(0) && events.len() == 1, "{code:?}: {events:#?}");
        assert_eq!(events[0].text("supervisor.reap.outcome")?, "freed", "{task}");
        fixture.end()?;
    }
    Ok(())
}

#[test]
fn a_reaper_in_strict_seccomp_is_refused_and_not_killed() -> Result<()> {
    let fixture = fixture!("strict-seccomp")?;
    is_refused(fixture.next("zombie")?.pid("pid")?, "seccomp's strict mode, which allows no wait");
    continues(fixture)
}

/// Only `CAP_SYS_ADMIN` can read the filter.
#[test]
fn a_seccomp_filter_that_cannot_be_read_is_named() -> Result<()> {
    let fixture = fixture!("filtered", "allows-wait", "1")?;
    fixture.fact("ready")?;
    let zombie = zombies(fixture.pid(), 1)?[0];
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-sys_admin"]).arg(supervisor_bin()?);
    command.args(["reap", "--yes", "--force", "--no-nudge", &zombie.to_string()]);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
    ensure!(said.contains("which only a process with CAP_SYS_ADMIN") && said.contains("as root"), "{said}");
    assert_eq!(zombies(fixture.pid(), 1)?, [zombie]);
    continues(fixture)
}

/// Below such a stack there may be other data. It may also be a part of the thread's own stack.
#[test]
fn a_reaper_on_its_alternate_signal_stack_is_left_alone() -> Result<()> {
    for place in ["mapped", "local"] {
        let fixture = fixture!("on-alternate-stack", place)?;
        is_left_alone(fixture, "its stack was placed by the program itself")?;
    }
    Ok(())
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_reaper_that_runs_32_bit_code_is_left_alone() -> Result<()> {
    is_left_alone(fixture!("runs-32-bit-code")?, "it runs 32-bit code")
}

/// If it came back into the sequence, the kernel would not know that the sequence was interrupted.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_reaper_in_a_restartable_sequence_is_left_alone() -> Result<()> {
    let args = ["GLIBC_TUNABLES=glibc.pthread.rseq=0", env!("CARGO_BIN_EXE_fixture"), "in-a-sequence"];
    is_left_alone(Fixture::start("env", &args)?, "it is in a restartable sequence")
}

/// Code that is in no file can change at any time.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_reaper_whose_only_code_was_made_at_run_time_is_refused() -> Result<()> {
    let fixture = fixture!("without-file-code")?;
    let zombie = fixture.fact("zombie")?.pid("pid")?;
    fixture.fact("ready")?;
    is_refused(zombie, "its code has no `syscall; ret` instruction");
    continues(fixture)
}

#[test]
fn a_process_that_does_not_exist_is_an_error_and_a_reaper_without_zombies_is_none() -> Result<()> {
    // A process id is below this number.
    let nobody = std::fs::read_to_string("/proc/sys/kernel/pid_max")?;
    let (said, code) = reap(&["--yes", "--force", nobody.trim()])?;
    ensure!(code == Some(3) && said.contains("there is no process"), "{code:?}: {said}");
    let fixture = fixture!("sleeper")?;
    let (said, code) = reap(&["--yes", "--force", "--reaper", &fixture.pid().to_string()])?;
    ensure!(code == Some(0) && said.contains("nothing that matches is unreaped"), "{code:?}: {said}");
    fixture.end()
}
