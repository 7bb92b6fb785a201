//! Events as Elastic Common Schema JSON, one object a line: the names of `docs/events.md`.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;

use super::{Context, sentence::sentence};
use crate::{
    clock::Wall,
    diagnosis::{Diagnosis, Family},
    finding::{
        Block, BlockedNamespace, Blocker, Budget, Container, Creator, Dropped, Event, EventKind, Exit,
        Finding, LastWait, Loss, Orchestrator, Origin, PidNs, Process, Reaper, State, Suppressed,
    },
    words::signal_name,
};

/// Version of the names below `supervisor.`.
pub const SCHEMA_VERSION: &str = "1.1";
/// Version of ECS that the other names are of.
pub const ECS_VERSION: &str = "9.0.0";

/// One event as a line, without the newline.
///
/// # Errors
///
/// None that can happen: the model holds nothing that JSON cannot.
pub fn line(event: &Event, context: &Context, sequence: u64) -> serde_json::Result<String> {
    serde_json::to_string(&document(event, context, sequence))
}

#[derive(Serialize)]
struct Document {
    #[serde(rename = "@timestamp")]
    timestamp: Timestamp,
    message: String,
    ecs: EcsVersion,
    event: EventFields,
    host: HostFields,
    agent: Agent,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<ProcessFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<ContainerFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    orchestrator: Option<OrchestratorFields>,
    supervisor: Supervisor,
}

#[derive(Serialize)]
struct EcsVersion {
    version: &'static str,
}

#[derive(Serialize)]
struct EventFields {
    kind: &'static str,
    category: [&'static str; 1],
    r#type: [&'static str; 1],
    action: &'static str,
    module: &'static str,
    dataset: &'static str,
    sequence: u64,
    severity: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<u64>,
}

#[derive(Serialize)]
struct HostFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    hostname: String,
    boot: Id,
    os: Os,
}

#[derive(Serialize)]
struct Os {
    kernel: String,
}

#[derive(Serialize)]
struct Id {
    id: String,
}

#[derive(Serialize)]
struct Agent {
    r#type: &'static str,
    version: &'static str,
    ephemeral_id: String,
}

#[derive(Default, Serialize)]
struct ProcessFields {
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    vpid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entity_id: Option<String>,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<Box<ProcessFields>>,
}

#[derive(Serialize)]
struct User {
    id: String,
}

#[derive(Serialize)]
struct ContainerFields {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<String>,
}

#[derive(Serialize)]
struct OrchestratorFields {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    resource: ResourceFields,
}

#[derive(Serialize)]
struct ResourceFields {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

#[derive(Serialize)]
struct Supervisor {
    schema_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hooks: Option<Cow<'static, str>>,
    #[serde(flatten)]
    finding: Option<FindingFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<LossFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suppressed: Option<SuppressedFields>,
}

#[derive(Default, Serialize)]
struct FindingFields {
    finding: FindingState,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<ExitFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_ns: Option<u64>,
    grace_ns: u64,
    exit_time_known: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reaper: Option<ReaperFields>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    creators: Vec<CreatorFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<RuntimeFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    monitor: Option<MonitorFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid_ns: Option<PidNsFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<FamilyFields>,
    verdict: String,
    confidence: &'static str,
    evidence: Vec<EvidenceFields>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remedies: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    wont_help: Vec<String>,
    origin: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin_period_ns: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    blocks: Vec<BlockFields>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    blockers: Vec<BlockerFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<BudgetFields>,
}

#[derive(Serialize)]
struct FamilyFields {
    id: &'static str,
    name: &'static str,
}

#[derive(Serialize)]
struct EvidenceFields {
    id: u32,
    source: String,
    text: String,
    cited: bool,
}

#[derive(Serialize)]
struct BlockFields {
    kind: &'static str,
    ino: u32,
    init: PidAndName,
    waiting_ns: u64,
}

#[derive(Serialize)]
struct PidAndName {
    pid: u32,
    name: String,
}

#[derive(Serialize)]
struct BlockerFields {
    kind: &'static str,
    pid: u32,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reaper: Option<PidAndName>,
    state: char,
    #[serde(skip_serializing_if = "Option::is_none")]
    wchan: Option<String>,
}

#[derive(Serialize)]
struct BudgetFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    unreaped: Option<u64>,
    pids_current: u64,
    pids_max: u64,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_per_hour: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exhausted_in_ns: Option<u64>,
}

#[derive(Default, Serialize)]
struct FindingState {
    id: String,
    kind: &'static str,
    state: &'static str,
}

#[derive(Serialize)]
struct ExitFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal_name: Option<&'static str>,
    core_dumped: bool,
}

