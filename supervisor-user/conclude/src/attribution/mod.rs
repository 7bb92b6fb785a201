//! Makes a finding from evidence: it decides which part each process of a container's process tree plays. Pure.

mod parts;
mod resolve;

use std::collections::BTreeSet;

use resolve::{Resolved, resolve};
use supervisor_claims::{
    authority, cgroup, cgroup_path,
    roles::{self, Runtimes},
};
use supervisor_ebpf::TASK_EXITING;
use supervisor_model::{
    diagnosis::Diagnosis,
    evidence::{CreatorFacts, Evidence, ExecFacts, ReaperFacts, TracerFacts},
    facts::{ArgsNote, HostIdentity, OciFacts, ProcessFacts, SigChld},
    finding::{
        Budget, Container, Creator, Exit, Finding, LastWait, NsInit, Origin, PidNs, PidNsMode, Process,
        Reaper, Runtime, Tracer,
    },
    identity,
    shared::Shared,
};

/// A finding keeps at most this many arguments of a process. A thousand one-letter arguments are of no more use, and a
/// finding stays in memory as long as its process is unreaped.
const MAX_ARGS: usize = 32;
/// A finding keeps at most this many arguments of a distant creator.
const MAX_FAR_ARGS: usize = 16;
/// The nearest creators, up to this number, count as near. The others are distant.
const NEAR: usize = 3;

/// Returns the first arguments, and whether there were more.
fn kept(args: &[String], note: ArgsNote, max: usize) -> (Vec<String>, bool) {
    let max = note.shown.map_or(max, |shown| max.min(shown as usize));
    (args.iter().take(max).cloned().collect(), note.is_cut || args.len() > max)
}

/// The results from the last evidence. Many zombies that one process leaves have the same reaper and the same creators,
/// so their findings can share them.
#[derive(Debug, Default)]
pub struct SharedParts {
    creators: (Shared<Vec<CreatorFacts>>, Shared<Vec<Creator>>),
    reaper: Option<(Shared<ReaperFacts>, Shared<Process>)>,
}

impl SharedParts {
    fn creators(&mut self, facts: &Shared<Vec<CreatorFacts>>, host: &HostIdentity) -> Shared<Vec<Creator>> {
        if self.creators.0 != *facts {
            let runtimes = Runtimes::of(facts);
            let all: Vec<Creator> =
                facts.iter().enumerate().map(|(i, facts)| creator(facts, i, &runtimes, host)).collect();
            self.creators =
                (facts.clone(), if all == *self.creators.1 { self.creators.1.clone() } else { all.into() });
        }
        self.creators.1.clone()
    }

    fn reaper(&mut self, facts: &Shared<ReaperFacts>, host: &HostIdentity) -> Shared<Process> {
        let before = match &self.reaper {
            Some((last, made)) if last == facts => return made.clone(),
            before => before.as_ref().map(|(_, made)| made.clone()),
        };
        let made = process(&facts.facts, facts.exec.as_ref(), host);
        let made = before.filter(|before| **before == made).unwrap_or_else(|| made.into());
        self.reaper = Some((facts.clone(), made.clone()));
        made
    }
}

/// Makes the finding that the evidence supports, without its diagnosis.
#[must_use]
pub fn attribute(evidence: &Evidence, host: &HostIdentity, grace_ns: u64) -> Finding {
    attribute_after(&mut SharedParts::default(), evidence, host, grace_ns)
}

