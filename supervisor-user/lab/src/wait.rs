//! Waits for conditions, with a time limit.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// How often a wait checks a condition that no event announces.
const POLL: Duration = Duration::from_millis(10);

/// How long any step of a scenario may take. It only guards against a hang, so it is long enough for a busy machine.
pub const LIMIT: Duration = Duration::from_mins(2);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Makes SIGINT, SIGTERM and SIGHUP end every wait of this module with an error. The signals do not kill the process,
/// so guards are dropped and all started processes are cleaned up.
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

/// Fails if one of the signals of [`stop_on_signals`] has arrived.
pub fn interrupted() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// Checks a condition repeatedly until it gives a value. `what` completes the error "gave up after {limit} waiting for
/// {what}".
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let value = within(limit, || {
        interrupted()?;
        probe()
    })?;
    value.with_context(|| format!("gave up after {limit:?} waiting for {what}"))
}

/// As [`until`], but signals do not end the wait, because cleaning up needs it. `None` if the condition gave no value
/// in time.
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
