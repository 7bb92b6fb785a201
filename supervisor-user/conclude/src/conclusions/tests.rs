//! Tests sequences of observations, and the events that follow from them.

use supervisor_ebpf::{CALL_WAIT4, ProcessId, WAIT_ANY, Wait};
use supervisor_model::{
    diagnosis::Diagnosis,
    event::Loss,
    evidence::{
        EndingFacts, Member, ReaperFacts,
        sample::{HOST, POD, creator, exec, facts, host, incident},
    },
    facts::{PidBudget, ProcessFacts},
    family::Family,
    finding::{BlockerKind, Budget},
};

use super::*;

const S: u64 = 1_000_000_000;
/// The incident's zombie exits at 2 s. Its first inspection is at this time.
const FIRST: u64 = 3 * S;

fn conclusions(filter: Filter) -> Conclusions {
    Conclusions::new(host(), S, filter)
}

fn zombie() -> ProcessId {
    incident().id.expect("it is known")
}

fn pause() -> ProcessId {
    ProcessId::new(5, 1_000_000_000)
}

/// The observation of the incident at a time.
fn seen(at_ns: u64, change: impl FnOnce(&mut Evidence)) -> Observation {
    let mut evidence = incident();
    evidence.at_ns = at_ns;
    change(&mut evidence);
    let id = evidence.id.expect("it is known");
    Observation::at(at_ns, Seen::Unreaped { id, existing: false, evidence: Box::new(evidence) })
}

fn existing(mut observation: Observation) -> Observation {
    if let Seen::Unreaped { existing, evidence, .. } = &mut observation.seen {
        (*existing, evidence.exit_ns) = (true, None);
    }
    observation
}

fn reaped(at_ns: u64, id: ProcessId) -> Observation {
    Observation::at(at_ns, Seen::Reaped { id, free_ns: Some(at_ns), release: None })
}

fn reaper(evidence: &mut Evidence) -> &mut ReaperFacts {
    evidence.reaper.as_mut().expect("there is one")
}

/// Another process, PID 1, has adopted the zombie.
fn moves_to_pid_1(evidence: &mut Evidence) {
    let reaper = reaper(evidence);
    reaper.facts = ProcessFacts { state: 'S', ..facts(1, "systemd", &[1], HOST) };
    (reaper.id, reaper.wait, reaper.is_subreaper) = (Some(ProcessId::new(1, 1)), None, Some(false));
}

/// The pod's PID namespace, which was killed and is held by these members.
fn held(at_ns: u64, members: Vec<Member>) -> Observation {
    let mut init = incident();
    init.facts = ProcessFacts {
        state: 'S',
        wchan: Some("zap_pid_ns_processes".into()),
        ..facts(5, "pause", &[5, 1], POD)
    };
    (init.id, init.at_ns, init.exit_ns) = (Some(pause()), at_ns, Some(FIRST));
    Observation::at(
        at_ns,
        Seen::Held {
            id: pause(),
            evidence: Box::new(NamespaceEvidence { init, members, members_left_out: 0 }),
        },
    )
}

/// The zombie of [`incident`].
const ZOMBIE: ProcessId = ProcessId::new(22, 1_000_000_001);

fn member(pid: u32, parent: u32) -> Member {
    Member {
        id: if pid == 22 { ZOMBIE } else { ProcessId::new(pid, 1) },
        facts: ProcessFacts { ppid: parent, ..facts(pid, "crun", &[pid, 2], POD) },
        threads: Vec::new(),
        reaper: Some((parent, "monitor".into())),
        tracer: None,
        frozen: None,
        calls: Vec::new(),
    }
}

/// The kind of an event, and the pid of its process.
fn kind(event: &Event) -> (&'static str, u32) {
    match &event.kind {
        EventKind::Detected(finding) => ("detected", finding.process.pid),
        EventKind::Existing(finding) => ("existing", finding.process.pid),
        EventKind::State(finding) | EventKind::Explained(finding) => ("state", finding.process.pid),
        EventKind::Reaped { finding, .. } => ("reaped", finding.process.pid),
        EventKind::Updated(finding) => ("updated", finding.process.pid),
        EventKind::Blocked { namespace, again: false } => ("blocked", namespace.init.process.pid),
        EventKind::Blocked { namespace, again: true } => ("blocked again", namespace.init.process.pid),
        EventKind::Released { namespace, .. } => ("released", namespace.init.process.pid),
        EventKind::ExitBlocked { finding, again: false } => ("stuck", finding.process.pid),
        EventKind::ExitBlocked { finding, again: true } => ("stuck again", finding.process.pid),
        EventKind::ExitFinished { finding, .. } => ("finished", finding.process.pid),
        EventKind::Lost(_)
        | EventKind::Dropped(_)
        | EventKind::Suppressed(_)
        | EventKind::ReapRequested(_) => ("lost", 0),
    }
}

