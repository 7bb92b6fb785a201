//! What follows from what was observed: who is who, why a process is unreaped, and which findings open and close.
//!
//! It knows: the rules. It must not know: where an observation comes from, what time it is, and who is told. Pure: no
//! clock, no file, no system call.

pub mod attribution;
pub mod conclusions;
pub mod decision;
pub mod diagnosis;
