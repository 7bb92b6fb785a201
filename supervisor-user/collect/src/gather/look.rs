//! One inspection of the host and of the kernel side: gathers the evidence of any number of processes. A fact that
//! several processes share, such as their reaper, is read once.

mod activity;
mod creators;
mod namespace;
mod processes;

use std::{
    cell::{OnceCell, RefCell},
    collections::{HashMap, HashSet},
    hash::Hash,
    io,
    rc::Rc,
    time::Duration,
};

use activity::waits_for_group;
use supervisor_claims::{
    container_id, named_part,
    oci::{places, sandbox_places},
};
use supervisor_ebpf::{
    HEARD_OF, PID_LEVELS, Process, ProcessId, TASK_CGROUP_V1, TASK_ENDING, TASK_EXITING,
    TASK_PARENT_IS_SUBREAPER, TASK_PARENT_NOCLDWAIT, TASK_PARENT_NOCLDWAIT_UNKNOWN, TASK_PARENT_SIGINFO,
    TASK_PARENT_SUBREAPER_UNKNOWN, TASK_ZOMBIE, TaskRecord,
};
use supervisor_model::{
    clock,
    evidence::{CreatorFacts, EndingFacts, Evidence, ExecFacts, ReaperFacts, Task, TracerFacts, text},
    facts::{NotRead, OciFacts, OciPlaces, PidBudget, PipeWriters, ProcessFacts, ThreadFacts},
    shared::Shared,
};

use super::{execs::Execs, handler::is_handler_changed};
use crate::{
    host::Host,
    kernel::{KernelError, Remembered},
    redacted::Redacted,
};

/// `supervisor reap` and `[reap]` stop a reaper while they free a zombie. The stop is over after this time.
const REAP_STOP: Duration = Duration::from_millis(1);
/// If a reaper is still stopped after this many such times, a debugger has stopped it.
const REAP_STOPS: u32 = 3;
/// At most this many creators are followed upwards.
const MAX_CREATORS: usize = 16;
/// At most this many members of a PID namespace have their control groups read. If the namespace cannot end, this is
/// also the limit of members whose calls are read.
const MAX_NS_MEMBERS: usize = 64;
/// At most this many members of a PID namespace that cannot end are inspected. The evidence says how many others there
/// are.
const MAX_MEMBERS: usize = 1024;

/// An error of gathering evidence.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// On the kernel side.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// In `/proc`.
    #[error("cannot read /proc: {0}")]
    Host(#[from] io::Error),
}

/// Values that were read in this inspection.
type Cache<K, V> = RefCell<HashMap<K, Rc<V>>>;

/// The control groups of a zombie: its `css_set`, and the names that the iterator reports for it. The address of a
/// `css_set` alone is not enough, because the kernel can use it again.
type Groups = (u64, Option<Shared<Vec<String>>>);

/// One inspection.
pub struct Inspection<'a> {
    host: Redacted<'a>,
    records: Option<Remembered<'a>>,
    tasks: HashMap<ProcessId, Task>,
    living: Vec<TaskRecord>,
    /// All processes that the iterator named, sorted. The list is made at the first question.
    ids: OnceCell<Vec<ProcessId>>,
    held: HashMap<ProcessId, u64>,
    processes: Cache<u32, Option<ProcessFacts>>,
    /// Processes that were not read in time.
    not_read: RefCell<HashSet<u32>>,
    threads: Cache<u32, Vec<ThreadFacts>>,
    reapers: Cache<(u32, bool), Option<Shared<ReaperFacts>>>,
    creators: Cache<ProcessId, Option<(CreatorFacts, Execs, ProcessId)>>,
    /// The ancestry of a process: its creator, which forked it at that time, and all creators above.
    ancestries: Cache<(ProcessId, u64), Shared<Vec<CreatorFacts>>>,
    inits: Cache<ProcessId, Option<Shared<ProcessFacts>>>,
    budgets: Cache<(Option<String>, Option<u32>), Option<PidBudget>>,
    /// The processes that hold the write ends of pipes.
    pipes: Cache<(), Option<PipeWriters>>,
    namespaces: Cache<u32, Vec<String>>,
    /// Control groups of zombies.
    groups: RefCell<HashMap<Groups, Option<String>>>,
    containers: Cache<Vec<OciPlaces>, Result<Option<OciFacts>, NotRead>>,
    /// Whether only root can change the files at these paths.
    programs: Cache<String, Option<bool>>,
    seeded_ns: Cache<(), Option<u64>>,
}