#[track_caller]
fn follow(conclusions: &mut Conclusions, observation: &Observation, expected: &[(&str, u32)]) -> Vec<Event> {
    let events = conclusions.take(observation);
    assert_eq!(events.iter().map(kind).collect::<Vec<_>>(), expected);
    for event in &events {
        assert_eq!((event.at_ns, event.wall), (observation.at_ns, observation.wall));
    }
    events
}

/// The only open finding.
#[track_caller]
fn only(conclusions: &Conclusions) -> Finding {
    let open: Vec<&Finding> = conclusions.open().collect();
    let [one] = open[..] else { panic!("{} are open", open.len()) };
    one.clone()
}

/// PID 1 of the pod's namespace, which was killed and cannot exit.
fn stuck(at_ns: u64, wchan: &str) -> Observation {
    let mut evidence = incident();
    evidence.facts =
        ProcessFacts { state: 'D', wchan: Some(wchan.into()), ..facts(5, "pause", &[5, 1], POD) };
    (evidence.id, evidence.at_ns, evidence.exit_ns) = (Some(pause()), at_ns, None);
    evidence.ending =
        Some(EndingFacts { since_ns: Some(FIRST), killed_by: None, frozen: None, mounts: Vec::new() });
    Observation::at(at_ns, Seen::Stuck { id: pause(), grace_ns: 5 * S, evidence: Box::new(evidence) })
}

#[test]
fn a_process_that_cannot_exit_is_opened_updated_and_closed() {
    let mut all = Conclusions::new(host(), S, Filter::default());
    let opened = follow(&mut all, &stuck(FIRST + 6 * S, "request_wait_answer"), &[("stuck", 5)]);
    let EventKind::ExitBlocked { finding, .. } = &opened[0].kind else { unreachable!() };
    assert_eq!((finding.grace_ns, finding.blocks.len()), (5 * S, 1));
    assert_eq!(finding.blocks[0].init_pid, 5, "it is PID 1, and its namespace waits for it");
    assert_eq!((all.exits().count(), all.open().count()), (1, 0));
    let changed = follow(&mut all, &stuck(FIRST + 8 * S, "io_schedule"), &[("stuck again", 5)]);
    assert_eq!(changed[0].kind.finding().map(|it| it.0), opened[0].kind.finding().map(|it| it.0));
    let end = Observation::at(FIRST + 9 * S, Seen::Finished { id: pause() });
    let closed = follow(&mut all, &end, &[("finished", 5)]);
    assert_eq!(closed[0].kind.duration_ns(), Some(9 * S));
    follow(&mut all, &end, &[]);
    assert_eq!(all.exits().count(), 0);
}

#[test]
fn a_stuck_process_that_the_filter_rejects_is_not_reported() {
    let filter = Filter { pid: Some(6), ..Filter::default() };
    let mut all = Conclusions::new(host(), S, filter);
    follow(&mut all, &stuck(FIRST + 6 * S, "request_wait_answer"), &[]);
    assert_eq!((all.exits().count(), all.unwanted()), (0, 1));
    follow(&mut all, &Observation::at(FIRST + 9 * S, Seen::Finished { id: pause() }), &[]);
    assert_eq!(all.unwanted(), 0);
}

#[test]
fn a_finding_is_opened_reinspected_and_closed() {
    let mut all = conclusions(Filter::default());
    let opened = follow(&mut all, &seen(FIRST, |_| ()), &[("detected", 22)]);
    let EventKind::Detected(opened) = &opened[0].kind else { unreachable!() };
    assert_eq!(opened.diagnosis.family, Some(Family::F1));
    // Only its age changes.
    follow(&mut all, &seen(4 * S, |_| ()), &[]);
    let looked = only(&all);
    assert_eq!((looked.seen_ns, looked.looked_ns, &looked.id), (FIRST, 4 * S, &opened.id));

    let closed = follow(&mut all, &reaped(7 * S, zombie()), &[("reaped", 22)]);
    let EventKind::Reaped { finding, dwell_ns, by } = &closed[0].kind else { unreachable!() };
    assert_eq!((&finding.id, *dwell_ns, by.as_ref()), (&opened.id, Some(5 * S), None));
    assert_eq!(all.open().count(), 0);
    follow(&mut all, &reaped(8 * S, zombie()), &[]);
}

