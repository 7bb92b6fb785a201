//! Encodes events as Elastic Common Schema JSON, one object a line, with the names of `docs/events.md`.

mod document;
mod fields;
mod losses;
mod origin;
mod process;
mod reap;
mod supervisor;
mod trace;

pub use trace::{lost as trace_lost, traced};

pub(super) use self::{
    fields::supervisor,
    supervisor::Supervisor,
    trace::{lost_supervisor, traced_supervisor},
};

use document::{
    Agent, Boot, Category, Document, Ecs, Event as EventFields, Host, Orchestrator, Os, Outcome, Process,
    Resource, Type, User,
};
use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};
use supervisor_model::{
    clock::Wall,
    event::{Event, EventKind},
    finding::{self, Exit, Finding},
    reaping::{ReapOutcome, ReapRequest},
    words::harmless_json,
};

use super::{Context, event_id, news::Kind, sentence::sentence};

/// Version of the names below `supervisor.`.
pub const SCHEMA_VERSION: &str = "1.8";
/// An event names at most this many blockers of a PID namespace, so that it stays below 8 KiB.
pub(crate) const MAX_BLOCKERS: usize = 4;
/// The version of ECS that defines the other names.
pub const ECS_VERSION: &str = "9.0.0";
/// The name of the events' data set in a log store.
pub(super) const DATASET: &str = "supervisor.findings";

/// One event as a line, without the newline.
///
/// # Errors
///
/// Never in practice: the model holds only values that JSON can represent.
pub fn line(event: &Event, context: &Context, sequence: u64) -> serde_json::Result<String> {
    serde_json::to_string(&document(event, context, sequence)).map(harmless_json)
}

fn document(event: &Event, context: &Context, sequence: u64) -> Document {
    let wall = event.wall;
    let finding = event.kind.process();
    let request = match &event.kind {
        EventKind::ReapRequested(request) => Some(request),
        _ => None,
    };
    Document {
        timestamp: wall.timestamp(event.at_ns),
        message: sentence(event),
        ecs: Ecs { version: ECS_VERSION },
        event: EventFields {
            kind: Kind::of(&event.kind),
            category: [Category::Process],
            r#type: [if request.is_some() { Type::Change } else { Type::Info }],
            action: event.kind.action(),
            module: "supervisor",
            dataset: DATASET,
            id: event_id(event, context, sequence),
            sequence,
            severity: event.kind.severity(),
            duration: event.kind.duration_ns(),
            outcome: request.map(|request| outcome(request)),
            reason: request.and_then(|request| request.reason()),
        },
        host: host(context),
        agent: agent(context),
        process: finding.map(|finding| process(finding, wall)).map(|it| {
            // The finding's own events have the arguments, and say whether they are cut.
            if request.is_some() { it.without_arguments() } else { it }
        }),
        container: finding.and_then(|finding| finding.container.as_ref()).map(container),
        orchestrator: finding.and_then(|finding| finding.orchestrator.as_ref()).map(orchestrator),
        supervisor: supervisor(event, context),
    }
}

fn outcome(request: &ReapRequest) -> Outcome {
    match &request.entry.outcome {
        None | Some(ReapOutcome::Unknown) => Outcome::Unknown,
        Some(outcome) if outcome.is_freed() => Outcome::Success,
        Some(_) => Outcome::Failure,
    }
}

fn host(context: &Context) -> Host {
    Host {
        id: context.host.id.clone(),
        hostname: context.host.hostname.clone(),
        boot: Boot { id: context.host.boot_id.clone() },
        os: Os { kernel: context.host.kernel.clone() },
    }
}

fn agent(context: &Context) -> Agent {
    Agent { r#type: "supervisor", version: env!("CARGO_PKG_VERSION"), ephemeral_id: context.agent_id.clone() }
}

fn process(finding: &Finding, wall: Wall) -> Process {
    Process {
        end: finding.exit_ns.map(|exit_ns| wall.timestamp(exit_ns)),
        exit_code: match finding.exit.filter(|_| finding.is_exiting) {
            Some(Exit::Code(code)) => Some(code),
            _ => None,
        },
        parent: finding.reaper.as_ref().map(|reaper| Box::new(named(&reaper.process, wall))),
        ..named(&finding.process, wall)
    }
}

fn named(process: &finding::Process, wall: Wall) -> Process {
    Process {
        pid: process.pid,
        vpid: process.vpid,
        entity_id: process.entity_id.clone(),
        name: process.name.clone(),
        executable: process.executable.clone(),
        args: process.args.clone(),
        args_count: process.args_count,
        start: process.start_ns.map(|start_ns| wall.timestamp(start_ns)),
        user: process.uid.map(|uid| User { id: uid.to_string() }),
        ..Process::default()
    }
}

fn container(container: &finding::Container) -> document::Container {
    document::Container {
        id: container.id.clone(),
        name: container.name.clone(),
        runtime: container.runtime.clone(),
    }
}

fn orchestrator(orchestrator: &finding::Orchestrator) -> Orchestrator {
    Orchestrator {
        r#type: orchestrator.kind,
        namespace: orchestrator.namespace.clone(),
        resource: Resource {
            r#type: "pod",
            name: orchestrator.pod_name.clone(),
            id: orchestrator.pod_uid.clone(),
        },
    }
}

/// The schema: the types of an event, and the [`rules`] in addition.
#[must_use]
pub fn schema(generator: SchemaGenerator) -> Value {
    let mut schema = generator.into_root_schema_for::<Document>().to_value();
    schema["allOf"] = rules();
    schema
}

/// The same schema as a part of another schema, without the rules.
pub fn subschema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Document>()
}

