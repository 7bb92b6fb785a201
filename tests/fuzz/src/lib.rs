//! What the targets share: a finding to start from, and what must hold of all that is said.

use supervisor_conclude::conclusions::Conclusions;
use supervisor_model::{
    evidence::Evidence,
    facts::HostIdentity,
    filter::Filter,
    observation::{Observation, Seen},
    words::clean,
};
use supervisor_render::{Context, Format, encode, style::Style};

/// An observation of a real incident, as a recording has it.
const INCIDENT: &str = include_str!("incident.json");

/// That observation.
///
/// # Panics
///
/// If the file is broken.
#[must_use]
pub fn incident() -> Observation {
    serde_json::from_str(INCIDENT).expect("incident.json is an observation")
}

/// The same with other evidence.
#[must_use]
pub fn changed(mut incident: Observation, change: impl FnOnce(&mut Evidence)) -> Observation {
    if let Seen::Unreaped { evidence, .. } = &mut incident.seen {
        change(evidence);
    }
    incident
}

/// A host.
#[must_use]
pub fn host() -> HostIdentity {
    HostIdentity {
        id: None,
        hostname: "fuzz".to_owned(),
        boot_id: "00000000-0000-0000-0000-000000000000".to_owned(),
        kernel: "6.18".to_owned(),
        ticks_per_second: 100,
    }
}

/// What follows from observations.
pub struct Teller {
    conclusions: Conclusions,
    context: Context,
}

impl Teller {
    /// Of observations of this host.
    #[must_use]
    pub fn new(host: HostIdentity, grace_ns: u64) -> Self {
        let context = Context { host: host.clone(), agent_id: "fuzz".to_owned(), hooks: None };
        Self { conclusions: Conclusions::new(host, grace_ns, Filter::default()), context }
    }

    /// Says it in every format. What is said steers no terminal, and a line of JSON is one line.
    ///
    /// # Panics
    ///
    /// If that does not hold.
    pub fn tell(&mut self, observation: &Observation) {
        for event in self.conclusions.take(observation) {
            for format in [Format::Text, Format::Ecs, Format::Ocsf] {
                let said = encode(&event, &self.context, 1, format, Style::PLAIN).expect("it can be encoded");
                let lines: Vec<&str> = said.split('\n').collect();
                for line in &lines {
                    assert_eq!(*line, clean(line), "it steers a terminal");
                }
                if format != Format::Text {
                    assert_eq!(lines.len(), 1, "JSON is one line");
                    serde_json::from_str::<serde_json::Value>(&said).expect("it is JSON");
                }
            }
        }
    }
}
