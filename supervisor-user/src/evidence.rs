//! What was observed of one leftover, gathered from the kernel side and the host before anything is
//! concluded from it.

use std::io;

use supervisor_ebpf::{Exec, Process, ProcessId, TASK_PARENT_IS_SUBREAPER, Wait};

use crate::{
    host::{Host, OciFacts, ProcessFacts, split_arguments},
    kernel::{ExitedTask, KernelError, Tracer},
};

/// Creators that are followed upwards.
const MAX_CREATORS: usize = 16;

/// Everything observed of one leftover. Absent is what could not be seen.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The process in `/proc`.
    pub facts: ProcessFacts,
    /// When its last thread exited.
    pub exit_ns: Option<u64>,
    /// Its exact start time, where the kernel side told it.
    pub start_ns: Option<u64>,
    /// What the task iterator says.
    pub task: Option<ExitedTask>,
    /// Its own exec, or its nearest forebear's if it has made none.
    pub exec: Option<ExecFacts>,
    /// Who must reap it.
    pub reaper: Option<ReaperFacts>,
    /// Who created it, nearest first.
    pub creators: Vec<CreatorFacts>,
    /// Its real parent when it was forked: not the creator after `CLONE_PARENT`.
    pub first_parent: Option<ProcessId>,
    /// Whether it has living or remembered children of its own.
    pub has_children: bool,
    /// PID 1 of its namespace.
    pub ns_init: Option<ProcessFacts>,
    /// Since when wait calls are seen, if none can have been forgotten.
    pub waits_known_since_ns: Option<u64>,
    /// What its container's files say.
    pub oci: Option<OciFacts>,
}

/// An exec, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecFacts {
    /// The file as it was named.
    pub filename: String,
    /// The file of the exec before, if there was one.
    pub previous: Option<String>,
    /// Those arguments that are whole in the first [`supervisor_ebpf::ARGV_LEN`] bytes.
    pub args: Vec<String>,
    /// Whether it was the process's own exec, and not a forebear's.
    pub own: bool,
}

/// A reaper as observed.
#[derive(Clone, Debug)]
pub struct ReaperFacts {
    /// In `/proc`.
    pub facts: ProcessFacts,
    /// Its identity, where the kernel side told it.
    pub id: Option<ProcessId>,
    /// Its exec.
    pub exec: Option<ExecFacts>,
    /// Whether it is a subreaper.
    pub is_subreaper: Option<bool>,
    /// Its last wait call.
    pub wait: Option<Wait>,
}

/// A creator as observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatorFacts {
    /// Its identity.
    pub id: ProcessId,
    /// Its name.
    pub comm: String,
    /// Its exec, or its nearest forebear's.
    pub exec: Option<ExecFacts>,
    /// Inode of its innermost PID namespace.
    pub pid_ns: u32,
    /// Level of that.
    pub level: u32,
    /// Its pid there.
    pub vpid: u32,
    /// Whether it exists no more.
    pub gone: bool,
}

/// What went wrong in gathering.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// On the kernel side.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// In `/proc`.
    #[error("cannot read /proc: {0}")]
    Host(#[from] io::Error),
}

/// Where evidence is gathered from.
pub struct Sources<'a> {
    /// The kernel side; without it there are no creators, execs and waits.
    pub tracer: Option<&'a Tracer>,
    /// The host.
    pub host: &'a dyn Host,
    /// Since when the hooks are attached.
    pub attached_ns: Option<u64>,
}

