//! F8: diagnoses a PID namespace whose init has exited and cannot finish, and finds the processes that hold it.

use supervisor_model::{
    decision::{Decision, Risk},
    diagnosis::{Confidence, Diagnosis, Prognosis},
    evidence::{Member, NamespaceEvidence},
    facts::Call,
    family::Family,
    finding::{Blocker, BlockerKind, Finding},
    words::{clean, command_line},
};

use super::{
    Verdict,
    advice::{self, Line},
    case::{Case, name},
    conclude,
    facts::{self, Fact},
};

/// Beyond this number, groups of blockers are only counted, so that an event stays small.
const MAX_GROUPS: usize = 8;

/// Returns every process that has a pid in the namespace and does not go away by itself. A zombie child of the init is
/// no blocker, because the init reaps it.
#[must_use]
pub fn blockers(evidence: &NamespaceEvidence) -> Vec<Blocker> {
    let init = evidence.init.facts.pid;
    evidence
        .members
        .iter()
        .filter(|member| {
            let is_zombie = member.facts.is_unreaped();
            !is_zombie || member.tracer.is_some() || member.facts.ppid != init
        })
        .map(blocker)
        .collect()
}

fn blocker(member: &Member) -> Blocker {
    let facts = &member.facts;
    // If the process has several threads, this is the thread that cannot end.
    let stuck = member.threads.iter().find(|thread| thread.is_live() && thread.state == 'D');
    let tracer = member.tracer.as_ref().filter(|_| facts.is_unreaped() || facts.state == 't');
    let kind = match tracer {
        Some(_) => BlockerKind::Tracer,
        None if facts.is_unreaped() => BlockerKind::Zombie,
        None => BlockerKind::Task,
    };
    Blocker {
        id: member.id,
        kind,
        pid: facts.pid,
        name: facts.comm.clone(),
        reaper: match tracer {
            Some(tracer) => Some((tracer.pid, tracer.comm.clone().unwrap_or_default())),
            None => member.reaper.clone(),
        },
        state: stuck.map_or(facts.state, |thread| thread.state),
        wchan: stuck.map_or_else(|| facts.wchan.clone(), |thread| thread.wchan.clone()),
        call: {
            let tid = stuck.map_or(facts.pid, |thread| thread.tid);
            member.calls.iter().find(|thread| thread.tid == tid).map(|thread| thread.call.clone())
        },
        frozen: member.frozen.clone(),
        decision: None,
    }
}

