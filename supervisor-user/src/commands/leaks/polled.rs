//! Follows a command in `/proc`, for users who may not load eBPF programs. This process is a subreaper, so the parent
//! of an orphan of the command is this process or another descendant. Therefore the parents of each descendant lead to
//! this process.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use anyhow::{Context as _, Result};
use caps::Capability;
use supervisor_collect::{
    host::{Host as _, Proc},
    one_shot::OneShotScan,
};
use supervisor_conclude::conclusions::Conclusions;
use supervisor_ebpf::ProcessId;
use supervisor_model::{clock, event::EventKind, facts::ProcessFacts, filter::Filter, finding::Finding};
use supervisor_render::Context;

use super::follow::{Follower, Left, event, said_of};
use crate::{
    engine,
    leaks::{LeakKind, Method, settling::Present},
};

/// The time between two passes over `/proc` while the command runs.
const PASS_NS: u64 = 1_000_000_000;
/// The facts that are not visible without the kernel side.
const UNSEEN: [&str; 4] = [
    "a process that another subreaper or PID 1 outside of the command adopted",
    "the creators of a process, once they are gone",
    "when a process exited: a zombie that came and went within two seconds is missed",
    "PID namespaces that cannot end",
];

/// A zombie that was seen.
struct Zombie {
    line: Vec<ProcessId>,
    since_ns: u64,
    /// The finding about it, made after it had been a zombie for the grace period.
    reported: Option<Box<Finding>>,
}

/// Follows by reading `/proc` repeatedly.
pub(super) struct Polled<'a> {
    host: &'a Proc,
    scan: OneShotScan<'a>,
    conclusions: Conclusions,
    context: Context,
    why: String,
    grace_ns: u64,
    root: ProcessId,
    /// The first parent that was seen of each process.
    parents: HashMap<ProcessId, ProcessId>,
    zombies: HashMap<ProcessId, Zombie>,
    passed_ns: u64,
    late: Vec<Left>,
}

impl<'a> Polled<'a> {
    /// Makes a follower. `why` says why the kernel side cannot be used.
    pub(super) fn new(host: &'a Proc, scan: OneShotScan<'a>, grace: Duration, why: String) -> Self {
        let grace_ns = grace.as_nanos() as u64;
        Self {
            host,
            scan,
            conclusions: Conclusions::new(host.identity().clone(), grace_ns, Filter::default()),
            context: engine::context(host.identity(), None),
            why,
            grace_ns,
            root: ProcessId::default(),
            parents: HashMap::new(),
            zombies: HashMap::new(),
            passed_ns: 0,
            late: Vec::new(),
        }
    }

    /// All processes by pid.
    fn scan(&self) -> Result<HashMap<u32, (ProcessId, ProcessFacts)>> {
        let tick_ns = self.precision_ns();
        let mut all = HashMap::new();
        for pid in self.host.pids()? {
            if let Some(facts) = self.host.process(pid)? {
                all.insert(pid, (ProcessId::new(pid, facts.start_ticks * tick_ns), facts));
            }
        }
        Ok(all)
    }

    /// The processes from this one to the command, if it descends from the command.
    fn line(&self, all: &HashMap<u32, (ProcessId, ProcessFacts)>, pid: u32) -> Option<Vec<ProcessId>> {
        let mut line = Vec::new();
        let mut last = pid;
        loop {
            let (id, facts) = all.get(&last)?;
            line.push(*id);
            if *id == self.root {
                break;
            }
            if facts.ppid == std::process::id() {
                // An orphan that this process has adopted, unless it is the reader process, which is our own child.
                if self.host.is_reader(last) {
                    return None;
                }
                line.push(self.root);
                break;
            }
            if line.len() > all.len() {
                return None;
            }
            last = facts.ppid;
        }
        Some(self.with_first_parents(line))
    }

    /// The same line, but with the first parent that was seen of each process. That parent is more likely to be the
    /// creator.
    fn with_first_parents(&self, line: Vec<ProcessId>) -> Vec<ProcessId> {
        let mut known = vec![line[0]];
        while let Some(parent) = known.last().and_then(|last| self.parents.get(last)) {
            if known.contains(parent) {
                break;
            }
            known.push(*parent);
        }
        if known.last() == line.last() { known } else { line }
    }

