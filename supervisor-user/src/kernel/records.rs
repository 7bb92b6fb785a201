//! What the kernel side remembers of processes: our own maps, or those of another `supervisor` that is running.

use std::{
    os::fd::AsFd as _,
    time::{Duration, SystemTime},
};

use aya::{
    Ebpf,
    maps::{HashMap, IterableMap as _, Map, MapData, MapError, MapInfo, PerCpuArray},
    programs::loaded_programs,
};
use supervisor_ebpf::{Counters, Exec, Process, ProcessId, Unreaped, Wait};

use super::{KernelError, batch};
use crate::clock;

/// An agent's hooks are attached at most this long after its programs were loaded.
const ATTACH: Duration = Duration::from_secs(1);

/// The maps that hold data of processes.
pub struct Records {
    unreaped: HashMap<MapData, u64, Unreaped>,
    processes: HashMap<MapData, ProcessId, Process>,
    pub(super) execs: HashMap<MapData, ProcessId, Exec>,
    waits: HashMap<MapData, ProcessId, Wait>,
    counters: PerCpuArray<MapData, Counters>,
    attached_ns: u64,
}

impl Records {
    /// The maps of an object that was just loaded; its hooks are attached now.
    pub(super) fn of(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        Self::take(clock::now_ns(), |name| ebpf.take_map(name).ok_or(KernelError::NotInObject(name)))
    }

    fn take(
        attached_ns: u64,
        mut map: impl FnMut(&'static str) -> Result<Map, KernelError>,
    ) -> Result<Self, KernelError> {
        Ok(Self {
            unreaped: typed("UNREAPED", map("UNREAPED")?)?,
            processes: typed("PROCESSES", map("PROCESSES")?)?,
            execs: typed("EXECS", map("EXECS")?)?,
            waits: typed("WAITS", map("WAITS")?)?,
            counters: typed("COUNTERS", map("COUNTERS")?)?,
            attached_ns,
        })
    }

    /// The maps of a `supervisor` that is watching now, of the same layout as ours: what it has seen is ours to
    /// read, since we have the rights to trace. Of several, the one that has watched longest.
    #[must_use]
    pub fn of_running_agent() -> Option<Self> {
        let mut agents: Vec<Self> = loaded_programs().filter_map(|program| agent(&program.ok()?)).collect();
        agents.sort_by_key(|agent| agent.attached_ns);
        agents.into_iter().next()
    }

    /// Since when its hooks are attached.
    #[must_use]
    pub fn attached_ns(&self) -> u64 {
        self.attached_ns
    }

    /// Everything in `UNREAPED`: the leader's task address with the process.
    ///
    /// # Errors
    ///
    /// The error of the batch lookup.
    pub fn unreaped(&self) -> Result<Vec<(u64, Unreaped)>, KernelError> {
        batch::entries(self.unreaped.map().fd().as_fd())
            .map_err(|source| KernelError::Io { what: "cannot read the eBPF map UNREAPED", source })
    }

    /// What is remembered of a process and its creator.
    ///
    /// # Errors
    ///
    /// The error of the lookup; that it is not there is none.
    pub fn process(&self, id: &ProcessId) -> Result<Option<Process>, KernelError> {
        optional("PROCESSES", self.processes.get(id, 0))
    }

    /// The last exec of a process.
    ///
    /// # Errors
    ///
    /// The error of the lookup; that it is not there is none.
    pub fn exec(&self, id: &ProcessId) -> Result<Option<Exec>, KernelError> {
        optional("EXECS", self.execs.get(id, 0))
    }

    /// The last wait syscall of a process.
    ///
    /// # Errors
    ///
    /// The error of the lookup; that it is not there is none.
    pub fn wait(&self, id: &ProcessId) -> Result<Option<Wait>, KernelError> {
        optional("WAITS", self.waits.get(id, 0))
    }

    /// The counters, summed over the CPUs.
    ///
    /// # Errors
    ///
    /// The error of the lookup.
    pub fn counters(&self) -> Result<Counters, KernelError> {
        let cpus = self.counters.get(&0, 0).map_err(|source| KernelError::Map { map: "COUNTERS", source })?;
        Ok(cpus.iter().fold(Counters::default(), |sum, cpu| Counters {
            forks: sum.forks + cpu.forks,
            thread_forks: sum.thread_forks + cpu.thread_forks,
            execs: sum.execs + cpu.execs,
            exits: sum.exits + cpu.exits,
            waits: sum.waits + cpu.waits,
            frees: sum.frees + cpu.frees,
            events: sum.events + cpu.events,
            lost_exits: sum.lost_exits + cpu.lost_exits,
            lost_events: sum.lost_events + cpu.lost_events,
            lost_frees: sum.lost_frees + cpu.lost_frees,
            lost_forks: sum.lost_forks + cpu.lost_forks,
            lost_execs: sum.lost_execs + cpu.lost_execs,
            lost_waits: sum.lost_waits + cpu.lost_waits,
            evicted: sum.evicted + cpu.evicted,
            waits_added: sum.waits_added + cpu.waits_added,
            waits_removed: sum.waits_removed + cpu.waits_removed,
        }))
    }
}

/// The maps of the agent that a program belongs to, if it is our kind of program. The free hook's program knows all
/// of them.
fn agent(program: &aya::programs::ProgramInfo) -> Option<Records> {
    // The kernel cuts names to 15 bytes.
    let name = program.name_as_str()?;
    if name.is_empty() || !"sched_process_free".starts_with(name) {
        return None;
    }
    let maps: Vec<MapInfo> =
        program.map_ids().ok()??.into_iter().filter_map(|id| MapInfo::from_id(id).ok()).collect();
    let loaded = SystemTime::now().duration_since(program.loaded_at()?).ok()?;
    // `doctor` attaches each hook for a moment, and has ended by then.
    let attached = loaded.checked_sub(ATTACH)?;
    let attached_ns = clock::now_ns().saturating_sub(attached.as_nanos() as u64);
    let records = Records::take(attached_ns, |name| {
        let info = maps.iter().find(|map| map.name_as_str() == Some(name));
        let data = info.and_then(|map| MapData::from_id(map.id()).ok());
        data.and_then(|data| Map::from_map_data(data).ok()).ok_or(KernelError::NotInObject(name))
    });
    // One that is loaded and not attached, as for one look, has seen nothing: not even our own exec.
    records.ok().filter(|records| records.counters().is_ok_and(|counters| counters.execs > 0))
}

pub(super) fn typed<M: TryFrom<Map, Error = MapError>>(
    name: &'static str,
    map: Map,
) -> Result<M, KernelError> {
    M::try_from(map).map_err(|source| KernelError::Map { map: name, source })
}

fn optional<T>(map: &'static str, found: Result<T, MapError>) -> Result<Option<T>, KernelError> {
    match found {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(source) => Err(KernelError::Map { map, source }),
    }
}
