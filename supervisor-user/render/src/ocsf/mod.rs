//! Encodes events as OCSF (Open Cybersecurity Schema Framework) JSON, one object a line, as `docs/events.md` maps them.

mod document;
mod process;
mod remediation;
mod trace;

pub use trace::{lost as trace_lost, traced};

use schemars::SchemaGenerator;
use serde_json::{Value, json};
use supervisor_model::{
    clock::Wall,
    diagnosis::{Confidence, Diagnosis},
    event::{Action, Event, EventKind, State},
    finding::{self, BlockedNamespace, Blocker, BlockerKind, Finding, named_blockers},
    words::{command_line, harmless_json},
};

use self::{
    document::{
        Agent, Analytic, ApplicationError, Base, DetectionFinding, Device, Document, Evidence, EvidenceName,
        FindingInfo, Metadata, Os, Product, Profile, Remediation, Unmapped,
    },
    process::{Container, Process, Resource, ResourceType, User},
};
use super::{
    Context,
    ecs::{DATASET, MAX_BLOCKERS, Supervisor, supervisor},
    event_id,
    news::Subject,
    sentence::{place, sentence},
};

/// The version of OCSF that defines the names.
pub const OCSF_VERSION: &str = "1.8.0";

/// One event as a line, without the newline.
///
/// # Errors
///
/// Never in practice: the model holds only values that JSON can represent.
pub fn line(event: &Event, context: &Context, sequence: u64) -> serde_json::Result<String> {
    serde_json::to_string(&document(event, context, sequence)).map(harmless_json)
}

/// The schema: the types of an event, and the rules for numbers that belong together.
#[must_use]
pub fn schema(generator: SchemaGenerator) -> Value {
    let mut schema = generator.into_root_schema_for::<Document>().to_value();
    let step = |activity: u32, status: u32, is_alert: bool, states: &[&str]| {
        json!({
            "properties": {
                "activity_id": { "const": activity },
                "type_uid": { "const": 200_400 + activity },
                "status_id": { "const": status },
                "is_alert": { "const": is_alert },
                "metadata": { "properties": { "log_name": { "const": DATASET } } },
                "unmapped": {
                    "properties": {
                        "supervisor": {
                            "required": ["finding"],
                            "properties": { "finding": { "properties": { "state": { "enum": states } } } },
                        },
                    },
                },
            },
        })
    };
    schema["$defs"]["DetectionFinding"]["oneOf"] = json!([
        step(1, 1, true, &["open"]),
        step(2, 1, true, &["updated"]),
        step(3, 4, false, &["closed"]),
        step(99, 99, false, &["none"]),
    ]);
    let parts = |activity: u32, field: &str| {
        json!({
            "properties": {
                "activity_id": { "const": activity },
                "type_uid": { "const": 600_800 + activity },
                "unmapped": { "properties": { "supervisor": { "required": [field] } } },
            },
        })
    };
    schema["$defs"]["ProcessRemediation"]["properties"]["unmapped"] = json!({
        "allOf": [{ "$ref": "#/$defs/Unmapped" }],
        "properties": {
            "supervisor": { "required": ["reap"], "properties": { "finding": false, "loss": false } },
        },
    });
    schema["$defs"]["ApplicationError"]["oneOf"] = json!([parts(1, "loss"), parts(99, "suppressed")]);
    schema["$defs"]["ProcessActivity"]["oneOf"] = trace::rules();
    schema
}

