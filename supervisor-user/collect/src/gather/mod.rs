//! Gathers what can be observed of one process, and concludes nothing from it.

mod execs;
mod handler;
mod look;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod vanishing;

pub use self::look::{EvidenceError, Look, starts_match};