/// Diagnoses what holds a namespace and who can release it. `members_left_out` is the number of further processes in it
/// that were not inspected.
#[must_use]
#[expect(clippy::too_many_lines, reason = "one verdict, with the advice for each kind of blocker")]
pub fn diagnose_namespace(init: &Finding, blockers: &[Blocker], members_left_out: u64) -> Diagnosis {
    let ino = init.pid_ns.as_ref().map(|ns| format!(" {}", ns.ino)).unwrap_or_default();
    // Before the init waits for the namespace it closes its files, and that can hang too.
    let waits = matches!(init.wchan.as_deref(), Some("zap_pid_ns_processes" | "do_wait"));
    let does = match init.wchan.as_deref() {
        Some(wchan) if !waits => format!("sleeps in {}", clean(wchan)),
        _ => "waits until every pid in it is released".to_owned(),
    };
    let groups = groups(blockers);
    let held = match groups.as_slice() {
        [] => "something that was not found".to_owned(),
        [only] => describe_all(only),
        [first, rest @ ..] => {
            format!("{} and {} more", describe_all(first), rest.iter().map(Vec::len).sum::<usize>())
        }
    };
    let left_out = match members_left_out {
        0 => String::new(),
        count => format!("; {count} other processes in it were not looked at"),
    };
    let mut lines: Vec<Line> =
        groups.iter().take(MAX_GROUPS).map(|group| advice::remedy(&[], remedy(group))).collect();
    if groups.len() > MAX_GROUPS {
        let more = groups.len() - MAX_GROUPS;
        lines.push(advice::remedy(
            &[],
            format!("{more} more processes hold it: look again when these do not"),
        ));
    }
    if lines.is_empty() {
        lines.push(advice::remedy(&[], "look again: what held it may have gone in between"));
    }
    let is_reapable = blockers.iter().any(|blocker| blocker.decision == Some(Decision::Reap));
    if let Some(ns) = &init.pid_ns {
        if is_reapable {
            lines.insert(0, advice::remedy(&[], reap_them(ns.ino, blockers)));
        } else {
            lines.extend(last_resort(ns.ino, blockers).map(|text| advice::remedy(&[], text)));
        }
    }
    lines.extend([
        advice::wont_help(&[], format!("SIGKILL to {}: it has exited already", name(&init.process))),
        advice::wont_help(
            &[],
            "deleting the Pod or container by force: it removes the engine's record and leaves this",
        ),
        advice::wont_help(&[], "starting something new in the namespace: fork gives ENOMEM there"),
    ]);
    let verdict = Verdict {
        family: Some(Family::F8),
        cause: None,
        prognosis: Prognosis::Unknown,
        sentence: format!(
            "PID namespace{ino} cannot end: its PID 1, {}, has exited and {does}, and it is held by {held}{left_out}",
            name(&init.process)
        ),
        confidence: match (blockers, waits) {
            ([], _) => Confidence::Low,
            (_, true) => Confidence::High,
            (_, false) => Confidence::Medium,
        },
        cites: vec![Fact::Exit, Fact::State, Fact::PidNs],
        advice: lines,
    };
    let case = Case::new(init);
    let mut facts = facts::of(&case);
    for group in groups.iter().take(MAX_GROUPS) {
        facts.push((Fact::PidNs, format!("/proc/{}/status, ns/pid", group[0].pid), describe_all(group)));
    }
    Diagnosis { is_reapable, ..conclude(&case, verdict, facts) }
}

/// Groups the zombies that have the same reaper. Every other blocker is a group of its own.
fn groups(blockers: &[Blocker]) -> Vec<Vec<&Blocker>> {
    let mut groups: Vec<Vec<&Blocker>> = Vec::new();
    for blocker in blockers {
        let is_zombie = blocker.kind == BlockerKind::Zombie && blocker.reaper.is_some();
        let same = |group: &&mut Vec<&Blocker>| {
            is_zombie && group[0].kind == blocker.kind && group[0].reaper == blocker.reaper
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(blocker),
            None => groups.push(vec![blocker]),
        }
    }
    groups
}

/// Describes a group of blockers for use in a sentence. The first stands for all.
fn describe_all(group: &[&Blocker]) -> String {
    let [first, rest @ ..] = group else { return String::new() };
    if rest.is_empty() {
        return describe(first);
    }
    let of = first.reaper.as_ref().map(who).unwrap_or_default();
    format!(
        "{} zombies that {of} does not reap (the first is {}, pid {})",
        group.len(),
        clean(&first.name),
        first.pid
    )
}

fn who((pid, comm): &(u32, String)) -> String {
    if comm.is_empty() { format!("pid {pid}") } else { format!("{} (pid {pid})", clean(comm)) }
}

/// Describes a blocker for use in a sentence.
fn describe(blocker: &Blocker) -> String {
    let of = blocker.reaper.as_ref();
    let what = format!("{} (pid {})", clean(&blocker.name), blocker.pid);
    match blocker.kind {
        BlockerKind::Zombie => {
            let of = of.map(|it| format!(", which {} does not reap", who(it))).unwrap_or_default();
            format!("the zombie {what}{of}")
        }
        BlockerKind::Tracer => {
            let of = of.map(|it| format!(" by {}", who(it))).unwrap_or_default();
            format!("{what}, held{of}, its tracer")
        }
        BlockerKind::Task => {
            if let Some(file) = &blocker.frozen {
                return format!(
                    "{what}, which has not ended: its control group {} is frozen",
                    clean(group(file))
                );
            }
            let place = blocker.wchan.as_deref().map(|it| format!(" in {}", clean(it))).unwrap_or_default();
            let call = blocker.call.as_ref().and_then(Call::name);
            let call = call.map(|call| format!(", in system call {call}")).unwrap_or_default();
            format!("{what}, which has not ended: state {}{place}{call}", blocker.state)
        }
    }
}

