//! Inspects the processes whose time has come.

use supervisor_model::{
    clock,
    observation::{Observation, Seen},
};

use super::{INSPECT_NS, Observer, REVIEW_PAUSE, REVIEW_PAUSE_MAX_NS, REVIEWS};
use crate::{
    exiting::ExitVerdict,
    gather::{EvidenceError, Inspection},
    host::Host,
    kernel::{KernelError, Scan},
    ledger::{Due, Settled},
    redacted::Redacted,
    stuck::{all_exiting, inspect},
};

impl<H: Host> Observer<H> {
    /// Searches for processes that were told to exit and have not, if that is due: the grace period of a SIGKILL is
    /// over, or such a process is known. Each reconciliation searches for others.
    pub(super) fn look_at_exiting(
        &mut self,
        now_ns: u64,
        seen: &mut Vec<Observation>,
    ) -> Result<(), EvidenceError> {
        if !self.exiting.is_due(now_ns) {
            return Ok(());
        }
        let mut ending = Vec::new();
        let exited = self.tracer.scan(Scan::Exited, |record| ending.push(*record))?;
        let present = all_exiting(self.tracer.remembered(), &exited, &ending)?;
        let read_ns = clock::now_ns();
        for id in self.exiting.scanned(&present, read_ns, read_ns.saturating_sub(now_ns)) {
            seen.push(Observation::at(read_ns, Seen::Finished { id }));
        }
        let due = self.exiting.due(read_ns);
        if due.is_empty() {
            return Ok(());
        }
        let mut living = Vec::new();
        let exited = self.tracer.scan(Scan::All, |record| living.push(*record))?;
        let host = Redacted::new(&self.host, &self.redactor);
        let look = Inspection::new(host, Some(self.tracer.remembered()), exited, living);
        let until_ns = clock::now_ns() + INSPECT_NS;
        for (id, since_ns) in due {
            if clock::now_ns() > until_ns {
                break;
            }
            let (inspected, evidence) = inspect(&look, id, since_ns)?;
            let inspected_ns = clock::now_ns();
            let found = match (self.exiting.settle(&id, inspected, inspected_ns), evidence) {
                (ExitVerdict::Stuck, Some(evidence)) => {
                    Seen::Stuck { id, grace_ns: self.exiting.grace_ns(), evidence }
                }
                (ExitVerdict::Finished, _) => Seen::Finished { id },
                _ => continue,
            };
            seen.push(Observation::at(inspected_ns, found));
        }
        Ok(())
    }

    /// Drops the candidates that nobody wants to observe, for the rest of the watch.
    pub(super) fn leave_out_unwanted(&mut self, due: &mut Vec<Due>, now_ns: u64) -> Result<(), KernelError> {
        let Some(wanted) = &self.wanted else { return Ok(()) };
        for one in std::mem::take(due) {
            if wanted(self.tracer.records(), &one.id)? {
                due.push(one);
            } else {
                self.ledger.settle(&one.id, Settled::Unwanted, now_ns);
            }
        }
        Ok(())
    }

    /// Inspects the candidates that are due. A candidate is observed only if `/proc`, or the task iterator now, agrees
    /// that it is the same process, and that it and all its threads have exited.
    #[expect(clippy::too_many_lines, reason = "the outcomes of one inspection side by side")]
    pub(super) fn look_at_due(
        &mut self,
        now_ns: u64,
        seen: &mut Vec<Observation>,
    ) -> Result<(), EvidenceError> {
        let mut due = self.ledger.due(now_ns, if now_ns < self.review_ns { 0 } else { REVIEWS });
        self.leave_out_unwanted(&mut due, now_ns)?;
        if due.is_empty() {
            return Ok(());
        }
        let mut living = Vec::new();
        let are_reviewed = due.iter().any(|due| due.is_reported);
        let scan = if due.iter().all(|due| due.is_reported) { Scan::Exited } else { Scan::All };
        let exited = self.tracer.scan(scan, |record| living.push(*record))?;
        let scanned_ns = clock::now_ns();
        let until_ns = scanned_ns + INSPECT_NS.max(scanned_ns.saturating_sub(now_ns));
        let look = Inspection::new(
            Redacted::new(&self.host, &self.redactor),
            Some(self.tracer.remembered()),
            exited,
            living,
        );
        for Due { id, exit_ns, .. } in due {
            if clock::now_ns() > until_ns {
                self.ledger.resume_at(now_ns);
                break;
            }
            let facts = look.process_of(&id)?;
            let read_ns = clock::now_ns();
            let Some(facts) = facts else {
                self.ledger.settle(&id, Settled::NotYet, read_ns);
                continue;
            };
            if facts.is_unreaped() {
                if self.ledger.release(&id, read_ns) {
                    seen.push(Observation::at(read_ns, Seen::Released { id }));
                }
                // It became a zombie late, so its grace period is not over.
                if !self.ledger.has_waited(&id, read_ns) {
                    continue;
                }
                let existing = exit_ns.is_none() && self.existing.contains_key(&id);
                let exit_ns = exit_ns.or_else(|| self.existing.get(&id).copied().flatten());
                let evidence = Box::new(look.gather(facts, Some(id), exit_ns)?);
                let gathered_ns = clock::now_ns();
                if !look.is_still_there(&id) {
                    self.ledger.settle(&id, Settled::NotYet, read_ns);
                    continue;
                }
                seen.push(Observation::at(gathered_ns, Seen::Unreaped { id, existing, evidence }));
                self.ledger.settle(&id, Settled::Reported, read_ns);
            } else if look.is_held_init(&id, &facts)? {
                let exit_ns = exit_ns.or_else(|| self.existing.get(&id).copied().flatten());
                let init = look.gather(facts, Some(id), exit_ns)?;
                let evidence = Box::new(look.namespace(init)?);
                seen.push(Observation::at(clock::now_ns(), Seen::Held { id, evidence }));
                self.ledger.settle(&id, Settled::Stuck, read_ns);
            } else {
                self.exiting.seen(id, exit_ns, read_ns);
                self.ledger.settle(&id, Settled::NotYet, read_ns);
            }
        }
        if are_reviewed {
            let done_ns = clock::now_ns();
            let pause_ns = (done_ns.saturating_sub(now_ns) * REVIEW_PAUSE).min(REVIEW_PAUSE_MAX_NS);
            self.review_ns = done_ns + pause_ns;
        }
        Ok(())
    }
}
