//! Tests of an inspection whose process vanishes between two steps. Everything in `/proc` of a real zombie vanishes
//! after zero, one, two… questions. There is evidence all the same, and the verdict claims no more than the evidence.

use std::{
    cell::Cell,
    io,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use supervisor_conclude::conclusions::Conclusions;
use supervisor_ebpf::{ProcessId, TASK_WHOLE, TASK_ZOMBIE, TaskRecord};
use supervisor_model::{
    evidence::{ExecFacts, Task},
    facts::{
        ArgsNote, CpuFacts, HostIdentity, NotRead, OciFacts, OciPlaces, PidBudget, PipeWriters, ProcessFacts,
        RemoteMount, ThreadCall, ThreadFacts,
    },
    filter::Filter,
    observation::{Observation, Seen},
    redact::Redactor,
};

use super::Inspection;
use crate::{
    host::{Arguments, DirectProc, Host},
    redacted::Redacted,
};

/// A host that answers `left` questions. After that everything is gone.
struct Vanishing<'a> {
    host: &'a DirectProc,
    left: Cell<usize>,
}

impl Vanishing<'_> {
    fn answers(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left > 0
    }
}

impl Host for Vanishing<'_> {
    fn process(&self, pid: u32) -> io::Result<Option<ProcessFacts>> {
        if self.answers() { self.host.process(pid) } else { Ok(None) }
    }

    fn arguments(&self, facts: &ProcessFacts) -> Result<Arguments, NotRead> {
        if self.answers() { self.host.arguments(facts) } else { Ok(Arguments::default()) }
    }

    fn thread_group(&self, tid: u32) -> Option<u32> {
        self.answers().then(|| self.host.thread_group(tid))?
    }

    fn is_there(&self, pid: u32, start_ticks: u64) -> bool {
        self.answers() && self.host.is_there(pid, start_ticks)
    }

    fn pids(&self) -> io::Result<Vec<u32>> {
        if self.answers() { self.host.pids() } else { Ok(Vec::new()) }
    }

    fn threads(&self, pid: u32) -> io::Result<Vec<ThreadFacts>> {
        if self.answers() { self.host.threads(pid) } else { Ok(Vec::new()) }
    }

    fn calls(&self, pid: u32) -> Vec<ThreadCall> {
        if self.answers() { self.host.calls(pid) } else { Vec::new() }
    }

    fn has_io_uring(&self, pid: u32) -> Option<bool> {
        self.answers().then(|| self.host.has_io_uring(pid))?
    }

    fn pipe_writers(&self) -> Option<PipeWriters> {
        self.answers().then(|| self.host.pipe_writers())?
    }

    fn cpu(&self, pid: u32) -> Option<CpuFacts> {
        self.answers().then(|| self.host.cpu(pid))?
    }

    fn cgroup(&self, pid: u32) -> Option<String> {
        self.answers().then(|| self.host.cgroup(pid))?
    }

    fn remote_mounts(&self, tid: u32) -> Vec<RemoteMount> {
        if self.answers() { self.host.remote_mounts(tid) } else { Vec::new() }
    }

    fn frozen(&self, pid: u32) -> Option<String> {
        self.answers().then(|| self.host.frozen(pid))?
    }

    fn pid_budget(&self, pid: u32, v1_group: Option<&str>, neighbour: Option<u32>) -> Option<PidBudget> {
        self.answers().then(|| self.host.pid_budget(pid, v1_group, neighbour))?
    }

    fn oci(&self, places: &[OciPlaces]) -> Result<Option<OciFacts>, NotRead> {
        if self.answers() { self.host.oci(places) } else { Ok(None) }
    }

    fn is_roots_file(&self, path: &str) -> Option<bool> {
        self.answers().then(|| self.host.is_roots_file(path))?
    }

    fn identity(&self) -> &HostIdentity {
        self.host.identity()
    }
}

/// A child that has exited and is reaped when this is dropped.
struct Zombie(Child);

