//! The part of the event contract that says why a process is not reaped, and what that holds up.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use crate::{
    contract::Kind::{self, Number, Text, Word},
    event::Event,
};

/// Fields of every element of `supervisor.evidence`.
const EVIDENCE: [(&str, Kind); 3] = [("id", Number), ("source", Text), ("text", Text)];

/// Fields of every element of `supervisor.blocks`.
const BLOCK: [(&str, Kind); 5] = [
    ("kind", Word(&["pid-namespace"])),
    ("ino", Number),
    ("init.pid", Number),
    ("init.name", Text),
    ("waiting_ns", Number),
];

/// Fields of every element of `supervisor.blockers`.
const BLOCKER: [(&str, Kind); 4] =
    [("kind", Word(&["zombie", "task", "tracer"])), ("pid", Number), ("name", Text), ("state", Text)];

/// Fields that a blocker may have. Whoever can let go of it is its reaper: a parent, or a tracer.
const BLOCKER_SOMETIMES: [(&str, Kind); 3] = [("reaper.pid", Number), ("reaper.name", Text), ("wchan", Text)];

/// Whether the parts of a diagnosis are as they should be, where there are any.
pub(crate) fn check(event: &Event) -> Result<()> {
    elements(event, "supervisor.evidence", &EVIDENCE)?;
    let evidence = list(event, "supervisor.evidence")?;
    let ids = evidence.iter().map(|it| it.number("id")).collect::<Result<BTreeSet<u64>>>()?;
    ensure!(ids.len() == evidence.len(), "two pieces of evidence have one id");

    elements(event, "supervisor.blocks", &BLOCK)?;
    elements(event, "supervisor.blockers", &BLOCKER)?;
    for blocker in list(event, "supervisor.blockers")? {
        for (name, kind) in BLOCKER_SOMETIMES {
            blocker.get(name).map_or(Ok(()), |value| kind.check(name, value))?;
        }
        let has_reaper = blocker.get("reaper.pid").is_some() && blocker.get("reaper.name").is_some();
        ensure!(has_reaper || blocker.text("kind")? == "task", "nobody can let go of {}", blocker.0);
    }
    for name in ["supervisor.remedies", "supervisor.wont_help"] {
        list(event, name)?.iter().try_for_each(|it| Text.check(name, &it.0))?;
    }
    let family = ["supervisor.family.id", "supervisor.family.name"].map(|name| event.get(name).is_some());
    ensure!(family[0] == family[1], "a family has an id and a name");
    Ok(())
}

/// Whether a finding says why it is one, when it opens.
pub(crate) fn check_opening(event: &Event) -> Result<()> {
    event.text("supervisor.verdict")?;
    let confidence = event.text("supervisor.confidence")?;
    ensure!(!list(event, "supervisor.evidence")?.is_empty(), "a verdict without evidence");
    let known = event.get("supervisor.family.id").is_some();
    ensure!(known || confidence == "low", "no family, and yet the confidence is {confidence}");
    Ok(())
}

fn elements(event: &Event, name: &str, fields: &[(&str, Kind)]) -> Result<()> {
    for element in list(event, name)? {
        for (field, kind) in fields {
            let value = element.get(field);
            let value = value.with_context(|| format!("{field} is missing in {name}: {}", element.0))?;
            kind.check(&format!("{name}[].{field}"), value)?;
        }
    }
    Ok(())
}

/// A list, empty if it is absent.
fn list(event: &Event, name: &str) -> Result<Vec<Event>> {
    event.get(name).map_or(Ok(Vec::new()), |_| event.list(name))
}
