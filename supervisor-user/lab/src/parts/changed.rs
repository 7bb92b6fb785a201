//! Parents that do not reap any more, because something about them has changed.

use std::{
    io::{self, pipe},
    os::unix::process::CommandExt as _,
    process::Command,
};

use anyhow::{Result, ensure};
use rustix::stdio::dup2_stdin;

use super::{hold, late::only_child_once_dead, say, sys};

/// A parent that waits for `SIGCHLD` with a signal mask that blocks it. It has inherited the mask from its own parent.
pub(super) fn blocked_mask() -> Result<()> {
    sys::block(libc::SIGCHLD)?;
    let parent = sys::fork(|| {
        if handle(libc::SIGCHLD, on_child_that_only_notes).is_err() || sys::fork(|| 7).is_err() {
            return 97;
        }
        sys::suspend_with_inherited_mask()
    })?;
    let zombie = only_child_once_dead(parent)?;
    say(&format!("zombie pid={zombie} parent={parent}"))?;
    hold(|| sys::end(&[parent]))
}

/// A parent that reaps in its handler, until the handler is replaced by the default action.
pub(super) fn replaced_handler() -> Result<()> {
    handle(libc::SIGCHLD, on_child_that_reaps)?;
    let reaped = sys::fork(|| 0)?;
    sys::until("the handler to reap", || sys::state_of(reaped).is_none())?;
    // SAFETY: the default action installs no handler.
    let old = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    ensure!(old != libc::SIG_ERR, "SIGCHLD cannot be reset");
    let zombie = sys::fork(|| 7)?;
    sys::until("a child to exit", || sys::state_of(zombie) == Some('Z'))?;
    say(&format!("zombie pid={zombie}"))?;
    hold(|| sys::reap(zombie))
}

/// A parent that executes another program while its child runs. The program ends when its input ends.
pub(super) fn replaced_image(program: &str, args: &[&str]) -> Result<()> {
    let (input, hold_open) = pipe()?;
    let parent = sys::fork(|| {
        let Ok((gate, close)) = pipe() else { return 97 };
        let started = sys::fork(|| {
            // The child ends when the exec of the parent closes the other end.
            // SAFETY: the descriptor is this process's own copy, and no code uses it any more.
            unsafe { libc::close(std::os::fd::AsRawFd::as_raw_fd(&close)) };
            i32::from(io::copy(&mut &gate, &mut io::sink()).is_err())
        });
        // SAFETY: as above.
        unsafe { libc::close(std::os::fd::AsRawFd::as_raw_fd(&hold_open)) };
        if started.is_err() || dup2_stdin(&input).is_err() {
            return 96;
        }
        let error = Command::new(program).args(args).exec();
        eprintln!("{program}: {error}");
        95
    })?;
    let zombie = only_child_once_dead(parent)?;
    say(&format!("zombie pid={zombie} parent={parent}"))?;
    hold(|| sys::end(&[parent]))
}

extern "C" fn on_child_that_only_notes(_signal: libc::c_int) {}

extern "C" fn on_child_that_reaps(_signal: libc::c_int) {
    // SAFETY: waitpid may be called in a handler, and a null pointer for the status is allowed. No code reads errno at
    // the point where the signal arrives.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
}

fn handle(signal: i32, handler: extern "C" fn(libc::c_int)) -> Result<()> {
    // SAFETY: both handlers make only calls that are allowed in a handler.
    let old = unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    ensure!(old != libc::SIG_ERR, "signal {signal} cannot be handled");
    Ok(())
}
