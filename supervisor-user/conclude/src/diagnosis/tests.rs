//! Tests every rule, and the cases that are easily confused with it.

mod causes;

use std::ops::RangeInclusive;

use supervisor_ebpf::{WAITED_ANY, WAITED_NARROW, WAITED_PEEK, WAITED_PGID, WAITED_PID, WAITED_PIDFD};
use supervisor_model::{
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
    reaping::{Decision, Risk},
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
fn descent_unknown(finding: &mut Finding, app: &mut Reaper) {
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

#[test]
fn a_process_that_has_not_exited_has_no_family() {
    let alive =
        |state| own(|it, _| (it.state, it.is_exiting, it.exit_ns, it.exit) = (state, false, None, None));
    for state in ['R', 'S', 'D', 'T', 't', 'I'] {
        says(&alive(state), None, High..=High, &["has not exited"]);
    }
    // A stopped parent does not matter to a process that lives.
    let mut both_stopped = alive('T');
    both_stopped.reaper.as_mut().expect("there is one").state = Some('T');
    says(&both_stopped, None, High..=High, &["has not exited", "!app"]);
}

#[test]
fn f9_other_threads_are_alive() {
    let f9 = |states: &[char]| {
        own(|it, _| it.threads = states.iter().zip(100..).map(|(state, tid)| thread(tid, *state)).collect())
    };
    says(&f9(&['Z', 'S']), Family::F9, High..=High, &["tid 101", "nothing has leaked", "!more", "!runs"]);
    says(&f9(&['Z', 'S', 'D', 'R']), Family::F9, High..=High, &["tid 102", "state D", "2 more"]);
    says(&f9(&['Z', 'Z', 'X']), Family::F4, High..=High, &[]);
    // Adoption by PID 1 changes nothing, and neither does a tracer of a living thread.
    let mut f2 = by_pid1(|it, _| it.threads = vec![thread(100, 'Z'), thread(101, 'S')]);
    says(&f2, Family::F9, High..=High, &["!PID 1"]);
    f2.tracer = Some(Tracer { pid: 9, name: None, tid: 101, state: None });
    says(&f2, Family::F9, High..=High, &[]);
}

/// A process that was killed 12 s ago, with one thread that does not end.
fn stuck(state: char, place: (char, &str), change: impl FnOnce(&mut EndingFacts)) -> Finding {
    let mut ending = EndingFacts {
        since_ns: Some(LOOKED - 12 * S),
        killed_by: Some((9, "runc".into())),
        frozen: None,
        mounts: Vec::new(),
    };
    change(&mut ending);
    own(|it, _| {
        (it.state, it.is_exiting, it.exit_ns) = (state, state == 'Z', None);
        let last = ThreadFacts { wchan: Some(place.1.to_owned()), ..thread(102, place.0) };
        it.threads = vec![thread(100, state), last];
        it.ending = Some(ending);
    })
}

fn mount(fs_type: &str, source: &str, waiting: Option<u64>) -> RemoteMount {
    RemoteMount {
        fs_type: fs_type.into(),
        source: source.into(),
        mount_point: format!("/mnt/{source}"),
        connection: waiting.map(|_| 47),
        waiting,
    }
}

#[test]
fn a_killed_process_that_cannot_exit_names_the_obstacle() {
    let fuse = ('D', "request_wait_answer");
    let both = stuck('Z', fuse, |it| {
        it.mounts = vec![mount("fuse", "dead", Some(1)), mount("fuse.sshfs", "idle", Some(0))];
    });
    let words = [
        "runc (pid 9) sent it SIGKILL 12.0 s ago",
        "tid 102",
        "request_wait_answer",
        "fuse file system dead",
    ];
    says(&both, Family::F9, High..=High, &words);
    assert!(diagnose(&both).remedies.iter().any(|it| it.contains("/sys/fs/fuse/connections/47/abort")));
    // If two file systems may be the cause, none is blamed.
    let either = stuck('Z', fuse, |it| {
        it.mounts = vec![mount("fuse", "one", None), mount("fuse", "other", None)];
    });
    says(&either, Family::F9, Medium..=Medium, &["a FUSE file system", "!one", "!other"]);
    let nfs = stuck('S', ('D', "rpc_wait_bit_killable"), |it| it.mounts = vec![mount("nfs4", "filer", None)]);
    says(&nfs, Family::F12, High..=High, &["nfs4 file system filer"]);
    let frozen = stuck('D', ('D', "__refrigerator"), |it| it.frozen = Some("/g/freezer.state".into()));
    says(&frozen, Family::F12, High..=High, &["frozen with its control group", "/g/freezer.state"]);
    assert_eq!(
        diagnose(&frozen).remedies,
        ["thaw the control group, or the frozen one above it: `echo THAWED > /g/freezer.state`"]
    );
    let disk = stuck('Z', ('D', "io_schedule"), |it| it.killed_by = None);
    says(&disk, Family::F9, Medium..=Medium, &["it was told to exit 12.0 s ago", "io_schedule"]);
    // strace was suspended.
    let traced = |state| {
        let mut traced = stuck('t', ('t', "ptrace_stop"), |_| ());
        traced.tracer = Some(Tracer { pid: 9, name: Some("strace".into()), tid: 100, state: Some(state) });
        diagnose(&traced)
    };
    advises(&traced('T'), &["strace (pid 9) is stopped itself", "kill -CONT 9"]);
    advises(&traced('S'), &["let strace (pid 9) continue it", "!kill -CONT"]);
    let runs = stuck('Z', ('R', "0"), |_| ());
    says(&runs, Family::F9, Low..=Low, &["gives back much memory"]);
}

#[test]
fn pid_1_that_waits_for_its_namespace_is_not_called_stuck() {
    for (wchan, words) in [("zap_pid_ns_processes", "is released"), ("request_wait_answer", "and it has not")]
    {
        let mut init = stuck('S', ('S', wchan), |_| ());
        (init.is_exiting, init.wchan, init.threads) = (true, Some(wchan.to_owned()), Vec::new());
        (init.process.vpid, init.pid_ns.as_mut().expect("there is one").level) = (Some(1), Some(1));
        says(&init, Family::F12, Low..=High, &["PID 1 of PID namespace 7", words]);
    }
}

#[test]
fn f12_still_exiting() {
    let f12 = |state, wchan: Option<&str>, age_ns| {
        own(|it, _| {
            (it.state, it.wchan) = (state, wchan.map(str::to_owned));
            it.exit_ns = Some(LOOKED - age_ns);
        })
    };
    says(
        &f12('D', Some("fuse_flush"), 5 * S),
        Family::F12,
        High..=High,
        &["fuse_flush", "no zombie", "!app"],
    );
    says(&f12('D', Some("exit_mm"), S / 2), Family::F12, Medium..=Medium, &["exit_mm"]);
    says(&f12('S', None, 5 * S), Family::F12, Low..=Medium, &["not known"]);
    says(&f12('R', None, 5 * S), Family::F12, Low..=Medium, &["it runs", "!sleeps"]);
    // PID 1 of a PID namespace must also wait for the namespace, wherever it sleeps now.
    for (wchan, confidence) in
        [(Some("zap_pid_ns_processes"), High), (Some("fuse_flush"), High), (None, Medium)]
    {
        let mut init = f12('S', wchan, 5 * S);
        (init.process.vpid, init.pid_ns.as_mut().expect("there is one").level) = (Some(1), Some(1));
        let words = ["PID 1 of PID namespace 7", wchan.unwrap_or("is released"), "!waits in"];
        says(&init, Family::F12, confidence..=confidence, &words);
    }
    // The verdicts for zombies do not apply to it.
    let mut other = by_pid1(|it, app| (it.state, app.state) = ('D', Some('T')));
    says(&other, Family::F12, Low..=Medium, &[]);
    other.tracer = Some(Tracer { pid: 9, name: None, tid: 100, state: None });
    says(&other, Family::F12, Low..=Medium, &[]);
}

#[test]
fn f10_held_by_a_tracer() {
    let traced =
        |pid, tid| own(|it, _| it.tracer = Some(Tracer { pid, name: Some("gdb".into()), tid, state: None }));
    says(
        &traced(9, 100),
        Family::F10,
        High..=High,
        &["gdb (pid 9) traces it", "app (pid 50) gets it only then"],
    );
    says(&traced(9, 102), Family::F10, High..=High, &["dead thread 102"]);
    // A parent that traces its child reaps it by any wait, but it collects a dead thread only by a wait for that
    // thread.
    says(&traced(50, 100), Family::F4, High..=High, &["!gdb"]);
    says(&traced(50, 102), Family::F10, High..=High, &["dead thread 102"]);
    // `TracerPid` names a thread, and the parent may have several threads.
    let mut by_thread = traced(51, 100);
    by_thread.reaper.as_mut().expect("there is one").threads = vec![thread(50, 'S'), thread(51, 'S')];
    says(&by_thread, Family::F4, High..=High, &[]);
    // The same holds for adopted zombies, for a stopped parent and for an unknown parent.
    for mut finding in [by_pid1(|_, _| ()), adopted(|_, app| app.state = Some('T'))] {
        finding.tracer = Some(Tracer { pid: 9, name: None, tid: 100, state: None });
        says(&finding, Family::F10, High..=High, &["a process (pid 9)"]);
    }
    let nobody = Finding { reaper: None, ..traced(9, 100) };
    says(&nobody, Family::F10, High..=High, &["!gets it"]);
}

#[test]
fn f14_the_exit_signal_is_not_sigchld() {
    let f14 = |signal, flags: &[&'static str]| {
        own(|it, app| {
            it.exit_signal = Some(signal);
            app.waited(EXIT + S, WaitTarget::Any, flags);
        })
    };
    says(&f14(0, &["WNOHANG"]), Family::F14, High..=High, &["no exit signal", "__WALL"]);
    says(&f14(10, &[]), Family::F14, High..=High, &["SIGUSR1"]);
    says(&f14(34, &[]), Family::F14, High..=High, &["34"]);
    for flag in ["__WALL", "__WCLONE"] {
        says(&f14(10, &[flag]), Family::F14, Medium..=Medium, &[]);
    }
    // With SIGCHLD, a plain wait would have got it. If the exit signal was not seen, the rule does not apply.
    says(&f14(libc::SIGCHLD, &["WNOHANG"]), None, Low..=Low, &[]);
    says(&own(|it, _| it.exit_signal = None), Family::F4, High..=High, &[]);
    says(&own(|it, _| it.exit_signal = Some(-1)), Family::F4, High..=High, &[]);
}

#[test]
fn f11_the_reaper_cannot_run() {
    let f11 = |state, wchan: &str, same_since_ns| {
        own(|_, app| {
            (app.state, app.same_since_ns) = (Some(state), same_since_ns);
            app.wchan = Some(wchan.into());
        })
    };
    let stopped = says(&f11('T', "do_signal_stop", LOOKED), Family::F11, High..=High, &["it is stopped"]);
    advises(&stopped, &["kill -CONT 50"]);
    says(&f11('t', "ptrace_stop", LOOKED), Family::F11, High..=High, &["its tracer has stopped it"]);
    let once = f11('D', "nfs_wait", LOOKED);
    says(&once, Family::F11, Low..=Low, &["in nfs_wait", "seen once"]);
    says(&f11('D', "nfs_wait", LOOKED - 2 * S), Family::F11, High..=High, &["in nfs_wait", "!once"]);
    says(&f11('D', "kernel_clone", LOOKED), Family::F11, Medium..=Medium, &["vfork"]);
    says(&f11('D', "kernel_clone", LOOKED - 2 * S), Family::F11, High..=High, &["vfork"]);
    // The reaper has waited for another child since: the vfork is one of many.
    let mut busy = f11('D', "kernel_clone", LOOKED);
    busy.reaper.as_mut().expect("there is one").waited(LOOKED - MS, WaitTarget::Pid(7), &["WNOHANG"]);
    says(&busy, Family::F4, Low..=High, &["!cannot run"]);
    let frozen = |finding: &mut Finding, app: &mut Reaper| {
        app.frozen = Some("/sys/fs/cgroup/a/cgroup.events".into());
        finding.origin = Origin::Exec;
    };
    for finding in [own(frozen), adopted(frozen), by_pid1(frozen)] {
        says(&finding, Family::F11, High..=High, &["frozen", "cannot run"]);
    }
    // F4: the reaper could run.
    for (state, confidence) in [('S', High), ('R', Medium), ('I', High)] {
        says(&f11(state, "do_wait", 0), Family::F4, confidence..=confidence, &["!cannot run"]);
    }
}

#[test]
fn f11_no_thread_of_the_reaper_can_run() {
    let f11 = |states: &[char]| {
        own(|_, app| {
            app.state = Some(states[0]);
            app.threads = states.iter().zip(50..).map(|(state, tid)| thread(tid, *state)).collect();
        })
    };
    says(&f11(&['T', 'T', 'Z']), Family::F11, High..=High, &["stopped"]);
    says(&f11(&['Z', 'T']), Family::F11, High..=High, &["stopped"]);
    says(&f11(&['T', 'D']), Family::F11, Medium..=Medium, &[]);
    // A thread that runs may still make the wait call that was not seen yet.
    for (states, confidence) in [(['T', 'S'], High), (['D', 'R'], Medium), (['T', 'I'], High)] {
        says(&f11(&states), Family::F4, confidence..=confidence, &["!cannot run"]);
    }
    // No more threads are inspected, and a thread beyond the limit may run.
    says(&f11(&vec!['T'; MAX_THREADS]), Family::F11, Medium..=Medium, &[]);
}

#[test]
fn f15_the_last_wait_was_a_peek() {
    use WaitTarget::{Any, Pgid, Pid, PidFd};
    const PEEK: &[&str] = &["WEXITED", "WNOWAIT"];
    const LOOK: &[&str] = &["WNOHANG", "WEXITED", "WNOWAIT"];
    let peeked = |at_ns, target, flags: &[&'static str]| own(|_, app| app.waited(at_ns, target, flags));
    says(&peeked(EXIT + S, Pid(100), PEEK), Family::F15, High..=High, &["has looked at its exit", "WNOWAIT"]);
    // The peek blocked until the exit.
    says(&peeked(EXIT - S, Pid(100), PEEK), Family::F15, High..=High, &[]);
    // The reap may be about to follow.
    says(&peeked(LOOKED - MS, Pid(100), PEEK), Family::F15, Medium..=Medium, &[]);
    for target in [Any, Pgid(0), PidFd(3)] {
        says(&peeked(EXIT + S, target, LOOK), Family::F15, Medium..=Medium, &["!has looked at its exit"]);
    }
    // No F15: a peek before the exit that did not block, a peek for stops, a peek for another child, and a wait that is
    // no peek.
    says(
        &peeked(EXIT - S, Pid(100), LOOK),
        Family::F4,
        Medium..=Medium,
        &["!WNOWAIT", "before it had exited"],
    );
    says(&peeked(EXIT + S, Pid(100), &["WSTOPPED", "WNOWAIT"]), Family::F4, Low..=Medium, &["!WNOWAIT"]);
    says(&peeked(EXIT + S, Pid(7), PEEK), Family::F4, Medium..=Medium, &["!WNOWAIT"]);
    says(&peeked(EXIT + S, Pid(7), &["WNOHANG"]), Family::F4, Medium..=Medium, &["!WNOWAIT"]);
    // The reaper also waits for any child: then that wait decides.
    let both = own(|_, app| {
        app.waited(EXIT + S, Any, &["WNOHANG"]);
        app.waited(EXIT + 2 * S, Any, PEEK);
        app.ever_reaped = true;
    });
    says(&both, Family::F17, Low..=Medium, &[]);
    // F15 also applies to the peek of a reaper that adopted the zombie.
    says(&by_pid1(|_, app| app.waited(EXIT + S, Pid(100), PEEK)), Family::F15, High..=High, &[]);
}

#[test]
fn f4_a_parent_that_never_waits() {
    let never = own(|_, _| ());
    let diagnosis =
        says(&never, Family::F4, High..=High, &["app (pid 50) created it", "no wait call in the 1 min 35 s"]);
    advises(&diagnosis, &["if that reaps", "!then adopted and reaped"]);
    // The zombie was forked with CLONE_PARENT, or its fork was not seen: the verdict must not say that the parent
    // created it.
    says(&own(|_, app| app.created = Some(false)), Family::F4, High..=High, &["is its parent", "!created"]);
    let inferred = own(descent_unknown);
    let diagnosis = says(&inferred, Family::F4, Medium..=Medium, &["is its parent", "!created"]);
    let cited = diagnosis.evidence.iter().any(|it| it.cited && it.text.contains("not a subreaper"));
    assert!(cited, "that it cannot adopt is what it rests on: {diagnosis:#?}");
    // Own child of a container's PID 1: another init as PID 1 would not help, and ending PID 1 ends the container.
    let diagnosis = says(
        &own(|_, app| (app.is_pidns_init, app.process.vpid) = (Some(true), Some(1))),
        Family::F4,
        High..=High,
        &["!adopted"],
    );
    advises(&diagnosis, &["restart the container", "!--init", "!kill"]);
    let host = says(
        &own(|it, app| {
            (app.is_pidns_init, app.process.pid, app.process.vpid) = (Some(true), 1, Some(1));
            it.looked_ns = EXIT + 60 * S;
        }),
        Family::F4,
        High..=High,
        &[],
    );
    advises(&host, &["!kill", "cannot be ended"]);
    // A subreaper may have adopted it.
    says(
        &own(|it, app| {
            descent_unknown(it, app);
            app.is_subreaper = Some(true);
        }),
        None,
        Low..=Low,
        &["not seen"],
    );
    says(
        &own(|it, app| {
            descent_unknown(it, app);
            app.is_subreaper = None;
        }),
        None,
        Low..=Low,
        &["not seen"],
    );
}

#[test]
fn f4_confidence_depends_on_how_long_the_reaper_was_watched() {
    let since = |since_ns, exit_ns| {
        own(|it, app| {
            app.never_waited_since_ns = Some(since_ns);
            it.exit_ns = exit_ns;
        })
    };
    says(&since(EXIT, Some(EXIT)), Family::F4, High..=High, &["5.0 s that it was watched"]);
    // The reaper's exec came after its last wait and after the exit: its earlier waits do not count.
    says(&since(LOOKED - 100 * MS, Some(EXIT)), Family::F4, Low..=Low, &["in the 100 ms"]);
    says(&since(LOOKED - 3 * S, Some(EXIT)), Family::F4, Medium..=Medium, &["in the 3.0 s"]);
    // A zombie from before the watch.
    says(&since(LOOKED - 500 * MS, None), Family::F4, Low..=Low, &[]);
    says(&since(LOOKED - 30 * S, None), Family::F4, High..=High, &["30.0 s"]);
    // The reaper makes no wait call, but its children are reaped: through waits that are not seen.
    says(&own(|_, app| app.reaped = Some((5, LOOKED - S))), Family::F4, Low..=Low, &[]);
    says(&own(|_, app| app.reaped = Some((5, ATTACHED + S))), Family::F4, High..=High, &[]);
}

#[test]
fn f4_a_parent_that_waits_for_others() {
    // The reaper may come to this zombie after it has got the others.
    let other = own(|_, app| app.waited_for(7, EXIT - S));
    says(&other, Family::F4, Medium..=Medium, &["waits only for other children"]);
    says(
        &own(|_, app| app.waited(EXIT, WaitTarget::PidFd(3), &[])),
        Family::F4,
        Medium..=Medium,
        &["other children"],
    );
    // The reaper did ask for this one.
    let polled = own(|_, app| {
        app.waited(EXIT - 2 * S, WaitTarget::Pid(100), &["WNOHANG"]);
        app.ever_reaped = true;
    });
    says(&polled, Family::F18, Medium..=Medium, &["asks for this one by its pid", "7.0 s ago, before it"]);
    let once = own(|it, app| {
        it.looked_ns = EXIT + 200 * S;
        app.waited(EXIT - 2 * S, WaitTarget::Pid(100), &["WNOHANG"]);
    });
    says(
        &once,
        Family::F4,
        Medium..=Medium,
        &["asked for it last 3 min 22 s ago, before", "!other children"],
    );
    let asked = own(|_, app| app.waited(EXIT, WaitTarget::Pid(100), &["WNOHANG"]));
    says(&asked, Family::F4, Medium..=Medium, &["asked for it 5.0 s ago and did not get it"]);
    // In the reaper's own PID namespace, 100 is another process.
    let renamed = own(|it, app| {
        it.pid_of_reaper = Some(3);
        app.waited_for(100, EXIT);
    });
    says(&renamed, Family::F4, Medium..=Medium, &["other children"]);
    // The reaper waited for any child, before the exit.
    let before = own(|_, app| app.waited(EXIT - S, WaitTarget::Any, &[]));
    says(&before, Family::F4, Medium..=Medium, &["since it exited", "6.0 s ago"]);
    let existing = own(|it, app| {
        it.exit_ns = None;
        app.waited(SEEN - S, WaitTarget::Any, &[]);
    });
    says(&existing, Family::F4, Medium..=Medium, &["since it was seen first", "!exited"]);
    // Neither a wait for clones, nor a 32-bit call that was not decoded, is a wait for children that the reaper names.
    let clones = own(|_, app| app.waited(EXIT + S, WaitTarget::Any, &["__WCLONE"]));
    let mut undecoded = clones.clone();
    let wait = undecoded.reaper.as_mut().and_then(|app| app.last_wait.as_mut()).expect("there is one");
    (wait.call, wait.target) = (None, None);
    says(&clones, Family::F4, High..=High, &["!names", "!never waits", "waits with __WCLONE"]);
    says(&undecoded, Family::F4, Low..=Low, &["!names", "!never waits", "not seen to wait for it"]);
    let group = own(|it, app| {
        (it.pgrp, app.pgrp) = (Some(77), Some(50));
        app.waited(EXIT + S, WaitTarget::Pgid(0), &[]);
    });
    says(&group, Family::F4, Medium..=Medium, &["its own process group (50)", "group 77", "!names"]);
}

#[test]
fn f4_the_waits_of_the_parent_were_not_seen() {
    let unknown = |ever_reaped| {
        own(|_, app| {
            app.waits_unknown();
            app.ever_reaped = ever_reaped;
        })
    };
    says(&unknown(false), Family::F4, Medium..=Medium, &["as far as its accounts show"]);
    says(&unknown(true), Family::F4, Low..=Low, &["nor seen never to wait"]);
    // Only two facts are known: the parent, and that it cannot adopt.
    let least = own(|it, app| {
        descent_unknown(it, app);
        app.waits_unknown();
        app.ever_reaped = true;
    });
    says(&least, Family::F4, Low..=Low, &[]);
}

#[test]
fn f17_a_child_is_lost() {
    let lost = |at_ns, reaped: Option<(u64, u64)>| {
        own(|_, app| {
            app.waited(at_ns, WaitTarget::Any, &["WNOHANG"]);
            app.reaped = reaped;
            app.ever_reaped = true;
        })
    };
    let diagnosis = says(
        &lost(EXIT + S, Some((3, EXIT + 2 * S))),
        Family::F17,
        High..=High,
        &["had exited, and got another, and did not ask again"],
    );
    advises(&diagnosis, &["WNOHANG"]);
    // The zombie may still have been exiting.
    says(
        &lost(EXIT + MS, Some((3, EXIT + S))),
        Family::F17,
        Medium..=Medium,
        &["or was about to", "got another"],
    );
    // The reaper's reaps were before that wait, or none was seen.
    for reaped in [Some((3, EXIT)), Some((0, 0)), None] {
        says(&lost(EXIT + S, reaped), Family::F17, Medium..=Medium, &["did not get it", "!got another"]);
    }
    // The reaper has waited since the exit, and never got any child: the cause is not known.
    let nothing = own(|_, app| app.waited(EXIT + S, WaitTarget::Any, &["WNOHANG"]));
    says(&nothing, None, Low..=Low, &["does not say why", "!never"]);
    // F4: the wait was before the exit.
    says(&lost(EXIT - MS, Some((3, EXIT))), Family::F4, Low..=Medium, &["!got another"]);
    // A zombie from before the watch was certainly a zombie at its first inspection.
    let existing = |at_ns| Finding { exit_ns: None, ..lost(at_ns, Some((3, SEEN + 2 * S))) };
    says(&existing(SEEN + S), Family::F17, High..=High, &[]);
    says(&existing(SEEN - S), Family::F4, Low..=Medium, &[]);
}

#[test]
fn f17_an_adopted_zombie_is_lost() {
    // The zombie may have been adopted after that wait.
    let lost = |reaped_since| {
        adopted(|_, app| {
            app.waited(SEEN + S, WaitTarget::Any, &["WNOHANG"]);
            app.reaped = Some((3, SEEN + 2 * S));
            app.reaped_since = reaped_since;
        })
    };
    says(&lost(None), Family::F17, Medium..=Medium, &[]);
    says(&lost(Some(0)), Family::F17, Medium..=Medium, &[]);
    says(&lost(Some(1)), Family::F17, High..=High, &["got another"]);
}

#[test]
fn f18_the_reaper_waits_in_rounds() {
    let rounds = |ago_ns, gap_ns: Option<u64>, exit_ns| {
        own(|it, app| {
            app.waited(LOOKED - ago_ns, WaitTarget::Any, &["WNOHANG"]);
            app.any_wait_gap_ns = gap_ns;
            it.exit_ns = exit_ns;
        })
    };
    let exit = Some(EXIT);
    says(&rounds(6 * S, Some(10 * S), exit), Family::F18, Medium..=Medium, &["10.0 s apart", "!will"]);
    // The next round is late.
    says(&rounds(12 * S, Some(10 * S), exit), Family::F18, Low..=Low, &[]);
    // The next round is overdue: F4.
    says(&rounds(22 * S, Some(10 * S), exit), Family::F4, Medium..=Medium, &["22.0 s ago", "!round"]);
    // These are waits after a burst of exits: the gap is short, and no round is due.
    says(&rounds(6 * S, Some(150 * MS), exit), Family::F4, Medium..=Medium, &["!leaked"]);
    says(&rounds(6 * S, Some(3 * S), exit), Family::F18, Low..=Low, &[]);
    // One wait is no round.
    says(&rounds(6 * S, None, exit), Family::F4, Medium..=Medium, &["!round"]);
    // The zombie is older than the watch, and rounds may have missed it. In the second case, a later round did.
    says(&rounds(6 * S, Some(10 * S), None), Family::F18, Low..=Low, &[]);
    let passed = Finding { exit_ns: None, ..rounds(3 * S, Some(10 * S), None) };
    says(&passed, None, Low..=Low, &["!leaked"]);
    // The next round also reaps an adopted zombie.
    let by_pid1 = by_pid1(|_, app| {
        app.waited(EXIT - S, WaitTarget::Any, &["WNOHANG"]);
        app.any_wait_gap_ns = Some(30 * S);
    });
    says(&by_pid1, Family::F18, Medium..=Medium, &["!adopted"]);
    // The calculation does not overflow.
    says(&rounds(6 * S, Some(590 * S), exit), Family::F18, Medium..=Medium, &[]);
    // These waits are no rounds, and the calculation does not overflow.
    says(&rounds(6 * S, Some(u64::MAX), exit), Family::F4, Medium..=Medium, &["!round"]);
}

#[test]
fn f1_a_monitor_does_not_reap_its_orphan() {
    let mut incident = attribute(&incident(), &host(), S);
    let reaper = incident.reaper.as_mut().expect("there is one");
    reaper.same_since_ns = incident.looked_ns;
    let words = [
        "crun forked twice to join",
        "crun (pid 21)",
        "monitor (pid 10), a monitor and subreaper, adopted it",
    ];
    let diagnosis = says(&incident, Family::F1, High..=High, &words);
    advises(&diagnosis, &["conmon-rs 0.6.6", "lose their log", "!adopted and reaped"]);
    assert!(diagnosis.wont_help.iter().any(|it| it.contains("Pod")), "{diagnosis:#?}");

    // The stages of runc stay its children: runc could have waited.
    let mut runc = incident.clone();
    runc.runtime = Some(runtime("runc", Stage::Init));
    let diagnosis = says(&runc, Family::F1, High..=High, &["!forked twice", "!could not", "adopted it"]);
    advises(&diagnosis, &["!instead of crun"]);
    // A stage that still lives did not leave an orphan.
    let mut stage = incident.clone();
    stage.creators[0].gone = false;
    says(&stage, Family::F1, High..=High, &["!exited"]);
    // A process of a container outlived its parent.
    let mut process = incident;
    process.runtime = Some(runtime("crun", Stage::Container));
    says(&process, Family::F1, High..=High, &["!forked twice", "crun (pid 21), which forked it, is gone"]);
}

#[test]
fn f1_subreapers_that_are_no_monitors() {
    let diagnosis = says(
        &adopted(|_, _| ()),
        Family::F1,
        High..=High,
        &["app (pid 50), a subreaper, adopted it", "!monitor"],
    );
    advises(&diagnosis, &["!conmon", "make app wait for any child"]);
    assert!(
        !diagnosis.wont_help.iter().any(|it| it.contains("Pod") || it.contains("outside")),
        "{diagnosis:#?}"
    );
    // It is not known whether the reaper is a subreaper, or it is none any more.
    for is_subreaper in [None, Some(false)] {
        let finding = adopted(|_, app| app.is_subreaper = is_subreaper);
        says(&finding, Family::F1, Medium..=Medium, &["!a subreaper", "adopted it"]);
    }
    let shim = adopted(|it, app| {
        app.role = Role::Monitor;
        app.process.name = "containerd-shim".into();
        it.runtime = Some(runtime("runc", Stage::Container));
    });
    advises(
        &says(&shim, Family::F1, High..=High, &["a monitor"]),
        &["upgrade containerd", "!crun", "!conmon"],
    );
    // It was not seen whether the reaper adopted the zombie. For a monitor that is likely. For another reaper, the
    // zombie may be its own child.
    let seen = |role| {
        adopted(|it, app| {
            descent_unknown(it, app);
            app.role = role;
        })
    };
    says(&seen(Role::Monitor), Family::F1, Medium..=Medium, &["was not seen", "!adopted it and"]);
    says(&seen(Role::Other), None, Low..=Low, &["not seen"]);
    let unknown = adopted(|it, app| {
        descent_unknown(it, app);
        it.monitor = Some(monitor(50, "conmonrs"));
        app.waits_unknown();
    });
    says(&unknown, Family::F1, Low..=Low, &["a monitor"]);
}

#[test]
fn f1_confidence_depends_on_the_observed_waits() {
    let by = |change: fn(&mut Reaper)| adopted(|_, app| change(app));
    says(
        &by(|app| app.waited_for(60, EXIT - S)),
        Family::F1,
        High..=High,
        &["waits only for what it started (last for parent (pid 60))"],
    );
    // It was not seen whether the reaper started the process that it waited for.
    says(
        &by(|app| app.waited_for(61, EXIT - S)),
        Family::F1,
        High..=High,
        &["only for children that it names", "!started"],
    );
    // The last wait by pid was before the exit, and the exit was not seen.
    let existing = |at_ns| {
        adopted(|it, app| {
            it.exit_ns = None;
            app.waited_for(60, at_ns);
        })
    };
    says(&existing(LOOKED - 2 * S), Family::F1, Medium..=Medium, &[]);
    says(&existing(LOOKED - 20 * S), Family::F1, High..=High, &[]);
    says(&by(|app| app.never_waited_since_ns = Some(LOOKED - 100 * MS)), Family::F1, Low..=Low, &["100 ms"]);
    says(
        &by(|app| app.waited(EXIT - S, WaitTarget::Any, &[])),
        Family::F1,
        Medium..=Medium,
        &["since it exited"],
    );
    says(
        &by(|app| app.waited(EXIT + S, WaitTarget::Any, &[])),
        Family::F1,
        Low..=Low,
        &["since it exited and did not"],
    );
    says(&by(Reaper::waits_unknown), Family::F1, Medium..=Medium, &["does not reap it", "!wait"]);
    says(
        &by(|app| {
            app.waits_unknown();
            app.ever_reaped = true;
        }),
        Family::F1,
        Low..=Low,
        &[],
    );
    says(&by(|app| app.waited(EXIT, WaitTarget::Pgid(0), &[])), Family::F1, Low..=Medium, &["!names"]);
}

#[test]
fn f2_pid_1_that_does_not_reap() {
    let words =
        ["app (pid 50), PID 1 of its PID namespace, adopted it", "parent (pid 60), which forked it, is gone"];
    let diagnosis = says(&by_pid1(|_, _| ()), Family::F2, High..=High, &words);
    advises(&diagnosis, &["--init", "restart the container of app"]);
    says(
        &by_pid1(|_, app| app.waited_for(7, EXIT - S)),
        Family::F2,
        High..=High,
        &["only for children that it names"],
    );
    // For a monitor that is PID 1, the rule for PID 1 comes first.
    says(&by_pid1(|_, app| app.role = Role::Monitor), Family::F2, High..=High, &["PID 1"]);
    // An init reaps. If this one does not, the cause may be something else, unless it was seen not to wait.
    says(&by_pid1(|_, app| app.role = Role::Init), Family::F2, Medium..=Medium, &["no wait call"]);
    let by_pid = |_: &mut Finding, app: &mut Reaper| {
        app.role = Role::Init;
        app.waited_for(7, EXIT - S);
    };
    says(&by_pid1(by_pid), Family::F2, Low..=Low, &[]);
    // It was not seen whether the zombie is adopted or an own child. In the second case, an init does not help.
    let unknown =
        says(&by_pid1(descent_unknown), Family::F2, Medium..=Medium, &["was not seen", "!adopted it and"]);
    advises(&unknown, &["if it was adopted, run an init"]);
    says(
        &by_pid1(|it, app| {
            descent_unknown(it, app);
            app.waits_unknown();
        }),
        Family::F2,
        Low..=Low,
        &[],
    );
    // F4: the zombie is its own child.
    says(&by_pid1(|_, app| app.adopted = Some(false)), Family::F4, High..=High, &["!adopted"]);
    // PID 1 of the host cannot be restarted. It can also be the reaper of a process in another PID namespace.
    for level in [0, 1] {
        let host = by_pid1(|it, app| {
            (app.process.pid, it.creators[1].process.pid) = (1, 1);
            it.pid_ns.as_mut().expect("there is one").level = Some(level);
        });
        advises(
            &says(&host, Family::F2, High..=High, &["PID 1 of the host"]),
            &["!container", "!--init", "!restart"],
        );
    }
}

#[test]
fn f3_an_exec_session_leaves_an_orphan() {
    let of = |origin| by_pid1(|it, _| it.origin = origin);
    // A single session may come from a person.
    says(&of(Origin::Exec), Family::F3, Medium..=Medium, &["exec session left it", "PID 1", "!health"]);
    let probe = Origin::HealthCheck { period_ns: 10 * S };
    says(&of(probe), Family::F3, High..=High, &["every 10.0 s", "health check", "!each time"]);
    says(&of(Origin::Entrypoint), Family::F2, High..=High, &["!exec"]);
    says(&of(Origin::Unknown), Family::F2, High..=High, &["!exec"]);
    // Not F3: the monitor outside adopted it, or it is PID 1's own child.
    says(&adopted(|it, _| it.origin = probe), Family::F1, High..=High, &["!health"]);
    says(&by_pid1(|it, app| (it.origin, app.adopted) = (probe, Some(false))), Family::F4, High..=High, &[]);
}

#[test]
fn f5_an_init_that_cannot_adopt() {
    let with = |tini: Creator| by_pid1(|it, _| it.creators.insert(1, tini));
    let words = ["tini (pid 55)", "neither PID 1 nor a subreaper", "app (pid 50)"];
    advises(&says(&with(init_program(55, "tini")), Family::F5, High..=High, &words), &["tini -s"]);
    // F2 instead: the init has exited, or is PID 1 of another PID namespace, or is not between zombie and reaper, or is
    // an init only by its name.
    says(&with(Creator { gone: true, ..init_program(55, "tini") }), Family::F2, High..=High, &["!tini"]);
    let mut pid1 = init_program(55, "tini");
    pid1.process.vpid = Some(1);
    says(&with(pid1), Family::F2, High..=High, &["!tini"]);
    says(&by_pid1(|it, _| it.creators.push(init_program(40, "tini"))), Family::F2, High..=High, &["!tini"]);
    says(&with(creator(55, "tini", Role::Init, false)), Family::F2, High..=High, &["!tini"]);
    // An exec session from a shell under a tini elsewhere: the container's PID 1 is not among the creators, and the
    // kernel's search for a reaper does not leave its PID namespace.
    let session = by_pid1(|it, _| {
        it.origin = Origin::Exec;
        it.creators.truncate(1);
        it.creators.push(creator(57, "runc", Role::Runtime, true));
        it.creators.push(init_program(55, "tini"));
    });
    says(&session, Family::F3, Medium..=Medium, &["!tini"]);
    // With `--pid=container:`, the other container's PID 1 is not among the creators either, but this case is F5.
    let joined = by_pid1(|it, _| {
        it.creators.truncate(1);
        it.creators.push(init_program(55, "tini"));
        it.creators.push(creator(57, "runc", Role::Runtime, true));
    });
    says(&joined, Family::F5, Medium..=Medium, &["tini"]);
    // F4: the zombie is a child of the reaper itself.
    says(&own(|it, _| it.creators.push(init_program(40, "tini"))), Family::F4, High..=High, &["!tini"]);
    // On the host, a subreaper is above the init.
    says(
        &adopted(|it, _| it.creators.insert(1, init_program(55, "tini"))),
        Family::F5,
        High..=High,
        &["tini"],
    );
}

#[test]
fn f6_the_zombie_is_a_runtime_command_or_helper() {
    let stage = |name, stage| adopted(|it, _| it.runtime = Some(runtime(name, stage)));
    let diagnosis =
        says(&stage("runc", Stage::Intermediate), Family::F6, High..=High, &["helper stage of runc", "app"]);
    advises(&diagnosis, &["runc#1443", "!adopted and reaped"]);
    advises(&says(&stage("youki", Stage::Intermediate), Family::F6, High..=High, &["youki"]), &["!runc"]);
    // F1: the zombie is a container's init, or another process of the container.
    says(&stage("runc", Stage::Init), Family::F1, High..=High, &["!helper"]);
    says(&stage("runc", Stage::Container), Family::F1, High..=High, &["!helper"]);
    let called = own(|it, _| (it.role, it.runtime) = (Role::Runtime, Some(runtime("crun", Stage::Runtime))));
    says(&called, Family::F6, High..=High, &["crun's own command"]);
    // The zombie is the command itself, which no runtime created: the name comes from its file.
    let command = own(|it, _| {
        it.role = Role::Runtime;
        it.process.executable = Some("/usr/bin/runc".into());
    });
    advises(
        &says(&command, Family::F6, High..=High, &["runc's own command"]),
        &["make app wait", "!runc#1443"],
    );
    let unknown = adopted(|it, app| {
        descent_unknown(it, app);
        it.role = Role::Runtime;
    });
    says(&unknown, Family::F6, Low..=Low, &[]);
    says(
        &own(|it, app| {
            it.role = Role::Runtime;
            app.never_waited_since_ns = Some(LOOKED);
        }),
        Family::F6,
        Low..=Low,
        &[],
    );
}

#[test]
fn f7_the_zombie_is_a_monitor() {
    let zombie = |change: fn(&mut Reaper)| {
        move |it: &mut Finding, app: &mut Reaper| {
            (it.role, it.process.name) = (Role::Monitor, "conmon".into());
            change(app);
        }
    };
    let diagnosis = says(
        &own(zombie(|_| ())),
        Family::F7,
        High..=High,
        &["itself a container monitor", "which started it"],
    );
    // A monitor that is kept for some minutes is alive. An init helps only if the reaper is a container's PID 1.
    advises(&diagnosis, &["!five minutes", "!--init"]);
    assert!(diagnosis.wont_help.iter().any(|it| it.contains("an init in the container")), "{diagnosis:#?}");
    let inside = says(&by_pid1(zombie(|_| ())), Family::F7, High..=High, &["which adopted it"]);
    advises(&inside, &["--init"]);
    assert!(!inside.wont_help.iter().any(|it| it.contains("an init")), "{inside:#?}");
    says(&adopted(zombie(|app| app.role = Role::Monitor)), Family::F7, High..=High, &[]);
    says(&own(zombie(|app| app.waited(EXIT - S, WaitTarget::Any, &[]))), Family::F7, Medium..=Medium, &[]);
    says(&own(zombie(Reaper::waits_unknown)), Family::F7, Medium..=Medium, &[]);
    let unknown = adopted(|it, app| {
        descent_unknown(it, app);
        it.role = Role::Monitor;
    });
    says(&unknown, Family::F7, Low..=Low, &["its parent"]);
    // F1: the reaper is the monitor, and the zombie is not.
    says(&adopted(|_, app| app.role = Role::Monitor), Family::F1, High..=High, &["!itself"]);
    // Only the zombie's name suggests a monitor.
    says(&own(|it, _| it.process.name = "conmon".into()), Family::F4, High..=High, &["!monitor"]);
}

#[test]
fn the_verdict_names_the_facts_that_were_not_seen() {
    let nobody = Finding { reaper: None, ..own(|_, _| ()) };
    says(&nobody, None, Low..=Low, &["who must reap it was not seen"]);
    let exit_unknown = Finding { exit: None, exit_ns: None, ..nobody };
    says(&exit_unknown, None, Low..=Low, &[]);
    let unknown = own(|it, app| {
        descent_unknown(it, app);
        app.waits_unknown();
        (app.is_subreaper, app.is_pidns_init, app.state) = (None, None, None);
    });
    says(&unknown, None, Low..=Low, &["app (pid 50) must reap it", "was not seen"]);
}

#[test]
fn a_reboot_is_advised_only_where_pid_1_of_the_host_was_watched_for_long() {
    type Change = fn(&mut Reaper);
    let by_host = |watched_ns: u64, change: Change| {
        let finding = adopted(|finding, app| {
            (app.process, app.is_subreaper, app.is_pidns_init) =
                (process(1, "systemd").into(), Some(false), Some(true));
            finding.looked_ns = EXIT + watched_ns;
            change(app);
        });
        diagnose(&finding).remedies.join("\n")
    };
    let reboot = "none but a reboot";
    assert!(by_host(60 * S, |_| ()).contains(reboot));
    let cases: [(u64, Change); 4] = [
        (2 * S, |_| ()),
        (60 * S, |app| app.never_waited_since_ns = Some(EXIT + 55 * S)),
        (60 * S, |app| app.reaped = Some((3, EXIT))),
        (60 * S, Reaper::waits_unknown),
    ];
    for (number, (watched_ns, change)) in cases.into_iter().enumerate() {
        let remedies = by_host(watched_ns, change);
        assert!(!remedies.contains(reboot), "{number}: {remedies}");
        assert!(
            remedies.contains("look again in a minute: systemd (pid 1) was not watched"),
            "{number}: {remedies}"
        );
    }
}

#[test]
fn the_evidence_states_adoptions_and_waits_as_observed() {
    let has =
        |finding: &Finding, text: &str| diagnose(finding).evidence.iter().any(|it| it.text.contains(text));
    // The adoption is known by the start times, or by the fork.
    let by_fork = adopted(|_, app| app.created = None);
    assert!(!has(&by_fork, "younger") && has(&by_fork, "another process was its parent at first"));
    let by_time = adopted(|it, app| {
        (app.created, it.process.start_ns, app.process.start_ns) = (None, Some(1), Some(2));
    });
    assert!(has(&by_time, "younger"));
    let parent = own(|_, app| app.created = None);
    assert!(!has(&parent, "CLONE_PARENT") && has(&parent, "since the fork"));
    assert!(has(&own(|_, app| app.created = Some(false)), "CLONE_PARENT"));
    // The fact about a wait call contains the call, its target and its flags.
    let waited = own(|_, app| app.waited(EXIT, WaitTarget::Pid(7), &["WNOHANG"]));
    assert!(has(&waited, "5.0 s ago: wait4 for pid 7 (WNOHANG), one of 1; none for any child was seen"));
}

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
fn a_reaper_that_never_asks_is_found_out_whoever_created_the_zombie() {
    let at = |looked_ns: u64| {
        diagnose(&adopted(|finding, app| {
            descent_unknown(finding, app);
            finding.looked_ns = looked_ns;
        }))
    };
    let young = at(LOOKED);
    assert_eq!(
        (young.position, young.cause, young.prognosis),
        (None, Some(Cause::NeverWaits), Prognosis::Unknown)
    );
    assert!(!young.remedies.iter().any(|it| it.contains("--force")), "{young:#?}");
    let old = at(EXIT + 61 * S);
    assert_eq!((old.position, old.prognosis, old.confidence), (None, Prognosis::Leaked, Low));
    assert!(old.verdict.contains("whether it created or adopted it was not seen"), "{old:#?}");
    assert!(!old.is_reapable, "it may be its own child");
    let last = old.remedies.last().expect("there is one");
    assert!(last.starts_with("last: `supervisor reap --force 100`, at this risk: whether"), "{last}");
}

#[test]
fn force_is_advised_only_if_nobody_is_seen_to_come() {
    let last = |change: fn(&mut Finding, &mut Reaper)| {
        let finding = own(|finding, app| {
            finding.looked_ns = EXIT + 120 * S;
            change(finding, app);
        });
        diagnose(&finding).remedies.last().expect("there is one").clone()
    };
    let never = last(|_, _| ());
    assert!(never.starts_with("last: `supervisor reap --force 100`"), "{never}");
    // It has asked for this one, and may ask again.
    let asked = last(|_, app| app.waited_for(100, EXIT - S));
    assert!(!asked.contains("--force"), "{asked}");
    // Nobody is told to stop the host's PID 1 before it was watched long enough.
    let host = last(|_, app| {
        (app.process, app.is_pidns_init) = (process(1, "systemd").into(), Some(true));
        app.waits_unknown();
    });
    assert!(!host.contains("--force"), "{host}");
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
