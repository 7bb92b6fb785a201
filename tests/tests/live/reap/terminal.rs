//! Tests of the question that `supervisor reap` asks at a terminal.

use std::process::Command;

use anyhow::{Result, ensure};
use supervisor_lab::stat;
use supervisor_tests::{Screen, fixture, supervisor_bin};

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
