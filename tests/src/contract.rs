//! The event contract, as a check of one event after the other.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{diagnosis, event::Event};

/// The contract; it remembers the sequence number of the last event.
#[derive(Debug, Default)]
pub struct Contract {
    last_sequence: Option<u64>,
}

/// The type of a field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Text,
    Number,
    /// Any number.
    Rate,
    Flag,
    List,
    Time,
    /// One of these words.
    Word(&'static [&'static str]),
}

use Kind::{Flag, List, Number, Rate, Text, Time, Word};

/// Fields of every event.
const ALWAYS: [(&str, Kind); 18] = [
    ("@timestamp", Time),
    ("ecs.version", Text),
    ("message", Text),
    ("event.kind", Word(&["alert", "state", "event", "pipeline_error"])),
    ("event.category", List),
    ("event.type", List),
    ("event.action", Text),
    ("event.module", Word(&["supervisor"])),
    ("event.dataset", Text),
    ("event.sequence", Number),
    ("event.severity", Number),
    ("host.id", Text),
    ("host.hostname", Text),
    ("host.boot.id", Text),
    ("host.os.kernel", Text),
    ("agent.type", Word(&["supervisor"])),
    ("agent.version", Text),
    ("agent.ephemeral_id", Text),
];

/// Further fields of every event about an unreaped process.
const FINDING: [(&str, Kind); 11] = [
    ("process.pid", Number),
    ("process.name", Text),
    ("process.entity_id", Text),
    ("process.start", Time),
    ("process.parent.pid", Number),
    ("process.parent.name", Text),
    ("supervisor.finding.id", Text),
    ("supervisor.finding.kind", Word(&["zombie"])),
    ("supervisor.finding.state", Word(&["open", "updated", "closed"])),
    ("supervisor.exit_time_known", Flag),
    ("supervisor.grace_ns", Number),
];

/// Fields that may be there.
const SOMETIMES: [(&str, Kind); 69] = [
    ("event.duration", Number),
    ("process.vpid", Number),
    ("process.executable", Text),
    ("process.args", List),
    ("process.end", Time),
    ("process.exit_code", Number),
    ("process.user.id", Text),
    ("process.parent.vpid", Number),
    ("process.parent.entity_id", Text),
    ("process.parent.executable", Text),
    ("process.parent.args", List),
    ("process.parent.start", Time),
    ("container.id", Text),
    ("container.name", Text),
    ("container.runtime", Text),
    ("orchestrator.type", Text),
    ("orchestrator.namespace", Text),
    ("orchestrator.resource.type", Text),
    ("orchestrator.resource.name", Text),
    ("orchestrator.resource.id", Text),
    ("supervisor.family.id", Word(&FAMILIES)),
    ("supervisor.family.name", Text),
    ("supervisor.verdict", Text),
    ("supervisor.confidence", Word(&["high", "medium", "low"])),
    ("supervisor.evidence", List),
    ("supervisor.remedies", List),
    ("supervisor.wont_help", List),
    ("supervisor.origin", Word(&["entrypoint", "exec", "healthcheck", "host", "unknown"])),
    ("supervisor.origin_period_ns", Number),
    ("supervisor.blocks", List),
    ("supervisor.blockers", List),
    ("supervisor.budget.unreaped", Number),
    ("supervisor.budget.pids_current", Number),
    ("supervisor.budget.pids_max", Number),
    ("supervisor.budget.rate_per_hour", Rate),
    ("supervisor.budget.exhausted_in_ns", Number),
    ("supervisor.reaper.unreaped_held", Number),
    ("supervisor.reaper.reaped_since", Number),
    ("supervisor.pid_ns.init.name", Text),
    ("supervisor.pid_ns.containers", List),
    ("supervisor.exit.code", Number),
    ("supervisor.exit.signal", Number),
    ("supervisor.exit.signal_name", Text),
    ("supervisor.exit.core_dumped", Flag),
    ("supervisor.reaper.pid", Number),
    ("supervisor.reaper.name", Text),
    ("supervisor.reaper.executable", Text),
    ("supervisor.reaper.adopted", Flag),
    ("supervisor.reaper.is_subreaper", Flag),
    ("supervisor.reaper.is_pidns_init", Flag),
    ("supervisor.reaper.state", Text),
    ("supervisor.reaper.wchan", Text),
    ("supervisor.reaper.sigchld", Word(&["default", "ignored", "nocldwait", "handled", "blocked"])),
    ("supervisor.reaper.last_wait.age_ns", Number),
    ("supervisor.reaper.last_wait.call", Word(&["wait4", "waitid"])),
    ("supervisor.reaper.last_wait.target", Text),
    ("supervisor.reaper.last_wait.flags", List),
    ("supervisor.creators", List),
    ("supervisor.runtime.name", Text),
    ("supervisor.runtime.executable", Text),
    ("supervisor.runtime.verb", Text),
    ("supervisor.runtime.stage", Word(&["init", "intermediate", "container", "runtime"])),
    ("supervisor.monitor.name", Text),
    ("supervisor.monitor.pid", Number),
    ("supervisor.monitor.executable", Text),
    ("supervisor.pid_ns.ino", Number),
    ("supervisor.pid_ns.level", Number),
    ("supervisor.pid_ns.mode", Word(&["host", "own", "joined"])),
    ("supervisor.pid_ns.init.pid", Number),
];

