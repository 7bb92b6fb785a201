//! Frees a zombie without ending its reaper: makes the reaper itself wait for it.

mod arch;
pub mod inject;
mod nudge;
pub mod plan;
mod ptrace;
pub mod requester;
mod seccomp;
mod space;
pub mod target;
pub(crate) mod worker;
