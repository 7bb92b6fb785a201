//! Tests F8: what holds a PID namespace, and who can release it.

use super::*;

/// PID 1 of the pod, which was killed, and the processes that are still in its PID namespace.
fn held(members: Vec<Member>) -> (NamespaceEvidence, Finding) {
    let mut init = incident();
    init.facts = ProcessFacts {
        state: 'S',
        wchan: Some("zap_pid_ns_processes".into()),
        ..facts(5, "pause", &[5, 1], POD)
    };
    let mut finding = attribute(&init, &host(), S);
    finding.is_exiting = true;
    (NamespaceEvidence { init, members, members_left_out: 0 }, finding)
}

fn member(pid: u32, state: char, parent: u32) -> Member {
    let live_threads = usize::from(state != 'Z');
    Member {
        id: supervisor_ebpf::ProcessId::new(pid, 1),
        facts: ProcessFacts { ppid: parent, state, live_threads, ..facts(pid, "x\x1b[2J\n", &[pid, 2], POD) },
        threads: Vec::new(),
        reaper: Some((parent, "reaper\n".into())),
        tracer: None,
        frozen: None,
        calls: Vec::new(),
    }
}

#[track_caller]
fn holds(members: Vec<Member>, confidence: Confidence, words: &[&str]) -> Vec<Blocker> {
    let (evidence, init) = held(members);
    let blockers = blockers(&evidence);
    let diagnosis = diagnose_namespace(&init, &blockers, evidence.members_left_out);
    is_sound(&diagnosis, true);
    assert_eq!((diagnosis.family, diagnosis.confidence), (Some(Family::F8), confidence), "{diagnosis:#?}");
    // There is one remedy for each reaper, and one for all zombies.
    let zombies = blockers.iter().any(|blocker| blocker.kind == BlockerKind::Zombie);
    let most = blockers.len().max(1) + usize::from(zombies);
    assert!((1..=most).contains(&diagnosis.remedies.len()), "{diagnosis:#?}");
    // Without a finding about the zombie it is not known whether a reap is safe.
    let is_question = |text: &String| text.starts_with("`supervisor reap --dry-run --pidns ");
    assert_eq!(diagnosis.remedies.last().is_some_and(is_question), zombies, "{diagnosis:#?}");
    for word in words {
        assert!(diagnosis.verdict.contains(word), "{word}: {}", diagnosis.verdict);
    }
    for blocker in blockers.iter().take(1) {
        let named = |text: &str| text.contains(&format!("pid {})", blocker.pid));
        assert!(diagnosis.evidence.iter().any(|it| it.cited && named(&it.text)), "{diagnosis:#?}");
    }
    blockers
}

fn traced(member: Member, pid: u32) -> Member {
    let tracer = Some(TracerFacts { tid: member.facts.pid, pid, comm: Some("gdb".into()), state: None });
    Member { tracer, ..member }
}

#[test]
fn f8_the_verdict_names_the_blockers_of_a_pid_namespace() {
    let zombie =
        holds(vec![member(22, 'Z', 10)], High, &["the zombie", "which reaper\\u{a} (pid 10) does not reap"]);
    assert_eq!((zombie[0].kind, zombie[0].reaper.as_ref().map(|it| it.0)), (BlockerKind::Zombie, Some(10)));
    // The init reaps its own children, unless a tracer holds them.
    assert_eq!(holds(vec![member(22, 'Z', 5)], Low, &["not found"]), []);
    let tracer = holds(vec![traced(member(22, 'Z', 5), 9)], High, &["held by gdb (pid 9), its tracer"]);
    assert_eq!((tracer[0].kind, tracer[0].reaper.clone()), (BlockerKind::Tracer, Some((9, "gdb".into()))));
    let mut stuck = member(22, 'D', 5);
    stuck.facts.wchan = Some("nfs_wait".into());
    let task = holds(vec![stuck], High, &["state D in nfs_wait"]);
    assert_eq!(task[0].kind, BlockerKind::Task);
    let mut calls = member(22, 'D', 5);
    calls.calls = vec![ThreadCall { tid: 22, call: Call::Other(libc::SYS_openat as u64), timeout_ns: None }];
    holds(vec![calls], High, &["state D, in system call openat"]);
    // A tracer does not hold a process in state D.
    assert_eq!(holds(vec![traced(member(22, 'D', 5), 9)], High, &["state D"])[0].kind, BlockerKind::Task);
    assert_eq!(holds(vec![traced(member(22, 't', 5), 9)], High, &["gdb"])[0].kind, BlockerKind::Tracer);
    // The leader has exited, and another thread of the process cannot exit.
    let mut threads = member(22, 'Z', 5);
    threads.facts.live_threads = 1;
    let deep = ThreadFacts { wchan: Some("fuse_wait".into()), ..thread(23, 'D') };
    threads.threads = vec![thread(22, 'Z'), deep];
    let task = holds(vec![threads], High, &["state D in fuse_wait"]);
    assert_eq!((task[0].kind, task[0].state), (BlockerKind::Task, 'D'));
    let all = vec![member(22, 'Z', 10), member(23, 'Z', 5), member(24, 'D', 5)];
    assert_eq!(holds(all, High, &["and 1 more"]).iter().map(|it| it.pid).collect::<Vec<_>>(), [22, 24]);
    assert_eq!(holds(Vec::new(), Low, &["not found"]), []);
    // Many zombies of one reaper need only one remedy.
    let many: Vec<Member> = (100..179).map(|pid| member(pid, 'Z', 10)).collect();
    let (evidence, init) = held(many);
    let diagnosis = diagnose_namespace(&init, &blockers(&evidence), 0);
    assert!(
        diagnosis.verdict.contains("79 zombies that reaper\\u{a} (pid 10) does not reap"),
        "{diagnosis:#?}"
    );
    assert_eq!((diagnosis.remedies.len(), diagnosis.evidence.iter().filter(|it| it.cited).count()), (2, 4));
    // PID 1 of the host cannot be ended. A stopped process can be continued.
    let (evidence, init) = held(vec![member(100, 'Z', 1), member(101, 'T', 5)]);
    let remedies = diagnose_namespace(&init, &blockers(&evidence), 0).remedies.join("\n");
    assert!(!remedies.contains("SIGKILL") && remedies.contains("kill -CONT 101"), "{remedies}");
}

