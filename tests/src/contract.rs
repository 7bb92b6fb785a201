//! The event contract, as a check of one event after the other: the schema, and what a schema cannot say.

use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use jsonschema::Validator;
use supervisor_user::schema::SchemaSubject;

use crate::{diagnosis, event::Event};

static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let options = jsonschema::options().should_validate_formats(true);
    options.build(&SchemaSubject::Ecs.schema()).expect("the schema of events is a schema")
});

/// What may be absent elsewhere is known on a host that is watched with all capabilities.
const KNOWN: [&str; 2] = ["process.entity_id", "process.start"];
/// So is this, unless the parent ended while the process was looked at; then the verdict is unsure. The tests' own parents
/// do not, those of others on this host do.
const KNOWN_IF_SURE: [&str; 2] = ["process.parent.pid", "process.parent.name"];

/// The contract; it remembers the sequence number of the last event.
#[derive(Debug, Default)]
pub struct Contract {
    last_sequence: Option<u64>,
}

impl Contract {
    /// Fails with what is wrong about an event.
    pub fn check(&mut self, event: &Event) -> Result<()> {
        self.try_check(event).with_context(|| format!("an event breaks the contract: {}", event.0))
    }

    fn try_check(&mut self, event: &Event) -> Result<()> {
        let wrong: Vec<String> =
            SCHEMA.iter_errors(&event.0).map(|it| format!("{}: {it}", it.instance_path())).collect();
        ensure!(wrong.is_empty(), "it does not fit the schema: {}", wrong.join("; "));
        event.text("host.id")?;

        let sequence = event.number("event.sequence")?;
        ensure!(self.last_sequence < Some(sequence), "event.sequence does not grow");
        self.last_sequence = Some(sequence);

        diagnosis::check(event)?;
        let action = event.action();
        match action.split_once('-') {
            Some(("zombie", _)) => check_finding(event, action),
            Some(("namespace", _)) => check_namespace(event, action),
            Some(("exit", _)) => check_exit(event, action),
            _ => Ok(()),
        }
    }
}

fn check_finding(event: &Event, action: &str) -> Result<()> {
    let is_sure = event.get("supervisor.confidence").is_none_or(|it| it != "low");
    let known = KNOWN.iter().chain(KNOWN_IF_SURE.iter().filter(|_| is_sure));
    known.into_iter().try_for_each(|name| event.field(name).map(|_| ()))?;
    if event.text("supervisor.finding.state")? == "open" {
        diagnosis::check_opening(event)?;
    }

    let known = event.flag("supervisor.exit_time_known")?;
    ensure!(known == event.get("process.end").is_some(), "process.end contradicts exit_time_known");
    let signal = event.get("supervisor.exit.signal").is_some();
    let code = event.get("process.exit_code").is_some();
    ensure!(!(signal && code), "both a signal and an exit code");
    ensure!(code == event.get("supervisor.exit.code").is_some(), "the two exit codes do not agree");
    match action {
        "zombie-detected" if known => {
            let (age, grace) = (event.number("supervisor.age_ns")?, event.number("supervisor.grace_ns")?);
            ensure!(age >= grace, "reported {age} ns after the exit, within the grace period");
        }
        // The reap itself may not have been seen: then only the absence was.
        "zombie-reaped" => ensure!(known || event.get("event.duration").is_none(), "a duration since when?"),
        _ => {}
    }
    Ok(())
}

fn check_exit(event: &Event, action: &str) -> Result<()> {
    event.field("process.entity_id")?;
    let told = event.get("supervisor.ending_ns").is_some();
    if action == "exit-blocked" {
        diagnosis::check_opening(event)?;
        if told {
            let (told, grace) = (event.number("supervisor.ending_ns")?, event.number("supervisor.grace_ns")?);
            ensure!(told >= grace, "reported {told} ns after it was told to exit, within the grace period");
        }
    } else {
        ensure!(told == event.get("event.duration").is_some(), "event.duration contradicts ending_ns");
    }
    Ok(())
}

fn check_namespace(event: &Event, action: &str) -> Result<()> {
    for name in ["process.entity_id", "supervisor.pid_ns.ino"] {
        event.field(name)?;
    }
    if action == "namespace-blocked" {
        let is_sure = event.text("supervisor.confidence")? != "low";
        ensure!(!is_sure || !event.list("supervisor.blockers")?.is_empty(), "nothing blocks it");
    } else {
        let known = event.flag("supervisor.exit_time_known")?;
        ensure!(known == event.get("event.duration").is_some(), "event.duration contradicts exit_time_known");
    }
    Ok(())
}
