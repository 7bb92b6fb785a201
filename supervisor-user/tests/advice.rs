//! Properties of the advice in every event of every recording: no line contradicts a known fact, no line stands on both
//! sides, each line stands once. And an event of a blocked namespace stays small, however many zombies hold it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use anyhow::{Result, ensure};
use supervisor_conclude::{conclusions::Conclusions, decision::decide};
use supervisor_ebpf::ProcessId;
use supervisor_model::{
    decision::Decision,
    diagnosis::{Cause, Diagnosis, Prognosis},
    event::EventKind,
    facts::Call,
    filter::Filter,
    finding::{Finding, PidNsMode, WaitTarget},
    observation::{Observation, Seen},
    recording::RecordingReader,
};
use supervisor_render::{ecs, ocsf};

mod recorded;
use recorded::{recordings, replay};

const RECORDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/recordings");

/// No event of a blocked namespace is larger, in bytes.
const MAX_EVENT: usize = 8 << 10;

/// The lines of advice that a fact of the finding contradicts, each with the fact.
fn contradictions(finding: &Finding) -> Vec<String> {
    let diagnosis = &finding.diagnosis;
    let Some(reaper) = &finding.reaper else { return Vec::new() };
    let is_host_init = reaper.process.pid == 1;
    let is_late = diagnosis.prognosis == Prognosis::Late;
    let is_own = match (reaper.adopted, reaper.is_subreaper, reaper.is_pidns_init) {
        (Some(adopted), ..) => Some(!adopted),
        (None, Some(false), Some(false)) => Some(true),
        _ => None,
    };
    let ns = finding.pid_ns.as_ref();
    let is_alone = ns.is_some_and(|ns| ns.mode == Some(PidNsMode::Own) && ns.containers.len() < 2);
    let waits_by_pid = reaper
        .last_wait
        .as_ref()
        .and_then(|wait| wait.target)
        .is_some_and(|target| matches!(target, WaitTarget::Pid(_) | WaitTarget::PidFd(_)));
    // A handler that waits for the process of its signal has to wait for any child.
    let waits_by_pid = waits_by_pid && diagnosis.cause != Some(Cause::Coalesced);
    let is_conmonrs = reaper.process.name.contains("conmonrs") || reaper.process.name == "demo-monitor";
    let pid = finding.process.pid;
    // A word of a line, whether the fact excludes the line, and the fact.
    let remedies: [(&str, bool, &str); 10] = [
        ("end or restart", is_host_init, "the reaper is the host's PID 1"),
        ("kill -KILL", is_host_init, "the reaper is the host's PID 1"),
        ("restart the container of", is_host_init, "the reaper is the host's PID 1"),
        ("upgrade it", is_host_init, "the reaper is the host's PID 1"),
        ("while (waitpid(-1", is_host_init || waits_by_pid, "the reaper is an init, or waits by pid"),
        ("stop-gap: end", is_late, "the reaper is late only"),
        ("stop-gap: restart", is_late, "the reaper is late only"),
        ("kill -KILL", is_late, "the reaper is late only"),
        ("with an init as PID 1", is_own == Some(true), "it is the reaper's own child"),
        ("shareProcessNamespace: false", is_alone, "the namespace is not shared"),
    ];
    let wont_help: [(&str, bool, &str); 2] = [
        ("an init (tini, --init)", is_own == Some(false), "it was adopted"),
        ("then stops the sandbox", !is_conmonrs, "the reaper is not conmon-rs"),
    ];
    let decision = decide(finding);
    let is_reap = |line: &str| line.starts_with(&format!("`supervisor reap {pid}`"));
    let offers_reap = diagnosis.remedies.first().is_some_and(|line| is_reap(line));
    let mut wrong = Vec::new();
    if offers_reap != (decision == Decision::Reap) {
        wrong.push(format!("a reap is offered: {offers_reap}, and the decision is {decision:?}"));
    }
    for (lines, rules) in [(&diagnosis.remedies, &remedies[..]), (&diagnosis.wont_help, &wont_help[..])] {
        for line in lines {
            let fact = rules.iter().find(|(word, is_excluded, _)| *is_excluded && line.contains(word));
            wrong.extend(fact.map(|(.., fact)| format!("{fact}: {line}")));
        }
    }
    wrong
}

/// The lines that stand twice, or on both sides.
fn repeated(diagnosis: &Diagnosis) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let lines = diagnosis.remedies.iter().chain(&diagnosis.wont_help);
    lines.filter(|line| !seen.insert(line.as_str())).cloned().collect()
}

