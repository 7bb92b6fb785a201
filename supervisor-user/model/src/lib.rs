//! What all parts of `supervisor` have in common: processes, what was observed of them, findings, verdicts and events.
//!
//! It knows: the types, their words, and how text of strangers is made harmless. It must not know: where an observation
//! comes from, how a verdict is reached, and what any output looks like. Nothing here opens a file or makes a system call
//! but to read a clock.

pub mod arguments;
pub mod clock;
pub mod diagnosis;
pub mod event;
pub mod evidence;
pub mod facts;
pub mod family;
pub mod filter;
pub mod finding;
pub mod identity;
pub mod names;
pub mod observation;
pub mod phrases;
pub mod reaping;
pub mod recording;
pub mod redact;
pub mod shared;
pub mod trace;
pub mod values;
pub mod words;