#[derive(Serialize)]
struct ReaperFields {
    pid: u32,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adopted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_subreaper: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_pidns_init: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<char>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wchan: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sigchld: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_wait: Option<LastWaitFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreaped_held: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reaped_since: Option<u64>,
}

#[derive(Serialize)]
struct LastWaitFields {
    age_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    flags: Vec<&'static str>,
}

#[derive(Serialize)]
struct CreatorFields {
    pid: u32,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verb: Option<String>,
    role: &'static str,
    gone: bool,
}

#[derive(Serialize)]
struct RuntimeFields {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verb: Option<String>,
    stage: &'static str,
}

#[derive(Serialize)]
struct MonitorFields {
    name: String,
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
}

#[derive(Serialize)]
struct PidNsFields {
    ino: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    init: Option<InitFields>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<String>,
}

#[derive(Serialize)]
struct InitFields {
    pid: u32,
    name: String,
    state: char,
}

#[derive(Serialize)]
struct LossFields {
    since: Timestamp,
    #[serde(flatten)]
    tracer: Option<TracerLossFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sink: Option<SinkLossFields>,
}

#[derive(Serialize)]
struct TracerLossFields {
    exits: u64,
    reaps: u64,
    records: u64,
    resync_found: u64,
    resync_closed: u64,
}

#[derive(Serialize)]
struct SinkLossFields {
    name: String,
    dropped: u64,
}

#[derive(Serialize)]
struct SuppressedFields {
    since: Timestamp,
    count: u64,
    reaper: PidAndName,
}

fn document(event: &Event, context: &Context, sequence: u64) -> Document {
    let wall = event.wall;
    let kind = match &event.kind {
        EventKind::Detected(_) | EventKind::Updated(_) | EventKind::Blocked { .. } => "alert",
        EventKind::Existing(_) | EventKind::State(_) | EventKind::Explained(_) => "state",
        EventKind::Reaped { .. } | EventKind::Released { .. } | EventKind::Suppressed(_) => "event",
        EventKind::Lost(_) | EventKind::Dropped(_) => "pipeline_error",
    };
    let duration = match &event.kind {
        EventKind::Reaped { dwell_ns, .. } => *dwell_ns,
        EventKind::Released { blocked_ns, .. } => *blocked_ns,
        _ => None,
    };
    let state = event.kind.finding().map_or(State::None, |(_, state)| state).as_str();
    let (finding, fields) = match &event.kind {
        EventKind::Detected(finding)
        | EventKind::Existing(finding)
        | EventKind::State(finding)
        | EventKind::Updated(finding)
        | EventKind::Explained(finding)
        | EventKind::Reaped { finding, .. } => {
            (Some(&**finding), Some(finding_fields(finding, state, event.at_ns)))
        }
        EventKind::Blocked { namespace, .. } | EventKind::Released { namespace, .. } => {
            (Some(&namespace.init), Some(namespace_fields(namespace, state, event.at_ns)))
        }
        EventKind::Lost(_) | EventKind::Dropped(_) | EventKind::Suppressed(_) => (None, None),
    };
    Document {
        timestamp: wall.timestamp(event.at_ns),
        message: sentence(event),
        ecs: EcsVersion { version: ECS_VERSION },
        event: EventFields {
            kind,
            category: ["process"],
            r#type: ["info"],
            action: event.kind.action(),
            module: "supervisor",
            dataset: "supervisor.findings",
            sequence,
            severity: event.kind.severity(),
            duration,
        },
        host: HostFields {
            id: context.host.id.clone(),
            hostname: context.host.hostname.clone(),
            boot: Id { id: context.host.boot_id.clone() },
            os: Os { kernel: context.host.kernel.clone() },
        },
        agent: Agent {
            r#type: "supervisor",
            version: env!("CARGO_PKG_VERSION"),
            ephemeral_id: context.agent_id.clone(),
        },
        process: finding.map(|finding| process_fields(finding, wall)),
        container: finding.and_then(|finding| finding.container.as_ref()).map(container_fields),
        orchestrator: finding.and_then(|finding| finding.orchestrator.as_ref()).map(orchestrator_fields),
        supervisor: Supervisor {
            schema_version: SCHEMA_VERSION,
            hooks: context.hooks.clone(),
            finding: fields,
            loss: match &event.kind {
                EventKind::Lost(loss) => Some(loss_fields(loss, wall)),
                EventKind::Dropped(dropped) => Some(dropped_fields(dropped, wall)),
                _ => None,
            },
            suppressed: match &event.kind {
                EventKind::Suppressed(suppressed) => Some(suppressed_fields(suppressed, wall)),
                _ => None,
            },
        },
    }
}

