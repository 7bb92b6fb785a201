//! Orphans that a process adopts and does not wait for.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use rustix::{
    process::{Pid, getpid, getppid, set_child_subreaper},
    thread::{UnshareFlags, unshare_unsafe},
};

use super::{
    family::{children_of, so_many_children_of},
    hold, say, sys,
};
use crate::owned::bound_to_parent;

/// The behaviour of PID 1 of a namespace after its first child has ended.
#[derive(Clone, Copy)]
pub(super) enum Pid1 {
    NeverWaits,
    /// It sits in a wait for another child, which is alive.
    WaitsForOther,
}

/// The exit status of every orphan.
const ORPHAN: i32 = 5;

/// A subreaper that waits only for its own child, and has adopted that child's child.
pub(super) fn adopts() -> Result<()> {
    set_child_subreaper(Some(getpid()))?;
    make_orphan(getpid())?;
    let orphan = so_many_children_of(getpid(), 1)?[0];
    sys::until("the orphan to exit", || sys::state_of(orphan) == Some('Z'))?;
    say(&format!("zombie pid={orphan}"))?;
    hold(|| sys::reap(orphan))
}

/// PID 1 of a namespace that waits only for its own children, and has adopted an orphan.
pub(super) fn pid1_adopts(then: Pid1) -> Result<()> {
    pid1_holds_a_zombie(move || {
        let adopted = make_orphan(getpid());
        match (adopted, then) {
            (Err(_), _) => 97,
            (Ok(()), Pid1::NeverWaits) => sys::sleep_for_ever(),
            (Ok(()), Pid1::WaitsForOther) => {
                let other = sys::fork(|| sys::sleep_for_ever());
                i32::from(other.and_then(sys::reap).is_err())
            }
        }
    })
}

/// PID 1 of a namespace that never waits. It starts an init that is neither PID 1 nor a subreaper, so that init does
/// not adopt the orphans below it.
pub(super) fn init_not_pid1(init: &str, args: &[&str]) -> Result<()> {
    pid1_holds_a_zombie(|| {
        let mut init = Command::new(init);
        init.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if bound_to_parent(&mut init).spawn().is_err() {
            return 97;
        }
        sys::sleep_for_ever()
    })
}

/// Leaves an orphan to PID 1 of the namespace.
pub(super) fn orphan_maker() -> Result<()> {
    let init = Pid::from_raw(1);
    ensure!(init.is_some_and(|it| it != getpid()), "this is to run below an init");
    init.map_or(Ok(()), make_orphan)
}

/// Makes an orphan: a child's own child, which outlives that child, and exits when `adopter` has adopted it.
pub fn make_orphan(adopter: Pid) -> Result<()> {
    let child = sys::fork(|| {
        let orphan = sys::fork_free(|| {
            let result = sys::until("adoption", || getppid() == Some(adopter));
            if result.is_ok() { ORPHAN } else { 98 }
        });
        i32::from(orphan.is_err())
    })?;
    sys::reap(child)
}

/// Runs PID 1 of a new namespace until it has a zombie. The zombie goes away at the end of the namespace.
pub fn pid1_holds_a_zombie(body: impl FnOnce() -> i32) -> Result<()> {
    // SAFETY: this process has one thread, and only the namespace of its future children changes.
    unsafe { unshare_unsafe(UnshareFlags::NEWPID) }?;
    let init = sys::fork(body)?;
    let mut zombie = None;
    sys::until("PID 1 to have a zombie", || {
        let children = children_of(init).unwrap_or_default();
        // Children that PID 1 waits for exit with 0, and are zombies for a moment too.
        zombie = children.into_iter().find(|&pid| {
            sys::state_of(pid) == Some('Z') && sys::wait_status_of(pid).is_some_and(|it| it != 0)
        });
        zombie.is_some()
    })?;
    if let Some(zombie) = zombie {
        say(&format!("zombie pid={zombie} init={init}"))?;
    }
    hold(|| sys::end(&[init]))
}
