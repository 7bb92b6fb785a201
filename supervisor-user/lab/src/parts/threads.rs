//! A thread group without its leader.

use std::thread;

use anyhow::Result;

use super::{family::other_thread_of, say, sys};

/// A process whose first thread has ended while another thread still runs.
pub(super) fn leader_exits() -> Result<()> {
    let pid = sys::fork(|| {
        // The child shares this process's input, and ends when that ends.
        let live = thread::Builder::new().name("live-thread".to_owned());
        match live.spawn(|| sys::exit(i32::from(sys::wait_for_input_to_end().is_err()))) {
            Ok(_) => sys::exit_thread(),
            Err(_) => 97,
        }
    })?;
    sys::until("the leader to exit", || sys::state(&format!("/proc/{pid}/task/{pid}/stat")) == Some('Z'))?;
    say(&format!("child pid={pid} thread={}", other_thread_of(pid)?))?;
    sys::wait_for_input_to_end()?;
    sys::reap(pid)
}
