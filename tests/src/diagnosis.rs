//! The part of the event contract that says why a process is not reaped, and what that holds up: what the schema
//! cannot say of it.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::event::Event;

/// Whether the parts of a diagnosis agree with each other, where there are any.
pub(crate) fn check(event: &Event) -> Result<()> {
    let evidence = list(event, "supervisor.evidence")?;
    let ids = evidence.iter().map(|it| it.number("id")).collect::<Result<BTreeSet<u64>>>()?;
    ensure!(ids.len() == evidence.len(), "two pieces of evidence have one id");

    // Who can let go of a blocker may have ended while it was looked at, if it is somebody else's on this host;
    // namespace.rs compares the reapers of its own.
    Ok(())
}

/// Whether a finding says why it is one, when it opens.
pub(crate) fn check_opening(event: &Event) -> Result<()> {
    let confidence = event.text("supervisor.confidence")?;
    ensure!(!list(event, "supervisor.evidence")?.is_empty(), "a verdict without evidence");
    let known = event.get("supervisor.family").is_some();
    ensure!(known || confidence == "low", "no family, and yet the confidence is {confidence}");
    Ok(())
}

/// A list, empty if it is absent.
fn list(event: &Event, name: &str) -> Result<Vec<Event>> {
    event.get(name).map_or(Ok(Vec::new()), |_| event.list(name))
}
