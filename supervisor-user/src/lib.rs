//! `supervisor`: which processes have exited and were not reaped, who must reap them, and why.
//!
//! The flow has one direction: [`kernel`] and [`host`] → [`ledger`] → [`evidence`] → [`observation`] →
//! [`attribution`] → [`diagnosis`] → [`conclusions`] → [`report`] → [`sink`]. [`observer`] watches and [`glance`] looks
//! once; [`engine`] runs all of it for as long as it is wanted; [`commands`] are what a person starts.

pub mod commands;
pub mod config;
pub mod console;
pub mod engine;
pub mod exit;
pub mod leaks;
pub mod metrics;
mod offered;
pub mod schema;
pub mod service;
pub mod top;
