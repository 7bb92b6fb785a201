//! Converts the internal model into the fields below `supervisor`.

use std::borrow::Cow;

use supervisor_model::{
    clock::Wall,
    diagnosis::{Confidence, Diagnosis},
    event::{Dropped, Event, EventKind, Loss, ReapedBy, State, Suppressed},
    facts::{Call, NotRead},
    finding::{
        Authority, Block, Blocker, Budget, ClaimSource, Creator, Exit, Finding, IdentityClaim, LastWait,
        Origin, PidNs, Reaper, named_blockers,
    },
    words::signal_name,
};

use super::{
    MAX_BLOCKERS, SCHEMA_VERSION,
    losses::{LossFields, SinkLossFields, SuppressedFields, TracerLossFields},
    origin::{ClaimFields, CreatorFields, MonitorFields, RuntimeFields},
    process::{ExitFields, PidAndName},
    reap::reap_fields,
    supervisor::{
        BlockFields, BlockerFields, BudgetFields, EvidenceFields, FamilyFields, FindingFields, FindingState,
        InitFields, LastWaitFields, PatternFields, PidNsFields, ReapedByFields, ReaperFields, Supervisor,
        WaitFields,
    },
};
use crate::{Context, news::Subject};

/// The fields that other schemas have no name for.
pub(crate) fn supervisor(event: &Event, context: &Context) -> Supervisor {
    let wall = event.wall;
    let state = event.kind.finding().map_or(State::None, |(_, state)| state);
    Supervisor {
        schema_version: SCHEMA_VERSION,
        hooks: context.hooks.clone(),
        finding: match &event.kind {
            EventKind::Blocked { namespace, .. } | EventKind::Released { namespace, .. } => {
                let parts = SubjectParts {
                    id: &namespace.id,
                    subject: Subject::Namespace,
                    diagnosis: &namespace.diagnosis,
                    blockers: &namespace.blockers,
                    reaped_by: None,
                };
                Some(finding_fields(&namespace.init, &parts, state, event.at_ns))
            }
            // This event is about a finding, but it is no news of the finding.
            EventKind::ReapRequested(_) => None,
            kind => kind.process().map(|finding| {
                let parts = SubjectParts {
                    id: &finding.id,
                    subject: match kind {
                        EventKind::ExitBlocked { .. } | EventKind::ExitFinished { .. } => Subject::Exit,
                        _ => Subject::Zombie,
                    },
                    diagnosis: &finding.diagnosis,
                    blockers: &[],
                    reaped_by: match kind {
                        EventKind::Reaped { by, .. } => by.as_ref(),
                        _ => None,
                    },
                };
                finding_fields(finding, &parts, state, event.at_ns)
            }),
        },
        traced: None,
        loss: match &event.kind {
            EventKind::Lost(loss) => Some(loss_fields(loss, wall)),
            EventKind::Dropped(dropped) => Some(dropped_fields(dropped, wall)),
            _ => None,
        },
        suppressed: match &event.kind {
            EventKind::Suppressed(suppressed) => Some(suppressed_fields(suppressed, wall)),
            _ => None,
        },
        reap: match &event.kind {
            EventKind::ReapRequested(request) => Some(reap_fields(request)),
            _ => None,
        },
        // A sink that must shorten the event sets this later.
        shortened: None,
    }
}

/// The parts of an event in which a namespace differs from its PID 1; all other fields come from the PID 1.
struct SubjectParts<'a> {
    id: &'a str,
    subject: Subject,
    diagnosis: &'a Diagnosis,
    blockers: &'a [Blocker],
    reaped_by: Option<&'a ReapedBy>,
}

#[expect(clippy::too_many_lines, reason = "one line for each field")]
fn finding_fields(finding: &Finding, parts: &SubjectParts<'_>, state: State, now_ns: u64) -> FindingFields {
    let diagnosis = parts.diagnosis;
    let named = named_blockers(parts.blockers, MAX_BLOCKERS);
    let ending = finding.ending.as_ref();
    let since_ns = ending.and_then(|ending| ending.since_ns);
    FindingFields {
        finding: FindingState { id: parts.id.to_owned(), kind: parts.subject, state },
        exit: finding.exit.filter(|_| finding.is_exiting).map(exit_fields),
        age_ns: finding.exit_ns.map(|exit_ns| now_ns.saturating_sub(exit_ns)),
        grace_ns: finding.grace_ns,
        exit_time_known: finding.exit_ns.is_some(),
        ending_ns: since_ns.map(|since_ns| now_ns.saturating_sub(since_ns)),
        killed_by: ending
            .and_then(|ending| ending.killed_by.as_ref())
            .map(|(pid, name)| PidAndName { pid: *pid, name: name.clone() }),
        reaper: finding.reaper.as_ref().map(|reaper| reaper_fields(reaper, now_ns)),
        reaped_by: parts.reaped_by.map(|by| ReapedByFields { pid: by.id.tgid, name: by.name.clone() }),
        creators: finding.creators.iter().map(creator_fields).collect(),
        forked_as: finding.forked_as.clone(),
        runtime: finding.runtime.as_ref().map(|runtime| RuntimeFields {
            name: runtime.name.clone(),
            executable: runtime.executable.clone(),
            verb: runtime.verb.clone(),
            stage: runtime.stage,
            unverified: runtime.is_unverified,
        }),
        monitor: finding.monitor.as_ref().map(|monitor| MonitorFields {
            name: monitor.name.clone(),
            pid: monitor.pid,
            executable: monitor.executable.clone(),
            namespace: monitor.namespace.clone(),
            unverified: monitor.is_unverified,
        }),
        identity_confidence: finding.identity_confidence.map(Confidence::as_str),
        claims: finding.claims.iter().map(claim_fields).collect(),
        pid_ns: finding.pid_ns.as_ref().map(pid_ns_fields),
        cgroup: finding.cgroup.clone(),
        args_cut: finding.process.args_cut,
        family: diagnosis.family.map(|family| FamilyFields { id: family.id(), name: family.name() }),
        position: diagnosis.position,
        cause: diagnosis.cause,
        prognosis: (finding.state == 'Z' && matches!(parts.subject, Subject::Zombie))
            .then_some(diagnosis.prognosis),
        pattern: finding.pattern.map(|pattern| PatternFields {
            reaped: pattern.reaped,
            median_ns: pattern.median_ns,
            longest_ns: pattern.longest_ns,
        }),
        verdict: diagnosis.verdict.clone(),
        confidence: diagnosis.confidence,
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
        origin: finding.origin.as_str(),
        origin_period_ns: match finding.origin {
            Origin::HealthCheck { period_ns } => Some(period_ns),
            _ => None,
        },
        blocks: finding.blocks.iter().map(|block| block_fields(block, now_ns)).collect(),
        blockers: named.iter().map(|it| blocker_fields(it)).collect(),
        blockers_left_out: (parts.blockers.len() - named.len()) as u64,
        budget: finding.budget.as_ref().map(budget_fields),
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
        kind: blocker.kind,
        pid: blocker.pid,
        name: blocker.name.clone(),
        reaper: blocker.reaper.as_ref().map(|(pid, name)| PidAndName { pid: *pid, name: name.clone() }),
        state: blocker.state,
        wchan: blocker.wchan.clone(),
        call: blocker.call.as_ref().and_then(Call::name).map(Cow::into_owned),
        frozen: blocker.frozen.clone(),
    }
}

