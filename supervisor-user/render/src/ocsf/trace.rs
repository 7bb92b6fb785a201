//! Encodes the events of a trace as OCSF JSON.

use serde_json::{Value, json};
use supervisor_model::{
    clock::Wall,
    event::Action,
    finding::Exit,
    trace::{NamedProcess, TraceEvent, What},
    words::harmless_json,
};

use super::{
    ErrorKind, Head, application_error, base, command,
    document::{Actor, Document, ProcessActivity, Profile, Unmapped},
    millis,
    process::{Container, Process},
};
use crate::{
    Context,
    ecs::{lost_supervisor, traced_supervisor},
    numbered_id, traced,
};

/// An activity of the class Process Activity.
struct Activity {
    id: u8,
    name: &'static str,
    type_name: &'static str,
    /// The step of a launch, if it is one.
    launch: Option<(u8, &'static str)>,
}

impl Activity {
    fn of(action: Action) -> Self {
        let activity = |id, name, type_name, launch| Self { id, name, type_name, launch };
        let other = "Process Activity: Other";
        match action {
            Action::ProcessForked => activity(1, "Launch", "Process Activity: Launch", Some((2, "Fork"))),
            Action::ProcessStarted => activity(1, "Launch", "Process Activity: Launch", Some((3, "Exec"))),
            Action::ProcessExited => activity(2, "Terminate", "Process Activity: Terminate", None),
            Action::ProcessWaited => activity(99, "Wait", other, None),
            _ => activity(99, "Reap", other, None),
        }
    }

    fn type_uid(&self) -> u32 {
        100_700 + u32::from(self.id)
    }
}

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
    let action = traced::action(&event.what);
    let activity = Activity::of(action);
    let head = Head {
        time: millis(wall, event.at_ns),
        severity_id: traced::SEVERITY,
        message: traced::message(event),
        uid: numbered_id(context, sequence),
        sequence,
        log_name: traced::DATASET,
        event_code: action,
    };
    line(&Document::Activity(Box::new(ProcessActivity {
        category_uid: 1,
        category_name: "System Activity",
        class_uid: 1007,
        class_name: "Process Activity",
        activity_id: activity.id,
        activity_name: activity.name,
        type_uid: activity.type_uid(),
        base: base(head, context, activity.type_name, &[Profile::Container, Profile::Host]),
        launch_type_id: activity.launch.map(|(id, _)| id),
        launch_type: activity.launch.map(|(_, name)| name),
        actor: Actor { process: actor(event, context, wall) },
        process: process(event, context, wall),
        exit_code: match event.what {
            What::Exited(Exit::Code(code), _) => Some(code),
            _ => None,
        },
        duration: traced::duration_ns(&event.what).map(|ns| ns / 1_000_000),
        unmapped: Unmapped { supervisor: traced_supervisor(event, context) },
    })))
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
    let time = millis(wall, at_ns);
    let head = Head {
        time,
        severity_id: traced::LOSS_SEVERITY,
        message: traced::loss_message(count),
        uid: numbered_id(context, sequence),
        sequence,
        log_name: traced::DATASET,
        event_code: Action::EventsLost,
    };
    let supervisor = lost_supervisor(count, at_ns, context, wall);
    let error = application_error(ErrorKind::General, head, context, time, Some(count), supervisor);
    line(&Document::Error(Box::new(error)))
}

/// The schema rules for numbers that belong together, and for the attributes that come with them.
pub(super) fn rules() -> Value {
    let rule = |action: Action, own: &[&str]| {
        let activity = Activity::of(action);
        let mut properties = json!({
            "activity_id": { "const": activity.id },
            "activity_name": { "const": activity.name },
            "type_uid": { "const": activity.type_uid() },
            "metadata": {
                "properties": {
                    "log_name": { "const": traced::DATASET },
                    "event_code": { "const": action.as_str() },
                },
            },
            "unmapped": {
                "properties": {
                    "supervisor": { "properties": { "finding": false, "loss": false, "suppressed": false } },
                },
            },
        });
        for field in ["launch_type_id", "launch_type", "exit_code", "duration"] {
            if !own.contains(&field) {
                properties[field] = false.into();
            }
        }
        let mut required = Vec::new();
        if let Some((id, name)) = activity.launch {
            required.extend(["launch_type_id", "launch_type"]);
            properties["launch_type_id"] = json!({ "const": id });
            properties["launch_type"] = json!({ "const": name });
        }
        json!({ "properties": properties, "required": required })
    };
    let launch = ["launch_type_id", "launch_type"];
    json!([
        rule(Action::ProcessForked, &launch),
        rule(Action::ProcessStarted, &launch),
        rule(Action::ProcessExited, &["exit_code"]),
        rule(Action::ProcessWaited, &[]),
        rule(Action::ProcessReaped, &["duration"]),
    ])
}

fn line(document: &Document) -> serde_json::Result<String> {
    serde_json::to_string(document).map(harmless_json)
}

fn actor(event: &TraceEvent, context: &Context, wall: Wall) -> Process {
    match &event.what {
        What::Forked(by) | What::Reaped { by: Some(by), .. } => named(by, wall),
        // OCSF requires an actor.
        _ => itself(event, context, wall),
    }
}

fn process(event: &TraceEvent, context: &Context, wall: Wall) -> Process {
    let container = event.cgroup.as_ref().and_then(|cgroup| cgroup.container.clone());
    let mut process = Process {
        container: container.map(|uid| Container { uid, ..Container::default() }),
        ..itself(event, context, wall)
    };
    match &event.what {
        What::Forked(by) => process.parent = Some(Box::new(named(by, wall))),
        What::Executed { file, args, args_cut, .. } => {
            process.path = Some(file.clone());
            process.cmd_line = command(args, *args_cut);
        }
        What::Exited(_, parent) => {
            process.terminated_time = Some(millis(wall, event.at_ns));
            process.parent = Some(Box::new(named(parent, wall)));
        }
        What::Waits(_) | What::Reaped { .. } => {}
    }
    process
}

/// The process of the event, with the ids that distinguish it from others.
fn itself(event: &TraceEvent, context: &Context, wall: Wall) -> Process {
    let id = traced::entity_id(event, context);
    Process {
        uid: id.clone(),
        cpid: id,
        namespace_pid: event.pid_ns.map(|ns| ns.vpid),
        ..named(&event.process, wall)
    }
}

fn named(process: &NamedProcess, wall: Wall) -> Process {
    Process {
        pid: process.id.tgid,
        name: process.name(),
        created_time: Some(millis(wall, process.id.start_ns)),
        ..Process::default()
    }
}
