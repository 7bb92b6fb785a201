//! What people and machines read of findings, events and traces: text, tables, trees, and JSON in the names of ECS and OCSF.
//!
//! It knows: every output format, and its schema. It must not know: where a finding comes from, and where a text goes.
//! Pure: the model goes in, text comes out.

pub mod brief;
pub mod columns;
pub mod ecs;
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

/// The id of an event: the same for the same news of the same finding, also when it is told again after a restart, so
/// that a receiver can drop the second one.
#[must_use]
pub fn event_id(event: &Event, context: &Context, sequence: u64) -> String {
    match event.kind.finding() {
        // An update is news each time; the others happen to a finding once.
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
/// None that can happen: the model holds nothing that JSON cannot.
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
