//! Tests every rule, and the cases that are easily confused with it.

mod adopted;
mod advice;
mod calls;
mod causes;
mod exits;
mod mechanisms;
mod namespace;
mod own;
mod parts;

use std::ops::RangeInclusive;

use supervisor_ebpf::{
    CALL_WAIT4, WAIT_PID, WAITED_ANY, WAITED_NARROW, WAITED_PEEK, WAITED_PGID, WAITED_PID, WAITED_PIDFD, Wait,
};
use supervisor_model::{
    decision::{Decision, Risk},
    diagnosis::{
        Cause,
        Confidence::{self, High, Low, Medium},
        Diagnosis, Position, Prognosis,
    },
    evidence::{
        EndingFacts, Member, NamespaceEvidence, TracerFacts,
        sample::{POD, facts, host, incident},
    },
    facts::{Call, MAX_THREADS, ProcessFacts, RemoteMount, ThreadCall, ThreadFacts},
    family::Family,
    finding::{
        Blocker, BlockerKind, Creator, Exit, Finding, LastWait, Monitor, Origin, PidNs, Process, Reaper,
        Role, Runtime, Stage, Tracer, WaitTarget,
    },
};

use super::{blockers, diagnose, diagnose_namespace};
use crate::attribution::attribute;

const S: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
/// The times of these events: the hooks are attached, the zombie exits, its first inspection, its last inspection.
const ATTACHED: u64 = 10 * S;
const EXIT: u64 = 100 * S;
const SEEN: u64 = 101 * S;
const LOOKED: u64 = 105 * S;

fn process(pid: u32, name: &str) -> Process {
    Process { pid, vpid: Some(pid), name: name.into(), start_ns: Some(u64::from(pid)), ..Process::default() }
}

fn reaper(pid: u32, name: &str) -> Reaper {
    Reaper {
        process: process(pid, name).into(),
        adopted: Some(false),
        created: Some(true),
        is_subreaper: Some(false),
        is_pidns_init: Some(false),
        level: Some(0),
        state: Some('S'),
        wchan: None,
        threads: Vec::new(),
        sigchld: None,
        sigchld_pending: false,
        frozen: None,
        role: Role::Other,
        last_wait: None,
        first_wait_ns: None,
        waits: None,
        any_wait_ns: None,
        any_wait_gap_ns: None,
        never_waited_since_ns: Some(ATTACHED),
        reaped: Some((0, 0)),
        reaped_since: None,
        ever_reaped: false,
        unreaped_held: Some(1),
        same_since_ns: LOOKED,
        wait_kinds: 0,
        pgrp: None,
        exec_ns: None,
        previous_program: None,
        calls: Vec::new(),
        pipe: None,
        has_io_uring: None,
        cpu: None,
        handler_changed: None,
        takes_siginfo: None,
        sigchld_caught: None,
        parent_blocks_sigchld: None,
        tracer: None,
    }
}

/// `app` forked `worker` and makes no wait call.
fn own(change: impl FnOnce(&mut Finding, &mut Reaper)) -> Finding {
    let mut app = reaper(50, "app");
    let mut finding = Finding {
        id: "finding".into(),
        process: process(100, "worker"),
        state: 'Z',
        is_exiting: true,
        wchan: None,
        threads: Vec::new(),
        role: Role::Other,
        executed: Some(true),
        forked_as: None,
        pid_of_reaper: Some(100),
        pgrp: None,
        pgrp_in_reaper_ns: None,
        exit_signal: Some(libc::SIGCHLD),
        tracer: None,
        exit: Some(Exit::Code(0)),
        exit_ns: Some(EXIT),
        exited_before_ns: None,
        seen_ns: SEEN,
        looked_ns: LOOKED,
        grace_ns: S,
        reaper: None,
        creators: vec![creator(50, "app", Role::Other, false)].into(),
        runtime: None,
        monitor: None,
        container: None,
        orchestrator: None,
        identity_confidence: None,
        claims: Vec::new(),
        pid_ns: Some(PidNs { ino: 7, level: Some(0), mode: None, init: None, containers: Vec::new() }),
        cgroup: None,
        origin: Origin::Unknown,
        blocks: Vec::new(),
        ending: None,
        budget: None,
        pattern: None,
        diagnosis: Diagnosis::default(),
    };
    change(&mut finding, &mut app);
    finding.reaper = Some(app);
    finding
}

