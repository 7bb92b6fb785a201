//! A one-shot scan: the unreaped processes now, or the facts about one process. It also uses the records of a
//! `supervisor` that is watching.

use std::{
    collections::{HashMap, HashSet},
    thread,
    time::Duration,
};

use caps::Capability;
use supervisor_ebpf::ProcessId;
use supervisor_model::{
    clock,
    evidence::{Evidence, NamespaceEvidence, Task},
    facts::ProcessFacts,
    observation::{Observation, Seen},
    redact::Redactor,
};

use crate::{
    exiting::{Exiting, Inspected},
    gather::{EvidenceError, Inspection},
    host::Host,
    kernel::{KernelError, LoadOptions, Programs, Records, Scan, capabilities},
    privileges::{self, PrivilegesError},
    redacted::Redacted,
    stuck::{all_exiting, inspect},
};

/// The sources of a one-shot scan.
pub struct OneShotScan<'a> {
    host: Redacted<'a>,
    tracer: Option<Programs>,
    agent: Option<Records>,
    exiting: Option<Exiting>,
    missing: Option<String>,
}

impl<'a> OneShotScan<'a> {
    /// Prepares a one-shot scan. Without the capabilities, it reads only `/proc`.
    ///
    /// # Errors
    ///
    /// If our own capabilities cannot be read. [`KernelError::NoCapabilities`] if capabilities are missing and `/proc` hides
    /// the processes of other users (`hidepid`).
    pub fn new(host: &'a dyn Host, redactor: &'a Redactor) -> Result<Self, KernelError> {
        let host = Redacted::new(host, redactor);
        let mut glance = Self { host, tracer: None, agent: None, exiting: None, missing: None };
        if let Err(reason) = capabilities()?.require_tracing() {
            // A user who sees only their own processes cannot learn anything about the host.
            if !matches!(host.process(1), Ok(Some(_))) {
                return Err(KernelError::NoCapabilities(format!(
                    "other users' processes are hidden from this user (/proc is mounted with hidepid), and {reason}"
                )));
            }
            glance.missing = Some(reason.to_string());
            return Ok(glance);
        }
        match Programs::start(&LoadOptions { report_after_ns: u64::MAX, ..LoadOptions::default() }) {
            Ok(tracer) => glance.tracer = Some(tracer),
            Err(error) => glance.missing = Some(error.to_string()),
        }
        glance.agent = Records::of_running_agent();
        Ok(glance)
    }

    /// Prepares a one-shot scan that reads only `/proc`, for this reason.
    pub fn of_proc(host: &'a dyn Host, redactor: &'a Redactor, reason: String) -> Self {
        let host = Redacted::new(host, redactor);
        Self { host, tracer: None, agent: None, exiting: None, missing: Some(reason) }
    }

    /// Gives up the capabilities that only loading the programs needed.
    ///
    /// # Errors
    ///
    /// Those of [`privileges::drop_all_but_needed`].
    pub fn give_up_capabilities(&self) -> Result<(), PrivilegesError> {
        self.keep_capabilities(&[])
    }

    /// The same, but also keeps these capabilities.
    ///
    /// # Errors
    ///
    /// Those of [`privileges::drop_all_but_needed`].
    pub fn keep_capabilities(&self, also_kept: &[Capability]) -> Result<(), PrivilegesError> {
        privileges::drop_all_but_needed(self.tracer.as_ref(), also_kept)
    }

