//! Gathers the observable facts of one process, and concludes nothing from them.

mod execs;
mod handler;
mod look;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod vanishing;

pub use self::look::{EvidenceError, Inspection, starts_match};
