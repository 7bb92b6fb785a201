//! Reads what the kernel side remembers of processes: from our own maps, or from those of another running `supervisor`.

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, MapError, MapInfo, PerCpuArray},
    programs::loaded_programs,
};
use supervisor_ebpf::{
    Control, Counters, End, Exec, Kill, Placed, Process, ProcessId, Unreaped, UnreapedBlock, place_of,
};

use super::KernelError;

/// The maps that hold data of processes.
pub struct Records {
    unreaped: Array<MapData, UnreapedBlock>,
    processes: Array<MapData, Placed>,
    displaced: HashMap<MapData, ProcessId, Process>,
    pub(super) execs: HashMap<MapData, ProcessId, Exec>,
    kills: HashMap<MapData, ProcessId, Kill>,
    ends: HashMap<MapData, ProcessId, End>,
    counters: PerCpuArray<MapData, Counters>,
    pub(super) control: Array<MapData, Control>,
}

impl Records {
    /// The maps of an object that was just loaded.
    pub(super) fn of(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        Self::take(|name| ebpf.take_map(name).ok_or(KernelError::NotInObject(name)))
    }

    fn take(mut map: impl FnMut(&'static str) -> Result<Map, KernelError>) -> Result<Self, KernelError> {
        Ok(Self {
            unreaped: typed("UNREAPED", map("UNREAPED")?)?,
            processes: typed("PROCESSES", map("PROCESSES")?)?,
            displaced: typed("DISPLACED", map("DISPLACED")?)?,
            execs: typed("EXECS", map("EXECS")?)?,
            kills: typed("KILLS", map("KILLS")?)?,
            ends: typed("ENDS", map("ENDS")?)?,
            counters: typed("COUNTERS", map("COUNTERS")?)?,
            control: typed("CONTROL", map("CONTROL")?)?,
        })
    }

    /// The maps of a `supervisor` that is watching now and whose maps have the same layout as ours. We may read them,
    /// because we have the capabilities to trace. Among several, it returns the one that has watched longest.
    #[must_use]
    pub fn of_running_agent() -> Option<Self> {
        let agents = loaded_programs().filter_map(|program| agent(&program.ok()?));
        let watching = agents.filter_map(|agent| Some((agent.seeded_ns().ok()??, agent)));
        watching.min_by_key(|(seeded_ns, _)| *seeded_ns).map(|(_, agent)| agent)
    }

    /// Since when the watch remembers every process and all its events.
    ///
    /// # Errors
    ///
    /// The error of the lookup.
    pub fn seeded_ns(&self) -> Result<Option<u64>, KernelError> {
        let control = self.control.get(&0, 0);
        let control = control.map_err(|source| KernelError::Map { map: "CONTROL", source })?;
        Ok(Some(control.seeded_ns).filter(|seeded_ns| *seeded_ns != 0))
    }

    /// Every process that has exited and was not freed. A process that is in this state during the whole call is
    /// returned once; a process that exits or is freed during the call may be missing.
    ///
    /// # Errors
    ///
    /// The error of the lookup.
    pub fn unreaped(&self) -> Result<Vec<Unreaped>, KernelError> {
        let mut all = Vec::new();
        for block in 0..self.unreaped.len() {
            let block = self.unreaped.get(&block, 0);
            let block = block.map_err(|source| KernelError::Map { map: "UNREAPED", source })?;
            all.extend(block.iter().filter(|entry| entry.is_whole()));
        }
        Ok(all)
    }

    /// The exit times of the unreaped processes whose exits were seen.
    ///
    /// # Errors
    ///
    /// The error of the lookup.
    pub fn exits(&self) -> Result<std::collections::HashMap<ProcessId, u64>, KernelError> {
        let seen = self.unreaped()?.into_iter().map(|entry| (entry.id, entry.exit_ns));
        Ok(seen.filter(|(_, exit_ns)| *exit_ns != 0).collect())
    }

    /// The record of a process, with its creator and its waits.
    ///
    /// # Errors
    ///
    /// The error of the lookup. A missing record is no error.
    pub fn process(&self, id: &ProcessId) -> Result<Option<Process>, KernelError> {
        let place = place_of(id.tgid);
        // With `--simulate-loss`, the array has fewer slots.
        if place < self.processes.len() {
            let placed = self.processes.get(&place, 0);
            let placed = placed.map_err(|source| KernelError::Map { map: "PROCESSES", source })?;
            if placed.id == *id {
                return Ok(Some(placed.process));
            }
        }
        optional("DISPLACED", self.displaced.get(id, 0))
    }

    /// The process that is remembered at the slot of a pid, if it has or had this pid. It is not always the last
    /// process with this pid: a released process that a child needs keeps the slot, and later processes are in
    /// `DISPLACED`. `None` if the slot is free, or if the process in it has another pid.
    ///
    /// # Errors
    ///
    /// The error of the lookup.
    pub fn id_of(&self, pid: u32) -> Result<Option<ProcessId>, KernelError> {
        let place = place_of(pid);
        if place >= self.processes.len() {
            return Ok(None);
        }
        let placed = self.processes.get(&place, 0);
        let placed = placed.map_err(|source| KernelError::Map { map: "PROCESSES", source })?;
        Ok(Some(placed.id).filter(|id| id.is_known() && id.tgid == pid))
    }

    /// The last exec of a process.
    ///
    /// # Errors
    ///
    /// The error of the lookup. A missing record is no error.
    pub fn exec(&self, id: &ProcessId) -> Result<Option<Exec>, KernelError> {
        optional("EXECS", self.execs.get(id, 0))
    }

    /// The first SIGKILL that a process got.
    ///
    /// # Errors
    ///
    /// The error of the lookup. A missing record is no error.
    pub fn kill(&self, id: &ProcessId) -> Result<Option<Kill>, KernelError> {
        optional("KILLS", self.kills.get(id, 0))
    }

    /// The end of a process that was reaped and whose record a child still needs.
    ///
    /// # Errors
    ///
    /// The error of the lookup. A missing record is no error.
    pub fn end(&self, id: &ProcessId) -> Result<Option<End>, KernelError> {
        optional("ENDS", self.ends.get(id, 0))
    }

    /// The counters, summed over the CPUs.
    ///
    /// # Errors
    ///
    /// The error of the lookup.
    pub fn counters(&self) -> Result<Counters, KernelError> {
        let cpus = self.counters.get(&0, 0).map_err(|source| KernelError::Map { map: "COUNTERS", source })?;
        Ok(cpus.iter().fold(Counters::default(), |sum, cpu| sum + *cpu))
    }
}

/// The maps of the agent that a program belongs to, if it is the program of an agent's free hook: that program uses all
/// of these maps.
fn agent(program: &aya::programs::ProgramInfo) -> Option<Records> {
    // The kernel cuts names to 15 bytes.
    let name = program.name_as_str()?;
    if name.is_empty() || !"sched_process_free".starts_with(name) {
        return None;
    }
    let maps: Vec<MapInfo> =
        program.map_ids().ok()??.into_iter().filter_map(|id| MapInfo::from_id(id).ok()).collect();
    let records = Records::take(|name| {
        let info = maps.iter().find(|map| map.name_as_str() == Some(name));
        let data = info.and_then(|map| MapData::from_id(map.id()).ok());
        data.and_then(|data| Map::from_map_data(data).ok()).ok_or(KernelError::NotInObject(name))
    });
    records.ok()
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
