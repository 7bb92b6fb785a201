//! Keeps the open findings, and turns observations into the events that open, update and close them. Pure: a recording
//! of observations gives the same events as the watch did.

mod exits;
mod growth;
mod outcomes;
mod queries;
mod sessions;
#[cfg(test)]
mod tests;
mod watched;

use std::collections::{HashMap, HashSet};

use growth::Growth;
use outcomes::Outcomes;
pub use outcomes::PastOutcome;
use sessions::Sessions;
use supervisor_ebpf::ProcessId;
use supervisor_model::{
    clock::Wall,
    decision::Decision,
    event::{Event, EventKind, ReapedBy},
    evidence::{Evidence, NamespaceEvidence},
    facts::HostIdentity,
    filter::Filter,
    finding::{Block, BlockedNamespace, BlockerKind, Finding, Origin, Reaper},
    identity,
    observation::{Observation, Release, Seen},
};

use crate::{
    attribution::{SharedParts, attribute, attribute_after},
    decision::decide,
    diagnosis::{blockers, diagnose, diagnose_in_short, diagnose_namespace, in_full},
};

/// All conclusions so far.
pub struct Conclusions {
    host: HostIdentity,
    grace_ns: u64,
    filter: Filter,
    open: HashMap<ProcessId, Open>,
    namespaces: HashMap<ProcessId, Blocked>,
    exits: HashMap<ProcessId, Open>,
    sessions: Sessions,
    growth: Growth,
    outcomes: Outcomes,
    /// Open findings that the agent is freeing.
    being_freed: HashSet<ProcessId>,
    last: SharedParts,
    /// The number of the last change of any finding.
    changes: u64,
    /// The time since which another watch has seen every exit.
    watched_since_ns: Option<u64>,
}

struct Open {
    /// Boxed: the free slots of a hash table of unboxed findings would take as much memory again.
    finding: Box<Finding>,
    /// Whether the filters accepted it, so that its events are emitted.
    is_wanted: bool,
    /// The number of the last change of the finding. No two findings have the same number.
    change: u64,
}

struct Blocked {
    namespace: BlockedNamespace,
    members_left_out: u64,
    is_wanted: bool,
}

impl Conclusions {
    /// Starts without any conclusion.
    #[must_use]
    pub fn new(host: HostIdentity, grace_ns: u64, filter: Filter) -> Self {
        Self {
            host,
            grace_ns,
            filter,
            open: HashMap::new(),
            namespaces: HashMap::new(),
            exits: HashMap::new(),
            sessions: Sessions::default(),
            growth: Growth::default(),
            outcomes: Outcomes::default(),
            being_freed: HashSet::new(),
            last: SharedParts::default(),
            changes: 0,
            watched_since_ns: None,
        }
    }

    /// Returns what reapers did with earlier findings, for storage beyond the end of the agent.
    #[must_use]
    pub fn outcomes(&self) -> Vec<PastOutcome> {
        self.outcomes.all()
    }

    /// Restores the outcomes that an earlier run stored.
    pub fn restore_outcomes(&mut self, outcomes: Vec<PastOutcome>) {
        self.outcomes.restore(outcomes);
    }

    /// Replaces the filter from now on. Findings that were already reported stay reported.
    pub fn set_filter(&mut self, filter: Filter) {
        self.filter = filter;
    }

    /// Records that this process is being freed. The wait that its reaper then makes is no habit of the reaper.
    pub fn is_being_freed(&mut self, id: &ProcessId) {
        if self.open.contains_key(id) {
            self.being_freed.insert(*id);
        }
    }

    /// Records that this process was not freed after all.
    pub fn was_not_freed(&mut self, id: &ProcessId) {
        self.being_freed.remove(id);
    }

    /// Updates the counts in all open findings. Each finding still has the count from the time when it was counted.
    pub fn recount(&mut self) {
        for open in self.open.values_mut() {
            self.growth.set_unreaped(&mut open.finding);
        }
    }

    /// Processes an observation, and returns the events of the findings that the filters want.
    pub fn take(&mut self, observation: &Observation) -> Vec<Event> {
        let Observation { at_ns, wall, seen } = observation;
        let event = |kind| Event { at_ns: *at_ns, wall: *wall, kind };
        match seen {
            Seen::Unreaped { id, existing, evidence } => {
                let is_news = self.unreaped(id, *existing, evidence);
                is_news
                    .map(|kind| event(kind(Box::new(in_full(&self.open[id].finding)))))
                    .into_iter()
                    .collect()
            }
            Seen::Reaped { id, free_ns, release } => {
                self.reaped(id, *free_ns, release.as_ref()).map(event).into_iter().collect()
            }
            Seen::Held { id, evidence } => self.held(id, evidence, *at_ns, *wall),
            Seen::Released { id } => self.released(id, *at_ns, *wall),
            Seen::Stuck { id, grace_ns, evidence } => {
                self.stuck(id, *grace_ns, evidence).map(event).into_iter().collect()
            }
            Seen::Finished { id } => self.finished(id, *at_ns).map(event).into_iter().collect(),
            Seen::Lost { loss } => vec![event(EventKind::Lost(loss.clone()))],
        }
    }