#[test]
fn an_observed_reap_names_the_process_that_reaped() {
    let mut all = conclusions(Filter::default());
    follow(&mut all, &seen(FIRST, |_| ()), &[("detected", 22)]);
    let release = Release { at_ns: 6 * S, by: pause(), comm: Some("pause".to_owned()) };
    let gone = Seen::Reaped { id: zombie(), free_ns: Some(7 * S), release: Some(release) };
    let closed = follow(&mut all, &Observation::at(6 * S, gone), &[("reaped", 22)]);
    let EventKind::Reaped { dwell_ns, by, .. } = &closed[0].kind else { unreachable!() };
    let wanted = ReapedBy { id: pause(), name: Some("pause".to_owned()) };
    assert_eq!((*dwell_ns, by.as_ref()), (Some(4 * S), Some(&wanted)), "its free came later");
}

#[test]
fn a_process_without_an_open_finding_causes_no_closing_event() {
    let mut all = conclusions(Filter::default());
    follow(&mut all, &reaped(FIRST, zombie()), &[]);
    follow(&mut all, &Observation::at(FIRST, Seen::Released { id: pause() }), &[]);
    let loss = Loss { exits: 3, ..Loss::default() };
    follow(&mut all, &Observation::at(FIRST, Seen::Lost { loss }), &[("lost", 0)]);
}

#[test]
fn a_dwell_time_needs_an_observed_exit_and_an_observed_reap() {
    let mut all = conclusions(Filter::default());
    follow(&mut all, &existing(seen(FIRST, |_| ())), &[("existing", 22)]);
    follow(&mut all, &existing(seen(4 * S, |_| ())), &[]);
    let closed = follow(&mut all, &reaped(7 * S, zombie()), &[("reaped", 22)]);
    assert!(matches!(closed[0].kind, EventKind::Reaped { dwell_ns: None, .. }), "its exit was not seen");
    // Here the exit was seen, but the reap was not.
    follow(&mut all, &seen(8 * S, |_| ()), &[("detected", 22)]);
    let gone = Observation::at(9 * S, Seen::Reaped { id: zombie(), free_ns: None, release: None });
    let closed = follow(&mut all, &gone, &[("reaped", 22)]);
    assert!(matches!(closed[0].kind, EventKind::Reaped { dwell_ns: None, .. }));
}

#[test]
fn an_update_is_emitted_only_after_a_change() {
    let mut all = conclusions(Filter::default());
    follow(&mut all, &seen(FIRST, |_| ()), &[("detected", 22)]);
    let stops = |evidence: &mut Evidence| reaper(evidence).facts.state = 'T';
    follow(&mut all, &seen(4 * S, stops), &[("updated", 22)]);
    assert_eq!(only(&all).diagnosis.family, Some(Family::F11));
    follow(&mut all, &seen(5 * S, stops), &[]);
    // The reaper cannot run, now for another reason. After the second inspection the confidence is higher. Cause and
    // prognosis stay the same.
    let hangs = |evidence: &mut Evidence| reaper(evidence).facts.state = 'D';
    follow(&mut all, &seen(10 * S, hangs), &[]);
    follow(&mut all, &seen(12 * S, hangs), &[]);
    assert_eq!(only(&all).diagnosis.confidence.as_str(), "high");
    // The reaper runs again.
    follow(&mut all, &seen(13 * S, |_| ()), &[("updated", 22)]);
    // Another process must reap the zombie.
    follow(&mut all, &seen(14 * S, moves_to_pid_1), &[("updated", 22)]);
    follow(&mut all, &seen(15 * S, moves_to_pid_1), &[]);
}

#[test]
fn reapers_without_an_entity_id_are_compared_by_pid() {
    let mut all = conclusions(Filter::default());
    let unknown = |pid, count| {
        move |evidence: &mut Evidence| {
            let reaper = reaper(evidence);
            (reaper.facts.pid, reaper.facts.pid_ns, reaper.reaped) = (pid, None, Some((count, FIRST)));
        }
    };
    follow(&mut all, &seen(FIRST, unknown(10, 1)), &[("detected", 22)]);
    follow(&mut all, &seen(4 * S, unknown(10, 3)), &[]);
    assert_eq!(only(&all).reaper.and_then(|it| it.reaped_since), Some(2));
    follow(&mut all, &seen(5 * S, unknown(11, 9)), &[("updated", 22)]);
    assert_eq!(only(&all).reaper.and_then(|it| it.reaped_since), None, "those are of another reaper");
}

