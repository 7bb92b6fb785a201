//! The types that all parts of `supervisor` share: processes, observations of them, findings, verdicts and events.
//!
//! This crate knows the types, their words, and how to make text from other processes harmless. It must not know where
//! an observation comes from, how a verdict is reached, and what the format of any output is. Only `recording` opens
//! files. The rest makes no system call, except to read a clock.

pub mod arguments;
pub mod clock;
pub mod decision;
pub mod diagnosis;
pub mod event;
pub mod evidence;
pub mod facts;
pub mod family;
pub mod filter;
pub mod finding;
pub mod identity;
pub mod names;
pub mod notice;
pub mod observation;
pub mod phrases;
pub mod reaping;
pub mod recording;
pub mod redact;
pub mod shared;
pub mod trace;
pub mod values;
pub mod words;
