//! Tests of the question that `supervisor reap` asks at a terminal.

use std::process::Command;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use supervisor_lab::{stat, until};
use supervisor_tests::{Screen, WAIT_LIMIT, child_of, fixture, signal, supervisor_bin};

use super::zombies;

/// A zombie that needs `--force`, at a terminal.
fn asks(zombie: u32, options: &[&str]) -> Result<Screen> {
    let mut command = Command::new(supervisor_bin()?);
    command.args(["reap", "--force", "--no-nudge", &zombie.to_string()]).args(options);
    Screen::start(command, 200, 24)
}

fn is_there(pid: u32) -> bool {
    stat(pid).is_some_and(|it| it.state == 'Z')
}

#[test]
fn an_answer_other_than_yes_frees_nothing_and_says_so() -> Result<()> {
    let fixture = fixture!("never-wait", "1")?;
    let zombie = zombies(fixture.pid(), 1)?[0];
    // The last one is Ctrl-D: the end of the input.
    for answer in ["n\r", "\r", "yess\r", "\x04"] {
        let mut screen = asks(zombie, &[])?;
        screen.shows(&format!("forced       fixture[{zombie}] of fixture[{}]", fixture.pid()))?;
        screen.shows("if that waits for it later, the wait fails with ECHILD and the exit status is lost")?;
        screen.shows(&format!(
            "Free 1 of 1? Their exit statuses are lost to process {}, which is stopped for a moment. [y/N]",
            fixture.pid()
        ))?;
        ensure!(is_there(zombie), "it was freed before the answer");
        screen.types(answer)?;
        screen.shows("supervisor: nothing was done")?;
        assert_eq!(screen.code()?, Some(2), "{answer:?}");
        ensure!(is_there(zombie), "it was freed after {answer:?}");
    }
    fixture.end()
}

#[test]
fn yes_frees_it_and_the_outcome_is_printed() -> Result<()> {
    for answer in ["y\r", "Y\r", "yes\r"] {
        let fixture = fixture!("never-wait", "1")?;
        let zombie = zombies(fixture.pid(), 1)?[0];
        let mut screen = asks(zombie, &[])?;
        screen.shows("[y/N]")?;
        screen.types(answer)?;
        screen.shows(&format!("freed        fixture[{zombie}] of fixture[{}]", fixture.pid()))?;
        screen.shows(&format!("stopped      fixture[{}] once, for ", fixture.pid()))?;
        assert_eq!(screen.code()?, Some(0), "{answer:?}");
        ensure!(!is_there(zombie), "it is still there");
    }
    Ok(())
}

#[test]
fn with_yes_nothing_is_asked_at_a_terminal() -> Result<()> {
    let fixture = fixture!("never-wait", "1")?;
    let zombie = zombies(fixture.pid(), 1)?[0];
    let screen = asks(zombie, &["--yes"])?;
    screen.shows(&format!("freed        fixture[{zombie}]"))?;
    ensure!(!screen.has(b"[y/N]"), "it has asked: {}", screen.text());
    assert_eq!(screen.code()?, Some(0));
    Ok(())
}

/// The answer can come long after the question.
#[test]
fn a_zombie_that_was_reaped_before_the_answer_is_gone() -> Result<()> {
    let mut fixture = fixture!("never-wait", "1")?;
    let zombie = fixture.fact("zombie")?.pid("pid")?;
    let mut screen = asks(zombie, &[])?;
    screen.shows("[y/N]")?;
    fixture.send("reap")?;
    fixture.fact("reaped")?;
    screen.types("y\r")?;
    screen.shows(&format!("gone         fixture[{zombie}] of fixture[{}]", fixture.pid()))?;
    screen.shows("it was reaped meanwhile")?;
    assert_eq!(screen.code()?, Some(0));
    fixture.end()
}

#[test]
fn a_reaper_that_was_stopped_before_the_answer_is_left_alone() -> Result<()> {
    let fixture = fixture!("never-wait", "1")?;
    let zombie = zombies(fixture.pid(), 1)?[0];
    let mut screen = asks(zombie, &[])?;
    screen.shows("[y/N]")?;
    signal(fixture.pid(), Signal::STOP)?;
    until("the reaper to stop", WAIT_LIMIT, || {
        Ok(stat(fixture.pid()).is_some_and(|it| it.state == 'T').then_some(()))
    })?;
    screen.types("y\r")?;
    screen.shows(&format!("not freed    fixture[{zombie}]"))?;
    screen.shows("it is stopped (SIGSTOP or a terminal): continue it first")?;
    assert_eq!(screen.code()?, Some(1));
    ensure!(is_there(zombie), "it is freed");
    signal(fixture.pid(), Signal::CONT)?;
    fixture.end()
}

/// Its reaper has ended, and the process that has adopted it was not part of the question.
#[test]
fn a_zombie_that_has_another_reaper_before_the_answer_is_left_to_a_new_question() -> Result<()> {
    let monitor = fixture!("monitor-that-stays", "/bin/sh", "-c", "true & exec sleep 600")?;
    let reaper = child_of(monitor.pid(), "the program", |it| it.comm == "sleep")?.pid;
    let zombie = zombies(reaper, 1)?[0];
    let mut screen = asks(zombie, &[])?;
    screen.shows("[y/N]")?;
    signal(reaper, Signal::KILL)?;
    monitor.fact("128")?;
    screen.types("y\r")?;
    screen.shows(&format!("process {} must reap it now: look again", monitor.pid()))?;
    assert_eq!(screen.code()?, Some(1));
    assert_eq!(zombies(monitor.pid(), 1)?, [zombie]);
    let mut screen = asks(zombie, &[])?;
    screen.shows(&format!("Their exit statuses are lost to process {}", monitor.pid()))?;
    screen.types("y\r")?;
    assert_eq!(screen.code()?, Some(0));
    ensure!(!is_there(zombie), "it is still there");
    Ok(())
}
