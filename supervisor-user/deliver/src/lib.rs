//! Delivers events to their destinations, and reads what the agents of other hosts have left there.
//!
//! This crate knows each kind of destination, its configuration, the meaning of "delivered" there, and how to wait and
//! try again. It must not know what an event means, and how it was found.

pub mod config;
pub mod fleet;
pub mod lock;
pub mod nats;
pub mod plain_file;
pub mod say;
pub mod sink;