    /// The reason if no programs are loaded. Then only `/proc` is read, and the maps of a running agent if the
    /// capabilities allow that.
    #[must_use]
    pub fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }

    /// The sources in use, in the words of `supervisor.hooks`.
    #[must_use]
    pub fn hooks(&self) -> Option<&'static str> {
        match (&self.tracer, &self.agent) {
            (Some(_), Some(_)) => Some("iter+agent"),
            (Some(_), None) => Some("iter"),
            (None, Some(_)) => Some("agent"),
            (None, None) => None,
        }
    }

    /// Since when a watching `supervisor` has stored every exit that its hooks saw; `None` if no `supervisor` is
    /// watching, or it could not store an exit. An exit for which the kernel skipped the hook is not noticed here
    /// (`missed.rs`).
    ///
    /// # Errors
    ///
    /// If a map cannot be read.
    pub fn watched_since_ns(&self) -> Result<Option<u64>, KernelError> {
        let Some(agent) = &self.agent else { return Ok(None) };
        if agent.counters()?.lost_exits > 0 { Ok(None) } else { agent.seeded_ns() }
    }

    /// Reports the processes that are unreaped now and still after the grace period, and the PID namespaces that cannot
    /// end. Waits for the grace period, unless all these processes are known to be that old.
    ///
    /// # Errors
    ///
    /// If a map or `/proc` cannot be read.
    pub fn unreaped(
        &mut self,
        grace: Duration,
        report: impl FnMut(&Observation),
    ) -> Result<(), EvidenceError> {
        let exited = self.exited()?;
        self.unreaped_of(exited, grace, report)
    }

    /// The same, only for the processes that one process must reap.
    ///
    /// # Errors
    ///
    /// If a map or `/proc` cannot be read.
    pub fn unreaped_by(
        &mut self,
        reaper: u32,
        grace: Duration,
        report: impl FnMut(&Observation),
    ) -> Result<(), EvidenceError> {
        let mut exited = self.exited()?;
        exited.retain(|it| it.parent == reaper);
        self.unreaped_of(exited, grace, report)
    }

    /// The zombies among the members of a PID namespace.
    ///
    /// # Errors
    ///
    /// If a map or `/proc` cannot be read.
    pub fn unreaped_in(
        &mut self,
        namespace: &NamespaceEvidence,
        report: impl FnMut(&Observation),
    ) -> Result<(), EvidenceError> {
        let zombies = namespace.members.iter().filter(|member| member.facts.is_unreaped());
        let exited = zombies.map(|it| Exited { id: it.id, parent: it.facts.ppid }).collect();
        self.unreaped_of(exited, Duration::ZERO, report)
    }

    fn unreaped_of(
        &mut self,
        exited: Vec<Exited>,
        grace: Duration,
        mut report: impl FnMut(&Observation),
    ) -> Result<(), EvidenceError> {
        if exited.is_empty() {
            return Ok(());
        }
        let exits = self.exits()?;
        let grace_ns = grace.as_nanos() as u64;
        let is_old = |it: &Exited| {
            exits.get(&it.id).is_some_and(|exit_ns| clock::now_ns().saturating_sub(*exit_ns) >= grace_ns)
        };
        if !exited.iter().all(is_old) {
            thread::sleep(grace);
        }
        let look = self.look()?;
        for Exited { id, .. } in exited {
            let Some(facts) = look.process_of(&id)? else { continue };
            if let Some(seen) = observe(&look, id, facts, exits.get(&id).copied())? {
                report(&seen);
            }
        }
        Ok(())
    }

    /// Reports the processes that were told to exit and have not for the grace period. Without programs it reports
    /// nothing. Waits only if it finds a process that was told to exit and has not: for the rest of its grace period,
    /// which is the whole one if it is not known since when, and then for the second inspection.
    ///
    /// # Errors
    ///
    /// If a map or `/proc` cannot be read.
    pub fn stuck(
        &mut self,
        grace: Duration,
        mut report: impl FnMut(&Observation),
    ) -> Result<(), EvidenceError> {
        /// The time between two scans.
        const PAUSE: Duration = Duration::from_millis(250);
        /// The time after the first grace period: for the two inspections, and for processes that a later scan finds. A
        /// process that is not confirmed by then is not reported.
        const INSPECTIONS: Duration = Duration::from_secs(2);
        let (Some(tracer), grace_ns) = (&mut self.tracer, grace.as_nanos() as u64) else { return Ok(()) };
        let exiting = self.exiting.get_or_insert_with(|| Exiting::new(grace_ns));
        let until_ns = clock::now_ns() + (grace + INSPECTIONS).as_nanos() as u64;
        loop {
            let mut living = Vec::new();
            let exited = tracer.scan(Scan::All, |record| living.push(*record))?;
            let records = self.agent.as_ref().unwrap_or(tracer.records());
            let present = all_exiting(records.into(), &exited, &living)?;
            let read_ns = clock::now_ns();
            exiting.scanned(&present, read_ns, 0);
            let look = Inspection::new(self.host, self.agent.as_ref().map(Into::into), exited, living);
            for (id, _) in present {
                // An init that waits for its namespace is another finding, and no reason to wait.
                if let Some(facts) = look.process_of(&id)?
                    && look.is_held_init(&id, &facts)?
                {
                    exiting.settle(&id, Inspected::HoldsNamespace, read_ns);
                }
            }
            for (id, since_ns) in exiting.due(read_ns) {
                let (inspected, _) = inspect(&look, id, since_ns)?;
                exiting.settle(&id, inspected, clock::now_ns());
            }
            if exiting.is_settled(until_ns) {
                break;
            }
            thread::sleep(PAUSE);
        }
        let mut stuck: Vec<(ProcessId, Option<u64>)> = exiting.stuck().collect();
        if stuck.is_empty() {
            return Ok(());
        }
        stuck.sort_unstable();
        let look = self.look()?;
        for (id, since_ns) in stuck {
            if let (Inspected::Asleep(_), Some(evidence)) = inspect(&look, id, since_ns)? {
                report(&Observation::at(clock::now_ns(), Seen::Stuck { id, grace_ns, evidence }));
            }
        }
        Ok(())
    }

    /// All that is known about one process, exited or alive, and about the PID namespaces that cannot end. `None` if
    /// there is no such process.
    ///
    /// # Errors
    ///
    /// If a map or `/proc` cannot be read.
    pub fn process(&mut self, pid: u32) -> Result<Option<(Evidence, Vec<Observation>)>, EvidenceError> {
        let exits = self.exits()?;
        let host = self.host;
        let look = self.look()?;
        let Some(facts) = host.process(pid)? else { return Ok(None) };
        let id = look.id_of(&facts);
        let exit_ns = id.and_then(|id| exits.get(&id).copied());
        let evidence = look.gather(facts, id, exit_ns)?;
        Ok(Some((evidence, namespaces(&look, |id| exits.get(id).copied())?)))
    }

    /// The PID namespaces that cannot end.
    ///
    /// # Errors
    ///
    /// If a map or `/proc` cannot be read.
    pub fn namespaces(&mut self) -> Result<Vec<Observation>, EvidenceError> {
        let exits = self.exits()?;
        namespaces(&self.look()?, |id| exits.get(id).copied())
    }

    /// PID 1 of the PID namespace with this inode number, if there is one.
    ///
    /// # Errors
    ///
    /// If a map or `/proc` cannot be read.
    pub fn init_of(&mut self, ino: u32) -> Result<Option<Evidence>, EvidenceError> {
        let exits = self.exits()?;
        let look = self.look()?;
        let Some(id) = look.init_of(ino) else { return Ok(None) };
        let Some(facts) = look.process_of(&id)? else { return Ok(None) };
        look.gather(facts, Some(id), exits.get(&id).copied()).map(Some)
    }

    /// Whether `holds` is true for any process. It checks one process of each control group in each PID namespace.
    ///
    /// # Errors
    ///
    /// If a map or `/proc` cannot be read.
    pub fn any(&mut self, mut holds: impl FnMut(&Evidence) -> bool) -> Result<bool, EvidenceError> {
        let host = self.host;
        let look = self.look()?;
        let mut asked = HashSet::new();
        for pid in host.pids()? {
            let Some(facts) = host.process(pid)? else { continue };
            if asked.insert((facts.cgroup.clone(), facts.pid_ns)) {
                let id = look.id_of(&facts);
                if holds(&look.gather(facts, id, None)?) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The exit times that the agent has seen.
    fn exits(&self) -> Result<HashMap<ProcessId, u64>, KernelError> {
        self.agent.as_ref().map_or_else(|| Ok(HashMap::new()), Records::exits)
    }

    /// The processes that have exited.
    fn exited(&mut self) -> Result<Vec<Exited>, EvidenceError> {
        if let Some(tracer) = &mut self.tracer {
            let tasks = tracer.scan(Scan::Exited, |_| {})?;
            let exited = |task: &Task| Exited { id: task.record.id, parent: task.record.parent.tgid };
            return Ok(tasks.iter().map(exited).collect());
        }
        let tick_ns = 1_000_000_000 / self.host.identity().ticks_per_second;
        let mut exited = Vec::new();
        for pid in self.host.pids()? {
            let facts = self.host.process(pid)?.filter(ProcessFacts::is_unreaped);
            exited.extend(facts.map(|facts| Exited {
                id: ProcessId::new(pid, facts.start_ticks * tick_ns),
                parent: facts.ppid,
            }));
        }
        Ok(exited)
    }

    fn look(&mut self) -> Result<Inspection<'_>, KernelError> {
        let mut living = Vec::new();
        let exited = match &mut self.tracer {
            Some(tracer) => tracer.scan(Scan::All, |record| living.push(*record))?,
            None => Vec::new(),
        };
        Ok(Inspection::new(self.host, self.agent.as_ref().map(Into::into), exited, living))
    }
}

/// A process that has exited.
struct Exited {
    id: ProcessId,
    /// Host pid of the process that must reap it.
    parent: u32,
}

/// Observes a process if it is unreaped, or if it is the init of a PID namespace and cannot finish its exit.
fn observe(
    look: &Inspection<'_>,
    id: ProcessId,
    facts: ProcessFacts,
    exit_ns: Option<u64>,
) -> Result<Option<Observation>, EvidenceError> {
    let exact = look.id_of(&facts);
    let seen = if facts.is_unreaped() {
        let evidence = Box::new(look.gather(facts, exact, exit_ns)?);
        Seen::Unreaped { id, existing: exit_ns.is_none(), evidence }
    } else if look.is_held_init(&id, &facts)? {
        let evidence = Box::new(look.namespace(look.gather(facts, exact, exit_ns)?)?);
        Seen::Held { id, evidence }
    } else {
        return Ok(None);
    };
    Ok(Some(Observation::at(clock::now_ns(), seen)))
}

/// The PID namespaces that cannot end. `exit_ns` says when a process exited, if that was seen.
///
/// # Errors
///
/// If the processes that keep a namespace from ending cannot be read.
pub fn namespaces(
    look: &Inspection<'_>,
    exit_ns: impl Fn(&ProcessId) -> Option<u64>,
) -> Result<Vec<Observation>, EvidenceError> {
    let mut held = Vec::new();
    for id in look.exited_inits() {
        if let Some(facts) = look.process_of(&id)?.filter(|facts| !facts.is_unreaped()) {
            held.extend(observe(look, id, facts, exit_ns(&id))?);
        }
    }
    Ok(held)
}