    /// Processes an observation without returning events, for a list of the present state.
    pub fn note(&mut self, observation: &Observation) {
        match &observation.seen {
            Seen::Unreaped { id, existing, evidence } => {
                self.unreaped(id, *existing, evidence);
            }
            _ => {
                self.take(observation);
            }
        }
    }

    /// Returns the event of the finding that has to be emitted, if there is one.
    fn unreaped(
        &mut self,
        id: &ProcessId,
        existing: bool,
        evidence: &Evidence,
    ) -> Option<fn(Box<Finding>) -> EventKind> {
        let before = self.open.remove(id);
        let mut finding = Box::new(self.conclude(id, evidence, before.as_ref().map(|open| &*open.finding)));
        if existing {
            self.exited_before(&mut finding);
        }
        self.growth.count(&mut finding, before.as_ref().map(|open| &*open.finding), existing);

        let was_wanted = before.as_ref().is_some_and(|open| open.is_wanted);
        let is_wanted = was_wanted || self.filter.wants(&finding);
        let kind: Option<fn(Box<Finding>) -> EventKind> = if !is_wanted {
            None
        } else if !was_wanted {
            Some(if existing { EventKind::Existing } else { EventKind::Detected })
        } else if before.is_some_and(|open| has_changed(&open.finding, &finding)) {
            Some(EventKind::Updated)
        } else {
            None
        };
        let decision = (!finding.blocks.is_empty()).then(|| decide(&finding));
        self.changes += 1;
        self.open.insert(*id, Open { finding, is_wanted, change: self.changes });
        if let Some(decision) = decision {
            self.decided(id, &decision);
        }
        kind
    }

    /// Updates the blocked namespaces that this zombie holds, so that their remedies fit the decision about it.
    fn decided(&mut self, id: &ProcessId, decision: &Decision) {
        let held = |blocked: &&mut Blocked| blocked.namespace.blockers.iter().any(|it| it.id == *id);
        for Blocked { namespace, members_left_out, .. } in self.namespaces.values_mut().filter(held) {
            let mut blockers = namespace.blockers.iter_mut();
            let Some(blocker) = blockers.find(|it| it.id == *id && it.decision.as_ref() != Some(decision))
            else {
                continue;
            };
            blocker.decision = Some(decision.clone());
            namespace.diagnosis = diagnose_namespace(&namespace.init, &namespace.blockers, *members_left_out);
        }
    }

    /// Returns the finding of a process, dead or alive, without keeping it.
    pub fn explain(&mut self, evidence: &Evidence) -> Finding {
        let id = evidence.id.unwrap_or(ProcessId::new(evidence.facts.pid, 0));
        in_full(&self.conclude(&id, evidence, None))
    }

    /// The same, if the filters want the finding.
    pub fn explain_wanted(&mut self, evidence: &Evidence) -> Option<Finding> {
        Some(self.explain(evidence)).filter(|finding| self.filter.wants(finding))
    }

    /// Makes the finding, with its diagnosis abridged.
    fn conclude(&mut self, id: &ProcessId, evidence: &Evidence, before: Option<&Finding>) -> Finding {
        let mut finding = attribute_after(&mut self.last, evidence, &self.host, self.grace_ns);
        remember(&mut finding, before);
        finding.blocks = self.blocks_of(id);
        if finding.origin == Origin::Exec
            && let Some(period_ns) = self.sessions.period_of(&finding)
        {
            finding.origin = Origin::HealthCheck { period_ns };
        }
        finding.pattern = self.outcomes.of(id, &finding);
        finding.diagnosis = diagnose_in_short(&finding);
        finding
    }

