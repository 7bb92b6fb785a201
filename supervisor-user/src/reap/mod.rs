//! Frees a zombie without ending its reaper: makes the reaper itself wait for it.

mod arch;
pub mod inject;
mod ptrace;
mod seccomp;
mod space;
pub mod target;