impl Sources<'_> {
    /// Gathers what is known of a confirmed leftover.
    ///
    /// # Errors
    ///
    /// If a map or `/proc` cannot be read. That something in them is not there is none.
    pub fn gather(
        &self,
        facts: ProcessFacts,
        exit_ns: Option<u64>,
        task: Option<ExitedTask>,
        id: Option<ProcessId>,
    ) -> Result<Evidence, EvidenceError> {
        let record = self.process(id)?;
        let creators = self.creators(record.as_ref())?;
        let exec = match self.exec(id)? {
            Some(exec) => Some(exec),
            None => inherited(record.as_ref(), &creators),
        };
        let reaper = self.reaper(&facts, task.as_ref())?;
        let ns_init = match task.as_ref().map(|task| task.record.ns_init) {
            Some(init) if init.is_known() => self.living(&init)?,
            _ => None,
        };
        let mut evidence = Evidence {
            exit_ns,
            start_ns: id.map(|id| id.start_ns),
            exec,
            reaper,
            creators,
            first_parent: record
                .as_ref()
                .filter(|record| record.creator.is_known())
                .map(|record| record.parent),
            has_children: record.is_some_and(|record| record.children.cast_signed() > 0),
            ns_init,
            waits_known_since_ns: self.waits_known_since()?,
            task,
            facts,
            oci: None,
        };
        let places = crate::attribution::oci_places(&evidence);
        if !places.is_empty() {
            evidence.oci = self.host.oci(&places);
        }
        Ok(evidence)
    }

    fn process(&self, id: Option<ProcessId>) -> Result<Option<Process>, KernelError> {
        match (self.tracer, id) {
            (Some(tracer), Some(id)) => tracer.process(&id),
            _ => Ok(None),
        }
    }

    fn exec(&self, id: Option<ProcessId>) -> Result<Option<ExecFacts>, KernelError> {
        match (self.tracer, id) {
            (Some(tracer), Some(id)) => Ok(tracer.exec(&id)?.as_ref().map(ExecFacts::from)),
            _ => Ok(None),
        }
    }

    /// The process of that identity, if it still exists.
    fn living(&self, id: &ProcessId) -> Result<Option<ProcessFacts>, io::Error> {
        let facts = self.host.process(id.tgid)?;
        Ok(facts.filter(|facts| starts_match(self.host, facts, id.start_ns)))
    }

    fn creators(&self, record: Option<&Process>) -> Result<Vec<CreatorFacts>, EvidenceError> {
        let mut creators: Vec<CreatorFacts> = Vec::new();
        let mut next = record.map(|record| record.creator);
        while let Some(id) = next.filter(|id| id.is_known() && creators.len() < MAX_CREATORS) {
            let Some(record) = self.process(Some(id))? else { break };
            let living = self.living(&id)?;
            creators.push(CreatorFacts {
                id,
                comm: living.as_ref().map_or_else(|| text(&record.comm), |living| living.comm.clone()),
                exec: self.exec(Some(id))?,
                pid_ns: record.pid_ns,
                level: record.level,
                vpid: record.vpid,
                gone: living.is_none(),
            });
            next = Some(record.creator);
        }
        // Who has made no exec still runs its creator's file.
        for i in (0..creators.len()).rev() {
            if creators[i].exec.is_none() {
                creators[i].exec = creators.get(i + 1).and_then(|above| above.exec.clone()).map(not_own);
            }
        }
        Ok(creators)
    }

    fn reaper(
        &self,
        facts: &ProcessFacts,
        task: Option<&ExitedTask>,
    ) -> Result<Option<ReaperFacts>, EvidenceError> {
        let Some(reaper) = self.host.process(facts.ppid)? else { return Ok(None) };
        // Between the iterator's pass and this look the reaper may have died, and another adopted.
        let seen = task.filter(|task| {
            task.record.parent.tgid == reaper.pid
                && starts_match(self.host, &reaper, task.record.parent.start_ns)
        });
        let id = seen.map(|task| task.record.parent);
        let wait = match (self.tracer, id) {
            (Some(tracer), Some(id)) => tracer.wait(&id)?,
            _ => None,
        };
        Ok(Some(ReaperFacts {
            exec: self.exec(id)?,
            is_subreaper: seen.map(|task| task.record.flags & TASK_PARENT_IS_SUBREAPER != 0),
            id,
            wait,
            facts: reaper,
        }))
    }

    /// The LRU of waits can have dropped a living process only if it was ever nearly full.
    fn waits_known_since(&self) -> Result<Option<u64>, KernelError> {
        let (Some(tracer), Some(attached_ns)) = (self.tracer, self.attached_ns) else { return Ok(None) };
        let counters = tracer.counters()?;
        let held = counters.waits_added.saturating_sub(counters.waits_removed);
        let sure = counters.lost_waits == 0 && held < u64::from(supervisor_ebpf::WAITS_ENTRIES / 2);
        Ok(sure.then_some(attached_ns))
    }
}

/// A process that was forked while we watched and made no exec runs the file of its creator.
fn inherited(record: Option<&Process>, creators: &[CreatorFacts]) -> Option<ExecFacts> {
    record.filter(|record| record.execed == 0)?;
    creators.first().and_then(|creator| creator.exec.clone()).map(not_own)
}

fn not_own(exec: ExecFacts) -> ExecFacts {
    ExecFacts { own: false, ..exec }
}

/// Whether a process in `/proc` is the one that started at that time.
#[must_use]
pub fn starts_match(host: &dyn Host, facts: &ProcessFacts, start_ns: u64) -> bool {
    let tick_ns = 1_000_000_000 / host.identity().ticks_per_second;
    facts.start_ticks == start_ns / tick_ns
}

impl From<&Exec> for ExecFacts {
    fn from(exec: &Exec) -> Self {
        let previous = text(&exec.previous);
        let bytes = &exec.argv[..(exec.argv_len as usize).min(exec.argv.len())];
        let mut args = split_arguments(bytes);
        if exec.argv_total > exec.argv_len {
            // The last one was cut, and half an id is a wrong id.
            args.pop();
        }
        Self {
            filename: text(&exec.filename),
            previous: (!previous.is_empty()).then_some(previous),
            args,
            own: true,
        }
    }
}

/// A NUL-terminated string of the kernel side.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