#[test]
fn facts_from_earlier_inspections_are_kept() {
    let mut all = conclusions(Filter::default());
    let state = |state, count, exit_ns| {
        move |evidence: &mut Evidence| {
            let reaper = reaper(evidence);
            (reaper.facts.state, reaper.reaped) = (state, Some((count, FIRST)));
            evidence.exit_ns = exit_ns;
        }
    };
    let since = |all: &Conclusions| {
        let finding = only(all);
        let reaper = finding.reaper.expect("there is one");
        (finding.exit_ns, reaper.same_since_ns, reaper.reaped_since)
    };
    all.take(&seen(FIRST, state('S', 4, Some(2 * S))));
    assert_eq!(since(&all), (Some(2 * S), FIRST, None));
    all.take(&seen(4 * S, state('S', 6, None)));
    assert_eq!(since(&all), (Some(2 * S), FIRST, Some(2)));
    all.take(&seen(5 * S, state('R', 7, None)));
    assert_eq!(since(&all), (Some(2 * S), 5 * S, Some(3)));
}

#[test]
fn updates_and_closes_keep_the_containers_that_share_the_namespace() {
    const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
    let mut all = conclusions(Filter::default());
    let containers = |events: &[Event]| {
        let finding = events[0].kind.process().expect("it is about one");
        finding.pid_ns.as_ref().map(|ns| ns.containers.clone())
    };
    let lists = |groups: Vec<String>| move |evidence: &mut Evidence| evidence.ns_groups = groups;
    let shared = lists(vec![format!("/crio-{OTHER}.scope")]);
    follow(&mut all, &seen(FIRST, shared), &[("detected", 22)]);
    // A re-inspection does not list the living processes.
    let updated = follow(&mut all, &seen(4 * S, moves_to_pid_1), &[("updated", 22)]);
    assert_eq!(containers(&updated), Some(vec![OTHER.to_owned()]));
    let closed = follow(&mut all, &reaped(5 * S, zombie()), &[("reaped", 22)]);
    assert_eq!(containers(&closed), Some(vec![OTHER.to_owned()]));
}

#[test]
fn closing_events_state_the_ages_at_the_close() {
    let ages = |event: &Event, diagnosis: &Diagnosis| {
        let facts: Vec<&str> = diagnosis.evidence.iter().map(|it| it.text.as_str()).collect();
        let exit = facts.iter().find(|text| text.starts_with("its last thread exited"));
        (kind(event), exit.and_then(|text| text.rsplit(", ").next()).map(str::to_owned))
    };
    let mut all = conclusions(Filter::default());
    let opened = follow(&mut all, &seen(FIRST, |_| ()), &[("detected", 22)]);
    let before = opened[0].kind.process().expect("a finding").clone();
    let blocked = held(4 * S, vec![member(22, 10)]);
    follow(&mut all, &blocked, &[("blocked", 5), ("updated", 22)]);
    let closed = follow(&mut all, &reaped(62 * S, zombie()), &[("reaped", 22)]);
    let after = closed[0].kind.process().expect("a finding");
    assert_eq!(ages(&closed[0], &after.diagnosis), (("reaped", 22), Some("1 min 0 s ago".to_owned())));
    assert_eq!(
        (after.diagnosis.family, after.diagnosis.confidence),
        (before.diagnosis.family, before.diagnosis.confidence),
        "the verdict is the last look's"
    );
    let released = Observation::at(63 * S, Seen::Released { id: pause() });
    let released = follow(&mut all, &released, &[("released", 5)]);
    let EventKind::Released { namespace, .. } = &released[0].kind else { unreachable!() };
    assert_eq!(ages(&released[0], &namespace.diagnosis), (("released", 5), Some("1 min 0 s ago".to_owned())));
}