fn document(event: &Event, context: &Context, sequence: u64) -> Document {
    match &event.kind {
        EventKind::Blocked { namespace, .. } | EventKind::Released { namespace, .. } => {
            let parts = SubjectParts {
                id: &namespace.id,
                subject: Subject::Namespace,
                diagnosis: &namespace.diagnosis,
                seen_ns: namespace.since_ns,
                namespace: Some(namespace),
            };
            Document::Finding(Box::new(detection(event, context, sequence, &namespace.init, &parts)))
        }
        EventKind::Detected(finding)
        | EventKind::Existing(finding)
        | EventKind::State(finding)
        | EventKind::Updated(finding)
        | EventKind::Explained(finding)
        | EventKind::ExitBlocked { finding, .. }
        | EventKind::ExitFinished { finding, .. }
        | EventKind::Reaped { finding, .. } => {
            let parts = SubjectParts {
                id: &finding.id,
                subject: match event.kind {
                    EventKind::ExitBlocked { .. } | EventKind::ExitFinished { .. } => Subject::Exit,
                    _ => Subject::Zombie,
                },
                diagnosis: &finding.diagnosis,
                seen_ns: finding.seen_ns,
                namespace: None,
            };
            Document::Finding(Box::new(detection(event, context, sequence, finding, &parts)))
        }
        EventKind::ReapRequested(request) => remediation::remediation(event, context, sequence, request),
        EventKind::Lost(loss) => stream_error(event, context, sequence, loss.since_ns, None),
        EventKind::Dropped(dropped) => {
            stream_error(event, context, sequence, dropped.since_ns, Some(dropped.count))
        }
        EventKind::Suppressed(suppressed) => {
            stream_error(event, context, sequence, suppressed.since_ns, Some(suppressed.count))
        }
    }
}

/// An Application Error: the stream does not report something, or reports only its number.
fn stream_error(
    event: &Event,
    context: &Context,
    sequence: u64,
    since_ns: u64,
    count: Option<u64>,
) -> Document {
    let kind = match event.kind {
        EventKind::Suppressed(_) => ErrorKind::Suppress,
        _ => ErrorKind::General,
    };
    let head = Head::of(event, context, sequence);
    let since = millis(event.wall, since_ns);
    Document::Error(Box::new(application_error(
        kind,
        head,
        context,
        since,
        count,
        supervisor(event, context),
    )))
}

/// Activities of an Application Error.
#[derive(Clone, Copy)]
enum ErrorKind {
    General,
    Suppress,
}

fn application_error(
    kind: ErrorKind,
    head: Head,
    context: &Context,
    start_time: i64,
    count: Option<u64>,
    supervisor: Supervisor,
) -> ApplicationError {
    let (activity_id, activity_name, type_name) = match kind {
        ErrorKind::General => (1, "General Error", "Application Error: General Error"),
        ErrorKind::Suppress => (99, "Suppress", "Application Error: Other"),
    };
    ApplicationError {
        category_uid: 6,
        category_name: "Application Activity",
        class_uid: 6008,
        class_name: "Application Error",
        activity_id,
        activity_name,
        type_uid: 600_800 + u32::from(activity_id),
        base: base(head, context, type_name, &[Profile::Host]),
        start_time,
        count,
        unmapped: Unmapped { supervisor },
    }
}

/// The parts of an event in which a namespace differs from its PID 1; all other attributes come from the PID 1.
struct SubjectParts<'a> {
    id: &'a str,
    subject: Subject,
    diagnosis: &'a Diagnosis,
    seen_ns: u64,
    namespace: Option<&'a BlockedNamespace>,
}

fn detection(
    event: &Event,
    context: &Context,
    sequence: u64,
    finding: &Finding,
    parts: &SubjectParts<'_>,
) -> DetectionFinding {
    let state = event.kind.finding().map_or(State::None, |(_, state)| state);
    let wall = event.wall;
    let (activity_id, activity_name, type_name) = match state {
        State::Open => (1, "Create", "Detection Finding: Create"),
        State::Updated => (2, "Update", "Detection Finding: Update"),
        State::Closed => (3, "Close", "Detection Finding: Close"),
        State::None => (99, "Explain", "Detection Finding: Other"),
    };
    let (status_id, status) = match state {
        State::Open | State::Updated => (1, "New"),
        State::Closed => (4, "Resolved"),
        State::None => (99, "None"),
    };
    let (confidence_id, confidence) = match parts.diagnosis.confidence {
        Confidence::Low => (1, "Low"),
        Confidence::Medium => (2, "Medium"),
        Confidence::High => (3, "High"),
    };
    let profiles = &[Profile::Container, Profile::Host, Profile::LinuxUsers];
    DetectionFinding {
        category_uid: 2,
        category_name: "Findings",
        class_uid: 2004,
        class_name: "Detection Finding",
        activity_id,
        activity_name,
        type_uid: 200_400 + u32::from(activity_id),
        status_id,
        status,
        is_alert: matches!(state, State::Open | State::Updated),
        base: base(Head::of(event, context, sequence), context, type_name, profiles),
        confidence_id,
        confidence,
        start_time: finding.exit_ns.map(|exit_ns| millis(wall, exit_ns)),
        end_time: (state == State::Closed).then(|| millis(wall, event.at_ns)),
        duration: event.kind.duration_ns().map(|ns| ns / 1_000_000),
        finding_info: finding_info(finding, parts, wall),
        evidences: evidences(finding, parts, wall),
        resources: resources(finding, parts),
        remediation: Some(parts.diagnosis.remedies.join("\n"))
            .filter(|desc| !desc.is_empty())
            .map(|desc| Remediation { desc }),
        unmapped: Unmapped { supervisor: supervisor(event, context) },
    }
}

