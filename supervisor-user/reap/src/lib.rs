//! Frees a zombie without ending its reaper: makes the reaper itself wait for it.
//!
//! It knows: how to stop a process, make it call `wait4`, and let it go on unharmed. It must not know: whether that is right,
//! which `conclude` decides, and who is told.

mod arch;
pub mod inject;
mod nudge;
pub mod plan;
mod ptrace;
pub mod requester;
mod seccomp;
mod space;
pub mod target;
pub mod worker;
