//! Waiting for conditions, each with a limit.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// How often a condition that nothing announces is looked at.
const POLL: Duration = Duration::from_millis(10);

/// How long any step of a scenario may take. It only guards against a hang, so it is long enough for a busy machine.
pub const LIMIT: Duration = Duration::from_mins(2);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Lets SIGINT, SIGTERM and SIGHUP end every wait of this module with an error instead of killing the
/// process, so that guards are dropped and what was started is cleaned up.
pub fn stop_on_signals() -> Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: an all-zero sigaction is a valid one (no flags, empty mask), the handler only stores to an
        // atomic, and both pointers are valid for the call.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut())
        };
        if result != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
    }
    Ok(())
}

/// Fails once one of the signals of [`stop_on_signals`] has arrived.
pub fn interrupted() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// Looks at a condition until it gives a value. `what` completes the sentence "gave up waiting for …".
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let value = within(limit, || {
        interrupted()?;
        probe()
    })?;
    value.with_context(|| format!("gave up after {limit:?} waiting for {what}"))
}

/// As [`until`], for cleaning up: signals do not end it. `None` if the condition gave no value in time.
pub(super) fn within<T>(limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let deadline = Instant::now() + limit;
    loop {
        let value = probe()?;
        if value.is_some() || Instant::now() >= deadline {
            return Ok(value);
        }
        thread::sleep(POLL);
    }
}
