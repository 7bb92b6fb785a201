//! Mapping the internal model to what people and machines read. Pure.

pub mod ecs;
pub mod news;
pub mod ocsf;
mod sentence;
mod shapes;
pub mod story;
#[cfg(test)]
mod tests;
pub mod text;

use std::borrow::Cow;

use crate::host::HostIdentity;

/// What every event says besides what happened.
#[derive(Clone, Debug)]
pub struct Context {
    /// The host.
    pub host: HostIdentity,
    /// Id of this run of the agent.
    pub agent_id: String,
    /// Which hooks are in use, if any.
    pub hooks: Option<Cow<'static, str>>,
}
