//! Where events go, and what the agents of other hosts have left there.
//!
//! It knows: each kind of place, its configuration, what "delivered" means there, and how to wait and try again. It must not
//! know: what an event means, and how it was found.

pub mod config;
pub mod fleet;
pub mod lock;
pub mod nats;
pub mod plain_file;
pub mod say;
pub mod sink;