impl Zombie {
    fn make(host: &DirectProc) -> (Self, ProcessFacts) {
        let zombie = Self(Command::new("true").spawn().expect("true is everywhere"));
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let facts = host.process(zombie.0.id()).expect("/proc can be read").expect("nobody reaps it");
            if facts.is_unreaped() {
                return (zombie, facts);
            }
            assert!(Instant::now() < deadline, "it does not exit");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Zombie {
    fn drop(&mut self) {
        let _status = self.0.wait();
    }
}

fn id(host: &DirectProc, facts: &ProcessFacts) -> ProcessId {
    ProcessId::new(facts.pid, facts.start_ticks * 1_000_000_000 / host.identity().ticks_per_second)
}

#[test]
fn a_process_that_vanishes_at_any_step_is_no_error_and_adds_no_wrong_facts() {
    let proc = DirectProc::new().expect("/proc can be read");
    let (_zombie, facts) = Zombie::make(&proc);
    let own = proc.process(std::process::id()).unwrap().expect("this process is there");
    let init = proc.process(1).unwrap().expect("PID 1 is there");
    let zombie = id(&proc, &facts);
    let record = TaskRecord {
        id: zombie,
        parent: id(&proc, &own),
        ns_init: id(&proc, &init),
        flags: TASK_ZOMBIE,
        ..TaskRecord::default()
    };
    let mut asked = 0;
    for answered in 0.. {
        let host = Vanishing { host: &proc, left: Cell::new(answered) };
        let redactor = Redactor::default();
        let look = Inspection::new(
            Redacted::new(&host, &redactor),
            None,
            vec![Task { record, cgroup: None }],
            Vec::new(),
        );
        let evidence =
            look.gather(facts.clone(), Some(zombie), Some(1)).expect("that it is gone is no error");
        if let Some(reaper) = &evidence.reaper {
            assert_eq!(reaper.facts.pid, std::process::id(), "another reaper than there is");
        }
        let knows_reaper = evidence.reaper.is_some();
        let seen = Seen::Unreaped { id: zombie, existing: false, evidence: Box::new(evidence) };
        let mut conclusions = Conclusions::new(proc.identity().clone(), 1, Filter::default());
        let events = conclusions.take(&Observation::at(2_000_000_000, seen));
        assert_eq!(events.len(), 1, "it is reported all the same");
        let finding = conclusions.open().next().expect("it is open");
        assert_eq!(finding.reaper.is_some(), knows_reaper, "after {answered} answers");
        if host.left.get() > 0 {
            asked = answered;
            break;
        }
    }
    assert!(asked > 3, "only {asked} questions are asked of a zombie");
}

/// The record that the task iterator has of a zombie.
fn whole(host: &DirectProc, facts: &ProcessFacts) -> TaskRecord {
    let mut record = TaskRecord {
        id: id(host, facts),
        parent: ProcessId::new(facts.ppid, 1),
        flags: TASK_ZOMBIE | TASK_WHOLE,
        pid_ns: facts.pid_ns.unwrap(),
        level: facts.level().unwrap(),
        css_set: 1,
        uid: facts.uid.unwrap(),
        exit_status: facts.exit_status.unwrap(),
        pgrp: facts.pgrp().unwrap(),
        ..TaskRecord::default()
    };
    record.comm[..facts.comm.len()].copy_from_slice(facts.comm.as_bytes());
    record.pids[..facts.ns_pids.len()].copy_from_slice(&facts.ns_pids);
    record
}

#[test]
fn one_read_of_proc_completes_the_facts_of_all_zombies_in_the_same_groups() {
    let proc = DirectProc::new().expect("/proc can be read");
    let zombies = [Zombie::make(&proc), Zombie::make(&proc), Zombie::make(&proc)];
    let task = |facts: &ProcessFacts| Task { record: whole(&proc, facts), cgroup: None };
    let host = Vanishing { host: &proc, left: Cell::new(1) };
    let redactor = Redactor::default();
    let look = Inspection::new(
        Redacted::new(&host, &redactor),
        None,
        zombies.iter().map(|(_, facts)| task(facts)).collect(),
        Vec::new(),
    );
    for (_, facts) in &zombies {
        // The task iterator reports the process group only as the initial PID namespace numbers it.
        let read = look.process_of(&id(&proc, facts)).unwrap().expect("it is there");
        assert_eq!(read.pgrp(), facts.pgrp());
        assert_eq!(read, ProcessFacts { ns_pgrps: read.ns_pgrps.clone(), ..facts.clone() });
    }
}

#[test]
fn an_exec_that_was_seeded_without_arguments_gets_them_later() {
    let proc = DirectProc::new().expect("/proc can be read");
    let own = proc.process(std::process::id()).unwrap().expect("this process is there");
    let (args, note) = proc.arguments(&own).unwrap();
    let redactor = Redactor::default();
    let missing = ArgsNote::of(&[], true);
    let seeded = ExecFacts { filename: "/bin/it".into(), args_note: missing, ..ExecFacts::default() };
    let completed = |answers: usize, exec: ExecFacts| {
        let host = Vanishing { host: &proc, left: Cell::new(answers) };
        let look = Inspection::new(Redacted::new(&host, &redactor), None, Vec::new(), Vec::new());
        look.with_arguments(own.clone(), Some(exec)).unwrap().1.expect("it is still there")
    };
    let exec = completed(1, seeded.clone());
    assert_eq!((exec.filename.as_str(), exec.args, exec.args_note), ("/bin/it", args, note));
    assert_eq!(completed(0, seeded.clone()), seeded, "nobody answers");
    let seen = ExecFacts { at_ns: 1, ..seeded.clone() };
    assert_eq!(completed(1, seen.clone()), seen, "the hook saw that they are longer than it stores");
    let empty = ExecFacts { args_note: ArgsNote::of(&[], false), ..seeded };
    assert_eq!(completed(1, empty.clone()), empty, "it has none");
}