fn remedy(group: &[&Blocker]) -> String {
    let [blocker, rest @ ..] = group else { return String::new() };
    let pid = blocker.pid;
    let others = if rest.is_empty() { String::new() } else { format!(" and {} others", rest.len()) };
    match (blocker.kind, blocker.reaper.as_ref()) {
        // Nobody can end PID 1 of the host.
        (BlockerKind::Zombie, Some(reaper @ (1, _))) => {
            format!(
                "{} must reap pid {pid}{others} (why it does not: `supervisor explain {pid}`)",
                who(reaper)
            )
        }
        (BlockerKind::Zombie, Some(reaper)) => format!(
            "{} must reap pid {pid}{others} (why it does not: `supervisor explain {pid}`); last: end it with SIGKILL, so \
             that another adopts its zombies and may reap them",
            who(reaper)
        ),
        (BlockerKind::Tracer, Some(tracer)) => {
            format!("let {} detach from pid {pid}, wait for it, or end", who(tracer))
        }
        _ => match &blocker.frozen {
            Some(file) => format!("thaw the control group of pid {pid}: `{}`", thaw(file)),
            None if blocker.state == 'T' => format!("continue pid {pid}: `kill -CONT {pid}`"),
            None => format!("find what pid {pid} waits for: `cat /proc/{pid}/stack`"),
        },
    }
}

/// The remedy that costs nothing, if at least one zombie is freed without force.
fn reap_them(ino: u32, blockers: &[Blocker]) -> String {
    let mut zombies = blockers.iter().filter(|it| it.kind == BlockerKind::Zombie);
    let which = if zombies.all(|it| it.decision == Some(Decision::Reap)) {
        "the zombies that hold it"
    } else {
        "those zombies that hold it and that nobody will wait for"
    };
    format!("`supervisor reap --pidns {ino}` frees {which}, and ends no reaper")
}

/// What is left if no zombie is freed without force.
fn last_resort(ino: u32, blockers: &[Blocker]) -> Option<String> {
    let zombies: Vec<&Blocker> = blockers.iter().filter(|it| it.kind == BlockerKind::Zombie).collect();
    let mut all: Vec<Risk> = Vec::new();
    for zombie in &zombies {
        let Some(Decision::NeedsForce(risks)) = &zombie.decision else { continue };
        let new: Vec<Risk> = risks.iter().copied().filter(|risk| !all.contains(risk)).collect();
        all.extend(new);
    }
    if zombies.iter().any(|it| it.decision.is_none()) || all.contains(&Risk::PrognosisUnknown) {
        return Some(format!(
            "`supervisor reap --dry-run --pidns {ino}` says which zombies it can free, and which need `--force` and why"
        ));
    }
    advice::force(&format!("--pidns {ino}"), &all)
}

/// The control group of a file that reports the freeze.
fn group(file: &str) -> &str {
    file.rsplit_once('/').map_or(file, |(group, _)| group)
}

/// The command that thaws a control group. `file` is the file that reports the freeze. In version 1 the same file also
/// thaws the group.
pub(super) fn thaw(file: &str) -> String {
    let (word, file) = match file.strip_suffix("cgroup.events") {
        Some(group) => ("0", format!("{group}cgroup.freeze")),
        None => ("THAWED", file.to_owned()),
    };
    format!("echo {word} > {}", command_line(&[file], false, usize::MAX))
}