fn process_fields(finding: &Finding, wall: Wall) -> ProcessFields {
    ProcessFields {
        end: finding.exit_ns.map(|exit_ns| wall.timestamp(exit_ns)),
        exit_code: match finding.exit.filter(|_| finding.is_exiting) {
            Some(Exit::Code(code)) => Some(code),
            _ => None,
        },
        parent: finding.reaper.as_ref().map(|reaper| Box::new(named(&reaper.process, wall))),
        ..named(&finding.process, wall)
    }
}

fn named(process: &Process, wall: Wall) -> ProcessFields {
    ProcessFields {
        pid: process.pid,
        vpid: process.vpid,
        entity_id: process.entity_id.clone(),
        name: process.name.clone(),
        executable: process.executable.clone(),
        args: process.args.clone(),
        start: process.start_ns.map(|start_ns| wall.timestamp(start_ns)),
        user: process.uid.map(|uid| User { id: uid.to_string() }),
        ..ProcessFields::default()
    }
}

fn container_fields(container: &Container) -> ContainerFields {
    ContainerFields {
        id: container.id.clone(),
        name: container.name.clone(),
        runtime: container.runtime.clone(),
    }
}

fn orchestrator_fields(orchestrator: &Orchestrator) -> OrchestratorFields {
    OrchestratorFields {
        r#type: orchestrator.kind,
        namespace: orchestrator.namespace.clone(),
        resource: ResourceFields {
            r#type: "pod",
            name: orchestrator.pod_name.clone(),
            id: orchestrator.pod_uid.clone(),
        },
    }
}

fn finding_fields(finding: &Finding, state: &'static str, now_ns: u64) -> FindingFields {
    FindingFields {
        finding: FindingState { id: finding.id.clone(), kind: "zombie", state },
        exit: finding.exit.filter(|_| finding.is_exiting).map(exit_fields),
        age_ns: finding.exit_ns.map(|exit_ns| now_ns.saturating_sub(exit_ns)),
        grace_ns: finding.grace_ns,
        exit_time_known: finding.exit_ns.is_some(),
        reaper: finding.reaper.as_ref().map(|reaper| reaper_fields(reaper, now_ns)),
        creators: finding.creators.iter().map(creator_fields).collect(),
        runtime: finding.runtime.as_ref().map(|runtime| RuntimeFields {
            name: runtime.name.clone(),
            executable: runtime.executable.clone(),
            verb: runtime.verb.clone(),
            stage: runtime.stage.as_str(),
        }),
        monitor: finding.monitor.as_ref().map(|monitor| MonitorFields {
            name: monitor.name.clone(),
            pid: monitor.pid,
            executable: monitor.executable.clone(),
            namespace: monitor.namespace.clone(),
        }),
        pid_ns: finding.pid_ns.as_ref().map(pid_ns_fields),
        cgroup: finding.cgroup.clone(),
        origin: finding.origin.as_str(),
        origin_period_ns: match finding.origin {
            Origin::HealthCheck { period_ns } => Some(period_ns),
            _ => None,
        },
        blocks: finding.blocks.iter().map(|block| block_fields(block, now_ns)).collect(),
        blockers: Vec::new(),
        budget: finding.budget.as_ref().map(budget_fields),
        ..diagnosis_fields(&finding.diagnosis)
    }
}

/// The namespace's own diagnosis and blockers, with the rest of its init's.
fn namespace_fields(namespace: &BlockedNamespace, state: &'static str, now_ns: u64) -> FindingFields {
    let diagnosis = diagnosis_fields(&namespace.diagnosis);
    FindingFields {
        finding: FindingState { id: namespace.id.clone(), kind: "namespace", state },
        family: diagnosis.family,
        verdict: diagnosis.verdict,
        confidence: diagnosis.confidence,
        evidence: diagnosis.evidence,
        remedies: diagnosis.remedies,
        wont_help: diagnosis.wont_help,
        blockers: namespace.blockers.iter().map(blocker_fields).collect(),
        ..finding_fields(&namespace.init, state, now_ns)
    }
}

/// Only the fields of a diagnosis; the others are empty.
fn diagnosis_fields(diagnosis: &Diagnosis) -> FindingFields {
    FindingFields {
        family: diagnosis.family.map(|family: Family| FamilyFields { id: family.id(), name: family.name() }),
        verdict: diagnosis.verdict.clone(),
        confidence: diagnosis.confidence.as_str(),
        evidence: diagnosis
            .evidence
            .iter()
            .map(|it| EvidenceFields {
                id: it.id,
                source: it.source.clone(),
                text: it.text.clone(),
                cited: it.cited,
            })
            .collect(),
        remedies: diagnosis.remedies.clone(),
        wont_help: diagnosis.wont_help.clone(),
        ..FindingFields::default()
    }
}