/// Further fields of every event about a PID namespace that cannot end; its process is the namespace's init.
const NAMESPACE: [(&str, Kind); 7] = [
    ("process.pid", Number),
    ("process.name", Text),
    ("process.entity_id", Text),
    ("supervisor.finding.id", Text),
    ("supervisor.finding.kind", Word(&["namespace"])),
    ("supervisor.finding.state", Word(&["open", "updated", "closed"])),
    ("supervisor.pid_ns.ino", Number),
];

/// The families of unreaped processes, and of what looks like them.
const FAMILIES: [&str; 18] = [
    "F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8", "F9", "F10", "F11", "F12", "F13", "F14", "F15", "F16",
    "F17", "F18",
];

/// Actions of this version with their `event.kind`.
const ACTIONS: [(&str, &str); 7] = [
    ("zombie-detected", "alert"),
    ("zombie-existing", "state"),
    ("zombie-updated", "alert"),
    ("zombie-reaped", "event"),
    ("namespace-blocked", "alert"),
    ("namespace-released", "event"),
    ("events-lost", "pipeline_error"),
];

impl Contract {
    /// Fails with what is wrong about an event.
    pub fn check(&mut self, event: &Event) -> Result<()> {
        self.try_check(event).with_context(|| format!("an event breaks the contract: {}", event.0))
    }

    fn try_check(&mut self, event: &Event) -> Result<()> {
        for (name, kind) in ALWAYS {
            kind.check(name, event.get(name).with_context(|| format!("{name} is missing"))?)?;
        }
        for (name, kind) in SOMETIMES {
            event.get(name).map_or(Ok(()), |value| kind.check(name, value))?;
        }
        every_member(&event.0, "")?;
        ensure!(event.get("supervisor.schema_version").is_some(), "supervisor.schema_version is missing");
        ensure!(!event.text("message")?.is_empty(), "message is empty");
        ensure!(event.field("event.category")? == &Value::from(vec!["process"]), "event.category is wrong");
        ensure!(event.field("event.type")? == &Value::from(vec!["info"]), "event.type is wrong");

        let sequence = event.number("event.sequence")?;
        ensure!(self.last_sequence < Some(sequence), "event.sequence does not grow");
        self.last_sequence = Some(sequence);

        let action = event.action();
        let kind =
            ACTIONS.iter().find(|it| it.0 == action).with_context(|| format!("unknown action {action}"))?;
        ensure!(event.text("event.kind")? == kind.1, "event.kind is wrong for {action}");
        diagnosis::check(event)?;
        match action.split_once('-') {
            Some(("zombie", _)) => check_finding(event, action),
            Some(("namespace", _)) => check_namespace(event, action),
            _ => Ok(()),
        }
    }
}