#[test]
fn no_advice_contradicts_a_fact_or_stands_twice() -> Result<()> {
    let mut wrong = BTreeSet::new();
    let mut judged = 0;
    for recording in recordings(RECORDINGS)? {
        let name = recording.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut note = |what: Vec<String>| wrong.extend(what.into_iter().map(|it| format!("{name}: {it}")));
        replay(
            &recording,
            |_| (),
            |event, _, _| {
                judged += 1;
                match &event.kind {
                    EventKind::Blocked { namespace, .. } | EventKind::Released { namespace, .. } => {
                        note(repeated(&namespace.diagnosis));
                    }
                    kind => {
                        if let Some(finding) = kind.process() {
                            note(repeated(&finding.diagnosis));
                            note(contradictions(finding));
                        }
                    }
                }
                Ok(())
            },
        )?;
    }
    ensure!(judged > 100, "only {judged} events");
    ensure!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
    Ok(())
}

/// What a verdict rests on: a thread of the reaper that runs may still wait, so nothing is sure meanwhile.
fn may_still_wait(finding: &Finding) -> bool {
    finding.reaper.as_ref().is_some_and(|reaper| {
        reaper.state == Some('R')
            || reaper.threads.iter().any(|thread| thread.state == 'R')
            || reaper.calls.iter().any(|thread| thread.call == Call::Running)
    })
}

#[test]
fn a_further_inspection_does_not_lower_the_confidence_in_the_same_cause() -> Result<()> {
    let mut wrong = BTreeSet::new();
    let mut compared = 0;
    for recording in recordings(RECORDINGS)? {
        let name = recording.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut reader = RecordingReader::open(&recording)?;
        let header = reader.header().clone();
        let mut conclusions = Conclusions::new(header.host.clone(), header.grace_ns, Filter::default());
        let mut before: BTreeMap<ProcessId, Diagnosis> = BTreeMap::new();
        for observation in reader.by_ref() {
            conclusions.take(&observation?);
            for (id, finding) in conclusions.open_by_id().filter(|(_, finding)| !may_still_wait(finding)) {
                let now = &finding.diagnosis;
                if let Some(then) = before.insert(*id, now.clone())
                    && (then.family, then.position, then.cause) == (now.family, now.position, now.cause)
                {
                    compared += 1;
                    if now.confidence < then.confidence {
                        wrong.insert(format!(
                            "{name}: {:?} after {:?}: {}",
                            now.confidence, then.confidence, now.verdict
                        ));
                    }
                }
            }
        }
    }
    ensure!(compared > 100, "only {compared} inspections");
    ensure!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
    Ok(())
}

/// 79 zombies of one reaper hold the namespace of the incident: a public report.
#[test]
fn an_event_of_a_namespace_with_many_zombies_stays_small() -> Result<()> {
    let many = |observation: &mut Observation| {
        let Seen::Held { evidence, .. } = &mut observation.seen else { return };
        let Some(zombie) = evidence.members.iter().find(|it| it.facts.is_unreaped()).cloned() else { return };
        for number in 1..79 {
            let mut other = zombie.clone();
            other.id = ProcessId::new(zombie.facts.pid + number, zombie.id.start_ns + 1);
            other.facts.pid += number;
            evidence.members.push(other);
        }
    };
    let mut sizes = Vec::new();
    let all = recordings(RECORDINGS)?;
    let is_incident = |recording: &&PathBuf| {
        recording.file_name().is_some_and(|name| name.to_string_lossy().starts_with("f8-crio-incident"))
    };
    for recording in all.iter().filter(is_incident) {
        replay(recording, many, |event, context, _| {
            if let EventKind::Blocked { namespace, .. } = &event.kind {
                ensure!(namespace.blockers.len() == 79, "{} blockers", namespace.blockers.len());
                sizes.push((ecs::line(event, context, 1)?.len(), ocsf::line(event, context, 1)?.len()));
                let reap = namespace.diagnosis.remedies.iter().filter(|it| it.contains("supervisor reap"));
                ensure!(reap.count() == 1, "{:#?}", namespace.diagnosis.remedies);
            }
            Ok(())
        })?;
    }
    ensure!(!sizes.is_empty(), "no namespace is blocked");
    // OCSF has the same fields, and most of them once more under its own names.
    ensure!(sizes.iter().all(|(ecs, ocsf)| *ecs < MAX_EVENT && *ocsf < MAX_EVENT * 3 / 2), "{sizes:?} bytes");
    Ok(())
}
