//! Reconciles what is known with the list of processes of the kernel, and reports losses.

use std::collections::{HashMap, HashSet};

use supervisor_ebpf::{ProcessId, Unreaped};
use supervisor_model::{
    clock,
    event::Loss,
    observation::{Observation, Seen},
};

use super::{
    FREES_WITHIN_NS, Observer, RECONCILE_NS, RECONCILE_SOON_NS, TELL_LOSS_NS, TELL_MINOR_LOSS_NS,
    await_frees, gone,
};
use crate::{
    host::Host,
    kernel::{KernelError, Scan},
    stuck::all_exiting,
};

impl<H: Host> Observer<H> {
    /// Adds the records that the kernel side could not store or send since the last tick, and the reads of the host
    /// that were lost.
    pub(super) fn look_for_losses(&mut self, now_ns: u64) -> Result<(), KernelError> {
        let now = self.counters()?;
        let before = std::mem::replace(&mut self.counters, now);
        let reads = self.host.reads_lost();
        let before_reads = std::mem::replace(&mut self.reads_lost, reads);
        self.loss.reads += (reads.late - before_reads.late) + (reads.skipped - before_reads.skipped);
        let exits = now.lost_exits - before.lost_exits;
        let events = now.lost_events - before.lost_events;
        self.loss.exits += exits;
        self.loss.reaps += events + (now.lost_frees - before.lost_frees);
        self.loss.records += (now.lost_forks - before.lost_forks)
            + (now.lost_execs - before.lost_execs)
            + (now.lost_waits - before.lost_waits)
            + (now.evicted - before.evicted)
            + (now.lost_kills - before.lost_kills);
        if now.kills > before.kills {
            self.exiting.killed(now_ns);
        }
        if exits + events > 0 {
            self.lost_ns = now_ns;
            self.reconcile_by(now_ns);
        }
        Ok(())
    }

    /// Brings the next reconciliation forward, but keeps it at least [`RECONCILE_SOON_NS`] after the last one.
    pub(super) fn reconcile_by(&mut self, now_ns: u64) {
        self.reconcile_ns = self.reconcile_ns.min(now_ns.max(self.reconciled_ns + RECONCILE_SOON_NS));
    }

    /// Reconciles the ledger with the kernel's list of processes: after a loss, and periodically, because a loss may
    /// have been counted nowhere.
    pub(super) fn reconcile(&mut self, now_ns: u64, seen: &mut Vec<Observation>) -> Result<(), KernelError> {
        if now_ns < self.reconcile_ns {
            return Ok(());
        }
        self.missed = self.tracer.missed()?;
        let mut ending = Vec::new();
        let exited = self.tracer.scan(Scan::Reconcile, |record| ending.push(*record))?;
        let present = all_exiting(self.tracer.remembered(), &exited, &ending)?;
        let entries = self.tracer.records().unreaped()?;
        let read_ns = clock::now_ns();
        for (id, since_ns) in present {
            self.exiting.seen(id, since_ns, read_ns);
        }
        self.ledger.walk(&entries, read_ns);
        let present: HashSet<ProcessId> = exited.iter().map(|task| task.record.id).collect();
        let stored: HashMap<ProcessId, &Unreaped> = entries.iter().map(|entry| (entry.id, entry)).collect();
        for (id, was) in self.ledger.reconcile(&present, &entries) {
            // The reap itself may have been seen: perhaps only the free was missed, or is late.
            let release = stored.get(&id).and_then(|entry| self.release(entry.release_ns, entry.reaper));
            self.loss.closed += 1;
            seen.push(gone(id, was, now_ns, None, release));
        }
        let all_stored = present.iter().all(|id| stored.contains_key(id));
        self.reconciled_ns = now_ns;
        let soon = !all_stored || self.ledger.is_reconciling();
        self.reconcile_ns = now_ns + if soon { RECONCILE_SOON_NS } else { RECONCILE_NS };
        Ok(())
    }

    /// Reports the losses, at most once in [`TELL_LOSS_NS`], or in [`TELL_MINOR_LOSS_NS`] if they affected no finding.
    pub(super) fn tell_loss(&mut self, now_ns: u64, seen: &mut Vec<Observation>) {
        self.loss.found += self.ledger.take_found();
        let Loss { since_ns, reaps, .. } = self.loss;
        if self.loss == (Loss { since_ns, ..Loss::default() }) {
            self.loss.since_ns = now_ns;
            return;
        }
        // `reaps` counts frees that were not seen and reap events that were not sent. If they closed no finding, they
        // are those of processes that were not reported.
        let is_minor = self.loss == (Loss { since_ns, reaps, ..Loss::default() });
        let pause_ns = if is_minor { TELL_MINOR_LOSS_NS } else { TELL_LOSS_NS };
        let is_reconciled = self.reconciled_ns >= self.lost_ns && !self.ledger.is_reconciling();
        if now_ns.saturating_sub(self.told_ns) >= pause_ns && (is_reconciled || self.told_ns == 0) {
            let loss = std::mem::replace(&mut self.loss, Loss { since_ns: now_ns, ..Loss::default() });
            self.told_ns = now_ns;
            seen.push(Observation::at(now_ns, Seen::Lost { loss }));
        }
    }

    /// How many entries of the kernel's table are stale: the process is gone, its free was not seen, and its slot was
    /// not used again.
    pub(super) fn count_unseen_frees(&mut self) -> Result<u64, KernelError> {
        let mut stored = self.tracer.records().unreaped()?;
        let exited = self.tracer.scan(Scan::Exited, |_| {})?;
        let exited: HashSet<ProcessId> = exited.iter().map(|task| task.record.id).collect();
        stored.retain(|entry| !exited.contains(&entry.id));
        // A free follows its reap with a delay: the frees that are on their way get time to arrive. An entry also goes when
        // its slot is used again, which happens all the time on a busy host.
        let until_ns = clock::now_ns() + FREES_WITHIN_NS;
        while !stored.is_empty() && clock::now_ns() < until_ns {
            await_frees();
            let still: HashSet<ProcessId> =
                self.tracer.records().unreaped()?.into_iter().map(|entry| entry.id).collect();
            let before = stored.len();
            stored.retain(|entry| still.contains(&entry.id));
            if stored.len() == before {
                break;
            }
        }
        Ok(stored.len() as u64)
    }
}
