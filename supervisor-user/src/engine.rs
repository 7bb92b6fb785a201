//! The pipeline: kernel and host → ledger → evidence → attribution → events. It decides what is done when;
//! what anything means is decided in the modules that it calls.

use std::{
    collections::{HashMap, HashSet},
    io,
    os::fd::OwnedFd,
};

use supervisor_ebpf::{Counters, Exec, ProcessId};

use crate::{
    attribution::attribute,
    clock,
    evidence::{Evidence, EvidenceError, Sources, starts_match},
    filter::Filter,
    finding::{Event, EventKind, Finding, Loss},
    host::{Host, ProcessFacts},
    kernel::{ExitedTask, KernelError, Options, Tracer},
    ledger::{Due, Ledger, Settled},
};

/// Ticks that an epoch may hold less than is known before it counts as a loss: the event of a reap is on its
/// way for a moment.
const UNTOLD_TICKS: u32 = 3;

/// While the kernel's table has no room for all zombies, it is scanned for them after this long, and then
/// twice as long each time.
const RESCAN_NS: u64 = 500_000_000;
/// But at least this often.
const RESCAN_MAX_NS: u64 = 8_000_000_000;

/// How it watches.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// How long a process must be unreaped to be a finding.
    pub grace_ns: u64,
    /// Which findings are wanted.
    pub filter: Filter,
    /// Log the programs' own lines.
    pub log: bool,
}

/// The watching pipeline.
pub struct Engine<H: Host> {
    tracer: Tracer,
    host: H,
    ledger: Ledger,
    filter: Filter,
    grace_ns: u64,
    attached_ns: u64,
    counters: Counters,
    checked_ns: u64,
    untold_ticks: u32,
    resync: Option<Loss>,
    /// When to scan again for zombies that the kernel's table had no room for, and how long to wait after that.
    rescan: Option<(u64, u64)>,
    /// Exited before the hooks were attached, and not looked at yet.
    existing: HashSet<ProcessId>,
}

impl<H: Host> Engine<H> {
    /// Attaches the hooks first, then scans what is there already.
    ///
    /// # Errors
    ///
    /// If the kernel side cannot be started, or `/proc` cannot be read.
    pub fn start(host: H, options: &EngineOptions) -> Result<Self, EvidenceError> {
        let ledger = Ledger::new(options.grace_ns);
        let mut tracer = Tracer::start(&Options {
            report_after_ns: ledger.report_after_ns(),
            log: options.log,
            attach: true,
        })?;
        let attached_ns = clock::now_ns();
        let mut living = Vec::new();
        let exited = tracer.scan(true, |record| living.push(record.id))?;
        for id in living {
            // Kernel threads have made no exec.
            if let Some(exec) = host.process(id.tgid)?.and_then(|facts| exec_of(&host, &facts, &id)) {
                tracer.seed_exec(&id, &exec)?;
            }
        }
        let counters = tracer.counters()?;
        Ok(Self {
            tracer,
            host,
            ledger,
            filter: options.filter.clone(),
            grace_ns: options.grace_ns,
            attached_ns,
            checked_ns: attached_ns,
            counters,
            untold_ticks: 0,
            resync: None,
            rescan: None,
            existing: exited.into_iter().map(|task| task.record.id).collect(),
        })
    }

    /// A descriptor that becomes readable when the kernel side has told a reap; then call [`Engine::drain`].
    ///
    /// # Errors
    ///
    /// If there are too many descriptors.
    pub fn event_fd(&self) -> io::Result<OwnedFd> {
        self.tracer.event_fd()
    }

    /// The kernel side, for its log.
    pub fn tracer(&mut self) -> &mut Tracer {
        &mut self.tracer
    }

    /// The host that it watches.
    pub fn host(&self) -> &H {
        &self.host
    }

    /// What was counted since the start.
    ///
    /// # Errors
    ///
    /// If the counters cannot be read.
    pub fn counters(&self) -> Result<Counters, KernelError> {
        self.tracer.counters()
    }

