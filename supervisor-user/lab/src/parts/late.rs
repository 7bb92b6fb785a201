//! Parents that will reap, but have something else to do first.

use std::{
    io::{PipeReader, PipeWriter, Read as _, pipe},
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::{family::so_many_children_of, hold, say, sys};

/// A parent that reads its child's output to the end, and waits then. The child exits at once, but a process that it
/// has started in the background holds the pipe open.
pub(super) fn reads_to_end() -> Result<()> {
    let gate = Gate::new()?;
    let parent = sys::fork(|| {
        gate.open();
        let Ok((mut from, to)) = pipe() else { return 97 };
        let Ok(child) = sys::fork(|| i32::from(sys::fork_free(|| gate.pass()).is_err())) else { return 96 };
        drop(to);
        let read = from.read_to_end(&mut Vec::new()).is_ok();
        if !read || sys::reap(child).is_err() {
            return 95;
        }
        sys::sleep_for_ever()
    })?;
    reaps_behind(&gate, parent)
}

/// A parent of two children. It waits for the first child, then for the second, but the second has ended before.
pub(super) fn waits_in_order() -> Result<()> {
    let parent = sys::fork(|| {
        let Ok(first) = sys::fork(|| sys::sleep_for_ever()) else { return 97 };
        let Ok(second) = sys::fork(|| 7) else { return 96 };
        if sys::reap(first).is_err() || sys::reap(second).is_err() {
            return 95;
        }
        sys::sleep_for_ever()
    })?;
    let is_dead = |pid: &Pid| sys::state_of(*pid) == Some('Z');
    let mut children = Vec::new();
    sys::until("the second child to exit", || {
        children = so_many_children_of(parent, 2).unwrap_or_default();
        children.iter().any(is_dead)
    })?;
    let zombie = *children.iter().find(|pid| is_dead(pid)).context("no child has exited")?;
    let first = *children.iter().find(|pid| !is_dead(pid)).context("both children have exited")?;
    say(&format!("zombie pid={zombie} parent={parent} first={first}"))?;
    hold(|| {
        kill_process(first, Signal::KILL)?;
        sys::until("the parent to reap its children", || sys::state_of(zombie).is_none())
    })?;
    sys::end(&[parent])
}

/// A parent that computes with `SIGCHLD` blocked, and reaps when the gate opens.
pub(super) fn computes() -> Result<()> {
    let gate = Gate::new()?;
    let parent = sys::fork(|| {
        gate.open();
        if sys::block(libc::SIGCHLD).is_err() {
            return 97;
        }
        let Ok(child) = sys::fork(|| 7) else { return 96 };
        while !gate.is_open() {
            std::hint::spin_loop();
        }
        if sys::reap(child).is_err() {
            return 95;
        }
        sys::sleep_for_ever()
    })?;
    reaps_behind(&gate, parent)
}

/// Prints which child has exited, and opens the gate after a command. Then the parent reaps.
fn reaps_behind(gate: &Gate, parent: Pid) -> Result<()> {
    let zombie = only_child_once_dead(parent)?;
    say(&format!("zombie pid={zombie} parent={parent}"))?;
    hold(|| {
        gate.open();
        sys::until("the parent to reap its child", || sys::state_of(zombie).is_none())
    })?;
    sys::end(&[parent])
}

/// Waits until the only child of a process has exited, and returns its pid.
pub(super) fn only_child_once_dead(parent: Pid) -> Result<Pid> {
    let mut zombie = None;
    sys::until("a child to exit", || {
        let children = super::family::children_of(parent).unwrap_or_default();
        zombie = children.into_iter().find(|pid| sys::state_of(*pid) == Some('Z'));
        zombie.is_some()
    })?;
    zombie.context("no child has exited")
}

/// Processes wait at the gate until its creator opens it, or ends.
struct Gate {
    inside: PipeReader,
    outside: std::cell::Cell<Option<PipeWriter>>,
}

impl Gate {
    fn new() -> Result<Self> {
        let (inside, outside) = pipe()?;
        Ok(Self { inside, outside: std::cell::Cell::new(Some(outside)) })
    }

    /// Opens the gate, unless another process also holds it closed. So a forked process must first close its own copy.
    fn open(&self) {
        drop(self.outside.take());
    }

    /// Waits until the gate is open. Returns an exit code.
    fn pass(&self) -> i32 {
        i32::from((&self.inside).read_to_end(&mut Vec::new()).is_err())
    }

    fn is_open(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.inside.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the pointer is valid for the one entry.
        unsafe { libc::poll(&raw mut poll, 1, 0) > 0 }
    }
}
