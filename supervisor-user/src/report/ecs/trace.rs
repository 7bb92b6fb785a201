//! Events of a trace.

use super::{
    ECS_VERSION, SCHEMA_VERSION, Supervisor, TRACE_DATASET, agent,
    document::{Category, Container, Document, Ecs, Event as EventFields, Process, Type},
    fields::{exit_fields, wait_fields},
    host,
    supervisor::{LossFields, PidNsFields, ReapedByFields, TraceLossFields, TracedFields},
};
use crate::{
    clock::Wall,
    finding::{Action, Exit},
    identity::common_process_id,
    report::{Context, news::Kind},
    trace::{Event, Named, What, text::sentence},
    words::harmless_json,
};

/// An event of a trace as a line, without the newline.
///
/// # Errors
///
/// None that can happen: the model holds nothing that JSON cannot.
pub fn traced(event: &Event, context: &Context, sequence: u64, wall: Wall) -> serde_json::Result<String> {
    let (action, r#type) = match event.what {
        What::Forked(_) => (Action::ProcessForked, Type::Start),
        What::Executed { .. } => (Action::ProcessStarted, Type::Start),
        What::Exited(..) => (Action::ProcessExited, Type::End),
        What::Waits(_) => (Action::ProcessWaited, Type::Info),
        What::Reaped { .. } => (Action::ProcessReaped, Type::Info),
    };
    let duration = match event.what {
        What::Reaped { after_ns, .. } => after_ns,
        _ => None,
    };
    let message = format!("{}[{}] {}", event.process.shown(), event.process.id.tgid, sentence(&event.what));
    let container = event.cgroup.as_ref().and_then(|cgroup| cgroup.container.clone());
    let document = Document {
        process: Some(process(event, context, wall)),
        container: container.map(|id| Container { id, name: None, runtime: None }),
        event: EventFields { action, r#type: [r#type], duration, ..fields(Kind::Event, context, sequence) },
        ..document(event.at_ns, message, context, sequence, wall)
    };
    let supervisor = Supervisor { traced: Some(traced_fields(event)), ..document.supervisor };
    serde_json::to_string(&Document { supervisor, ..document }).map(harmless_json)
}

/// That records of a trace were lost, as a line.
///
/// # Errors
///
/// None that can happen.
pub fn lost(
    count: u64,
    at_ns: u64,
    context: &Context,
    sequence: u64,
    wall: Wall,
) -> serde_json::Result<String> {
    let message =
        format!("{count} records of the trace were lost, because they came faster than they were read.");
    let document = document(at_ns, message, context, sequence, wall);
    let trace = Some(TraceLossFields { records: count });
    let loss = LossFields { since: wall.timestamp(at_ns), tracer: None, sink: None, trace };
    let supervisor = Supervisor { loss: Some(loss), ..document.supervisor };
    serde_json::to_string(&Document { supervisor, ..document }).map(harmless_json)
}

fn document(at_ns: u64, message: String, context: &Context, sequence: u64, wall: Wall) -> Document {
    Document {
        timestamp: wall.timestamp(at_ns),
        message,
        ecs: Ecs { version: ECS_VERSION },
        event: fields(Kind::PipelineError, context, sequence),
        host: host(context),
        agent: agent(context),
        process: None,
        container: None,
        orchestrator: None,
        supervisor: Supervisor {
            schema_version: SCHEMA_VERSION,
            hooks: context.hooks.clone(),
            finding: None,
            traced: None,
            loss: None,
            suppressed: None,
            shortened: None,
        },
    }
}

fn fields(kind: Kind, context: &Context, sequence: u64) -> EventFields {
    EventFields {
        severity: if matches!(kind, Kind::PipelineError) { 3 } else { 1 },
        kind,
        category: [Category::Process],
        r#type: [Type::Info],
        action: Action::EventsLost,
        module: "supervisor",
        dataset: TRACE_DATASET,
        id: format!("{}.{sequence}", context.agent_id),
        sequence,
        duration: None,
    }
}

fn process(event: &Event, context: &Context, wall: Wall) -> Process {
    let id = event.process.id;
    let ticks = id.start_ns / (1_000_000_000 / context.host.ticks_per_second);
    let entity = event.pid_ns.and_then(|ns| common_process_id(&context.host.boot_id, ns.ino, ticks, ns.vpid));
    let mut process = Process {
        vpid: event.pid_ns.map(|ns| ns.vpid),
        entity_id: entity.map(|id| id.to_string()),
        ..named(&event.process, wall)
    };
    match &event.what {
        What::Forked(by) => process.parent = Some(Box::new(named(by, wall))),
        What::Executed { file, args } => {
            process.executable = Some(file.clone());
            process.args.clone_from(args);
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

fn named(process: &Named, wall: Wall) -> Process {
    Process {
        pid: process.id.tgid,
        name: process.name(),
        start: Some(wall.timestamp(process.id.start_ns)),
        ..Process::default()
    }
}

fn traced_fields(event: &Event) -> TracedFields {
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
