//! Parents that never wait.

use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::Result;
use rustix::process::Pid;

use super::{command, family::so_many_children_of, hold, say, sys};
use crate::owned::bound_to_parent;

/// Makes zombies, and does not wait for them until the command `reap`.
pub fn never_wait(count: u64) -> Result<()> {
    let zombies = (0..count).map(|_| sys::fork(|| 7)).collect::<Result<Vec<Pid>>>()?;
    for &pid in &zombies {
        sys::until("a child to exit", || sys::state_of(pid) == Some('Z'))?;
        say(&format!("zombie pid={pid}"))?;
    }
    let mut left = zombies;
    while let Some(word) = command()? {
        if word == "reap" {
            left.drain(..).try_for_each(sys::reap)?;
            say("reaped")?;
        }
    }
    left.drain(..).try_for_each(sys::reap)
}

/// Sits in a wait for a living child, and never waits for the exited one.
pub(super) fn waits_for_other() -> Result<()> {
    let parent = sys::fork(|| {
        let children = sys::fork(|| 7).and_then(|_| sys::fork(|| sys::sleep_for_ever()));
        i32::from(children.and_then(sys::reap).is_err())
    })?;
    let children = so_many_children_of(parent, 2)?;
    let zombie = children[0];
    sys::until("the first child to exit", || sys::state_of(zombie) == Some('Z'))?;
    say(&format!("zombie pid={zombie} parent={parent} other={}", children[1]))?;
    hold(|| sys::end(&[parent]))
}

/// Starts a program, and does not wait for it.
pub(super) fn spawns(program: &str, args: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
    if let Some(name) = Path::new(program).file_name() {
        command.arg0(name);
    }
    let child = Pid::from_child(&bound_to_parent(&mut command).spawn()?);
    sys::until("the program to exit", || sys::state_of(child) == Some('Z'))?;
    say(&format!("zombie pid={child}"))?;
    hold(|| sys::reap(child))
}
