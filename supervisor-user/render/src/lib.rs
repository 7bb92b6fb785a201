//! Renders findings, events and traces for people and machines: text, tables, trees, and JSON with the names of ECS and
//! OCSF.
//!
//! The crate knows every output format and its schema. It must not know where a finding comes from, and where a text
//! goes. The model goes in and text comes out; it reads nothing but
//! the time zone.

pub mod brief;
pub mod columns;
pub mod ecs;
pub mod families;
pub mod fold;
pub mod groups;
mod news;
pub mod ocsf;
pub mod parts;
pub mod reaping;
pub mod sentence;
mod shapes;
mod short;
pub mod story;
pub mod style;
pub mod table;
pub mod text;
pub mod trace;
mod traced;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use style::Style;
use supervisor_model::{
    event::{Event, State},
    facts::HostIdentity,
};

/// What events look like.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// For people
    Text,
    /// One JSON object a line, in the names of the Elastic Common Schema
    #[default]
    #[value(name = "json", alias = "ecs")]
    Ecs,
    /// One JSON object a line, in the names of the Open Cybersecurity Schema Framework
    Ocsf,
}

/// The id of an event. An event about the same news of the same finding keeps its id, also when it is emitted again
/// after a restart. So a receiver can drop the second one.
#[must_use]
pub fn event_id(event: &Event, context: &Context, sequence: u64) -> String {
    match event.kind.finding() {
        // A finding can be updated many times, and each update is news. Every other state happens to a finding once.
        Some((id, state @ State::Updated)) => format!("{id}.{}.{}", state.as_str(), event.at_ns),
        Some((id, state)) => format!("{id}.{}", state.as_str()),
        None => numbered_id(context, sequence),
    }
}

/// The id of an event that is about no finding.
fn numbered_id(context: &Context, sequence: u64) -> String {
    format!("{}.{sequence}", context.agent_id)
}

/// An event in a format, without the newline at its end.
///
/// # Errors
///
/// Never in practice: the model holds only values that JSON can represent.
pub fn encode(
    event: &Event,
    context: &Context,
    sequence: u64,
    format: Format,
    style: Style,
) -> serde_json::Result<String> {
    Ok(match format {
        Format::Ecs => ecs::line(event, context, sequence)?,
        Format::Ocsf => ocsf::line(event, context, sequence)?,
        Format::Text => {
            let mut text = text::event(event, style);
            text.truncate(text.trim_end_matches('\n').len());
            text
        }
    })
}

/// The facts that every event carries besides its own content.
#[derive(Clone, Debug)]
pub struct Context {
    /// The host.
    pub host: HostIdentity,
    /// The id of this run of the agent.
    pub agent_id: String,
    /// The set of hooks in use, if any.
    pub hooks: Option<Cow<'static, str>>,
}
