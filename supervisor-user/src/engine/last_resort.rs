//! Ends a command that cannot end by itself, because it waits in a write until somebody reads.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result};
use signal_hook_registry::register;

use crate::exit::CommandExit;

/// Seconds that a command has to end after a signal. `trace` gives its own command three seconds to end. A watch or a
/// replay that closes its sinks can wait longer for them (15 s, see `SinkWorker::join`): this limit cuts that short.
const LIMIT: u32 = 10;
const SAID: &[u8] = b"supervisor: ended without its last lines: nobody has read them for 10 s\n";

/// From now on SIGINT, SIGTERM and SIGHUP end this process after `LIMIT` seconds, if no other handler ends it before.
pub(super) fn prepare() -> Result<()> {
    static IS_ENDING: AtomicBool = AtomicBool::new(false);
    let begin = || {
        if !IS_ENDING.swap(true, Ordering::Relaxed) {
            // SAFETY: `alarm` gets no memory, and is async-signal-safe (signal-safety(7)).
            unsafe { libc::alarm(LIMIT) };
        }
    };
    let end = || {
        // SAFETY: both calls are async-signal-safe (signal-safety(7)), and the memory is static.
        unsafe {
            libc::write(libc::STDERR_FILENO, SAID.as_ptr().cast(), SAID.len());
            libc::_exit(CommandExit::Failed as i32);
        }
    };
    let registered = || -> io::Result<()> {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: the handler does only what is async-signal-safe.
            unsafe { register(signal, begin)? };
        }
        // SAFETY: the handler does only what is async-signal-safe.
        unsafe { register(libc::SIGALRM, end)? };
        Ok(())
    };
    registered().context("cannot handle SIGALRM")
}