    fn reaped(
        &mut self,
        id: &ProcessId,
        free_ns: Option<u64>,
        release: Option<&Release>,
    ) -> Option<EventKind> {
        let Open { mut finding, is_wanted, .. } = self.open.remove(id)?;
        self.growth.uncount(&finding);
        let reap_ns = release.map(|release| release.at_ns).or(free_ns);
        let dwell_ns = finding.exit_ns.zip(reap_ns).map(|(exit_ns, reap_ns)| reap_ns.saturating_sub(exit_ns));
        let is_reaper = |release: &Release| {
            let reaper = finding.reaper.as_ref()?;
            Some(reaper.process.pid == release.by.tgid)
        };
        let was_freed = self.being_freed.remove(id);
        let own_dwell_ns = dwell_ns.filter(|_| !was_freed);
        self.outcomes.reaped(id, &finding, own_dwell_ns, release.and_then(is_reaper));
        // A process that ends while it reaps has no record any more when this event is emitted.
        let parent = finding.reaper.as_ref().map(|it| &it.process);
        let by = release.map(|Release { by, comm, .. }| {
            let known = || Some(parent.filter(|parent| parent.pid == by.tgid)?.name.clone());
            ReapedBy { id: *by, name: comm.clone().or_else(known) }
        });
        is_wanted.then(|| {
            finding.diagnosis = diagnose(&finding);
            close(&mut finding, reap_ns);
            EventKind::Reaped { finding, dwell_ns, by }
        })
    }

    fn held(&mut self, id: &ProcessId, evidence: &NamespaceEvidence, at_ns: u64, wall: Wall) -> Vec<Event> {
        let before = self.namespaces.get(id);
        let mut init = attribute(&evidence.init, &self.host, self.grace_ns);
        remember(&mut init, before.map(|blocked| &blocked.namespace.init));
        init.diagnosis = diagnose(&init);
        self.growth.set_unreaped(&mut init);
        let mut blockers = blockers(evidence);
        for blocker in blockers.iter_mut().filter(|blocker| blocker.kind == BlockerKind::Zombie) {
            blocker.decision = self.open.get(&blocker.id).map(|open| decide(&open.finding));
        }
        let namespace = BlockedNamespace {
            id: identity::finding_id("namespace", &init.id),
            since_ns: before.map_or(at_ns, |blocked| blocked.namespace.since_ns),
            diagnosis: diagnose_namespace(&init, &blockers, evidence.members_left_out),
            blockers,
            processes: evidence.members.len() as u64 + evidence.members_left_out + 1,
            init,
        };
        let was_wanted = before.is_some_and(|blocked| blocked.is_wanted);
        if namespace.blockers.is_empty() && was_wanted {
            // The namespace is just about to finish.
            return Vec::new();
        }
        // A namespace without a known blocker may be about to finish too. It is reported if it still exists at the next
        // inspection.
        let is_sure = before.is_some() || !namespace.blockers.is_empty();
        let is_wanted = was_wanted || (is_sure && self.filter.wants_namespace(&namespace));
        let key = |blocked: &BlockedNamespace| -> Vec<_> {
            blocked.blockers.iter().map(|it| (it.pid, it.kind, it.reaper.clone())).collect()
        };
        let is_new = !before.is_some_and(|blocked| key(&blocked.namespace) == key(&namespace));
        let mut events = Vec::new();
        if is_wanted && (!was_wanted || is_new) {
            let kind = EventKind::Blocked { namespace: Box::new(namespace.clone()), again: was_wanted };
            events.push(Event { at_ns, wall, kind });
        }
        let members_left_out = evidence.members_left_out;
        self.namespaces.insert(*id, Blocked { namespace, members_left_out, is_wanted });
        if is_new {
            events.extend(self.refresh_blocks(at_ns, wall));
        }
        events
    }

    fn released(&mut self, id: &ProcessId, at_ns: u64, wall: Wall) -> Vec<Event> {
        let Some(Blocked { mut namespace, members_left_out, is_wanted }) = self.namespaces.remove(id) else {
            return Vec::new();
        };
        let blocked_ns = namespace.init.exit_ns.map(|exit_ns| at_ns.saturating_sub(exit_ns));
        let mut events = Vec::new();
        if is_wanted {
            let BlockedNamespace { init, blockers, diagnosis, .. } = &mut namespace;
            init.looked_ns = at_ns;
            *diagnosis = diagnose_namespace(init, blockers, members_left_out);
            let kind = EventKind::Released { namespace: Box::new(namespace), blocked_ns };
            events.push(Event { at_ns, wall, kind });
        }
        events.extend(self.refresh_blocks(at_ns, wall));
        events
    }