/// Does the same as [`attribute`] for a sequence of evidence. A finding shares the parts that equal those of the last
/// one.
#[must_use]
#[expect(clippy::too_many_lines, reason = "one line for each field of a finding")]
pub fn attribute_after(
    last: &mut SharedParts,
    evidence: &Evidence,
    host: &HostIdentity,
    grace_ns: u64,
) -> Finding {
    let facts = &evidence.facts;
    let in_proc = process(facts, None, host);
    let (args, args_cut) =
        evidence.exec.as_ref().map(|exec| kept(&exec.args, exec.args_note, MAX_ARGS)).unwrap_or_default();
    let process = Process {
        // The kernel side reports the start time in nanoseconds, `/proc` in clock ticks.
        start_ns: evidence.id.map(|id| id.start_ns).or(in_proc.start_ns),
        executable: evidence.exec.as_ref().map(|exec| roles::real_file(exec).to_owned()),
        args,
        args_count: evidence.exec.as_ref().and_then(|exec| exec.args_note.count),
        args_cut,
        ..in_proc
    };
    let entity = process.entity_id.clone().unwrap_or_else(|| format!("{}@{}", facts.pid, facts.start_ticks));
    let cgroup = cgroup_path(evidence);
    let creators = last.creators(&evidence.creators, host);
    let monitor = parts::monitor(evidence);
    let runtime = parts::runtime(evidence, cgroup.as_deref());
    let Resolved { container, orchestrator, confidence, claims } =
        resolve(evidence, cgroup.as_deref(), runtime.as_ref());
    let pid_ns = pid_ns(evidence, runtime.as_ref(), container.as_ref());
    Finding {
        id: identity::finding_id("zombie", &entity),
        exit: facts.exit_status.map(Exit::from_wait_status),
        exit_ns: evidence.exit_ns,
        exited_before_ns: None,
        grace_ns,
        reaper: evidence.reaper.as_ref().map(|facts| reaper(facts, last.reaper(facts, host), evidence)),
        seen_ns: evidence.at_ns,
        looked_ns: evidence.at_ns,
        pid_of_reaper: evidence
            .reaper
            .as_ref()
            .and_then(|reaper| facts.ns_pids.get(reaper.facts.level()? as usize).copied()),
        state: facts.state,
        is_exiting: facts.state == 'Z'
            || evidence.task.as_ref().is_some_and(|task| task.record.flags & TASK_EXITING != 0),
        wchan: facts.wchan.clone(),
        threads: evidence.threads.clone(),
        role: parts::own_role(evidence),
        executed: evidence.exec.as_ref().map(|exec| exec.own),
        forked_as: evidence
            .creators
            .first()
            .filter(|creator| creator.has_executed_since)
            .and_then(|creator| creator.exec.as_ref())
            .map(|exec| roles::real_file(exec).to_owned()),
        pgrp: facts.pgrp(),
        pgrp_in_reaper_ns: evidence.reaper.as_ref().and_then(|reaper| facts.pgrp_at(reaper.facts.level()?)),
        exit_signal: evidence.task.as_ref().map(|task| task.record.exit_signal),
        tracer: evidence.tracer.as_ref().map(tracer),
        origin: origin(runtime.as_ref(), container.as_ref(), pid_ns.as_ref(), &creators),
        blocks: Vec::new(),
        budget: evidence.budget.clone().map(|pids| Budget {
            pids,
            unreaped: None,
            rate_per_hour: None,
            exhausted_in_ns: None,
        }),
        pattern: None,
        ending: evidence.ending.clone(),
        diagnosis: Diagnosis::default(),
        runtime,
        container,
        orchestrator,
        identity_confidence: confidence,
        claims,
        pid_ns,
        monitor,
        creators,
        cgroup,
        process,
    }
}

/// The verb of the nearest runtime determines the origin. A process of the host has no runtime and no container, is in
/// the initial PID namespace (level 0), and at least one of its creators is known.
fn origin(
    runtime: Option<&Runtime>,
    container: Option<&Container>,
    pid_ns: Option<&PidNs>,
    creators: &[Creator],
) -> Origin {
    match runtime {
        Some(runtime) if runtime.is_session() => Origin::Exec,
        Some(Runtime { verb: Some(_), .. }) => Origin::Entrypoint,
        None if container.is_none()
            && !creators.is_empty()
            && pid_ns.is_some_and(|ns| ns.level == Some(0)) =>
        {
            Origin::Host
        }
        _ => Origin::Unknown,
    }
}

/// Converts the `/proc` facts of a process to the form that events use.
fn process(facts: &ProcessFacts, exec: Option<&ExecFacts>, host: &HostIdentity) -> Process {
    let entity_id = match (facts.pid_ns, facts.vpid()) {
        (Some(ns), Some(vpid)) => identity::common_process_id(&host.boot_id, ns, facts.start_ticks, vpid),
        _ => None,
    };
    let (args, note) = exec.map_or((&facts.args, facts.args_note), |exec| (&exec.args, exec.args_note));
    let (args, args_cut) = kept(args, note, MAX_ARGS);
    Process {
        pid: facts.pid,
        vpid: facts.vpid(),
        entity_id: entity_id.map(|id| id.to_string()),
        name: facts.comm.clone(),
        executable: exec.map(|exec| roles::real_file(exec).to_owned()).or_else(|| facts.exe.clone()),
        args,
        args_count: note.count,
        args_cut,
        args_not_read: facts.args_not_read.clone(),
        // A recording can have any number.
        start_ns: Some(facts.start_ticks.saturating_mul(1_000_000_000 / host.ticks_per_second)),
        uid: facts.uid,
    }
}