/// `parent` forked `worker` and is gone; the subreaper `app`, which started it, has adopted it and makes no wait call.
fn adopted(change: impl FnOnce(&mut Finding, &mut Reaper)) -> Finding {
    own(|finding, app| {
        (app.adopted, app.created, app.is_subreaper) = (Some(true), Some(false), Some(true));
        finding.creators.insert(0, creator(60, "parent", Role::Other, true));
        change(finding, app);
    })
}

/// Returns the same as [`adopted`], but `app` is PID 1 of a container.
fn by_pid1(change: impl FnOnce(&mut Finding, &mut Reaper)) -> Finding {
    adopted(|finding, app| {
        (app.is_subreaper, app.is_pidns_init, app.process.vpid) = (Some(false), Some(true), Some(1));
        app.level = Some(1);
        finding.pid_ns.as_mut().expect("there is one").level = Some(1);
        let creators = &mut *finding.creators;
        creators[1].role = Role::Init;
        creators[1].process.vpid = Some(1);
        change(finding, app);
    })
}

/// Changes a finding: it was not seen whether `app` adopted or forked the zombie.
fn ancestry_unknown(finding: &mut Finding, app: &mut Reaper) {
    (app.adopted, app.created) = (None, None);
    finding.creators.clear();
}

fn creator(pid: u32, name: &str, role: Role, gone: bool) -> Creator {
    Creator {
        process: process(pid, name),
        verb: None,
        role,
        is_unverified: false,
        is_init_program: false,
        gone,
        end: None,
    }
}

fn init_program(pid: u32, name: &str) -> Creator {
    Creator { is_init_program: true, ..creator(pid, name, Role::Init, false) }
}

fn runtime(name: &str, stage: Stage) -> Runtime {
    Runtime { name: name.into(), executable: None, verb: Some("create".into()), stage, is_unverified: false }
}

fn monitor(pid: u32, name: &str) -> Monitor {
    Monitor { name: name.into(), pid, executable: None, namespace: None, is_unverified: false }
}

fn thread(tid: u32, state: char) -> ThreadFacts {
    ThreadFacts { tid, comm: "thread".into(), state, wchan: None, tracer: None }
}

