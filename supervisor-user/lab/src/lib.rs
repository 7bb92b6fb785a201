//! Plays the incident with real processes: a pod, a monitor that does not reap adopted processes, and a container
//! runtime that leaves an orphan to the monitor. The [`parts`] make each family of unreaped processes.
//!
//! `supervisor demo` and the live tests use this crate. It does not depend on the rest of `supervisor`. Everything
//! lives in a temporary [`Lab`]. Each process dies with the process that started it, however its starter ends. The
//! processes are *actors*: the `supervisor` binary again, called as `supervisor __actor ROLE`, under a name that says
//! which part it plays.

mod actor;
mod container;
mod copy;
mod lab;
mod monitor;
mod owned;
mod part;
pub mod parts;
mod played;
mod pod;
mod procfs;
mod running;
mod wait;

pub use actor::main as actor;
pub use container::{Created, NO_SUCH_COMMAND, PidNs, Runtime, bundle, create};
pub use copy::copy_program;
pub use lab::{Lab, private_cgroup2, program};
pub use monitor::{ExitState, Finished, Monitor};
pub use owned::{Lines, Owned, bound_to_parent};
pub use part::{Fact, Part};
pub use played::{PLAYED_CRUN, played_double_fork};
pub use pod::Pod;
pub use procfs::{Stat, pid_namespace, stat, wchan, zombies_of};
pub use running::RunningContainer;
pub use wait::{LIMIT, interrupted, stop_on_signals, until};

/// The first argument of a `supervisor` that plays a part.
pub const ACTOR: &str = "__actor";
