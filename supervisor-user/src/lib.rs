//! `supervisor`: which processes have exited and were not reaped, who must reap them, and why.
//!
//! The flow has one direction: [`kernel`] and [`host`] → [`ledger`] → [`evidence`] → [`attribution`] →
//! [`report`] → [`sink`]. [`engine`] moves things along it; [`commands`] are what a person starts.

pub mod attribution;
pub mod clock;
pub mod commands;
pub mod engine;
pub mod evidence;
pub mod exit;
pub mod filter;
pub mod finding;
pub mod host;
pub mod identity;
pub mod kernel;
pub mod ledger;
pub mod report;
pub mod scenario;
pub mod sink;
