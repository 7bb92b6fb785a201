//! Frees a zombie without ending its reaper: it makes the reaper itself wait for the zombie.
//!
//! This crate knows how to stop a process, how to make it call `wait4`, and how to let it go on unharmed. It must not
//! know whether a reap is right, which `conclude` decides, and where a reap is reported.

mod arch;
pub mod free;
pub mod fuzz;
pub mod inject;
mod nudge;
mod ptrace;
pub mod requester;
mod seccomp;
mod space;
pub mod target;
pub mod worker;