/// Sets the wait calls that were seen of a reaper.
trait SeenToWait {
    /// Sets the last wait, and also the last wait for any child if it is one.
    fn waited(&mut self, at_ns: u64, target: WaitTarget, flags: &[&'static str]);
    fn waited_for(&mut self, pid: u32, at_ns: u64);
    fn waits_unknown(&mut self);
}

impl SeenToWait for Reaper {
    fn waited(&mut self, at_ns: u64, target: WaitTarget, flags: &[&'static str]) {
        let takes = target == WaitTarget::Any && !flags.contains(&"WNOWAIT") && !flags.contains(&"__WCLONE");
        if takes {
            self.any_wait_ns = Some(at_ns);
        }
        let call = if flags.contains(&"WNOWAIT") { "waitid" } else { "wait4" };
        self.last_wait =
            Some(LastWait { at_ns, call: Some(call), target: Some(target), flags: flags.into() });
        self.first_wait_ns = Some(at_ns);
        self.waits = Some(1);
        self.wait_kinds |= match target {
            _ if flags.contains(&"WNOWAIT") => WAITED_PEEK,
            _ if flags.contains(&"__WCLONE") => WAITED_NARROW,
            WaitTarget::Any => WAITED_ANY,
            WaitTarget::Pid(_) => WAITED_PID,
            WaitTarget::Pgid(_) => WAITED_PGID,
            WaitTarget::PidFd(_) => WAITED_PIDFD,
        };
        self.never_waited_since_ns = None;
    }

    fn waited_for(&mut self, pid: u32, at_ns: u64) {
        self.waited(at_ns, WaitTarget::Pid(pid), &[]);
    }

    fn waits_unknown(&mut self) {
        (self.never_waited_since_ns, self.reaped) = (None, None);
    }
}

/// Checks the properties that every diagnosis must have.
#[track_caller]
fn is_sound(diagnosis: &Diagnosis, is_zombie: bool) {
    let Diagnosis { family, verdict, evidence, remedies, wont_help, confidence, .. } = diagnosis;
    assert!(evidence.iter().any(|it| it.cited), "nothing is cited: {diagnosis:#?}");
    assert!(evidence.iter().map(|it| it.id).eq(1..=evidence.len() as u32), "ids: {evidence:#?}");
    assert!(evidence.is_sorted_by_key(|it| !it.cited), "what is cited comes first: {evidence:#?}");
    let advice = remedies.iter().chain(wont_help);
    let facts = evidence.iter().flat_map(|it| [&it.source, &it.text]);
    for text in [verdict].into_iter().chain(advice).chain(facts) {
        assert!(!text.is_empty() && !text.ends_with('.') && !text.contains("  "), "{text:?}");
        let hostile = |c: char| c.is_control() || matches!(c, '\u{202e}' | '\u{2028}');
        assert!(!text.contains(hostile), "{text:?}");
    }
    assert!(family.is_some() || *confidence == Low || !is_zombie, "no family, and sure of it");
    assert!(family.is_none() || !remedies.is_empty(), "no remedy for {family:?}");
    for line in remedies {
        assert!(!wont_help.contains(line), "{line:?} is said to help and not to help");
        let is_once = remedies.iter().filter(|it| *it == line).count() == 1;
        assert!(is_once, "{line:?} is there twice");
        let ends_reaper = line.contains("end or restart") || line.contains("kill -KILL");
        assert!(!ends_reaper || diagnosis.prognosis != Prognosis::Late, "{line:?} of what is only late");
    }
    assert!(!is_zombie || wont_help.iter().any(|it| it.contains("SIGKILL")), "{wont_help:#?}");
    if *family == Some(Family::F4) {
        assert!(wont_help.iter().any(|it| it.contains("init")), "{wont_help:#?}");
    }
}

/// The same process and reaper with names that try to break a terminal.
fn hostile(finding: &Finding) -> Finding {
    let bad = || "x\n\x1b[2J\r\u{202e}\u{2028}\0".to_owned();
    let mut finding = finding.clone();
    finding.process.name = bad();
    finding.process.args = vec![bad(), bad()];
    finding.process.executable = Some(bad());
    finding.wchan = finding.wchan.map(|_| bad());
    finding.threads.iter_mut().for_each(|thread| thread.comm = bad());
    if let Some(reaper) = &mut finding.reaper {
        reaper.process.name = bad();
        reaper.frozen = reaper.frozen.as_ref().map(|_| bad());
        reaper.threads.iter_mut().for_each(|thread| thread.comm = bad());
    }
    for creator in &mut *finding.creators {
        creator.process.name = bad();
        creator.verb = Some(bad());
    }
    finding.tracer.iter_mut().for_each(|tracer| tracer.name = Some(bad()));
    finding.monitor.iter_mut().for_each(|monitor| monitor.name = bad());
    finding
}

/// Diagnoses the finding. The verdict must contain all of the words, and none of those with a `!` before them.
#[track_caller]
fn says(
    finding: &Finding,
    family: impl Into<Option<Family>>,
    confidence: RangeInclusive<Confidence>,
    words: &[&str],
) -> Diagnosis {
    let diagnosis = diagnose(finding);
    assert_eq!(diagnosis.family, family.into(), "{diagnosis:#?}");
    assert!(confidence.contains(&diagnosis.confidence), "{diagnosis:#?}");
    for word in words {
        let (word, wanted) = word.strip_prefix('!').map_or((*word, true), |word| (word, false));
        assert_eq!(diagnosis.verdict.contains(word), wanted, "{word:?}: {}", diagnosis.verdict);
    }
    let is_zombie = finding.state == 'Z' && !finding.threads.iter().any(ThreadFacts::is_live);
    is_sound(&diagnosis, is_zombie);
    let hostile = diagnose(&hostile(finding));
    is_sound(&hostile, is_zombie);
    assert_eq!(hostile.family, diagnosis.family, "names make no family: {hostile:#?}");
    diagnosis
}

#[track_caller]
fn advises(diagnosis: &Diagnosis, words: &[&str]) {
    let advice = diagnosis.remedies.join("\n");
    for word in words {
        let (word, wanted) = word.strip_prefix('!').map_or((*word, true), |word| (word, false));
        assert_eq!(advice.contains(word), wanted, "{word:?}: {advice}");
    }
}

/// The reaper's only thread is in this call.
fn in_call(app: &mut Reaper, call: Call) {
    app.calls = vec![ThreadCall { tid: app.process.pid, call, timeout_ns: None }];
}

#[track_caller]
fn is(finding: &Finding, cause: impl Into<Option<Cause>>, prognosis: Prognosis, family: Family) -> Diagnosis {
    let diagnosis = says(finding, family, Low..=High, &[]);
    assert_eq!((diagnosis.cause, diagnosis.prognosis), (cause.into(), prognosis), "{diagnosis:#?}");
    diagnosis
}

fn waits_for(pid: u32) -> Call {
    Call::Wait(Wait::pack(CALL_WAIT4, WAIT_PID, pid, 0))
}