fn creator(facts: &CreatorFacts, distance: usize, runtimes: &Runtimes<'_>, host: &HostIdentity) -> Creator {
    let exec = facts.exec.as_ref();
    let role = parts::creator_role(facts, runtimes);
    let ticks = facts.id.start_ns / (1_000_000_000 / host.ticks_per_second);
    let entity = identity::common_process_id(&host.boot_id, facts.pid_ns, ticks, facts.vpid);
    let max = if distance < NEAR { MAX_ARGS } else { MAX_FAR_ARGS };
    let (args, args_cut) = exec.map(|exec| kept(&exec.args, exec.args_note, max)).unwrap_or_default();
    Creator {
        process: Process {
            pid: facts.id.tgid,
            vpid: Some(facts.vpid),
            entity_id: entity.map(|id| id.to_string()),
            name: facts.comm.clone(),
            executable: exec.map(|exec| roles::real_file(exec).to_owned()),
            args,
            args_count: exec.and_then(|exec| exec.args_note.count),
            args_cut,
            args_not_read: None,
            start_ns: Some(facts.id.start_ns),
            uid: None,
        },
        verb: exec.and_then(|exec| runtimes.call(exec)).map(|call| call.verb.to_owned()),
        role,
        is_unverified: exec.is_some_and(|exec| authority::is_unverified_part(exec, role)),
        is_init_program: exec.is_some_and(roles::is_reaping_init),
        gone: facts.gone,
        end: facts.end.clone(),
    }
}

fn tracer(facts: &TracerFacts) -> Tracer {
    Tracer { pid: facts.pid, name: facts.comm.clone(), tid: facts.tid, state: facts.state }
}

#[expect(clippy::too_many_lines, reason = "one line for each field of a reaper")]
fn reaper(facts: &ReaperFacts, process: Shared<Process>, evidence: &Evidence) -> Reaper {
    let creator = evidence.creators.first();
    // A process cannot fork a process that is older than itself.
    let is_older = evidence.facts.start_ticks < facts.facts.start_ticks;
    let adopted = evidence.first_parent.zip(facts.id).map(|(first, reaper)| first != reaper);
    let in_wait = facts.threads.iter().map(|thread| &thread.wchan).chain([&facts.facts.wchan]);
    let in_wait = in_wait.flatten().any(|wchan| wchan == "do_wait");
    // Waits before an exec were made by another program. They say nothing about this one.
    let exec_ns = facts.exec.as_ref().map_or(0, |exec| exec.at_ns);
    let wait = facts.wait.filter(|wait| wait.at_ns > exec_ns);
    let last_wait = wait.as_ref().map(LastWait::of);
    let any_wait_ns = wait.map(|wait| wait.any_ns).filter(|at_ns| *at_ns > exec_ns);
    Reaper {
        process,
        adopted: adopted.or(is_older.then_some(true)),
        created: creator.zip(facts.id).map(|(creator, reaper)| creator.id == reaper),
        is_subreaper: facts.is_subreaper,
        is_pidns_init: facts.facts.vpid().map(|vpid| vpid == 1),
        level: facts.facts.level(),
        state: Some(facts.facts.state),
        wchan: facts.facts.wchan.clone(),
        threads: facts.threads.clone(),
        sigchld: match facts.facts.sigchld {
            Some(SigChld::Default | SigChld::Handled) if facts.no_cld_wait == Some(true) => {
                Some(SigChld::NoCldWait)
            }
            sigchld => sigchld,
        },
        sigchld_pending: facts.facts.sigchld_pending,
        frozen: facts.frozen.clone(),
        role: parts::reaper_role(facts, evidence),
        first_wait_ns: last_wait.as_ref().map(|wait| wait.at_ns),
        last_wait,
        waits: wait.map(|wait| wait.count),
        any_wait_ns,
        any_wait_gap_ns: any_wait_ns.zip(wait).map(|(_, wait)| wait.any_gap_ns).filter(|gap_ns| *gap_ns != 0),
        never_waited_since_ns: match (facts.id, wait) {
            // If the reaper is in a wait call now, it began that call before the hooks were attached.
            (Some(id), None) if !in_wait => {
                evidence.waits_known_since_ns.map(|since_ns| since_ns.max(exec_ns).max(id.start_ns))
            }
            _ => None,
        },
        reaped: facts.reaped,
        reaped_since: None,
        ever_reaped: facts.facts.child_faults > 0,
        unreaped_held: facts.held,
        same_since_ns: 0,
        wait_kinds: wait.map_or(0, |wait| wait.kinds),
        pgrp: facts.facts.pgrp(),
        exec_ns: facts
            .exec
            .as_ref()
            .filter(|exec| exec.own)
            .map(|exec| exec.at_ns)
            .filter(|at_ns| *at_ns != 0),
        previous_program: facts.exec.as_ref().and_then(|exec| exec.previous.clone()),
        calls: facts.calls.clone(),
        pipe: evidence.reaper_pipe.clone(),
        parent_blocks_sigchld: facts.parent_blocks_sigchld.clone(),
        has_io_uring: facts.has_io_uring,
        cpu: facts.cpu,
        handler_changed: facts.handler_changed,
        takes_siginfo: facts.takes_siginfo,
        sigchld_caught: facts.facts.sigchld_caught,
        tracer: facts.tracer.as_ref().map(tracer),
    }
}