fn block_fields(block: &Block, now_ns: u64) -> BlockFields {
    BlockFields {
        kind: "pid-namespace",
        ino: block.ino,
        init: PidAndName { pid: block.init_pid, name: block.init_name.clone() },
        waiting_ns: now_ns.saturating_sub(block.since_ns),
    }
}

fn blocker_fields(blocker: &Blocker) -> BlockerFields {
    BlockerFields {
        kind: blocker.kind.as_str(),
        pid: blocker.pid,
        name: blocker.name.clone(),
        reaper: blocker.reaper.as_ref().map(|(pid, name)| PidAndName { pid: *pid, name: name.clone() }),
        state: blocker.state,
        wchan: blocker.wchan.clone(),
    }
}

fn budget_fields(budget: &Budget) -> BudgetFields {
    BudgetFields {
        unreaped: budget.unreaped,
        pids_current: budget.pids.current,
        pids_max: budget.pids.max,
        source: budget.pids.source.clone(),
        rate_per_hour: budget.rate_per_hour,
        exhausted_in_ns: budget.exhausted_in_ns,
    }
}

fn exit_fields(exit: Exit) -> ExitFields {
    match exit {
        Exit::Code(code) => {
            ExitFields { code: Some(code), signal: None, signal_name: None, core_dumped: false }
        }
        Exit::Signal { number, core_dumped } => {
            ExitFields { code: None, signal: Some(number), signal_name: signal_name(number), core_dumped }
        }
    }
}

fn reaper_fields(reaper: &Reaper, now_ns: u64) -> ReaperFields {
    ReaperFields {
        pid: reaper.process.pid,
        name: reaper.process.name.clone(),
        executable: reaper.process.executable.clone(),
        adopted: reaper.adopted,
        is_subreaper: reaper.is_subreaper,
        is_pidns_init: reaper.is_pidns_init,
        state: reaper.state,
        wchan: reaper.wchan.clone(),
        sigchld: reaper.sigchld.map(crate::host::SigChld::as_str),
        unreaped_held: reaper.unreaped_held,
        reaped_since: reaper.reaped_since,
        last_wait: reaper.last_wait.as_ref().map(|wait| last_wait_fields(wait, now_ns)),
    }
}

fn last_wait_fields(wait: &LastWait, now_ns: u64) -> LastWaitFields {
    LastWaitFields {
        age_ns: now_ns.saturating_sub(wait.at_ns),
        call: wait.call,
        target: wait.target.map(|target| target.to_string()),
        flags: wait.flags.clone(),
    }
}

fn creator_fields(creator: &Creator) -> CreatorFields {
    CreatorFields {
        pid: creator.process.pid,
        name: creator.process.name.clone(),
        executable: creator.process.executable.clone(),
        args: creator.process.args.clone(),
        verb: creator.verb.clone(),
        role: creator.role.as_str(),
        gone: creator.gone,
    }
}

fn pid_ns_fields(ns: &PidNs) -> PidNsFields {
    PidNsFields {
        ino: ns.ino,
        level: ns.level,
        mode: ns.mode.map(crate::finding::PidNsMode::as_str),
        init: ns.init.as_ref().map(|init| InitFields {
            pid: init.pid,
            name: init.name.clone(),
            state: init.state,
        }),
        containers: ns.containers.clone(),
    }
}

fn loss_fields(loss: &Loss, wall: Wall) -> LossFields {
    LossFields {
        since: wall.timestamp(loss.since_ns),
        tracer: Some(TracerLossFields {
            exits: loss.exits,
            reaps: loss.reaps,
            records: loss.records,
            resync_found: loss.found,
            resync_closed: loss.closed,
        }),
        sink: None,
    }
}

fn dropped_fields(dropped: &Dropped, wall: Wall) -> LossFields {
    let sink = SinkLossFields { name: dropped.sink.clone(), dropped: dropped.count };
    LossFields { since: wall.timestamp(dropped.since_ns), tracer: None, sink: Some(sink) }
}

fn suppressed_fields(suppressed: &Suppressed, wall: Wall) -> SuppressedFields {
    SuppressedFields {
        since: wall.timestamp(suppressed.since_ns),
        count: suppressed.count,
        reaper: PidAndName { pid: suppressed.reaper_pid, name: suppressed.reaper_name.clone() },
    }
}
