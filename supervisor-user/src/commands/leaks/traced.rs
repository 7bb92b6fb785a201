//! Follows a command in the kernel. The hooks of a watch keep the creator of each process for as long as a descendant
//! needs it. So the creators of a process lead to the command, whichever process has adopted it.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use anyhow::{Context as _, Result};
use caps::Capability;
use supervisor_collect::{
    host::{Host as _, Proc},
    kernel::{KernelError, Records, Scan, SimulatedLoss},
    observer::{Grace, Observer},
    one_shot::namespaces,
    privileges,
};
use supervisor_conclude::conclusions::Conclusions;
use supervisor_ebpf::{ProcessId, TASK_EXITING, TASK_ZOMBIE, TaskRecord};
use supervisor_model::{
    event::{Event, EventKind},
    evidence::NamespaceEvidence,
    filter::Filter,
    observation::{Observation, Seen},
    redact::Redactor,
};
use supervisor_render::Context;

use super::follow::{Follower, Left, event, said_of};
use crate::{
    engine,
    leaks::{LeakKind, Method, settling::Present},
};

/// No ancestry has this many generations. The limit only guards against a loop.
const MAX_GENERATIONS: usize = 100_000;
/// How long a process may take to exit before it is reported as one that cannot exit. Reports of leaks do not use these
/// reports.
const EXIT_GRACE_NS: u64 = 3_600_000_000_000;

/// Follows with the hooks of a watch.
pub(super) struct Traced {
    observer: Observer<Proc>,
    conclusions: Conclusions,
    context: Context,
    root: ProcessId,
    /// Zombies that were observed while the command ran, with their creators.
    zombies: HashMap<ProcessId, Vec<ProcessId>>,
    late: Vec<Left>,
    /// Processes whose creators are not known.
    unknown: BTreeSet<ProcessId>,
}

/// The result of following the creators of a process towards the command.
enum Line {
    Descends(Vec<ProcessId>),
    Foreign,
    /// A creator on the way is not known.
    Broken,
}

impl Traced {
    /// Attaches the hooks.
    pub(super) fn start(host: Proc, redactor: Redactor, grace: Duration) -> Result<Self> {
        let grace_ns = grace.as_nanos() as u64;
        let graces = Grace { zombie_ns: grace_ns, exit_ns: EXIT_GRACE_NS };
        let identity = host.identity().clone();
        let mut observer = Observer::start(host, redactor, graces, false, SimulatedLoss::default())?;
        let context = engine::context(&identity, Some(observer.programs_mut().hooks()));
        Ok(Self {
            observer,
            conclusions: Conclusions::new(identity, grace_ns, Filter::default()),
            context,
            root: ProcessId::default(),
            zombies: HashMap::new(),
            late: Vec::new(),
            unknown: BTreeSet::new(),
        })
    }

    /// All processes now, with their parents.
    fn scan(&mut self) -> Result<Vec<TaskRecord>, KernelError> {
        let mut all = Vec::new();
        let exited = self.observer.programs_mut().scan(Scan::All, |record| all.push(*record))?;
        all.extend(exited.iter().map(|task| task.record));
        Ok(all)
    }

    /// Processes the observer's reports about descendants.
    fn take(&mut self, observations: Vec<Observation>) -> Result<()> {
        for observation in observations {
            match &observation.seen {
                Seen::Unreaped { id, .. } if !self.zombies.contains_key(id) => {
                    let records = self.observer.programs_mut().records();
                    let Line::Descends(line) = line(self.root, records, &HashMap::new(), *id)? else {
                        continue;
                    };
                    self.zombies.insert(*id, line);
                }
                Seen::Unreaped { id, .. } | Seen::Reaped { id, .. } if self.zombies.contains_key(id) => {}
                _ => continue,
            }
            for event in self.conclusions.take(&observation) {
                let (Seen::Reaped { id, .. }, EventKind::Reaped { .. }) = (&observation.seen, &event.kind)
                else {
                    continue;
                };
                let line = self.zombies.remove(id).unwrap_or_default();
                self.late.push(Left { id: *id, line, kind: LeakKind::Late, event });
            }
        }
        Ok(())
    }
}

impl Follower for Traced {
    fn follow(&mut self, pid: u32) -> Result<()> {
        // Nobody has waited for the command, so the kernel's list still has it.
        let all = self.scan()?;
        let found = all.iter().find(|record| record.id.tgid == pid);
        let root = found.context("the kernel's list of processes does not have the command")?.id;
        self.root = root;
        // Keep a zombie with an unrecorded creator here: `take` decides about it.
        self.observer.observe_only(Box::new(move |records, id| {
            Ok(!matches!(line(root, records, &HashMap::new(), *id)?, Line::Foreign))
        }));
        Ok(())
    }

    fn give_up_capabilities(&self, kept: &[Capability]) -> Result<()> {
        privileges::drop_all_but_needed(Some(self.observer.programs()), kept)?;
        self.observer.host().replace_reader()?;
        Ok(())
    }

    fn tick(&mut self) -> Result<()> {
        let observations = self.observer.tick()?;
        self.take(observations)
    }

    fn present(&mut self) -> Result<Vec<Present>> {
        let all = self.scan()?;
        let parents: HashMap<ProcessId, ProcessId> = all.iter().map(|task| (task.id, task.parent)).collect();
        let records = self.observer.programs().records();
        let mut present = Vec::new();
        let mut unknown = BTreeSet::new();
        for task in all.iter().filter(|task| task.id.start_ns >= self.root.start_ns && task.id != self.root) {
            match line(self.root, records, &parents, task.id)? {
                Line::Descends(line) => {
                    let is_zombie = task.flags & (TASK_ZOMBIE | TASK_EXITING) != 0;
                    present.push(Present { line, is_zombie });
                }
                Line::Foreign => {}
                Line::Broken => drop(unknown.insert(task.id)),
            }
        }
        self.unknown = unknown;
        Ok(present)
    }

