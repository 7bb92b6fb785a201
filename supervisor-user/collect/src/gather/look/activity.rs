//! Finds out what a reaper does instead of reaping, where its own files in `/proc` are not enough.

use std::io;

use supervisor_ebpf::{Process, ProcessId, WAIT_PGID, WAITED_PGID, Wait};
use supervisor_model::facts::{
    Call, MAX_WRITERS, OpenFile, PipeFacts, PipeWriter, PipeWriters, ProcessFacts, SigChld,
};

use super::{EvidenceError, Inspection, MAX_CREATORS, ReaperFacts, cached, starts_match};
use crate::{host::Host as _, kernel::KernelError};

/// At most this many pipes of a reaper that polls are inspected.
const MAX_POLLED: usize = 16;

impl Inspection<'_> {
    /// The parent of a reaper that blocks `SIGCHLD`, if the parent blocks the signal too and has created the reaper. A
    /// parent that has adopted the reaper, as `systemd --user` does, blocks the signal for its own use.
    pub(super) fn blocking_parent(
        &self,
        reaper: &ProcessFacts,
        record: Option<&Process>,
    ) -> io::Result<Option<(u32, String)>> {
        let Some(creator) = record.map(|record| record.creator) else { return Ok(None) };
        if reaper.sigchld != Some(SigChld::Blocked) || creator.tgid != reaper.ppid {
            return Ok(None);
        }
        let parent = self.read(reaper.ppid)?.filter(|it| starts_match(&self.host, it, creator.start_ns));
        // `do_sigtimedwait()`, `kernel/signal.c`, unblocks the signals that it waits for while it sleeps.
        let waits_for_it = |parent: &ProcessFacts| {
            parent.wchan.as_deref().is_some_and(|wchan| wchan.contains("sigtimedwait"))
        };
        let blocks = parent.filter(|it| it.sigchld == Some(SigChld::Blocked) || waits_for_it(it));
        Ok(blocks.map(|parent| (parent.pid, parent.comm)))
    }

    /// The pipe that a thread of the reaper reads, and the processes that can write to it. If the reaper polls, this is
    /// the first pipe that it can read and that a descendant of the zombie holds open.
    pub(super) fn pipe(
        &self,
        reaper: &ReaperFacts,
        zombie: Option<ProcessId>,
    ) -> Result<Option<PipeFacts>, EvidenceError> {
        let read = reaper.calls.iter().find_map(|thread| match thread.call {
            Call::Read { file: OpenFile::Pipe(ino), .. } => Some(ino),
            _ => None,
        });
        let polls = reaper.calls.iter().any(|thread| thread.call == Call::Poll);
        if read.is_none() && !polls {
            return Ok(None);
        }
        let found = cached(&self.pipes, (), || Ok::<_, EvidenceError>(self.host.pipe_writers()))?;
        let Some(all) = &*found else {
            return Ok(read.map(|ino| PipeFacts { ino, writers: Vec::new(), is_complete: false }));
        };
        if let Some(ino) = read {
            return self.writers(all, ino, reaper, zombie).map(Some);
        }
        let own = all.readers.iter().filter(|(_, pid)| *pid == reaper.facts.pid).map(|(ino, _)| *ino);
        for ino in own.rev().take(MAX_POLLED) {
            let pipe = self.writers(all, ino, reaper, zombie)?;
            if pipe.writers.iter().any(|writer| writer.is_descendant == Some(true)) {
                return Ok(Some(pipe));
            }
        }
        Ok(None)
    }

    /// The processes that can write to a pipe of the reaper.
    fn writers(
        &self,
        all: &PipeWriters,
        ino: u64,
        reaper: &ReaperFacts,
        zombie: Option<ProcessId>,
    ) -> Result<PipeFacts, EvidenceError> {
        let pids = || all.pairs.iter().filter(|(of, pid)| *of == ino && *pid != reaper.facts.pid);
        let mut writers = Vec::new();
        let mut is_complete = all.is_complete && pids().count() <= MAX_WRITERS;
        for (_, pid) in pids().take(MAX_WRITERS) {
            let Some(facts) = self.read(*pid)? else {
                is_complete &= !self.is_not_read(*pid);
                continue;
            };
            let is_descendant = match zombie {
                Some(zombie) => self.is_descendant(&facts, zombie)?,
                None => None,
            };
            let pgrp = facts.pgrp().unwrap_or_default();
            writers.push(PipeWriter { pid: *pid, comm: facts.comm, is_descendant, pgrp, parent: facts.ppid });
        }
        Ok(PipeFacts { ino, writers, is_complete })
    }

    /// Whether `ancestor` is among the creators of a process. `None` if the creators are not known up to that point.
    fn is_descendant(&self, facts: &ProcessFacts, ancestor: ProcessId) -> Result<Option<bool>, KernelError> {
        let Some(records) = self.records else { return Ok(None) };
        let remembered = records.id_of(facts.pid)?;
        let mut next = remembered.filter(|id| starts_match(&self.host, facts, id.start_ns));
        for _ in 0..MAX_CREATORS {
            match next {
                Some(id) if id == ancestor => return Ok(Some(true)),
                // No process is older than its creator.
                Some(id) if id.start_ns < ancestor.start_ns => return Ok(Some(false)),
                Some(id) => next = records.process(&id)?.map(|it| it.creator).filter(ProcessId::is_known),
                None => break,
            }
        }
        Ok(None)
    }
}

/// Whether a reaper has waited for a process group, or waits for one now.
pub(super) fn waits_for_group(reaper: &ReaperFacts) -> bool {
    let of_call = |call: &Call| match call {
        Call::Wait(request) => Wait { request: *request, ..Wait::default() }.idtype() == WAIT_PGID,
        _ => false,
    };
    reaper.wait.is_some_and(|wait| wait.kinds & WAITED_PGID != 0 || wait.idtype() == WAIT_PGID)
        || reaper.calls.iter().any(|thread| of_call(&thread.call))
}
