//! Gathers the creators of a process.

use supervisor_ebpf::{Process, ProcessId};
use supervisor_model::{
    evidence::{CreatorFacts, EndFacts, text},
    shared::Shared,
};

use super::{super::execs::Execs, EvidenceError, Inspection, MAX_CREATORS, cached};
use crate::kernel::KernelError;

impl Inspection<'_> {
    /// The creators of a process, nearest first, each with the program that it ran when it forked the one before it.
    pub(super) fn creators_of(
        &self,
        id: &ProcessId,
        nearest: ProcessId,
    ) -> Result<Shared<Vec<CreatorFacts>>, EvidenceError> {
        let found = cached(&self.creators, nearest, || self.creator(nearest))?;
        let Some((_, execs, _)) = &*found else { return Ok(Shared::default()) };
        // All processes that it forked while it ran the same program share the list.
        let forked_ns = execs.representative(id.start_ns);
        let creators = cached(&self.ancestries, (nearest, forked_ns), || self.ancestry(nearest, forked_ns))?;
        Ok((*creators).clone())
    }

    /// The ancestry of a process: its creator `nearest`, which forked it at that time, and the creators above.
    pub(super) fn ancestry(
        &self,
        nearest: ProcessId,
        forked_ns: u64,
    ) -> Result<Shared<Vec<CreatorFacts>>, EvidenceError> {
        let mut creators: Vec<(CreatorFacts, Execs)> = Vec::new();
        let mut next = nearest;
        while next.is_known() && creators.len() < MAX_CREATORS {
            let found = cached(&self.creators, next, || self.creator(next))?;
            let Some((creator, execs, above)) = &*found else { break };
            creators.push((creator.clone(), execs.clone()));
            next = *above;
        }
        // From the farthest creator down, because each one may run the program that the creator above it ran at the
        // fork.
        for i in (0..creators.len()).rev() {
            let forked_ns = if i == 0 { forked_ns } else { creators[i - 1].0.id.start_ns };
            let inherited = creators.get(i + 1).and_then(|(above, _)| above.exec.clone());
            let (creator, execs) = &mut creators[i];
            let exec = execs.at(forked_ns, inherited.as_ref());
            creator.exec = exec.map(|exec| self.with_owner(exec)).transpose()?;
            creator.has_executed_since = execs.since(forked_ns);
        }
        Ok(creators.into_iter().map(|(creator, _)| creator).collect::<Vec<_>>().into())
    }

    /// A creator without its exec, its execs, and the identity of its own creator.
    pub(super) fn creator(
        &self,
        id: ProcessId,
    ) -> Result<Option<(CreatorFacts, Execs, ProcessId)>, EvidenceError> {
        let Some(record) = self.process(Some(id))? else { return Ok(None) };
        let living = self.process_of(&id)?;
        let mut last = self.exec(Some(id))?;
        if let Some(living) = living.as_ref().filter(|_| last.is_some()) {
            last = self.with_arguments(living.clone(), last)?.1;
        }
        let execs = Execs { last, any: record.execed != 0 };
        let facts = CreatorFacts {
            id,
            comm: living
                .as_ref()
                .map_or_else(|| self.host.text(text(&record.comm)), |living| living.comm.clone()),
            exec: None,
            has_executed_since: false,
            pid_ns: record.pid_ns,
            level: record.level,
            vpid: record.vpid,
            // A late read does not mean that it is gone.
            gone: record.released == 1 || (living.is_none() && !self.is_not_read(id.tgid)),
            end: self.end(&id, &record)?,
        };
        Ok(Some((facts, execs, record.creator)))
    }

    pub(super) fn end(&self, id: &ProcessId, record: &Process) -> Result<Option<EndFacts>, KernelError> {
        let Some(records) = self.records.filter(|_| record.released == 1) else { return Ok(None) };
        let end = records.end(id)?;
        Ok(end.map(|end| EndFacts {
            status: end.status,
            at_ns: end.exit_ns,
            killed_by: end
                .kill
                .by
                .is_known()
                .then(|| (end.kill.by.tgid, self.host.text(text(&end.kill.comm)))),
        }))
    }
}
