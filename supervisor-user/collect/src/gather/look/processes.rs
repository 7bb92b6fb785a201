//! Reads single processes, from the pass of the task iterator where that reports all, and from `/proc` otherwise.

use std::{io, thread};

use supervisor_ebpf::{ProcessId, TASK_WHOLE, TaskRecord};
use supervisor_model::{
    evidence::{ExecFacts, Task, text},
    facts::{ArgsNote, ProcessFacts, ThreadFacts},
};

use super::{Inspection, REAP_STOP, REAP_STOPS, cached, start_ticks, starts_match};
use crate::{host::Host, kernel::KernelError};

impl Inspection<'_> {
    /// The process with that identity, if it still exists. The facts come from `/proc`, or for one of many zombies from
    /// the task iterator.
    ///
    /// # Errors
    ///
    /// If `/proc` cannot be read.
    pub fn process_of(&self, id: &ProcessId) -> Result<Option<ProcessFacts>, io::Error> {
        let exited = self.tasks.get(id);
        if let Some(facts) = exited.and_then(|task| self.zombie(task)) {
            return Ok(Some(facts));
        }
        let facts = self.read(id.tgid)?.filter(|facts| starts_match(&self.host, facts, id.start_ns));
        if facts.is_none() && self.is_not_read(id.tgid) {
            // A late read does not hide a zombie. Only the control group is not known.
            return Ok(exited.and_then(|task| self.recorded(&task.record, None)));
        }
        if let (Some(facts), Some(task)) = (&facts, exited)
            && task.record.flags & TASK_WHOLE != 0
            && facts.is_unreaped()
        {
            self.groups.borrow_mut().insert((task.record.css_set, task.cgroup.clone()), facts.cgroup.clone());
        }
        Ok(facts)
    }

    /// Whether a zombie was not reaped while its evidence was gathered. Gathering takes long on a busy machine.
    #[must_use]
    pub fn is_still_there(&self, id: &ProcessId) -> bool {
        self.host.is_there(id.tgid, start_ticks(&self.host, id.start_ns))
    }

    /// The facts that `/proc` would show of a zombie, made from its record. `None` if the record does not contain them
    /// all, or if no zombie in the same control groups was read in `/proc` before.
    pub(super) fn zombie(&self, Task { record, cgroup }: &Task) -> Option<ProcessFacts> {
        let cgroup = self.groups.borrow().get(&(record.css_set, cgroup.clone()))?.clone();
        self.recorded(record, cgroup)
    }

    /// The facts that `/proc` would show of a zombie with that control group. `None` if the record does not contain
    /// them all.
    pub(super) fn recorded(&self, record: &TaskRecord, cgroup: Option<String>) -> Option<ProcessFacts> {
        if record.flags & TASK_WHOLE == 0 {
            return None;
        }
        Some(ProcessFacts {
            pid: record.id.tgid,
            ppid: record.parent.tgid,
            comm: self.host.text(text(&record.comm)),
            state: 'Z',
            start_ticks: start_ticks(&self.host, record.id.start_ns),
            exit_status: Some(record.exit_status),
            ns_pids: record.pids.get(..=record.level as usize)?.to_vec(),
            pid_ns: Some(record.pid_ns),
            uid: Some(record.uid),
            live_threads: 0,
            threads: 1,
            tracer: None,
            child_faults: 0,
            sigchld_pending: false,
            dumps_core: false,
            ns_pgrps: Vec::from([record.pgrp]),
            wchan: None,
            sigchld: None,
            sigchld_caught: None,
            exe: None,
            args: Vec::new(),
            args_note: ArgsNote::default(),
            args_not_read: None,
            cgroup,
        })
    }

    /// Adds the process groups of a zombie in a nested PID namespace whose facts come from the task iterator. The
    /// record has the process group only as the initial PID namespace numbers it.
    pub(super) fn with_groups(&self, facts: ProcessFacts) -> io::Result<ProcessFacts> {
        if facts.ns_pgrps.len() == facts.ns_pids.len() {
            return Ok(facts);
        }
        let read = self.read(facts.pid)?.filter(|read| read.start_ticks == facts.start_ticks);
        Ok(ProcessFacts { ns_pgrps: read.map(|read| read.ns_pgrps).unwrap_or_default(), ..facts })
    }

    /// A process in `/proc`, which is read once.
    pub(super) fn read(&self, pid: u32) -> io::Result<Option<ProcessFacts>> {
        let read = || {
            let facts = self.host.process(pid)?;
            if self.host.was_not_read() {
                self.not_read.borrow_mut().insert(pid);
            }
            Ok::<_, io::Error>(facts)
        };
        Ok((*cached(&self.processes, pid, read)?).clone())
    }

    /// Whether [`Inspection::read`] got no answer in time.
    pub(super) fn is_not_read(&self, pid: u32) -> bool {
        self.not_read.borrow().contains(&pid)
    }

    pub(super) fn threads(&self, facts: &ProcessFacts) -> io::Result<Vec<ThreadFacts>> {
        if facts.threads <= 1 {
            return Ok(Vec::new());
        }
        Ok((*cached(&self.threads, facts.pid, || self.host.threads(facts.pid))?).clone())
    }

    /// Adds the arguments of a living process whose exec is not known, or was seeded without them. They are in the
    /// memory of the process. The process can lock that memory and write anything there, so the arguments that the exec
    /// hook saw are better.
    pub(in crate::gather) fn with_arguments(
        &self,
        facts: ProcessFacts,
        exec: Option<ExecFacts>,
    ) -> Result<(ProcessFacts, Option<ExecFacts>), KernelError> {
        let is_known = exec.as_ref().is_some_and(|exec| !exec.lacks_arguments());
        if is_known || matches!(facts.state, 'Z' | 'X') {
            return Ok((facts, exec));
        }
        Ok(match (self.host.arguments(&facts), exec) {
            (Ok((args, args_note)), None) => (ProcessFacts { args, args_note, ..facts }, None),
            (Ok((args, args_note)), Some(exec)) if !args.is_empty() => {
                (facts, Some(self.with_owner(ExecFacts { args, args_note, ..exec })?))
            }
            (Ok(_), exec) => (facts, exec),
            (Err(why), exec) => (ProcessFacts { args_not_read: Some(why), ..facts }, exec),
        })
    }

    /// A process as it is outside of the moment in which `supervisor reap` or `[reap]` stops it.
    pub(super) fn unstopped(&self, pid: u32) -> io::Result<Option<ProcessFacts>> {
        let mut facts = self.read(pid)?;
        for _ in 0..REAP_STOPS {
            if facts.as_ref().is_none_or(|facts| facts.state != 't') {
                break;
            }
            thread::sleep(REAP_STOP);
            facts = self.host.process(pid)?;
        }
        Ok(facts)
    }
}