#[test]
fn the_confidence_in_a_lost_child_grows() {
    let mut all = conclusions(Filter::default());
    let waits = |any_ns, count| {
        move |evidence: &mut Evidence| {
            let reaper = reaper(evidence);
            reaper.wait = Some(Wait {
                at_ns: any_ns,
                count,
                request: Wait::pack(CALL_WAIT4, WAIT_ANY, 0, 1),
                any_ns,
                any_gap_ns: 0,
                ..Wait::default()
            });
            reaper.reaped = Some((count, any_ns + S / 10));
        }
    };
    // A millisecond after the exit hook, the process may not have been a zombie yet.
    follow(&mut all, &seen(FIRST, waits(2 * S + 1_000_000, 1)), &[("detected", 22)]);
    let first = only(&all).diagnosis;
    assert_eq!((first.family, first.confidence.as_str()), (Some(Family::F17), "medium"));
    // The reaper has just waited, and may wait again.
    follow(&mut all, &seen(5 * S, waits(4 * S, 2)), &[]);
    assert_eq!(only(&all).diagnosis.confidence.as_str(), "medium");
    follow(&mut all, &seen(7 * S, waits(4 * S, 2)), &[]);
    assert_eq!(only(&all).diagnosis.confidence.as_str(), "high");
    // The reaper's next child may bring its next wait.
    follow(&mut all, &seen(14 * S, waits(4 * S, 2)), &[("updated", 22)]);
    assert_eq!(only(&all).diagnosis.prognosis.as_str(), "leaked");
}

#[test]
fn a_finding_is_reported_from_its_first_match_with_the_filter() {
    let comm = |name: &str| Filter { comm: Some(name.into()), ..Filter::default() };
    let mut other = conclusions(comm("other"));
    follow(&mut other, &seen(FIRST, |_| ()), &[]);
    assert_eq!(other.open().count(), 0);
    follow(&mut other, &held(4 * S, vec![member(22, 10)]), &[]);
    follow(&mut other, &reaped(5 * S, zombie()), &[]);
    follow(&mut other, &Observation::at(6 * S, Seen::Released { id: pause() }), &[]);

    // The finding is wanted from the time when PID 1 must reap the zombie, and then until its end.
    let mut pid_1 = conclusions(Filter { reaper: Some(1), ..Filter::default() });
    follow(&mut pid_1, &seen(FIRST, |_| ()), &[]);
    follow(&mut pid_1, &seen(4 * S, moves_to_pid_1), &[("detected", 22)]);
    follow(&mut pid_1, &seen(5 * S, moves_to_pid_1), &[]);
    follow(&mut pid_1, &seen(6 * S, |_| ()), &[("updated", 22)]);
    follow(&mut pid_1, &reaped(7 * S, zombie()), &[("reaped", 22)]);
}

#[test]
fn a_namespace_is_blocked_and_released() {
    let mut all = conclusions(Filter::default());
    follow(&mut all, &seen(FIRST, |_| ()), &[("detected", 22)]);
    let blocked = follow(&mut all, &held(4 * S, vec![member(22, 10)]), &[("blocked", 5), ("updated", 22)]);
    let EventKind::Blocked { namespace, .. } = &blocked[0].kind else { unreachable!() };
    assert_eq!((namespace.since_ns, namespace.blockers[0].kind), (4 * S, BlockerKind::Zombie));
    assert_eq!(namespace.diagnosis.family, Some(Family::F8));
    let EventKind::Updated(zombie_now) = &blocked[1].kind else { unreachable!() };
    let block = Block { ino: POD, init_pid: 5, init_name: "pause".into(), since_ns: FIRST };
    assert_eq!(zombie_now.blocks, [block]);

    // Nothing changes.
    follow(&mut all, &held(5 * S, vec![member(22, 10)]), &[]);
    follow(&mut all, &seen(5 * S, |_| ()), &[]);
    assert_eq!(only(&all).blocks.len(), 1, "a look at it keeps what it blocks");
    // One more process holds the namespace. The event is an update.
    let again = follow(&mut all, &held(6 * S, vec![member(22, 10), member(23, 10)]), &[("blocked again", 5)]);
    let EventKind::Blocked { namespace, .. } = &again[0].kind else { unreachable!() };
    assert_eq!((namespace.since_ns, namespace.blockers.len()), (4 * S, 2));

    follow(&mut all, &reaped(7 * S, zombie()), &[("reaped", 22)]);
    let released = Observation::at(8 * S, Seen::Released { id: pause() });
    let released = follow(&mut all, &released, &[("released", 5)]);
    assert!(
        matches!(released[0].kind, EventKind::Released { blocked_ns: Some(blocked_ns), .. } if blocked_ns == 5 * S)
    );
    assert_eq!((all.open().count(), all.namespaces().count()), (0, 0));
}

