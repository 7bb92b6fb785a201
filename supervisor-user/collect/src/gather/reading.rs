//! Tests of evidence that depends on the system call of a real zombie's reaper.

use std::{
    io,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::WaitOptions;
use supervisor_ebpf::{CALL_WAIT4, ProcessId, TASK_ZOMBIE, TaskRecord, WAIT_PGID, Wait};
use supervisor_model::{
    evidence::{Evidence, Task},
    facts::{Call, OpenFile, ProcessFacts},
    redact::Redactor,
};

use super::Inspection;
use crate::{
    host::{DirectProc, Host as _},
    redacted::Redacted,
};

/// A process that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _gone_already = self.0.kill();
        let _status = self.0.wait();
    }
}

fn id(host: &DirectProc, facts: &ProcessFacts) -> ProcessId {
    ProcessId::new(facts.pid, facts.start_ticks * 1_000_000_000 / host.identity().ticks_per_second)
}

/// The evidence of a zombie.
fn gather_one(host: &DirectProc, facts: ProcessFacts, reaper: &ProcessFacts) -> Evidence {
    let zombie = id(host, &facts);
    let record =
        TaskRecord { id: zombie, parent: id(host, reaper), flags: TASK_ZOMBIE, ..TaskRecord::default() };
    let redactor = Redactor::default();
    let tasks = vec![Task { record, cgroup: None }];
    let look = Inspection::new(Redacted::new(host, &redactor), None, tasks, Vec::new());
    look.gather(facts, Some(zombie), Some(1)).expect("it can be read")
}

/// The evidence of the zombie that `parent` has, once `parent` is in a call that `is_there` accepts.
fn gather(host: &DirectProc, parent: u32, is_there: impl Fn(&Call) -> bool) -> Evidence {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let all = host.pids().expect("/proc can be read").into_iter();
        let mut processes = all.filter_map(|pid| host.process(pid).expect("/proc can be read"));
        let zombie = processes.find(|facts| facts.ppid == parent && facts.is_unreaped());
        let calls = host.calls(parent);
        if let Some(facts) = zombie
            && calls.iter().any(|thread| is_there(&thread.call))
        {
            let reaper = host.process(parent).expect("/proc can be read").expect("it lives");
            return gather_one(host, facts, &reaper);
        }
        assert!(Instant::now() < deadline, "no zombie, or another call: {calls:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_writer_of_the_pipe_that_a_reaper_reads_is_found() {
    let host = DirectProc::new().expect("/proc can be read");
    let (reader, writer) = io::pipe().expect("a pipe");
    // In its own process group, as a shell puts a background job.
    let holder =
        Command::new("sleep").arg("600").stdin(Stdio::null()).stdout(writer).process_group(0).spawn();
    let holder = Ends(holder.expect("sleep"));
    let shell =
        Command::new("sh").args(["-c", "true & exec cat"]).stdin(reader).stdout(Stdio::null()).spawn();
    let shell = Ends(shell.expect("sh"));
    let reads = |call: &Call| matches!(call, Call::Read { fd: 0, file: OpenFile::Pipe(_) });
    let evidence = gather(&host, shell.0.id(), reads);
    let pipe = evidence.reaper_pipe.expect("it reads one");
    let writers: Vec<(u32, &str, u32)> =
        pipe.writers.iter().map(|writer| (writer.pid, writer.comm.as_str(), writer.pgrp)).collect();
    assert_eq!(writers, [(holder.0.id(), "sleep", holder.0.id())]);
    assert_eq!(pipe.writers[0].is_descendant, None, "creators are not known without records");
    let facts = evidence.reaper.expect("it is known");
    assert_eq!((facts.calls.len(), facts.has_io_uring), (1, Some(false)));
}

#[test]
fn the_process_group_of_a_reported_zombie_is_read_if_its_reaper_waits_for_groups() {
    let host = DirectProc::new().expect("/proc can be read");
    let other = Ends(Command::new("sleep").arg("600").process_group(0).spawn().expect("sleep"));
    let group = rustix::process::Pid::from_child(&other.0);
    let waiting = thread::spawn(move || rustix::process::waitpgid(group, WaitOptions::empty()));
    let zombie = Ends(Command::new("true").process_group(0).spawn().expect("true"));
    let waits = |call: &Call| *call == Call::Wait(Wait::pack(CALL_WAIT4, WAIT_PGID, other.0.id(), 0));
    let deadline = Instant::now() + Duration::from_secs(20);
    let facts = loop {
        let facts = host.process(zombie.0.id()).expect("/proc can be read").expect("nobody reaps it");
        let calls = host.calls(std::process::id());
        if facts.is_unreaped() && calls.iter().any(|thread| waits(&thread.call)) {
            break facts;
        }
        assert!(Instant::now() < deadline, "no zombie, or another call: {calls:?}");
        thread::sleep(Duration::from_millis(1));
    };
    let own = host.process(std::process::id()).expect("/proc can be read").expect("it lives");
    // As the task iterator reports a zombie.
    let process = ProcessFacts { ns_pgrps: Vec::new(), ..facts.clone() };
    let evidence = gather_one(&host, process, &own);
    assert_eq!(evidence.facts.pgrp(), Some(zombie.0.id()), "it leads a group of its own");
    assert_eq!(evidence.facts.ns_pgrps, facts.ns_pgrps);
    drop(other);
    let _echild = waiting.join().expect("no panic");
}
