//! Gathers what holds a PID namespace whose PID 1 has exited.

use std::collections::BTreeSet;

use supervisor_ebpf::{ProcessId, TASK_EXITING, TASK_ZOMBIE, TaskRecord};
use supervisor_model::{
    evidence::{Evidence, Member, NamespaceEvidence, Task},
    facts::ProcessFacts,
};

use super::{EvidenceError, Inspection, MAX_MEMBERS, MAX_NS_MEMBERS, cached, is_inside};
use crate::host::Host;

impl Inspection<'_> {
    /// Gathers the other processes of the PID namespace whose init this is.
    ///
    /// # Errors
    ///
    /// As [`Inspection::gather`].
    pub fn namespace(&self, init: Evidence) -> Result<NamespaceEvidence, EvidenceError> {
        let inside = |record: &&TaskRecord| {
            init.task
                .as_ref()
                .is_some_and(|task| record.id != task.record.id && is_inside(record, &task.record))
        };
        let ids = |records: &mut dyn Iterator<Item = &TaskRecord>| {
            let mut ids: Vec<ProcessId> = records.filter(inside).map(|record| record.id).collect();
            ids.sort_unstable();
            ids
        };
        // In most cases zombies block the namespace, and they cost the least.
        let mut all = ids(&mut self.tasks.values().map(|task| &task.record));
        all.extend(ids(&mut self.living.iter()));
        let members_left_out = all.len().saturating_sub(MAX_MEMBERS) as u64;
        let mut members: Vec<Member> = Vec::new();
        let mut stuck = 0;
        for id in all.iter().take(MAX_MEMBERS) {
            let Some(mut member) = self.member(id)? else { continue };
            if !member.facts.is_unreaped() && stuck < MAX_NS_MEMBERS {
                stuck += 1;
                member.frozen = self.host.frozen(id.tgid);
                member.calls = self.host.calls(id.tgid);
            }
            members.push(member);
        }
        members.sort_by_key(|member: &Member| member.id.tgid);
        Ok(NamespaceEvidence { init, members, members_left_out })
    }

    pub(super) fn member(&self, id: &ProcessId) -> Result<Option<Member>, EvidenceError> {
        let Some(facts) = self.process_of(id)? else { return Ok(None) };
        let threads = self.threads(&facts)?;
        let reaper = self.read(facts.ppid)?.map(|reaper| (reaper.pid, reaper.comm));
        let tracer = self.tracer(&facts, &threads)?;
        Ok(Some(Member { id: *id, threads, reaper, tracer, facts, frozen: None, calls: Vec::new() }))
    }

    /// PID 1 of the PID namespace with that inode number.
    #[must_use]
    pub fn init_of(&self, ino: u32) -> Option<ProcessId> {
        // The record of any member names it. We have seen the iterator leave out the host's PID 1 itself.
        let mut all = self.living.iter().chain(self.tasks.values().map(|task| &task.record));
        all.find(|record| record.pid_ns == ino).map(|record| record.ns_init)
    }

    /// Processes that have exited and are PID 1 of a PID namespace.
    #[must_use]
    pub fn exited_inits(&self) -> Vec<ProcessId> {
        let is_init = |task: &&Task| task.record.level > 0 && task.record.ns_init == task.record.id;
        let mut inits: Vec<ProcessId> =
            self.tasks.values().filter(is_init).map(|task| task.record.id).collect();
        inits.sort();
        inits
    }

    /// Whether a process has exited and, as PID 1 of a PID namespace, waits for the namespace to become empty. An
    /// exited PID 1 can also be slow to release its memory or files. Then no process in the namespace has been asked to
    /// end yet.
    ///
    /// # Errors
    ///
    /// If `/proc` cannot be read.
    pub fn is_held_init(&self, id: &ProcessId, facts: &ProcessFacts) -> Result<bool, EvidenceError> {
        let has_exited =
            self.tasks.get(id).is_some_and(|task| task.record.flags & (TASK_EXITING | TASK_ZOMBIE) != 0);
        if !has_exited || facts.vpid() != Some(1) || facts.level() == Some(0) || facts.is_unreaped() {
            return Ok(false);
        }
        // If there are several threads, the last one waits (`zap_pid_ns_processes()`, `kernel/pid_namespace.c`): first
        // for its own children, and then for the pids of the other processes.
        let threads = self.threads(facts)?;
        let mut places = threads
            .iter()
            .filter(|thread| thread.is_live())
            .map(|thread| (thread.state, thread.wchan.as_deref()))
            .chain([(facts.state, facts.wchan.as_deref())]);
        Ok(places.any(|(state, wchan)| match wchan {
            Some(wchan) => matches!(wchan, "zap_pid_ns_processes" | "do_wait"),
            None => matches!(state, 'S' | 'I'),
        }))
    }

    /// The control groups of the living processes in the PID namespace of a process, if that is not the initial one.
    pub(super) fn ns_groups(&self, facts: &ProcessFacts) -> Result<Vec<String>, EvidenceError> {
        let Some(ino) = facts.pid_ns.filter(|_| facts.level() > Some(0)) else { return Ok(Vec::new()) };
        let groups = cached(&self.namespaces, ino, || {
            let inside = self.living.iter().filter(|record| record.pid_ns == ino).take(MAX_NS_MEMBERS);
            let groups: BTreeSet<String> =
                inside.filter_map(|record| self.host.cgroup(record.id.tgid)).collect();
            Ok::<_, EvidenceError>(groups.into_iter().collect())
        })?;
        Ok((*groups).clone())
    }
}
