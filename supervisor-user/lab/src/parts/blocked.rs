//! A parent that would wait for its child but cannot run.

use anyhow::Result;
use rustix::process::{Signal, kill_process};

use super::{family::Innocent, hold, say, sys};

/// The parent is stopped by SIGSTOP.
pub(super) fn stopped() -> Result<()> {
    let family = Innocent::start(|| sys::sleep_for_ever(), || ())?;
    kill_process(family.parent, Signal::STOP)?;
    sys::until("the parent to stop", || sys::state_of(family.parent) == Some('T'))?;
    family.kill_child()?;
    say(&format!("zombie pid={} parent={}", family.child, family.parent))?;
    hold(|| {
        kill_process(family.parent, Signal::CONT)?;
        family.until_reaped()
    })?;
    sys::end(&[family.parent])
}