/// The attributes of the event itself.
struct Head {
    time: i64,
    severity_id: u8,
    message: String,
    uid: String,
    sequence: u64,
    log_name: &'static str,
    event_code: Action,
}

impl Head {
    fn of(event: &Event, context: &Context, sequence: u64) -> Self {
        Self {
            time: millis(event.wall, event.at_ns),
            severity_id: event.kind.severity(),
            message: sentence(event),
            uid: event_id(event, context, sequence),
            sequence,
            log_name: DATASET,
            event_code: event.kind.action(),
        }
    }
}

fn base(head: Head, context: &Context, type_name: &'static str, profiles: &'static [Profile]) -> Base {
    Base {
        type_name,
        time: head.time,
        severity_id: head.severity_id,
        severity: match head.severity_id {
            0 | 1 => "Informational",
            2 => "Low",
            3 => "Medium",
            4 => "High",
            _ => "Critical",
        },
        message: head.message,
        metadata: Metadata {
            version: OCSF_VERSION,
            product: Product { name: "supervisor", version: env!("CARGO_PKG_VERSION") },
            profiles,
            uid: head.uid,
            sequence: head.sequence,
            log_name: head.log_name,
            event_code: head.event_code,
        },
        device: Device {
            hostname: context.host.hostname.clone(),
            uid: context.host.id.clone(),
            type_id: 0,
            boot_uid: context.host.boot_id.clone(),
            os: Os {
                name: "Linux",
                type_id: 200,
                r#type: "Linux",
                kernel_release: context.host.kernel.clone(),
            },
            agent_list: [Agent {
                name: "supervisor",
                type_id: 4,
                uid: context.agent_id.clone(),
                version: env!("CARGO_PKG_VERSION"),
            }],
        },
    }
}

fn finding_info(finding: &Finding, parts: &SubjectParts<'_>, wall: Wall) -> FindingInfo {
    let general = match parts.subject {
        Subject::Zombie => "A process has exited and is not reaped",
        Subject::Namespace => "A PID namespace cannot end",
        Subject::Exit => "A process was told to exit and cannot",
    };
    let family = parts.diagnosis.family;
    let title = match parts.subject {
        // A family's title says why. For an exit, the consequence is more important.
        Subject::Exit => general,
        Subject::Zombie | Subject::Namespace => {
            family.map_or(general, supervisor_model::family::Family::title)
        }
    };
    FindingInfo {
        uid: parts.id.to_owned(),
        title: format!("{title}{}", place(finding, ": ")),
        desc: parts.diagnosis.verdict.clone(),
        types: [parts.subject],
        analytic: family.map(|family| Analytic {
            uid: family.id(),
            name: family.name(),
            type_id: 1,
            r#type: "Rule",
        }),
        first_seen_time: millis(wall, parts.seen_ns),
    }
}