/// The rules for required and forbidden fields, by the action of the event.
#[expect(clippy::too_many_lines, reason = "one rule for each kind of event")]
fn rules() -> Value {
    let rule = |action: &str, kind: &str, subject: &str, states: &[&str]| {
        json!({
            "if": { "properties": { "event": { "properties": { "action": { "const": action } } } } },
            "then": {
                "required": ["process"],
                "properties": {
                    "event": { "properties": { "kind": { "const": kind } } },
                    "process": { "required": ["pid", "name"] },
                    "supervisor": {
                        "required": [
                            "finding", "exit_time_known", "grace_ns", "verdict", "confidence", "evidence", "origin",
                        ],
                        "properties": {
                            "finding": {
                                "properties": { "kind": { "const": subject }, "state": { "enum": states } },
                            },
                            "loss": false,
                            "suppressed": false,
                            "reap": false,
                        },
                    },
                },
            },
        })
    };
    let of_the_stream = |action: &str, kind: &str, field: &str| {
        json!({
            "if": { "properties": { "event": { "properties": { "action": { "const": action } } } } },
            "then": {
                "properties": {
                    "event": { "properties": { "kind": { "const": kind } } },
                    "process": false,
                    "supervisor": {
                        "required": [field],
                        "properties": {
                            "finding": false,
                            // Either the collector has lost something, or a sink, or a trace.
                            "loss": {
                                "oneOf": [
                                    { "required": ["exits"] }, { "required": ["sink"] }, { "required": ["trace"] },
                                ],
                            },
                        },
                    },
                },
            },
        })
    };
    let of_a_trace = |action: &str, r#type: &str| {
        json!({
            "if": { "properties": { "event": { "properties": { "action": { "const": action } } } } },
            "then": {
                "required": ["process"],
                "properties": {
                    "event": {
                        "properties": {
                            "kind": { "const": "event" },
                            "type": { "const": [r#type] },
                            "dataset": { "const": super::traced::DATASET },
                        },
                    },
                    "process": { "required": ["pid", "name", "start"] },
                    "supervisor": { "properties": { "finding": false, "loss": false, "suppressed": false } },
                },
            },
        })
    };
    json!([
        rule("zombie-detected", "alert", "zombie", &["open"]),
        rule("zombie-existing", "state", "zombie", &["open"]),
        rule("zombie-updated", "alert", "zombie", &["updated"]),
        rule("zombie-reaped", "event", "zombie", &["closed"]),
        rule("process-explained", "state", "zombie", &["none"]),
        rule("namespace-blocked", "alert", "namespace", &["open", "updated"]),
        rule("namespace-released", "event", "namespace", &["closed"]),
        rule("exit-blocked", "alert", "exit", &["open", "updated"]),
        rule("exit-finished", "event", "exit", &["closed"]),
        of_the_stream("events-lost", "pipeline_error", "loss"),
        of_the_stream("findings-suppressed", "event", "suppressed"),
        of_a_request(),
        of_a_trace("process-forked", "start"),
        of_a_trace("process-started", "start"),
        of_a_trace("process-exited", "end"),
        of_a_trace("process-waited", "info"),
        of_a_trace("process-reaped", "info"),
    ])
}

/// The rule for an event that records a request to free a zombie.
fn of_a_request() -> Value {
    json!({
        "if": { "properties": { "event": { "properties": { "action": { "const": "reap-requested" } } } } },
        "then": {
            "required": ["process"],
            "properties": {
                "event": {
                    "required": ["outcome"],
                    "properties": { "kind": { "const": "event" }, "type": { "const": ["change"] } },
                },
                "process": { "required": ["pid", "name"] },
                "supervisor": {
                    "required": ["reap"],
                    "properties": { "finding": false, "loss": false, "suppressed": false },
                },
            },
        },
    })
}