#[test]
fn a_blocker_may_be_found_later_or_outlive_the_namespace() {
    let mut all = conclusions(Filter::default());
    follow(&mut all, &held(4 * S, vec![member(22, 10)]), &[("blocked", 5)]);
    let detected = follow(&mut all, &seen(5 * S, |_| ()), &[("detected", 22)]);
    let EventKind::Detected(finding) = &detected[0].kind else { unreachable!() };
    assert_eq!(finding.blocks.len(), 1);
    // No process holds the namespace any more: it is about to finish.
    follow(&mut all, &held(6 * S, Vec::new()), &[]);
    assert_eq!(only(&all).blocks.len(), 1);
    // Another process holds it now: the finding reports that, and so does the namespace.
    follow(&mut all, &held(7 * S, vec![member(23, 10)]), &[("blocked again", 5), ("updated", 22)]);
    follow(&mut all, &held(7 * S, vec![member(22, 10)]), &[("blocked again", 5), ("updated", 22)]);
    let released = Observation::at(8 * S, Seen::Released { id: pause() });
    follow(&mut all, &released, &[("released", 5), ("updated", 22)]);
    assert_eq!(only(&all).blocks, []);
}

#[test]
fn the_remedies_of_a_namespace_follow_the_decisions_about_its_zombies() {
    let mut all = conclusions(Filter::default());
    let first_remedy = |all: &Conclusions| {
        let namespace = all.namespaces().next().expect("it is blocked");
        (namespace.blockers[0].decision.clone(), namespace.diagnosis.remedies[0].clone())
    };
    all.take(&held(4 * S, vec![member(22, 10)]));
    let (decision, remedy) = first_remedy(&all);
    assert!(decision.is_none() && remedy.contains("must reap pid 22"), "{decision:?} {remedy}");
    // The reaper's waits are seen only later.
    for (at_ns, reap) in [(5 * S, false), (100 * S, true)] {
        all.take(&seen(at_ns, |evidence| {
            let wait = &mut reaper(evidence).wait;
            *wait = wait.take().filter(|_| reap);
        }));
        let (decision, remedy) = first_remedy(&all);
        assert_eq!(decision, Some(decide(&only(&all))));
        assert_eq!(remedy.starts_with("`supervisor reap --pidns "), reap, "{decision:?} {remedy}");
        all.take(&held(at_ns, vec![member(22, 10)]));
        assert_eq!(first_remedy(&all), (decision, remedy));
    }
}

#[test]
fn a_namespace_without_a_known_blocker_is_reported_at_the_second_inspection() {
    let mut all = conclusions(Filter::default());
    follow(&mut all, &held(4 * S, Vec::new()), &[]);
    assert_eq!(all.namespaces().count(), 0);
    follow(&mut all, &held(5 * S, Vec::new()), &[("blocked", 5)]);
    follow(&mut all, &held(6 * S, Vec::new()), &[]);
    follow(&mut all, &Observation::at(8 * S, Seen::Released { id: pause() }), &[("released", 5)]);
}

/// A zombie that the `n`th session of `runc exec` left to PID 1 of the container.
fn probe(n: u32, exec_ns: u64, at_ns: u64) -> Observation {
    let line = "/usr/bin/runc exec web health.sh";
    seen(at_ns, |evidence| {
        let pid = 100 + n;
        (evidence.id, evidence.exit_ns) = (Some(ProcessId::new(pid, exec_ns)), Some(exec_ns + S));
        evidence.facts = facts(pid, "sleep", &[pid, 10 + n], POD);
        evidence.exec = Some(exec("/bin/sleep", true));
        let reaper = reaper(evidence);
        reaper.facts = ProcessFacts { state: 'S', ..facts(10, "app", &[10, 1], POD) };
        reaper.is_subreaper = Some(false);
        let mut shell = creator(1000 + n, "health.sh", exec("/bin/health.sh", true), true);
        shell.id.start_ns = exec_ns;
        let mut session = creator(2000 + n, "runc", exec(line, true), true);
        session.id.start_ns = exec_ns;
        evidence.creators = vec![shell, session].into();
    })
}