fn budget_fields(budget: &Budget) -> BudgetFields {
    BudgetFields {
        unreaped: budget.unreaped,
        pids_current: budget.pids.current,
        pids_max: budget.pids.max,
        source: budget.pids.source.clone(),
        fork_failures: budget.pids.fork_failures,
        rate_per_hour: budget.rate_per_hour,
        exhausted_in_ns: budget.exhausted_in_ns,
    }
}

pub(super) fn exit_fields(exit: Exit) -> ExitFields {
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
        memory_locked: reaper
            .process
            .args_not_read
            .as_ref()
            .is_some_and(NotRead::is_memory_locked)
            .then_some(true),
        sigchld: reaper.sigchld,
        unreaped_held: reaper.unreaped_held,
        reaped_since: reaper.reaped_since,
        args_cut: reaper.process.args_cut,
        last_wait: reaper.last_wait.as_ref().map(|wait| last_wait_fields(wait, now_ns)),
    }
}

fn last_wait_fields(wait: &LastWait, now_ns: u64) -> LastWaitFields {
    LastWaitFields { age_ns: now_ns.saturating_sub(wait.at_ns), wait: wait_fields(wait) }
}

pub(super) fn wait_fields(wait: &LastWait) -> WaitFields {
    WaitFields {
        call: wait.call,
        target: wait.target.map(|target| target.to_string()),
        flags: wait.flags.clone(),
    }
}

fn creator_fields(creator: &Creator) -> CreatorFields {
    let end = creator.end.as_ref();
    CreatorFields {
        pid: creator.process.pid,
        name: creator.process.name.clone(),
        executable: creator.process.executable.clone(),
        args: creator.process.args.clone(),
        args_cut: creator.process.args_cut,
        verb: creator.verb.clone(),
        role: creator.role,
        unverified: creator.is_unverified,
        gone: creator.gone,
        exit: end.map(|end| exit_fields(Exit::from_wait_status(end.status))),
        lived_ns: end.zip(creator.process.start_ns).map(|(end, start_ns)| end.at_ns.saturating_sub(start_ns)),
        killed_by: end
            .and_then(|end| end.killed_by.as_ref())
            .map(|(pid, name)| PidAndName { pid: *pid, name: name.clone() }),
    }
}

fn claim_fields(claim: &IdentityClaim) -> ClaimFields {
    let pod = claim.pod.as_ref();
    ClaimFields {
        source: claim.source.as_str(),
        by: claim.by.as_str(),
        uid: match claim.by {
            Authority::User(uid) => Some(uid),
            Authority::Kernel | Authority::Root | Authority::Container => None,
        },
        path: match &claim.source {
            ClaimSource::File(path) => Some(path.clone()),
            ClaimSource::Cgroup | ClaimSource::Arguments => None,
        },
        container_id: claim.container_id.clone(),
        pod_namespace: pod.and_then(|pod| pod.namespace.clone()),
        pod_name: pod.and_then(|pod| pod.pod_name.clone()),
        pod_uid: pod.and_then(|pod| pod.pod_uid.clone()),
        accepted: claim.is_accepted,
    }
}

fn pid_ns_fields(ns: &PidNs) -> PidNsFields {
    PidNsFields {
        ino: ns.ino,
        level: ns.level,
        mode: ns.mode,
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
            reads: (loss.reads > 0).then_some(loss.reads),
        }),
        sink: None,
        trace: None,
    }
}

fn dropped_fields(dropped: &Dropped, wall: Wall) -> LossFields {
    let sink = SinkLossFields { name: dropped.sink.clone(), dropped: dropped.count, failed: dropped.failed };
    LossFields { since: wall.timestamp(dropped.since_ns), tracer: None, sink: Some(sink), trace: None }
}

fn suppressed_fields(suppressed: &Suppressed, wall: Wall) -> SuppressedFields {
    SuppressedFields {
        since: wall.timestamp(suppressed.since_ns),
        count: suppressed.count,
        reaper: PidAndName { pid: suppressed.reaper_pid, name: suppressed.reaper_name.clone() },
    }
}