    /// Findings that are open now.
    pub fn open(&self) -> impl Iterator<Item = &Finding> {
        self.ledger.open()
    }

    /// Takes in the reaps that were told; returns what they close.
    pub fn drain(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(reaped) = self.tracer.next_event() {
            if let Some(finding) = self.ledger.reaped(&reaped) {
                let dwell_ns = finding.exit_ns.map(|exit_ns| reaped.free_ns.saturating_sub(exit_ns));
                let kind = EventKind::Reaped { finding: Box::new(finding), dwell_ns };
                events.push(Event { at_ns: reaped.free_ns, kind });
            }
        }
        events
    }

    /// Looks for leftovers, and for losses. Costs two map lookups if there is neither.
    ///
    /// # Errors
    ///
    /// If a map or `/proc` cannot be read.
    pub fn tick(&mut self) -> Result<Vec<Event>, EvidenceError> {
        let mut events = self.drain();
        let now_ns = clock::now_ns();
        self.look_for_losses()?;
        let epochs = self.tracer.epochs()?;
        if self.ledger.has_unknown(&epochs, now_ns) {
            self.ledger.walk(&self.tracer.unreaped()?, now_ns);
        }
        self.untold_ticks = if self.ledger.has_untold(&epochs) { self.untold_ticks + 1 } else { 0 };
        if self.untold_ticks >= UNTOLD_TICKS && self.resync.is_none() {
            self.resync = Some(Loss { since_ns: self.checked_ns, ..Loss::default() });
        }
        self.resync(now_ns, &mut events)?;
        self.checked_ns = now_ns;
        self.settle_due(now_ns, &mut events)?;
        Ok(events)
    }

    /// Starts a resync if the kernel side could not store or tell something since the last tick.
    fn look_for_losses(&mut self) -> Result<(), KernelError> {
        let now = self.tracer.counters()?;
        let before = std::mem::replace(&mut self.counters, now);
        let exits = now.lost_exits - before.lost_exits;
        let reaps = now.lost_events - before.lost_events;
        let records = (now.lost_forks - before.lost_forks)
            + (now.lost_execs - before.lost_execs)
            + (now.lost_waits - before.lost_waits);
        if exits + reaps + records > 0 {
            let loss = self.resync.get_or_insert(Loss { since_ns: self.checked_ns, ..Loss::default() });
            loss.exits += exits;
            loss.reaps += reaps;
            loss.records += records;
        }
        Ok(())
    }

    /// Makes the ledger agree with the kernel again after a loss, and tells what that found.
    fn resync(&mut self, now_ns: u64, events: &mut Vec<Event>) -> Result<(), KernelError> {
        if self.resync.is_none() && self.rescan.is_some_and(|(next_ns, _)| next_ns <= now_ns) {
            self.resync = Some(Loss { since_ns: now_ns, ..Loss::default() });
        }
        let Some(mut loss) = self.resync.take() else { return Ok(()) };
        let scan = loss.exits > 0 || self.rescan.is_some_and(|(next_ns, _)| next_ns <= now_ns);
        let exited = if scan { self.tracer.scan(false, |_| {})? } else { Vec::new() };
        let entries = self.tracer.unreaped()?;
        loss.found += self.ledger.walk(&entries, now_ns);
        if scan {
            let stored: HashSet<u64> = entries.iter().map(|(task, _)| *task).collect();
            let all = exited.iter().all(|task| stored.contains(&task.record.task));
            let wait_ns = self.rescan.map_or(RESCAN_NS, |(_, wait_ns)| (wait_ns * 2).min(RESCAN_MAX_NS));
            self.rescan = (!all).then_some((now_ns + wait_ns, wait_ns));
        }
        for finding in self.ledger.resync(&entries) {
            loss.closed += 1;
            // When exactly it was reaped was lost; it was between the last two looks.
            let dwell_ns = finding.exit_ns.map(|exit_ns| now_ns.saturating_sub(exit_ns));
            let kind = EventKind::Reaped { finding: Box::new(finding), dwell_ns };
            events.push(Event { at_ns: now_ns, kind });
        }
        if self.ledger.is_resyncing() {
            self.resync = Some(loss);
        } else if loss != (Loss { since_ns: loss.since_ns, ..Loss::default() }) {
            events.push(Event { at_ns: now_ns, kind: EventKind::Lost(loss) });
        }
        Ok(())
    }

