//! The end of a command that cannot end by itself: it waits in a write for somebody to read.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result};
use signal_hook_registry::register;

use crate::exit::Exit;

/// Seconds that a command has to end, once it was told to. It ends what it has started, which can take three.
const LIMIT: u32 = 10;
const SAID: &[u8] = b"supervisor: ended without its last lines: nobody has read them for 10 s\n";

/// From now on SIGINT, SIGTERM and SIGHUP end this process in so many seconds, if what else handles them does not.
pub(super) fn prepare() -> Result<()> {
    static IS_ENDING: AtomicBool = AtomicBool::new(false);
    let begin = || {
        if !IS_ENDING.swap(true, Ordering::Relaxed) {
            // SAFETY: it passes no memory, and is async-signal-safe (signal-safety(7)).
            unsafe { libc::alarm(LIMIT) };
        }
    };
    let end = || {
        // SAFETY: both are async-signal-safe (signal-safety(7)), and the memory is static.
        unsafe {
            libc::write(libc::STDERR_FILENO, SAID.as_ptr().cast(), SAID.len());
            libc::_exit(Exit::Failed as i32);
        }
    };
    let registered = || -> io::Result<()> {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: what it does is async-signal-safe.
            unsafe { register(signal, begin)? };
        }
        // SAFETY: what it does is async-signal-safe.
        unsafe { register(libc::SIGALRM, end)? };
        Ok(())
    };
    registered().context("cannot handle SIGALRM")
}