#[test]
fn f8_a_reap_is_the_first_remedy_only_if_it_frees_a_zombie_without_force() {
    let (evidence, init) = held(vec![member(22, 'Z', 10), member(23, 'Z', 10)]);
    let remedies = |first: Decision, second: Decision| {
        let mut blockers = blockers(&evidence);
        (blockers[0].decision, blockers[1].decision) = (Some(first), Some(second));
        let diagnosis = diagnose_namespace(&init, &blockers, 0);
        let [first, last] = [diagnosis.remedies.first(), diagnosis.remedies.last()].map(Option::unwrap);
        (diagnosis.is_reapable, first.clone(), last.clone())
    };
    let force = |risks: &[Risk]| Decision::NeedsForce(risks.to_vec());
    let (is_reapable, first, last) = remedies(Decision::Reap, Decision::Reap);
    assert!(is_reapable && first.contains("frees the zombies that hold it,"), "{first}");
    assert!(first.starts_with(&format!("`supervisor reap --pidns {POD}`")), "{first}");
    assert!(!last.contains("--force"), "{last}");
    let (is_reapable, first, _) = remedies(Decision::Reap, force(&[Risk::OwnChild]));
    assert!(is_reapable && first.contains("frees those zombies that hold it and that nobody"), "{first}");
    // What needs force comes last, with each risk once.
    let both = force(&[Risk::OwnChild, Risk::PositionUnknown]);
    let (is_reapable, first, last) = remedies(both, force(&[Risk::OwnChild]));
    assert!(!is_reapable && first.contains("reaper\\u{a} (pid 10) must reap pid 22"), "{first}");
    assert!(
        last.starts_with(&format!("last: `supervisor reap --force --pidns {POD}`, at this risk: ")),
        "{last}"
    );
    assert_eq!(last.matches("its reaper created it").count(), 1, "{last}");
    let (_, _, last) = remedies(force(&[Risk::OwnChild]), force(&[Risk::PrognosisUnknown]));
    assert!(last.starts_with("`supervisor reap --dry-run --pidns "), "{last}");
    // Nobody is told to take an exit status from a process that waits for it.
    let (_, _, last) = remedies(force(&[Risk::WaitedFor]), force(&[Risk::OwnChild]));
    assert!(!last.contains("supervisor reap"), "{last}");
}

#[test]
fn f8_the_remedy_for_a_frozen_blocker_is_to_thaw_it() {
    for (file, command) in [
        (
            "/sys/fs/cgroup/freezer/a b/freezer.state",
            "`echo THAWED > '/sys/fs/cgroup/freezer/a b/freezer.state'`",
        ),
        ("/sys/fs/cgroup/a/cgroup.events", "`echo 0 > /sys/fs/cgroup/a/cgroup.freeze`"),
    ] {
        let (evidence, init) = held(vec![Member { frozen: Some(file.to_owned()), ..member(22, 'D', 5) }]);
        let diagnosis = diagnose_namespace(&init, &blockers(&evidence), 0);
        let group = file.rsplit_once('/').map(|it| it.0).unwrap();
        assert!(diagnosis.verdict.contains(&format!("control group {group} is frozen")), "{diagnosis:#?}");
        assert_eq!(diagnosis.remedies, [format!("thaw the control group of pid 22: {command}")]);
    }
}

#[test]
fn f8_is_sure_only_if_the_init_is_seen_to_wait_for_its_namespace() {
    let (evidence, mut init) = held(vec![member(22, 'Z', 10)]);
    let blockers = blockers(&evidence);
    let mut diagnose = |wchan: Option<&str>| {
        init.wchan = wchan.map(str::to_owned);
        diagnose_namespace(&init, &blockers, evidence.members_left_out)
    };
    assert_eq!(diagnose(Some("do_wait")).confidence, High);
    assert_eq!(diagnose(None).confidence, Medium);
    // The init still closes its files.
    let elsewhere = diagnose(Some("fuse_flush"));
    assert_eq!(elsewhere.confidence, Medium);
    assert!(elsewhere.verdict.contains("fuse_flush") && !elsewhere.verdict.contains("waits until"));
}
