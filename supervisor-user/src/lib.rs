//! `supervisor` finds processes that have exited and were not reaped, and says who must reap them and why.
//!
//! Data flows in one direction through the crates below this one. `supervisor-collect` observes the kernel and the
//! host: its `observer` watches, and its `one_shot` scans once. `supervisor-conclude` makes conclusions from the
//! observations. `supervisor-render` writes them as text, and `supervisor-deliver` sends the text to sinks. In this
//! crate, [`engine`] runs the whole flow until it is stopped, and [`commands`] has the subcommands that a person
//! starts.

pub mod commands;
pub mod config;
pub mod console;
pub mod engine;
pub mod exit;
pub mod leaks;
pub mod metrics;
mod nodes;
mod offered;
pub mod schema;
pub mod service;
pub mod top;