#[test]
fn three_sessions_at_a_fixed_period_are_a_health_check() {
    let mut all = conclusions(Filter::default());
    let origin = |event: &Event| match &event.kind {
        EventKind::Detected(finding) | EventKind::Updated(finding) => {
            (finding.origin, finding.diagnosis.family)
        }
        _ => unreachable!(),
    };
    for n in 0..2 {
        let at_ns = u64::from(n) * 10 * S;
        let events = follow(&mut all, &probe(n, at_ns + S, at_ns + 4 * S), &[("detected", 100 + n)]);
        assert_eq!(origin(&events[0]), (Origin::Exec, Some(Family::F3)));
    }
    let events = follow(&mut all, &probe(2, 21 * S, 24 * S), &[("detected", 102)]);
    let health_check = Origin::HealthCheck { period_ns: 10 * S };
    assert_eq!(origin(&events[0]), (health_check, Some(Family::F3)));
    // The earlier sessions are recognised at their next inspection, and reported once.
    let events = follow(&mut all, &probe(0, S, 25 * S), &[("updated", 100)]);
    assert_eq!(origin(&events[0]).0, health_check);
    follow(&mut all, &probe(0, S, 26 * S), &[]);
    // A fourth session changes nothing for the earlier ones.
    follow(&mut all, &probe(3, 31 * S, 34 * S), &[("detected", 103)]);
    follow(&mut all, &probe(0, S, 35 * S), &[]);
}

#[test]
fn sessions_without_a_period_are_no_health_check() {
    let mut all = conclusions(Filter::default());
    for (n, start) in (0..).zip([0, 10, 13, 40, 41]) {
        all.take(&probe(n, (start + 1) * S, (start + 4) * S));
    }
    assert!(all.open().all(|finding| finding.origin == Origin::Exec));
}

/// One more zombie, in a group with a limit of 100 pids and `current` pids in use.
fn limited(n: u32, at_ns: u64, source: Option<&str>, current: u64) -> Observation {
    seen(at_ns, |evidence| {
        (evidence.id, evidence.facts.pid) = (Some(ProcessId::new(100 + n, 1)), 100 + n);
        evidence.budget =
            source.map(|source| PidBudget { current, max: 100, source: source.into(), fork_failures: None });
    })
}

fn budget(events: &[Event]) -> Budget {
    match &events[0].kind {
        EventKind::Detected(finding) | EventKind::Existing(finding) | EventKind::Updated(finding) => {
            finding.budget.clone().expect("it has one")
        }
        _ => unreachable!(),
    }
}

const GROUP: Option<&str> = Some("/g/pids.max");

#[test]
fn growth_is_reported_after_a_long_enough_watch() {
    let mut all = conclusions(Filter::default());
    for n in 0..5 {
        let now = budget(&all.take(&limited(n, FIRST + u64::from(n) * S, GROUP, 50)));
        assert_eq!(
            (now.unreaped, now.rate_per_hour, now.exhausted_in_ns),
            (Some(u64::from(n) + 1), None, None)
        );
    }
    // Ten seconds after the first zombie there are five more: half a zombie a second, and 40 pids are left.
    let now = budget(&all.take(&limited(5, FIRST + 10 * S, GROUP, 60)));
    assert_eq!((now.unreaped, now.rate_per_hour, now.exhausted_in_ns), (Some(6), Some(1800), Some(80 * S)));
    // In another group there is one zombie.
    let now = budget(&all.take(&limited(6, FIRST + 10 * S, Some("/h/pids.max"), 60)));
    assert_eq!((now.unreaped, now.rate_per_hour), (Some(1), None));
    // Some are reaped: the next count contains only those that are left.
    for n in 0..3 {
        all.take(&reaped(FIRST + 11 * S, ProcessId::new(100 + n, 1)));
    }
    let now = budget(&all.take(&limited(7, FIRST + 20 * S, GROUP, 60)));
    assert_eq!((now.unreaped, now.rate_per_hour), (Some(4), Some(540)));
    // The group is full.
    let now = budget(&all.take(&limited(8, FIRST + 20 * S, GROUP, 101)));
    assert_eq!(now.exhausted_in_ns, Some(0));
}

#[test]
fn zombies_from_before_the_watch_are_no_growth() {
    let mut all = conclusions(Filter::default());
    for n in 0..50 {
        all.take(&existing(limited(n, FIRST, GROUP, 60)));
    }
    all.take(&existing(limited(0, FIRST + 20 * S, GROUP, 60)));
    let first = all.open().find(|finding| finding.process.pid == 100).and_then(|it| it.budget.clone());
    let first = first.expect("it has one");
    assert_eq!((first.unreaped, first.rate_per_hour, first.exhausted_in_ns), (Some(50), None, None));
    let one = budget(&all.take(&limited(50, FIRST + 20 * S, GROUP, 60)));
    assert_eq!((one.unreaped, one.rate_per_hour), (Some(51), None), "one is no growth yet");
    let two = budget(&all.take(&limited(51, FIRST + 20 * S, GROUP, 60)));
    assert_eq!((two.unreaped, two.rate_per_hour), (Some(52), Some(360)));
}

