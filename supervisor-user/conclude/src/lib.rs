//! The rules that turn observations into conclusions: which part each process plays, why a process is unreaped, and
//! which findings open and close.
//!
//! This crate knows the rules. It must not know where an observation comes from, what time it is, or who receives the
//! report. It is pure: no clock, no file, no system call.

pub mod attribution;
pub mod conclusions;
pub mod decision;
pub mod diagnosis;
