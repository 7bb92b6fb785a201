//! The state at a tick, as the engine reports it.

use std::collections::BTreeMap;

use supervisor_collect::{
    host::ReadsLost,
    kernel::{MapFill, ProgramRuns},
};
use supervisor_deliver::sink::Stats;
use supervisor_ebpf::Counters;
use supervisor_model::{
    family::Family,
    finding::{BlockedNamespace, Finding},
};

/// The runtimes that a label names; any other runtime is `other`.
const RUNTIMES: [&str; 3] = ["crun", "runc", "youki"];

/// The state at a tick.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The counters of the kernel side, since the start.
    pub counters: Counters,
    /// Reads of other processes that were late since the start.
    pub reads: ReadsLost,
    /// The open findings that pass the filter.
    pub open: OpenFindings,
    /// The number of events that the flood limiter has suppressed since the start.
    pub suppressed: u64,
    /// Each sink, by its name in the configuration.
    pub sinks: Vec<(String, Stats)>,
    /// Each kernel map.
    pub maps: Vec<MapFill>,
    /// Each eBPF program, if the kernel was asked to measure them.
    pub programs: Vec<ProgramRuns>,
}

/// How many findings are open, by family, runtime and state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenFindings(BTreeMap<[&'static str; 3], u64>);

impl OpenFindings {
    /// Counts open findings.
    pub fn count<'a>(
        zombies: impl IntoIterator<Item = &'a Finding>,
        namespaces: impl IntoIterator<Item = &'a BlockedNamespace>,
        exits: impl IntoIterator<Item = &'a Finding>,
    ) -> Self {
        let mut open = Self::default();
        for zombie in zombies {
            let state = if zombie.blocks.is_empty() { "unreaped" } else { "blocking" };
            open.add(zombie.diagnosis.family.map(Family::id), zombie, state);
        }
        for blocked in namespaces {
            open.add(blocked.diagnosis.family.map(Family::id), &blocked.init, "blocked");
        }
        for stuck in exits {
            open.add(stuck.diagnosis.family.map(Family::id), stuck, "exiting");
        }
        open
    }

    fn add(&mut self, family: Option<&'static str>, process: &Finding, state: &'static str) {
        let runtime = match &process.runtime {
            None => "none",
            Some(runtime) => RUNTIMES.into_iter().find(|name| *name == runtime.name).unwrap_or("other"),
        };
        *self.0.entry([family.unwrap_or("unknown"), runtime, state]).or_default() += 1;
    }

    /// The number for each family, runtime and state that has any finding.
    pub fn iter(&self) -> impl Iterator<Item = ([&'static str; 3], u64)> {
        self.0.iter().map(|(key, count)| (*key, *count))
    }
}