    fn line_of(&mut self, pid: u32) -> Result<Vec<ProcessId>> {
        let all = self.scan()?;
        let parents: HashMap<ProcessId, ProcessId> = all.iter().map(|task| (task.id, task.parent)).collect();
        let Some(task) = all.iter().find(|task| task.id.tgid == pid) else { return Ok(Vec::new()) };
        Ok(match line(self.root, self.observer.programs().records(), &parents, task.id)? {
            Line::Descends(line) => line,
            Line::Foreign | Line::Broken => Vec::new(),
        })
    }

    fn inspect(&mut self, present: &[Present], ids: &[ProcessId]) -> Result<Vec<Left>> {
        let lines: HashMap<ProcessId, &Vec<ProcessId>> =
            present.iter().map(|it| (it.id(), &it.line)).collect();
        let wanted: HashSet<ProcessId> = ids.iter().copied().collect();
        let exits = self.observer.programs().records().exits()?;
        let look = self.observer.look()?;
        let mut left = Vec::new();
        let mut inits = HashSet::new();
        for observation in namespaces(&look, |id| exits.get(id).copied())? {
            let Seen::Held { id, evidence } = &observation.seen else { continue };
            let Some(by) = held_by(id, evidence, &wanted) else { continue };
            let taken = self.conclusions.take(&observation);
            let blocked = taken.into_iter().rfind(|event| matches!(event.kind, EventKind::Blocked { .. }));
            // If nothing new was reported, the namespace was already reported at the end of a test.
            let Some(event) = blocked.or_else(|| known(&self.conclusions, id)) else { continue };
            inits.insert(*id);
            let line = lines.get(&by).map(|line| (*line).clone()).unwrap_or_default();
            left.push(Left { id: *id, line, kind: LeakKind::Namespace, event });
        }
        for id in ids.iter().filter(|id| !inits.contains(id)) {
            let Some(facts) = look.process_of(id)? else { continue };
            let evidence = look.gather(facts, Some(*id), exits.get(id).copied())?;
            let (kind, said) = said_of(&mut self.conclusions, &evidence);
            let line = lines.get(id).map(|line| (*line).clone()).unwrap_or_default();
            left.push(Left { id: *id, line, kind, event: event(said) });
        }
        Ok(left)
    }

    fn finish(&mut self) -> Result<Vec<Left>> {
        let observations = self.observer.finish()?;
        self.take(observations)?;
        Ok(std::mem::take(&mut self.late))
    }

    fn unseen(&mut self) -> Result<Vec<String>> {
        let mut unseen = Vec::new();
        // The kernel lists the processes that are left at the end. Only processes that came and went depend on the
        // hooks.
        let lost = self.observer.counters()?.lost_exits;
        if lost > 0 {
            unseen.push(format!(
                "{lost} exits of this host were lost: a zombie that was reaped late may be missing"
            ));
        }
        if !self.unknown.is_empty() {
            let pids: Vec<String> = self.unknown.iter().take(10).map(|id| id.tgid.to_string()).collect();
            unseen.push(format!(
                "{} processes have a creator that was not recorded, and may descend from the command: pids {}",
                self.unknown.len(),
                pids.join(", ")
            ));
        }
        let late = self.observer.host().reads_lost();
        if late.late + late.skipped > 0 {
            unseen.push(format!("{} reads of other processes took too long", late.late + late.skipped));
        }
        Ok(unseen)
    }

    fn is_own(&self, pid: u32) -> bool {
        self.observer.host().is_reader(pid)
    }

    fn precision_ns(&self) -> u64 {
        1
    }

    fn method(&self) -> Method {
        Method::Ebpf
    }

    fn context(&self) -> &Context {
        &self.context
    }
}

/// The process of `ids` that holds a namespace: its PID 1, or another member.
fn held_by(init: &ProcessId, evidence: &NamespaceEvidence, ids: &HashSet<ProcessId>) -> Option<ProcessId> {
    let members = evidence.members.iter().map(|member| &member.id);
    [init].into_iter().chain(members).find(|id| ids.contains(id)).copied()
}

/// The earlier conclusion about a namespace, as an event.
fn known(conclusions: &Conclusions, init: &ProcessId) -> Option<Event> {
    let namespace = conclusions.namespaces().find(|namespace| namespace.init.process.pid == init.tgid)?;
    Some(event(EventKind::Blocked { namespace: Box::new(namespace.clone()), again: false }))
}

/// Follows the creators of a process. `parents` has the parent of each existing process. It is used for a process whose
/// creator is not recorded.
fn line(
    root: ProcessId,
    records: &Records,
    parents: &HashMap<ProcessId, ProcessId>,
    process: ProcessId,
) -> Result<Line, KernelError> {
    let mut line = vec![process];
    let mut last = process;
    for _ in 0..MAX_GENERATIONS {
        if last == root {
            return Ok(Line::Descends(line));
        }
        if last.start_ns < root.start_ns {
            return Ok(Line::Foreign);
        }
        let recorded = records.process(&last)?.map(|record| record.creator);
        let creator = recorded.filter(ProcessId::is_known).or_else(|| parents.get(&last).copied());
        let Some(creator) = creator.filter(ProcessId::is_known) else { return Ok(Line::Broken) };
        line.push(creator);
        last = creator;
    }
    Ok(Line::Broken)
}