fn evidences(finding: &Finding, parts: &SubjectParts<'_>, wall: Wall) -> Vec<Evidence> {
    let subject = subject(finding, wall);
    let name = match parts.subject {
        Subject::Zombie | Subject::Exit => EvidenceName::Subject,
        Subject::Namespace => EvidenceName::NamespaceInit,
    };
    let blockers = parts.namespace.map_or(&[][..], |namespace| &namespace.blockers);
    let named = named_blockers(blockers, MAX_BLOCKERS);
    std::iter::once(Evidence { name, process: subject }).chain(named.into_iter().map(blocker)).collect()
}

/// The process that a finding is about.
fn subject(finding: &Finding, wall: Wall) -> Process {
    Process {
        terminated_time: finding.exit_ns.map(|exit_ns| millis(wall, exit_ns)),
        container: container(finding),
        parent: finding.reaper.as_ref().map(|reaper| Box::new(process(&reaper.process, wall))),
        ..process(&finding.process, wall)
    }
}

/// Arguments in one line, if there are any. If all of them are missing, the line is the mark for missing arguments.
fn command(args: &[String], is_cut: bool) -> Option<String> {
    (!args.is_empty() || is_cut).then(|| command_line(args, is_cut, usize::MAX))
}

fn process(process: &finding::Process, wall: Wall) -> Process {
    Process {
        pid: process.pid,
        name: process.name.clone(),
        uid: process.entity_id.clone(),
        cpid: process.entity_id.clone(),
        path: process.executable.clone(),
        cmd_line: command(&process.args, process.args_cut),
        created_time: process.start_ns.map(|start_ns| millis(wall, start_ns)),
        namespace_pid: process.vpid,
        user: process.uid.map(|uid| User { uid: uid.to_string() }),
        ..Process::default()
    }
}

fn blocker(blocker: &Blocker) -> Evidence {
    let named = |pid: u32, name: &str| Process { pid, name: name.to_owned(), ..Process::default() };
    Evidence {
        name: match blocker.kind {
            BlockerKind::Zombie => EvidenceName::Zombie,
            BlockerKind::Task => EvidenceName::Task,
            BlockerKind::Tracer => EvidenceName::Tracer,
        },
        process: Process {
            parent: blocker.reaper.as_ref().map(|(pid, name)| Box::new(named(*pid, name))),
            ..named(blocker.pid, &blocker.name)
        },
    }
}

fn container(finding: &Finding) -> Option<Container> {
    let container = finding.container.as_ref()?;
    let orchestrator = finding.orchestrator.as_ref();
    Some(Container {
        uid: container.id.clone(),
        name: container.name.clone(),
        runtime: container.runtime.clone(),
        orchestrator: orchestrator.map(|it| it.kind),
        pod_uuid: orchestrator.and_then(|it| it.pod_uid.clone()),
    })
}

fn resources(finding: &Finding, parts: &SubjectParts<'_>) -> Vec<Resource> {
    let resource = |r#type| Resource { r#type, uid: None, name: None, namespace: None, role_id: 3 };
    let mut resources = Vec::new();
    if let Some(container) = &finding.container {
        resources.push(Resource {
            uid: Some(container.id.clone()),
            name: container.name.clone(),
            ..resource(ResourceType::Container)
        });
    }
    // OCSF requires a uid or a name.
    if let Some(pod) =
        finding.orchestrator.as_ref().filter(|it| it.pod_uid.is_some() || it.pod_name.is_some())
    {
        resources.push(Resource {
            uid: pod.pod_uid.clone(),
            name: pod.pod_name.clone(),
            namespace: pod.namespace.clone(),
            ..resource(ResourceType::Pod)
        });
    }
    let own = parts.namespace.and(finding.pid_ns.as_ref()).map(|ns| ns.ino);
    let blocked = own.into_iter().chain(finding.blocks.iter().map(|block| block.ino));
    resources.extend(
        blocked.map(|ino| Resource { uid: Some(ino.to_string()), ..resource(ResourceType::PidNamespace) }),
    );
    resources
}

/// The wall time of a time since boot, in milliseconds as OCSF wants it.
fn millis(wall: Wall, boot_ns: u64) -> i64 {
    wall.timestamp(boot_ns).as_millisecond()
}
