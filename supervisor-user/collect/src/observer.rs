//! The watch: kernel and host → ledger → evidence → observations. It decides when each process is inspected; the
//! conclusions are drawn from its observations elsewhere.

mod due;
mod losses;

use std::{collections::HashMap, io, os::fd::OwnedFd, thread, time::Duration};

use rustix::thread::{MembarrierCommand, membarrier};
use supervisor_ebpf::{Counters, Exec, ProcessId, TASK_ENDING, TASK_EXITING};
use supervisor_model::{
    clock,
    event::Loss,
    evidence::text,
    facts::{NotRead, ProcessFacts},
    observation::{Observation, Release, Seen},
    redact::Redactor,
};

use crate::{
    exiting::Exiting,
    gather::{EvidenceError, Inspection, starts_match},
    host::{Arguments, Host, ReadsLost},
    kernel::{KernelError, LoadOptions, Programs, Records, Scan, SimulatedLoss},
    ledger::{Ledger, Was},
    redacted::Redacted,
};

/// An epoch that holds fewer processes than the ledger knows counts as a loss only after this many ticks: the event of
/// a reap is on its way for a moment.
pub(crate) const UNTOLD_TICKS: u32 = 3;

/// The time between two reconciliations of the ledger with the kernel's list of processes, without a cause.
pub(crate) const RECONCILE_NS: u64 = 30_000_000_000;
/// The time between two reconciliations with a cause: a loss, or a table that has no room for all zombies.
pub(crate) const RECONCILE_SOON_NS: u64 = 2_000_000_000;
/// The shortest time between two reports of losses.
const TELL_LOSS_NS: u64 = 5_000_000_000;
/// The same for losses that affected no finding.
const TELL_MINOR_LOSS_NS: u64 = 60_000_000_000;
/// How many reported processes one tick inspects again at most.
const REVIEWS: usize = 64;
/// After that, the next such inspection waits this many times as long as the last took. So a hundred thousand zombies
/// cost no more than a few.
const REVIEW_PAUSE: u64 = 50;
/// The upper bound of that wait.
const REVIEW_PAUSE_MAX_NS: u64 = 30_000_000_000;
/// How long one tick inspects candidates, and then exiting processes, before it leaves the rest to the next tick. The
/// inspections of candidates may take longer: as long as the tick took up to the end of the scan before them.
const INSPECT_NS: u64 = 500_000_000;
/// How long the free of a process may take after the RCU grace period that follows its reap.
const FREE_DELAY: Duration = Duration::from_millis(100);
/// At the end, frees get this time to arrive.
const FREES_WITHIN_NS: u64 = 2_000_000_000;

/// How long a state must last until it is observed.
#[derive(Clone, Copy, Debug)]
pub struct Grace {
    /// A process is unreaped.
    pub zombie_ns: u64,
    /// A process was told to exit and has not.
    pub exit_ns: u64,
}

/// A running watch: it owns the kernel side, the ledger and the state of the losses.
pub struct Observer<H: Host> {
    tracer: Programs,
    host: H,
    redactor: Redactor,
    ledger: Ledger,
    exiting: Exiting,
    counters: Counters,
    /// The losses because the kernel skipped hooks, as of the last reconciliation.
    missed: Counters,
    reads_lost: ReadsLost,
    untold_ticks: u32,
    loss: Loss,
    lost_ns: u64,
    told_ns: u64,
    reconcile_ns: u64,
    reconciled_ns: u64,
    /// No reported process is inspected again before this.
    review_ns: u64,
    /// How many frees had not been seen at the end.
    unseen_frees: u64,
    /// The processes that the first scan found to have exited, each with its exit time if another run has seen the
    /// exit. Some can have exited after the hooks were attached.
    existing: HashMap<ProcessId, Option<u64>>,
    /// Which processes are observed; all of them if nobody has set this.
    wanted: Option<Box<Wanted>>,
}

/// Whether a process is to be observed.
pub type Wanted = dyn Fn(&Records, &ProcessId) -> Result<bool, KernelError>;