    /// Confirms leftovers that are due, and opens findings.
    fn settle_due(&mut self, now_ns: u64, events: &mut Vec<Event>) -> Result<(), EvidenceError> {
        let due = self.ledger.due(now_ns);
        if due.is_empty() {
            return Ok(());
        }
        let mut tasks: HashMap<ProcessId, ExitedTask> =
            self.tracer.scan(false, |_| {})?.into_iter().map(|task| (task.record.id, task)).collect();
        for Due { id, exit_ns } in due {
            let task = tasks.remove(&id);
            let settled = match self.confirm(&id)? {
                None => Settled::NotYet,
                Some(facts) => {
                    let evidence = self.gather(facts, exit_ns, task, id)?;
                    let finding = attribute(&evidence, self.host.identity(), self.grace_ns);
                    if self.filter.wants(&finding) {
                        Settled::Open(Box::new(finding))
                    } else {
                        Settled::PassOver
                    }
                }
            };
            if let Settled::Open(finding) = &settled {
                let finding = finding.clone();
                let kind = if exit_ns.is_none() && self.existing.contains(&id) {
                    EventKind::Existing(finding)
                } else {
                    EventKind::Detected(finding)
                };
                events.push(Event { at_ns: clock::now_ns(), kind });
            }
            self.ledger.settle(&id, settled, now_ns);
        }
        Ok(())
    }

    /// The process, if `/proc` agrees that it is this one, and that it and all its threads have exited.
    fn confirm(&self, id: &ProcessId) -> Result<Option<ProcessFacts>, EvidenceError> {
        let facts = self.host.process(id.tgid)?;
        Ok(facts.filter(|facts| facts.is_unreaped() && starts_match(&self.host, facts, id.start_ns)))
    }

    fn gather(
        &self,
        facts: ProcessFacts,
        exit_ns: Option<u64>,
        task: Option<ExitedTask>,
        id: ProcessId,
    ) -> Result<Evidence, EvidenceError> {
        let sources =
            Sources { tracer: Some(&self.tracer), host: &self.host, attached_ns: Some(self.attached_ns) };
        sources.gather(facts, exit_ns, task, Some(id))
    }
}

/// What a living process runs, in the form that the exec hook would have stored.
fn exec_of(host: &dyn Host, facts: &ProcessFacts, id: &ProcessId) -> Option<Exec> {
    if !starts_match(host, facts, id.start_ns) {
        return None;
    }
    let exe = facts.exe.as_ref()?;
    let mut exec = Exec {
        at_ns: 0,
        argv_total: 0,
        argv_len: 0,
        filename: [0; supervisor_ebpf::FILENAME_LEN],
        previous: [0; supervisor_ebpf::PREVIOUS_FILENAME_LEN],
        argv: [0; supervisor_ebpf::ARGV_LEN],
    };
    let name = exe.as_bytes();
    let len = name.len().min(exec.filename.len() - 1);
    exec.filename[..len].copy_from_slice(&name[..len]);
    let argv: Vec<u8> = facts.args.iter().flat_map(|arg| arg.bytes().chain([0])).collect();
    let len = argv.len().min(exec.argv.len());
    exec.argv[..len].copy_from_slice(&argv[..len]);
    exec.argv_len = len as u32;
    exec.argv_total = argv.len() as u32;
    Some(exec)
}