    /// The blocked namespaces that a process blocks.
    fn blocks_of(&self, id: &ProcessId) -> Vec<Block> {
        let mut blocks: Vec<Block> = self
            .namespaces
            .values()
            .map(|blocked| &blocked.namespace)
            .filter(|namespace| namespace.blockers.iter().any(|blocker| blocker.id == *id))
            .filter_map(|namespace| {
                Some(Block {
                    ino: namespace.init.pid_ns.as_ref()?.ino,
                    init_pid: namespace.init.process.pid,
                    init_name: namespace.init.process.name.clone(),
                    since_ns: namespace.init.exit_ns.unwrap_or(namespace.since_ns),
                })
            })
            .collect();
        blocks.sort_by_key(|block| block.ino);
        blocks
    }

    /// Updates the list of blocked namespaces in every open finding.
    fn refresh_blocks(&mut self, at_ns: u64, wall: Wall) -> Vec<Event> {
        let mut ids: Vec<ProcessId> = self.open.keys().copied().collect();
        ids.sort();
        let mut events = self.refresh_exits(at_ns, wall);
        for id in ids {
            let blocks = self.blocks_of(&id);
            let Some(open) = self.open.get_mut(&id).filter(|open| open.finding.blocks != blocks) else {
                continue;
            };
            self.changes += 1;
            (open.finding.blocks, open.change) = (blocks, self.changes);
            if open.is_wanted {
                let kind = EventKind::Updated(Box::new(in_full(&open.finding)));
                events.push(Event { at_ns, wall, kind });
            }
        }
        events
    }
}

/// Updates the ages in a finding to the time of its close. The verdict, the prognosis and the advice stay those of the
/// last inspection, because nothing was inspected at the close.
fn close(finding: &mut Finding, at_ns: Option<u64>) {
    let Some(at_ns) = at_ns else { return };
    finding.looked_ns = at_ns.max(finding.looked_ns);
    let now = diagnose(finding);
    let before = &mut finding.diagnosis;
    if now.family == before.family {
        (before.verdict, before.evidence) = (now.verdict, now.evidence);
    }
}

/// Carries over the facts that only earlier inspections could see.
fn remember(finding: &mut Finding, before: Option<&Finding>) {
    let Some(before) = before else {
        if let Some(reaper) = &mut finding.reaper {
            reaper.same_since_ns = finding.looked_ns;
        }
        return;
    };
    finding.seen_ns = before.seen_ns;
    finding.exit_ns = finding.exit_ns.or(before.exit_ns);
    finding.exited_before_ns = before.exited_before_ns;
    if let (Origin::Exec, Origin::HealthCheck { .. }) = (finding.origin, before.origin) {
        finding.origin = before.origin;
    }
    // A re-inspection does not list the living processes, so it does not see which containers share the namespace.
    if let (Some(ns), Some(old)) = (&mut finding.pid_ns, &before.pid_ns)
        && ns.ino == old.ino
        && ns.containers.is_empty()
    {
        ns.containers.clone_from(&old.containers);
    }
    let Some(reaper) = &mut finding.reaper else { return };
    reaper.same_since_ns = finding.looked_ns;
    let Some(old) = before.reaper.as_ref().filter(|old| who(old) == who(reaper)) else {
        return;
    };
    if (old.state, &old.wchan, old.waits) == (reaper.state, &reaper.wchan, reaper.waits) {
        reaper.same_since_ns = old.same_since_ns;
    }
    // `wait_kinds` has the kinds of all waits since then, or since the last exec.
    let is_recorded = |at_ns: &u64| reaper.exec_ns.is_none_or(|exec_ns| *at_ns >= exec_ns);
    reaper.first_wait_ns = reaper.first_wait_ns.map(|at_ns| match old.first_wait_ns.filter(is_recorded) {
        Some(first_ns) => first_ns.min(at_ns),
        None => at_ns,
    });
    reaper.reaped_since = reaper
        .reaped
        .zip(old.reaped)
        .map(|((now, _), (then, _))| old.reaped_since.unwrap_or(0) + now.saturating_sub(then));
}

/// Identifies the process of a reaper, also if its entity id is not known.
fn who(reaper: &Reaper) -> (u32, Option<&str>) {
    (reaper.process.pid, reaper.process.entity_id.as_deref())
}

/// Whether the family, the cause, the prognosis, the origin, the reaper or the blocked namespaces changed. A change of
/// the confidence alone is not reported.
fn has_changed(before: &Finding, now: &Finding) -> bool {
    let key = |finding: &Finding| {
        (
            finding.diagnosis.family,
            finding.diagnosis.cause,
            finding.diagnosis.prognosis,
            finding.blocks.clone(),
            finding.origin.as_str(),
        )
    };
    key(before) != key(now) || before.reaper.as_ref().map(who) != now.reaper.as_ref().map(who)
}