impl<H: Host> Observer<H> {
    /// Attaches the hooks first, then scans the processes that exist already. A process is observed from the end of its
    /// grace period on. With `log`, the programs' own lines are logged. `simulated_loss` names the losses to simulate.
    ///
    /// # Errors
    ///
    /// If the kernel side cannot be started, or `/proc` cannot be read.
    pub fn start(
        host: H,
        redactor: Redactor,
        grace: Grace,
        log: bool,
        simulated_loss: SimulatedLoss,
    ) -> Result<Self, EvidenceError> {
        let mut ledger = Ledger::new(grace.zombie_ns);
        let report_after_ns = ledger.report_after_ns();
        let is_complete = simulated_loss.is_none();
        let mut tracer =
            Programs::start(&LoadOptions { report_after_ns, log, attach: true, simulated_loss })?;
        let attached_ns = clock::now_ns();
        // A simulated loss has to show the behaviour of this watch alone.
        let older = if is_complete { tracer.find_older() } else { None };
        let mut exits = older.and_then(|older| older.exits().ok()).unwrap_or_default();
        let mut living = Vec::new();
        let mut ending = Vec::new();
        let mut init = None;
        let exited = tracer.scan(Scan::Seed, |record| {
            if record.flags & TASK_ENDING != 0 {
                ending.push(record.id);
            }
            living.push(record.id);
            init = init.or((record.level == 0).then_some(record.ns_init));
        })?;
        let exiting = exited.iter().filter(|task| task.record.flags & TASK_EXITING != 0);
        ending.extend(exiting.map(|task| task.record.id));
        let scanned_ns = clock::now_ns();
        let mut exiting = Exiting::new(grace.exit_ns);
        for id in ending {
            exiting.seen(id, None, scanned_ns);
        }
        // The iterator was seen to skip the host's PID 1, which is still the creator of its descendants.
        living.extend(init);
        for id in living {
            // Kernel threads have made no exec.
            let facts = host.process(id.tgid)?;
            if let Some(facts) = facts.filter(|facts| starts_match(&host, facts, id.start_ns))
                && let Some(exec) = exec_of(&facts, || host.arguments(&facts))
            {
                tracer.seed_exec(&id, &exec)?;
            }
        }
        ledger.begin(exited.iter().map(|task| task.record.id));
        let counters = tracer.records().counters()?;
        Ok(Self {
            tracer,
            host,
            redactor,
            ledger,
            exiting,
            counters,
            missed: Counters::default(),
            reads_lost: ReadsLost::default(),
            untold_ticks: 0,
            loss: Loss { since_ns: attached_ns, ..Loss::default() },
            lost_ns: 0,
            told_ns: attached_ns,
            reconcile_ns: attached_ns + RECONCILE_NS,
            reconciled_ns: attached_ns,
            review_ns: 0,
            unseen_frees: 0,
            existing: exited.iter().map(|task| (task.record.id, exits.remove(&task.record.id))).collect(),
            wanted: None,
        })
    }

    /// Observes only the zombies that `wanted` selects. No others are inspected.
    pub fn observe_only(&mut self, wanted: Box<Wanted>) {
        self.wanted = Some(wanted);
    }

    /// Takes over a process that an earlier run has reported, if the first scan found that it had exited and was not
    /// reaped. Returns whether it did so. `exit_ns` is when the process exited, if the earlier run has seen that. Call
    /// it before the first tick.
    pub fn take_over(&mut self, id: &ProcessId, was: Was, exit_ns: Option<u64>) -> bool {
        let Some(known) = self.existing.get_mut(id) else { return false };
        *known = exit_ns.or(*known);
        self.ledger.take_over(*id, was, clock::now_ns());
        true
    }

    /// The same for a process that an earlier run has reported as unable to exit; `since_ns` is since when.
    pub fn take_over_exit(&mut self, id: &ProcessId, since_ns: Option<u64>) -> bool {
        self.exiting.take_over(id, since_ns)
    }

    /// A descriptor that becomes readable when the kernel side has reported a reap; then call [`Observer::drain`].
    ///
    /// # Errors
    ///
    /// If there are too many descriptors.
    pub fn event_fd(&self) -> io::Result<OwnedFd> {
        self.tracer.event_fd()
    }

    /// The kernel side, for its log.
    pub fn programs_mut(&mut self) -> &mut Programs {
        &mut self.tracer
    }

    /// The kernel side, read-only.
    pub fn programs(&self) -> &Programs {
        &self.tracer
    }

    /// The host that this watches.
    pub fn host(&self) -> &H {
        &self.host
    }

