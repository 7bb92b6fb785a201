//! Encodes the events of a trace as ECS JSON.

use jiff::Timestamp;
use supervisor_model::{
    clock::Wall,
    event::Action,
    finding::Exit,
    trace::{NamedProcess, TraceEvent, What},
    words::harmless_json,
};

use super::{
    ECS_VERSION, SCHEMA_VERSION, Supervisor, agent,
    document::{Category, Container, Document, Ecs, Event as EventFields, Process, Type},
    fields::{exit_fields, wait_fields},
    host,
    losses::{LossFields, TraceLossFields},
    supervisor::{PidNsFields, ReapedByFields, TracedFields},
};
use crate::{Context, news::Kind, numbered_id, traced};

/// An event of a trace as a line, without the newline.
///
/// # Errors
///
/// Never in practice: the model holds only values that JSON can represent.
pub fn traced(
    event: &TraceEvent,
    context: &Context,
    sequence: u64,
    wall: Wall,
) -> serde_json::Result<String> {
    let r#type = match event.what {
        What::Forked(_) | What::Executed { .. } => Type::Start,
        What::Exited(..) => Type::End,
        What::Waits(_) | What::Reaped { .. } => Type::Info,
    };
    let container = event.cgroup.as_ref().and_then(|cgroup| cgroup.container.clone());
    let fields = EventFields {
        kind: Kind::Event,
        r#type: [r#type],
        action: traced::action(&event.what),
        severity: traced::SEVERITY,
        duration: traced::duration_ns(&event.what),
        ..loss_fields(context, sequence)
    };
    let message = traced::message(event);
    line(&Document {
        process: Some(process(event, context, wall)),
        container: container.map(|id| Container { id, name: None, runtime: None }),
        ..document(wall.timestamp(event.at_ns), message, fields, context, traced_supervisor(event, context))
    })
}

/// A line that reports lost records of a trace.
///
/// # Errors
///
/// Never in practice.
pub fn lost(
    count: u64,
    at_ns: u64,
    context: &Context,
    sequence: u64,
    wall: Wall,
) -> serde_json::Result<String> {
    let message = traced::loss_message(count);
    let supervisor = lost_supervisor(count, at_ns, context, wall);
    line(&document(wall.timestamp(at_ns), message, loss_fields(context, sequence), context, supervisor))
}

/// The fields below `supervisor` in an event of a trace.
pub(crate) fn traced_supervisor(event: &TraceEvent, context: &Context) -> Supervisor {
    Supervisor { traced: Some(traced_fields(event)), ..supervisor(context) }
}

/// The fields below `supervisor` in an event that reports lost records.
pub(crate) fn lost_supervisor(count: u64, at_ns: u64, context: &Context, wall: Wall) -> Supervisor {
    let trace = Some(TraceLossFields { records: count });
    let loss = LossFields { since: wall.timestamp(at_ns), tracer: None, sink: None, trace };
    Supervisor { loss: Some(loss), ..supervisor(context) }
}

fn supervisor(context: &Context) -> Supervisor {
    Supervisor {
        schema_version: SCHEMA_VERSION,
        hooks: context.hooks.clone(),
        finding: None,
        traced: None,
        loss: None,
        suppressed: None,
        reap: None,
        shortened: None,
    }
}

fn line(document: &Document) -> serde_json::Result<String> {
    serde_json::to_string(document).map(harmless_json)
}

fn document(
    timestamp: Timestamp,
    message: String,
    event: EventFields,
    context: &Context,
    supervisor: Supervisor,
) -> Document {
    Document {
        timestamp,
        message,
        ecs: Ecs { version: ECS_VERSION },
        event,
        host: host(context),
        agent: agent(context),
        process: None,
        container: None,
        orchestrator: None,
        supervisor,
    }
}

fn loss_fields(context: &Context, sequence: u64) -> EventFields {
    EventFields {
        kind: Kind::PipelineError,
        category: [Category::Process],
        r#type: [Type::Info],
        action: Action::EventsLost,
        module: "supervisor",
        dataset: traced::DATASET,
        id: numbered_id(context, sequence),
        sequence,
        severity: traced::LOSS_SEVERITY,
        duration: None,
        outcome: None,
        reason: None,
    }
}

fn process(event: &TraceEvent, context: &Context, wall: Wall) -> Process {
    let mut process = Process {
        vpid: event.pid_ns.map(|ns| ns.vpid),
        entity_id: traced::entity_id(event, context),
        ..named(&event.process, wall)
    };
    match &event.what {
        What::Forked(by) => process.parent = Some(Box::new(named(by, wall))),
        What::Executed { file, args, args_count, .. } => {
            process.executable = Some(file.clone());
            process.args.clone_from(args);
            process.args_count = *args_count;
        }
        What::Exited(exit, parent) => {
            process.end = Some(wall.timestamp(event.at_ns));
            if let Exit::Code(code) = exit {
                process.exit_code = Some(*code);
            }
            process.parent = Some(Box::new(named(parent, wall)));
        }
        What::Waits(_) | What::Reaped { .. } => {}
    }
    process
}

fn named(process: &NamedProcess, wall: Wall) -> Process {
    Process {
        pid: process.id.tgid,
        name: process.name(),
        start: Some(wall.timestamp(process.id.start_ns)),
        ..Process::default()
    }
}

fn traced_fields(event: &TraceEvent) -> TracedFields {
    let mut fields = TracedFields {
        exit: None,
        reaped_by: None,
        pid_ns: event.pid_ns.map(|ns| PidNsFields {
            ino: ns.ino,
            level: Some(ns.level),
            mode: None,
            init: None,
            containers: Vec::new(),
        }),
        cgroup: event.cgroup.as_ref().map(|cgroup| cgroup.path.clone()),
        wait: None,
        args_cut: matches!(event.what, What::Executed { args_cut: true, .. }),
    };
    match &event.what {
        What::Exited(exit, _) => fields.exit = Some(exit_fields(*exit)),
        What::Waits(wait) => fields.wait = Some(wait_fields(wait)),
        What::Reaped { by, .. } => {
            fields.reaped_by = by.map(|by| ReapedByFields { pid: by.id.tgid, name: Some(by.name()) });
        }
        What::Forked(_) | What::Executed { .. } => {}
    }
    fields
}
