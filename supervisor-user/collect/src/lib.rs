//! Observes processes: with programs in the kernel, in `/proc`, and in the files of containers.
//!
//! It knows: hooks and their maps, what the host shows of a process, and when to inspect which process. It must not
//! know: the conclusions from an observation, and their receivers.

pub mod decoder;
pub mod exiting;
pub mod gather;
pub mod helper;
pub mod host;
pub mod kernel;
pub mod ledger;
pub mod memory;
pub mod observer;
pub mod one_shot;
pub mod privileges;
pub mod redacted;
mod stuck;