    /// Scans all processes and returns an inspection, which gathers evidence on request.
    ///
    /// # Errors
    ///
    /// If the task iterator cannot be read.
    pub fn look(&mut self) -> Result<Inspection<'_>, KernelError> {
        let mut living = Vec::new();
        let exited = self.tracer.scan(Scan::All, |record| living.push(*record))?;
        let host = Redacted::new(&self.host, &self.redactor);
        Ok(Inspection::new(host, Some(self.tracer.remembered()), exited, living))
    }

    /// All counts since the start.
    ///
    /// # Errors
    ///
    /// If the counters cannot be read.
    pub fn counters(&self) -> Result<Counters, KernelError> {
        Ok(self.tracer.records().counters()? + self.missed)
    }

    /// The number of all losses from the start to [`Observer::finish`]: records that could not be stored or sent, and
    /// frees that were not seen.
    ///
    /// # Errors
    ///
    /// If the counters cannot be read.
    pub fn lost(&self) -> Result<u64, KernelError> {
        let counters = self.counters()?;
        Ok(counters.lost_exits
            + counters.lost_events
            + counters.lost_frees
            + counters.lost_forks
            + counters.lost_execs
            + counters.lost_waits
            + counters.evicted
            + counters.lost_kills
            + self.unseen_frees)
    }

    /// Inspects again processes that were observed as unreaped, each with its exit time if that is known. It omits a
    /// process that has changed, and those that it cannot inspect `within` this time. Call it between ticks.
    ///
    /// # Errors
    ///
    /// If a map or `/proc` cannot be read.
    pub fn inspect_again(
        &mut self,
        known: &[(ProcessId, Option<u64>)],
        within: Duration,
    ) -> Result<Vec<Observation>, EvidenceError> {
        let until_ns = clock::now_ns() + within.as_nanos() as u64;
        let mut living = Vec::new();
        let exited = self.tracer.scan(Scan::Exited, |record| living.push(*record))?;
        let look = Inspection::new(
            Redacted::new(&self.host, &self.redactor),
            Some(self.tracer.remembered()),
            exited,
            living,
        );
        let mut seen = Vec::new();
        for (id, exit_ns) in known {
            if clock::now_ns() > until_ns {
                break;
            }
            let Some(facts) = look.process_of(id)?.filter(ProcessFacts::is_unreaped) else { continue };
            let evidence = Box::new(look.gather(facts, Some(*id), *exit_ns)?);
            let gathered_ns = clock::now_ns();
            if look.is_still_there(id) {
                // The exit time of one that an earlier run had reported comes from there, not from a hook.
                let existing = self.existing.get(id).is_some_and(|known| known == exit_ns);
                seen.push(Observation::at(gathered_ns, Seen::Unreaped { id: *id, existing, evidence }));
            }
        }
        Ok(seen)
    }

    /// Ends a watch: takes the events since the last tick, closes the findings of processes that are gone, even if
    /// their frees were not seen, and counts the frees that were not seen. If there are any, this takes some tenths of
    /// a second, and two seconds on a busy host.
    ///
    /// # Errors
    ///
    /// If a map or `/proc` cannot be read.
    pub fn finish(&mut self) -> Result<Vec<Observation>, EvidenceError> {
        let mut seen = Vec::new();
        // A process that is missing in two reconciliations is closed. Before the second, frees get time to arrive.
        for _ in 0..2 {
            if self.ledger.is_reconciling() {
                await_frees();
            }
            seen.extend(self.drain());
            self.reconcile_ns = 0;
            self.reconcile(clock::now_ns(), &mut seen)?;
        }
        // This is the last chance to report losses.
        self.told_ns = 0;
        seen.extend(self.tick()?);
        self.unseen_frees = self.count_unseen_frees()?;
        Ok(seen)
    }

    /// Reads the reaps that the kernel side has reported. Returns those of processes that were observed.
    pub fn drain(&mut self) -> Vec<Observation> {
        let mut seen = Vec::new();
        while let Some(reaped) = self.tracer.next_event() {
            let id = reaped.id;
            let Some(was) = self.ledger.reaped(&reaped) else { continue };
            let release = self.release(reaped.release_ns, reaped.reaper);
            seen.push(gone(id, was, reaped.free_ns, Some(reaped.free_ns), release));
        }
        seen
    }

    /// The reaper of a process and the time of the reap, if a hook saw the reap.
    fn release(&self, at_ns: u64, by: ProcessId) -> Option<Release> {
        // The reap is reported even if the reaper's name cannot be read.
        let record = || self.tracer.remembered().process(&by).ok().flatten();
        (at_ns != 0).then(|| Release {
            at_ns,
            by,
            comm: record().map(|record| self.redactor.text(text(&record.comm))),
        })
    }

    /// Searches for candidates and for losses. Costs two map lookups if there is neither.
    ///
    /// The waiting time of each candidate begins at the end of the read that starts it, not at the start of the tick:
    /// this process may have been stopped for a long time between the two, and the data may be newer than the tick. The
    /// times between reconciliations, between reports of losses, and from a SIGKILL to the scan for it begin at the
    /// start of the tick.
    ///
    /// # Errors
    ///
    /// If a map or `/proc` cannot be read.
    pub fn tick(&mut self) -> Result<Vec<Observation>, EvidenceError> {
        let mut seen = self.drain();
        let now_ns = clock::now_ns();
        self.look_for_losses(now_ns)?;
        let epochs = self.tracer.epochs()?;
        if self.ledger.has_unknown(&epochs, now_ns) {
            let entries = self.tracer.records().unreaped()?;
            self.ledger.walk(&entries, clock::now_ns());
        }
        self.untold_ticks = if self.ledger.has_unreported(&epochs) { self.untold_ticks + 1 } else { 0 };
        if self.untold_ticks >= UNTOLD_TICKS {
            self.reconcile_by(now_ns);
        }
        self.reconcile(now_ns, &mut seen)?;
        self.tell_loss(now_ns, &mut seen);
        self.look_at_due(now_ns, &mut seen)?;
        self.look_at_exiting(now_ns, &mut seen)?;
        Ok(seen)
    }
}