fn pid_ns(evidence: &Evidence, runtime: Option<&Runtime>, container: Option<&Container>) -> Option<PidNs> {
    let facts = &evidence.facts;
    let ino = facts.pid_ns.or_else(|| evidence.task.as_ref().map(|task| task.record.pid_ns))?;
    let level = facts.level().or_else(|| evidence.task.as_ref().map(|task| task.record.level));
    Some(PidNs {
        ino,
        level,
        mode: pid_ns_mode(evidence, runtime, container, ino, level),
        init: evidence.ns_init.as_ref().map(|init| NsInit {
            pid: init.pid,
            name: init.comm.clone(),
            state: init.state,
        }),
        containers: evidence
            .ns_groups
            .iter()
            .filter_map(|group| cgroup::container(group))
            .map(|container| container.id.into_owned())
            .collect::<BTreeSet<String>>()
            .into_iter()
            .collect(),
    })
}

/// The process through which the line of creators entered the namespace determines the mode: if it has pid 1, the
/// namespace was made for it. An exec session always enters the namespace of its container. So for an exec session, the
/// container determines the mode.
fn pid_ns_mode(
    evidence: &Evidence,
    runtime: Option<&Runtime>,
    container: Option<&Container>,
    ino: u32,
    level: Option<u32>,
) -> Option<PidNsMode> {
    if level == Some(0) {
        return Some(PidNsMode::Host);
    }
    let entry = evidence.creators.iter().position(|creator| creator.pid_ns != ino)?;
    let vpid = match entry.checked_sub(1) {
        None => evidence.facts.vpid()?,
        Some(inside) => evidence.creators[inside].vpid,
    };
    if vpid == 1 {
        return Some(PidNsMode::Own);
    }
    if !runtime.is_some_and(Runtime::is_session) {
        return Some(PidNsMode::Joined);
    }
    container_ns_mode(evidence, container)
}

/// Whether a running container owns or joined its PID namespace. The namespace was made for the container if PID 1 is
/// the container's first process.
fn container_ns_mode(evidence: &Evidence, container: Option<&Container>) -> Option<PidNsMode> {
    let own_if = |is_own: bool| Some(if is_own { PidNsMode::Own } else { PidNsMode::Joined });
    let init = evidence.ns_init.as_ref();
    // The files of another container say nothing about this one.
    let is_its =
        |facts: &&OciFacts| facts.id.as_ref().is_none_or(|id| container.is_some_and(|it| it.id == *id));
    let files = evidence.oci.as_ref().filter(is_its);
    if let Some((first, init)) = files.and_then(|files| files.init_pid).zip(init) {
        return own_if(first == init.pid);
    }
    if let Some(files) = files.filter(|files| files.has_pid_ns) {
        return own_if(files.pid_ns_path.is_none());
    }
    let of_init = init.and_then(|init| init.cgroup.as_deref()).and_then(cgroup::container)?;
    own_if(container?.id == of_init.id)
}

#[cfg(test)]
mod tests;