    fn pass(&mut self) -> Result<Vec<Present>> {
        let all = self.scan()?;
        let mut present = Vec::new();
        for (pid, (id, facts)) in &all {
            if *id == self.root || *pid == std::process::id() {
                continue;
            }
            let Some(line) = self.line(&all, *pid) else { continue };
            if let Some((parent, _)) = all.get(&facts.ppid).filter(|_| facts.ppid != std::process::id()) {
                self.parents.entry(*id).or_insert(*parent);
            }
            present.push(Present { line, is_zombie: facts.is_unreaped() });
        }
        present.sort_by_key(Present::id);
        Ok(present)
    }

    /// Records all zombies, and inspects those that are older than the grace period.
    fn note_zombies(&mut self, present: &[Present]) -> Result<()> {
        let now_ns = clock::now_ns();
        for process in present.iter().filter(|process| process.is_zombie) {
            let fresh = || Zombie { line: process.line.clone(), since_ns: now_ns, reported: None };
            let zombie = self.zombies.entry(process.id()).or_insert_with(fresh);
            if zombie.reported.is_some() || now_ns.saturating_sub(zombie.since_ns) < self.grace_ns {
                continue;
            }
            if let Some((evidence, _)) = self.scan.process(process.id().tgid)?
                && evidence.facts.is_unreaped()
            {
                zombie.reported = Some(Box::new(self.conclusions.explain(&evidence)));
            }
        }
        let still: HashSet<ProcessId> =
            present.iter().filter(|process| process.is_zombie).map(Present::id).collect();
        let gone: Vec<ProcessId> = self.zombies.keys().filter(|id| !still.contains(id)).copied().collect();
        for id in gone {
            let Some(Zombie { line, since_ns, reported }) = self.zombies.remove(&id) else { continue };
            let Some(finding) = reported else { continue };
            // The process was a zombie for at least this long.
            let dwell_ns = Some(now_ns.saturating_sub(since_ns));
            let event = event(EventKind::Reaped { finding, dwell_ns, by: None });
            self.late.push(Left { id, line, kind: LeakKind::Late, event });
        }
        Ok(())
    }
}

impl Follower for Polled<'_> {
    fn follow(&mut self, pid: u32) -> Result<()> {
        let tick_ns = self.precision_ns();
        let facts = self.host.process(pid)?.context("/proc does not show the command")?;
        self.root = ProcessId::new(pid, facts.start_ticks * tick_ns);
        Ok(())
    }

    fn give_up_capabilities(&self, kept: &[Capability]) -> Result<()> {
        Ok(self.scan.keep_capabilities(kept)?)
    }

    fn tick(&mut self) -> Result<()> {
        if clock::now_ns().saturating_sub(self.passed_ns) >= PASS_NS {
            self.present()?;
        }
        Ok(())
    }

    fn present(&mut self) -> Result<Vec<Present>> {
        let present = self.pass()?;
        self.note_zombies(&present)?;
        self.passed_ns = clock::now_ns();
        Ok(present)
    }

    fn line_of(&mut self, pid: u32) -> Result<Vec<ProcessId>> {
        let all = self.scan()?;
        Ok(self.line(&all, pid).unwrap_or_default())
    }

    fn inspect(&mut self, present: &[Present], ids: &[ProcessId]) -> Result<Vec<Left>> {
        let mut left = Vec::new();
        for process in present.iter().filter(|process| ids.contains(&process.id())) {
            let id = process.id();
            let Some((evidence, _)) = self.scan.process(id.tgid)? else { continue };
            let (kind, said) = said_of(&mut self.conclusions, &evidence);
            left.push(Left { id, line: process.line.clone(), kind, event: event(said) });
        }
        Ok(left)
    }

    fn finish(&mut self) -> Result<Vec<Left>> {
        self.present()?;
        Ok(std::mem::take(&mut self.late))
    }

    fn unseen(&mut self) -> Result<Vec<String>> {
        let why = format!("the kernel side, since only /proc and a subreaper are used: {}", self.why);
        Ok([why].into_iter().chain(UNSEEN.map(str::to_owned)).collect())
    }

    fn is_own(&self, pid: u32) -> bool {
        self.host.is_reader(pid)
    }

    fn precision_ns(&self) -> u64 {
        1_000_000_000 / self.host.identity().ticks_per_second
    }

    fn method(&self) -> Method {
        Method::Proc
    }

    fn context(&self) -> &Context {
        &self.context
    }
}