/// Gives the frees of all processes that were reaped so far time to arrive. The frees are RCU callbacks
/// (`put_task_struct_rcu_user()`, kernel/exit.c), and this barrier waits for an RCU grace period
/// (kernel/sched/membarrier.c), which is long on a busy host. Where the kernel refuses the barrier, as with
/// `nohz_full`, the delay alone must be enough.
fn await_frees() {
    let _refused = membarrier(MembarrierCommand::Global);
    thread::sleep(FREE_DELAY);
}

/// The observation that an observed process is gone: since its release, if that was seen, or else since `at_ns`.
fn gone(id: ProcessId, was: Was, at_ns: u64, free_ns: Option<u64>, release: Option<Release>) -> Observation {
    let at_ns = release.as_ref().map_or(at_ns, |release| release.at_ns);
    let seen = match was {
        Was::Reported => Seen::Reaped { id, free_ns, release },
        Was::Stuck => Seen::Released { id },
    };
    Observation::at(at_ns, seen)
}

/// The program of a living process, in the form that the exec hook would have stored. `None` for a kernel thread.
/// Arguments that cannot be read now are stored as missing: an inspection reads them again.
fn exec_of(facts: &ProcessFacts, arguments: impl FnOnce() -> Result<Arguments, NotRead>) -> Option<Exec> {
    let exe = facts.exe.as_ref()?;
    let (arguments, note) = arguments().unwrap_or_default();
    // During an exec, the kernel shows no arguments.
    let is_cut = note.is_cut || arguments.is_empty();
    let mut exec = Exec {
        at_ns: 0,
        previous_ns: 0,
        argv_total: 0,
        argv_len: 0,
        // An unknown user id must not match any user, above all not root.
        uid: facts.uid.unwrap_or(supervisor_ebpf::UNKNOWN_USER),
        level: facts.level().unwrap_or(u32::MAX),
        filename: [0; supervisor_ebpf::FILENAME_LEN],
        previous: [0; supervisor_ebpf::PREVIOUS_FILENAME_LEN],
        argv: [0; supervisor_ebpf::ARGV_LEN],
    };
    let name = exe.as_bytes();
    let len = name.len().min(exec.filename.len() - 1);
    exec.filename[..len].copy_from_slice(&name[..len]);
    let argv: Vec<u8> = arguments.iter().flat_map(|arg| arg.bytes().chain([0])).collect();
    let len = argv.len().min(exec.argv.len());
    exec.argv[..len].copy_from_slice(&argv[..len]);
    exec.argv_len = len as u32;
    exec.argv_total = argv.len() as u32 + u32::from(is_cut);
    Some(exec)
}

#[cfg(test)]
mod tests {
    use supervisor_model::{
        evidence::{ExecFacts, sample},
        facts::ArgsNote,
    };

    use super::*;

    #[test]
    fn an_exec_whose_arguments_were_not_read_says_that_they_are_missing() {
        let facts =
            ProcessFacts { exe: Some("/usr/bin/conmonrs".into()), ..sample::facts(7, "conmonrs", &[7], 1) };
        let seeded = |arguments: Result<Arguments, NotRead>| {
            let exec = ExecFacts::from(&exec_of(&facts, || arguments).unwrap());
            assert_eq!(exec.filename, "/usr/bin/conmonrs");
            (exec.args, exec.args_note.is_cut)
        };
        assert_eq!(seeded(Err(NotRead::Skipped)), (Vec::new(), true));
        assert_eq!(seeded(Ok(Arguments::default())), (Vec::new(), true));
        let args = vec!["conmonrs".to_owned(), "--runtime".to_owned()];
        assert_eq!(seeded(Ok((args.clone(), ArgsNote::of(&args, false)))), (args, false));
        let kernel_thread = ProcessFacts { exe: None, ..facts.clone() };
        assert!(exec_of(&kernel_thread, || Ok(Arguments::default())).is_none());
    }
}