impl<'a> Inspection<'a> {
    /// An inspection of the processes that the task iterator reports now: the exited ones, and the living ones if they
    /// were requested. Without records there are no creators, execs and waits.
    #[must_use]
    pub fn new(
        host: Redacted<'a>,
        records: Option<Remembered<'a>>,
        exited: Vec<Task>,
        living: Vec<TaskRecord>,
    ) -> Self {
        let mut held = HashMap::new();
        for task in &exited {
            if task.record.flags & TASK_ZOMBIE != 0 {
                *held.entry(task.record.parent).or_default() += 1;
            }
        }
        Self {
            host,
            records,
            tasks: exited.into_iter().map(|task| (task.record.id, task)).collect(),
            living,
            ids: OnceCell::new(),
            held,
            processes: Cache::default(),
            not_read: RefCell::default(),
            threads: Cache::default(),
            reapers: Cache::default(),
            creators: Cache::default(),
            ancestries: Cache::default(),
            inits: Cache::default(),
            budgets: Cache::default(),
            pipes: Cache::default(),
            namespaces: Cache::default(),
            groups: RefCell::default(),
            containers: Cache::default(),
            programs: Cache::default(),
            seeded_ns: Cache::default(),
        }
    }

    /// Gathers the evidence of a process. `id` is its exact identity, if that is known.
    ///
    /// # Errors
    ///
    /// If a map or `/proc` cannot be read. A missing entry in them is not an error.
    #[expect(
        clippy::too_many_lines,
        reason = "one line for each field of the evidence, in the order in which they can be read"
    )]
    pub fn gather(
        &self,
        facts: ProcessFacts,
        id: Option<ProcessId>,
        exit_ns: Option<u64>,
    ) -> Result<Evidence, EvidenceError> {
        let task = id.and_then(|id| self.task(&id));
        let record = self.process(id)?;
        let creators = match (&record, id) {
            (Some(record), Some(id)) => self.creators_of(&id, record.creator)?,
            _ => Shared::default(),
        };
        let exec = match &record {
            Some(record) if record.execed == 0 => {
                creators.first().and_then(|creator| creator.exec.clone()).map(ExecFacts::inherited)
            }
            _ => self.exec(id)?,
        };
        let ns_init = match task.as_ref().map(|task| task.record.ns_init) {
            Some(init) if init.is_known() => {
                let read = || Ok::<_, EvidenceError>(self.process_of(&init)?.map(Shared::from));
                (*cached(&self.inits, init, read)?).clone()
            }
            _ => None,
        };
        let (facts, exec) = self.with_arguments(facts, exec)?;
        let threads = self.threads(&facts)?;
        let reaper = self.reaper(&facts, task.as_ref())?;
        let ending = self.ending(&facts, &threads, task.as_ref(), exit_ns)?;
        let facts = match &reaper {
            Some(reaper) if waits_for_group(reaper) => self.with_groups(facts)?,
            _ => facts,
        };
        let budget =
            self.budget(&facts, task.as_ref(), [reaper.as_ref().map(|it| &it.facts), ns_init.as_deref()])?;
        let mut evidence = Evidence {
            at_ns: clock::now_ns(),
            exit_ns,
            id,
            exec,
            tracer: self.tracer(&facts, &threads)?,
            threads,
            creators,
            first_parent: record
                .as_ref()
                .filter(|record| record.creator.is_known())
                .map(|record| record.parent),
            has_children: record.is_some_and(|record| record.children.cast_signed() > 0),
            ns_init,
            ns_groups: self.ns_groups(&facts)?,
            // A reaper with a record has had the record since this time, and each of its waits is in it.
            waits_known_since_ns: match &reaper {
                Some(reaper) if reaper.reaped.is_some() => *cached(&self.seeded_ns, (), || self.seeded_ns())?,
                _ => None,
            },
            reaper_pipe: match &reaper {
                Some(reaper) => self.pipe(reaper, id)?,
                None => None,
            },
            reaper,
            budget,
            ending,
            oci: None,
            sandbox: None,
            oci_not_read: false,
            task: task.map(|task| self.host.task(task)),
            facts,
        };
        // The roles in the evidence decide where the files of the container are.
        match self.oci(&places(&evidence))? {
            Ok(facts) => evidence.oci = facts,
            Err(_) => evidence.oci_not_read = true,
        }
        let sandbox = sandbox_places(&evidence);
        if !sandbox.is_empty() {
            evidence.sandbox = self.oci(&[sandbox])?.ok().flatten();
        }
        Ok(evidence)
    }

    /// The facts about a process that must exit. `None` for any other process, and for a zombie.
    fn ending(
        &self,
        facts: &ProcessFacts,
        threads: &[ThreadFacts],
        task: Option<&Task>,
        exit_ns: Option<u64>,
    ) -> Result<Option<EndingFacts>, EvidenceError> {
        let is_ending = |task: &&Task| task.record.flags & (TASK_ENDING | TASK_EXITING) != 0;
        // A process that dumps core must exit too, and makes progress.
        let is_candidate = !facts.is_unreaped() && !facts.dumps_core;
        let Some(task) = task.filter(is_ending).filter(|_| is_candidate) else { return Ok(None) };
        let kill = self.records.map_or(Ok(None), |records| records.kill(&task.record.id))?;
        let killer = kill.filter(|kill| kill.by.is_known());
        // A thread that has not exited still shows the control group and the mounts that the process was in.
        let tid = threads.iter().find(|thread| thread.is_live()).map_or(facts.pid, |thread| thread.tid);
        Ok(Some(EndingFacts {
            since_ns: kill.map(|kill| kill.at_ns).or(exit_ns),
            killed_by: killer.map(|kill| (kill.by.tgid, self.host.text(text(&kill.comm)))),
            frozen: self.host.frozen(tid),
            mounts: self.host.remote_mounts(tid),
        }))
    }

    /// The facts in a container's files, which are read once.
    fn oci(&self, places: &[OciPlaces]) -> Result<Result<Option<OciFacts>, NotRead>, EvidenceError> {
        if places.is_empty() {
            return Ok(Ok(None));
        }
        let read = || Ok::<_, EvidenceError>(self.host.oci(places));
        Ok((*cached(&self.containers, places.to_vec(), read)?).clone())
    }

    /// The record of the task iterator for a process. For a living process it has no control group.
    fn task(&self, id: &ProcessId) -> Option<Task> {
        let living = || self.living.iter().find(|record| record.id == *id);
        self.tasks.get(id).cloned().or_else(|| living().map(|record| Task { record: *record, cgroup: None }))
    }

    fn process(&self, id: Option<ProcessId>) -> Result<Option<Process>, KernelError> {
        match (self.records, id) {
            (Some(records), Some(id)) => records.process(&id),
            _ => Ok(None),
        }
    }

    fn exec(&self, id: Option<ProcessId>) -> Result<Option<ExecFacts>, KernelError> {
        let (Some(records), Some(id)) = (self.records, id) else { return Ok(None) };
        let Some(found) = records.exec(&id)? else { return Ok(None) };
        self.with_owner(self.host.exec((&found).into())).map(Some)
    }

    /// Adds whether only root can change the file of a runtime, monitor or engine.
    fn with_owner(&self, mut exec: ExecFacts) -> Result<ExecFacts, KernelError> {
        if exec.roots_file.is_none()
            && let Some(path) = named_part(&exec).map(str::to_owned)
        {
            let read = || Ok::<_, KernelError>(self.host.is_roots_file(&path));
            exec.roots_file = *cached(&self.programs, path.clone(), read)?;
        }
        Ok(exec)
    }

    /// The exact identity of a process in `/proc`, if the task iterator saw it.
    #[must_use]
    pub fn id_of(&self, facts: &ProcessFacts) -> Option<ProcessId> {
        let ids = self.ids.get_or_init(|| {
            // We have seen the iterator leave out the host's PID 1. Records of other processes name it.
            let named = |record: &TaskRecord| [record.id, record.ns_init];
            let exited = self.tasks.values().map(|task| &task.record);
            let mut ids: Vec<ProcessId> = exited.chain(&self.living).flat_map(named).collect();
            ids.sort_unstable();
            ids
        });
        let first = ids.partition_point(|id| id.tgid < facts.pid);
        let named = ids[first..].iter().take_while(|id| id.tgid == facts.pid);
        named.copied().find(|id| starts_match(&self.host, facts, id.start_ns))
    }

    fn tracer(
        &self,
        facts: &ProcessFacts,
        threads: &[ThreadFacts],
    ) -> Result<Option<TracerFacts>, io::Error> {
        let of_thread = || threads.iter().find_map(|thread| Some((thread.tid, thread.tracer?)));
        let Some((tid, pid)) = facts.tracer.map(|pid| (facts.pid, pid)).or_else(of_thread) else {
            return Ok(None);
        };
        // The kernel reports the thread that traces.
        let pid = self.host.thread_group(pid).unwrap_or(pid);
        let (comm, state) = self.read(pid)?.map(|tracer| (tracer.comm, tracer.state)).unzip();
        Ok(Some(TracerFacts { tid, pid, comm, state }))
    }

    fn reaper(
        &self,
        facts: &ProcessFacts,
        task: Option<&Task>,
    ) -> Result<Option<Shared<ReaperFacts>>, EvidenceError> {
        // Between the iterator's pass and this inspection the reaper may have died, and another process may have
        // adopted the zombie.
        let seen = task.filter(|task| task.record.parent.tgid == facts.ppid);
        let found = cached(&self.reapers, (facts.ppid, seen.is_some()), || self.reaper_of(facts.ppid, seen))?;
        Ok((*found).clone())
    }

    fn reaper_of(&self, pid: u32, task: Option<&Task>) -> Result<Option<Shared<ReaperFacts>>, EvidenceError> {
        let Some(reaper) = self.unstopped(pid)? else { return Ok(None) };
        let seen = task.filter(|task| starts_match(&self.host, &reaper, task.record.parent.start_ns));
        let id = seen.map(|task| task.record.parent);
        // The waits and reaps of a process with the mark `HEARD_OF` were not seen.
        let record = self.process(id)?.filter(|record| record.execed != HEARD_OF);
        let (reaper, exec) = self.with_arguments(reaper, self.exec(id)?)?;
        let flag = |flag: u32, unknown: u32| {
            let flags = seen.map(|task| task.record.flags).filter(|flags| flags & unknown == 0);
            flags.map(|flags| flags & flag != 0)
        };
        let handler = seen
            .filter(|task| task.record.flags & TASK_PARENT_NOCLDWAIT_UNKNOWN == 0)
            .map(|task| task.record.parent_handler);
        let threads = self.threads(&reaper)?;
        let facts = ReaperFacts {
            tracer: self.tracer(&reaper, &threads)?,
            threads,
            frozen: self.host.frozen(reaper.pid),
            calls: self.host.calls(reaper.pid),
            parent_blocks_sigchld: self.blocking_parent(&reaper, record.as_ref())?,
            has_io_uring: self.host.has_io_uring(reaper.pid),
            cpu: self.host.cpu(reaper.pid),
            is_subreaper: flag(TASK_PARENT_IS_SUBREAPER, TASK_PARENT_SUBREAPER_UNKNOWN),
            no_cld_wait: flag(TASK_PARENT_NOCLDWAIT, TASK_PARENT_NOCLDWAIT_UNKNOWN),
            reaped: record.map(|record| (record.reaped, record.reaped_ns)),
            held: id.and_then(|id| self.held.get(&id).copied()),
            id,
            wait: record.map(|record| record.wait).filter(|wait| wait.count > 0),
            handler_changed: record
                .zip(handler)
                .and_then(|(record, now)| is_handler_changed(&record, exec.as_ref(), now)),
            takes_siginfo: flag(TASK_PARENT_SIGINFO, TASK_PARENT_NOCLDWAIT_UNKNOWN),
            exec,
            facts: reaper,
        };
        Ok(Some(facts.into()))
    }

    /// The limit of pids that applies to a process. It is the limit of its own control group, because the process is
    /// charged there until it is released. `/proc` does not show the version 1 group of a zombie. A process of the same
    /// container is in the same group or near it.
    fn budget(
        &self,
        facts: &ProcessFacts,
        task: Option<&Task>,
        others: [Option<&ProcessFacts>; 2],
    ) -> Result<Option<PidBudget>, EvidenceError> {
        let of_v1 = task.filter(|task| task.record.flags & TASK_CGROUP_V1 != 0);
        let v1_group =
            of_v1.and_then(|task| task.cgroup.as_ref()).map(|names| format!("/{}", names.join("/")));
        let neighbour = others
            .into_iter()
            .flatten()
            .find(|other| matches!(facts.state, 'Z' | 'X') && is_neighbour(facts, other))
            .map(|other| other.pid);
        let key = (v1_group.clone().or_else(|| facts.cgroup.clone()), neighbour);
        let budget = cached(&self.budgets, key, || {
            Ok::<_, EvidenceError>(self.host.pid_budget(facts.pid, v1_group.as_deref(), neighbour))
        })?;
        Ok((*budget).clone())
    }

    fn seeded_ns(&self) -> Result<Option<u64>, KernelError> {
        self.records.map_or(Ok(None), Remembered::seeded_ns)
    }
}