#[test]
fn a_finding_counts_under_its_current_limit() {
    let mut all = conclusions(Filter::default());
    let unreaped = |all: &Conclusions, pid| {
        let finding = all.open().find(|finding| finding.process.pid == pid);
        finding.and_then(|finding| finding.budget.as_ref()).and_then(|budget| budget.unreaped)
    };
    all.take(&limited(0, FIRST, GROUP, 50));
    all.take(&limited(1, FIRST, GROUP, 50));
    // The group of one finding was removed: only the host's limit is left.
    all.take(&limited(0, 4 * S, Some("pid_max"), 50));
    assert_eq!(unreaped(&all, 100), Some(1));
    all.take(&limited(1, 4 * S, GROUP, 50));
    assert_eq!(unreaped(&all, 101), Some(1));
    // At first, the limit of this finding could not be read.
    all.take(&limited(2, 4 * S, None, 0));
    assert_eq!(unreaped(&all, 102), None);
    all.take(&limited(2, 5 * S, GROUP, 50));
    assert_eq!(unreaped(&all, 102), Some(2));
    // At last, it could not be read either. The finding is still removed from the count.
    all.take(&limited(2, 6 * S, None, 0));
    all.take(&reaped(7 * S, ProcessId::new(102, 1)));
    all.take(&limited(1, 8 * S, GROUP, 50));
    assert_eq!(unreaped(&all, 101), Some(1));
}

#[test]
fn a_reap_by_the_agent_is_no_habit_of_the_reaper() {
    use supervisor_model::diagnosis::{Cause, Prognosis};

    let mut all = conclusions(Filter::default());
    for at_ns in [7 * S, 9 * S, 11 * S] {
        follow(&mut all, &seen(FIRST, |_| ()), &[("detected", 22)]);
        assert_eq!(only(&all).diagnosis.cause, Some(Cause::WaitsByPid));
        all.is_being_freed(&zombie());
        follow(&mut all, &reaped(at_ns, zombie()), &[("reaped", 22)]);
    }
    // The agent did not succeed with this zombie. The reaper then reaps it by itself.
    follow(&mut all, &seen(FIRST, |_| ()), &[("detected", 22)]);
    assert_eq!(only(&all).diagnosis.prognosis, Prognosis::Leaked);
    all.is_being_freed(&zombie());
    all.was_not_freed(&zombie());
    follow(&mut all, &reaped(13 * S, zombie()), &[("reaped", 22)]);
    follow(&mut all, &seen(FIRST, |_| ()), &[("detected", 22)]);
    assert_eq!(only(&all).pattern.map(|it| it.reaped), Some(1));
}

#[test]
fn two_late_reaps_predict_a_late_third_even_after_a_restart() {
    use supervisor_model::diagnosis::{Cause, Prognosis};

    let mut all = conclusions(Filter::default());
    for at_ns in [7 * S, 9 * S] {
        follow(&mut all, &seen(FIRST, |_| ()), &[("detected", 22)]);
        assert_eq!(only(&all).diagnosis.cause, Some(Cause::WaitsByPid), "once is no habit");
        follow(&mut all, &reaped(at_ns, zombie()), &[("reaped", 22)]);
    }
    let mut next = conclusions(Filter::default());
    let late = |all: &mut Conclusions| {
        follow(all, &seen(5 * S, |_| ()), &[("detected", 22)]);
        let finding = only(all);
        assert_eq!(finding.pattern.map(|it| (it.reaped, it.longest_ns)), Some((2, 7 * S)));
        (finding.diagnosis.cause, finding.diagnosis.prognosis)
    };
    assert_eq!(late(&mut all), (Some(Cause::Periodic), Prognosis::Late));
    // The stored outcomes were confirmed: the reaper was seen after them.
    next.restore_outcomes(all.outcomes());
    assert_eq!(late(&mut next), (Some(Cause::Periodic), Prognosis::Late));
    // The zombie is older than any that this reaper has reaped.
    follow(&mut next, &seen(20 * S, |_| ()), &[("updated", 22)]);
    assert_eq!(only(&next).diagnosis.prognosis, Prognosis::Leaked);
}