fn check_finding(event: &Event, action: &str) -> Result<()> {
    for (name, kind) in FINDING {
        kind.check(name, event.get(name).with_context(|| format!("{name} is missing"))?)?;
    }
    let id = event.text("process.entity_id")?;
    ensure!(id.len() == 36 && id.as_bytes()[14] == b'8', "process.entity_id is no UUIDv8");

    let state = event.text("supervisor.finding.state")?;
    let wanted = match action {
        "zombie-reaped" => "closed",
        "zombie-updated" => "updated",
        _ => "open",
    };
    ensure!(state == wanted, "supervisor.finding.state is wrong for {action}");
    if wanted == "open" {
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
        // What a running watch has seen, `ps` knows too.
        "zombie-existing" => ensure!(
            !known || event.text("supervisor.hooks")?.contains("agent"),
            "the exit of an existing zombie cannot have been seen"
        ),
        // The reap itself may not have been seen: then only the absence was.
        "zombie-reaped" => ensure!(known || event.get("event.duration").is_none(), "a duration since when?"),
        _ => {}
    }
    for creator in
        event.get("supervisor.creators").map_or(Ok(Vec::new()), |_| event.list("supervisor.creators"))?
    {
        creator.number("pid")?;
        creator.flag("gone")?;
        let roles = Word(&["runtime", "monitor", "engine", "init", "shell", "other"]);
        roles.check("creators[].role", creator.field("role")?)?;
    }
    Ok(())
}

fn check_namespace(event: &Event, action: &str) -> Result<()> {
    for (name, kind) in NAMESPACE {
        kind.check(name, event.get(name).with_context(|| format!("{name} is missing"))?)?;
    }
    let state = event.text("supervisor.finding.state")?;
    if action == "namespace-blocked" {
        ensure!(matches!(state, "open" | "updated"), "supervisor.finding.state is wrong for {action}");
        let is_sure = event.text("supervisor.confidence")? != "low";
        ensure!(!is_sure || !event.list("supervisor.blockers")?.is_empty(), "nothing blocks it");
    } else {
        ensure!(state == "closed", "supervisor.finding.state is wrong for {action}");
        let known = event.flag("supervisor.exit_time_known")?;
        ensure!(known == event.get("event.duration").is_some(), "event.duration contradicts exit_time_known");
    }
    Ok(())
}

impl Kind {
    pub(crate) fn check(self, name: &str, value: &Value) -> Result<()> {
        let fits = match self {
            Text => value.as_str().is_some_and(|text| !text.is_empty()),
            Number => value.is_u64(),
            Rate => value.is_number(),
            Flag => value.is_boolean(),
            List => value.is_array(),
            Time => value
                .as_str()
                .is_some_and(|text| text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok()),
            Word(words) => value.as_str().is_some_and(|text| words.contains(&text)),
        };
        ensure!(fits, "{name} is {value}, and should be {self:?}");
        Ok(())
    }
}

/// What holds for every member, whatever its name.
fn every_member(value: &Value, name: &str) -> Result<()> {
    match value {
        Value::Null => bail!("{name} is null: what is not known is absent"),
        Value::Object(members) => members.iter().try_for_each(|(key, value)| {
            ensure!(!key.ends_with("_ns") || value.is_u64() || value.is_object(), "{name}.{key} is {value}");
            every_member(value, &format!("{name}.{key}"))
        }),
        Value::Array(elements) => elements.iter().try_for_each(|it| every_member(it, &format!("{name}[]"))),
        _ => Ok(()),
    }
}