fn cached<K: Eq + Hash + Clone, V, E>(
    cache: &Cache<K, V>,
    key: K,
    read: impl FnOnce() -> Result<V, E>,
) -> Result<Rc<V>, E> {
    if let Some(value) = cache.borrow().get(&key) {
        return Ok(value.clone());
    }
    let value = Rc::new(read()?);
    cache.borrow_mut().insert(key, value.clone());
    Ok(value)
}

/// Whether two processes are in one container, or in one control group other than the root.
fn is_neighbour(one: &ProcessFacts, other: &ProcessFacts) -> bool {
    let (Some(one), Some(other)) = (&one.cgroup, &other.cgroup) else { return false };
    let container = container_id(one);
    (container.is_some() && container == container_id(other)) || (one == other && one != "/")
}

/// Whether a process has a pid in the innermost PID namespace of another process.
fn is_inside(record: &TaskRecord, init: &TaskRecord) -> bool {
    let level = init.level as usize;
    level < PID_LEVELS && record.level >= init.level && record.pid_nss[level] == init.pid_ns
}

/// Whether a process in `/proc` is the process that started at that time.
#[must_use]
pub fn starts_match(host: &dyn Host, facts: &ProcessFacts, start_ns: u64) -> bool {
    facts.start_ticks == start_ticks(host, start_ns)
}

fn start_ticks(host: &dyn Host, start_ns: u64) -> u64 {
    start_ns / (1_000_000_000 / host.identity().ticks_per_second)
}
