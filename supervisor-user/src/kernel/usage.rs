//! What the kernel side takes: elements of its maps, and time of its programs while that is asked for.

use std::{io, os::fd::OwnedFd, time::Duration};

use aya::sys::{Stats, enable_stats};
use supervisor_ebpf::{Counters, EPOCHS};

use super::{KernelError, Tracer, map_sizes};

/// How full a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapFill {
    /// The map.
    pub name: &'static str,
    /// How many elements it holds, where that is known without reading all of them.
    pub entries: Option<u64>,
    /// How many it can hold.
    pub max_entries: u64,
}

/// What an eBPF program has cost since the kernel was asked to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramRuns {
    /// The program.
    pub name: String,
    /// How long it ran.
    pub run_time: Duration,
    /// How often.
    pub runs: u64,
}

/// As long as one exists, the kernel measures every eBPF program of the host, which makes each run slower.
#[derive(Debug)]
pub struct RunStats {
    _fd: OwnedFd,
}

impl RunStats {
    /// Asks for it.
    ///
    /// # Errors
    ///
    /// Without `CAP_SYS_ADMIN`.
    pub fn enable() -> Result<Self, KernelError> {
        match enable_stats(Stats::RunTime) {
            Ok(fd) => Ok(Self { _fd: fd }),
            Err(error) if error.io_error.kind() == io::ErrorKind::PermissionDenied => {
                Err(KernelError::NoRights(
                    "measuring eBPF programs needs CAP_SYS_ADMIN until it has begun: add it, or set `bpf_stats = false`"
                        .to_owned(),
                ))
            }
            Err(error) => {
                Err(KernelError::Io { what: "cannot measure eBPF programs", source: error.io_error })
            }
        }
    }
}

impl Tracer {
    /// How full the maps are; costs one map lookup.
    ///
    /// # Errors
    ///
    /// The error of the lookup.
    pub fn map_fill(&self, counters: &Counters) -> Result<Vec<MapFill>, KernelError> {
        let epochs = self.epochs()?;
        let fill = |name, max_entries| MapFill {
            name,
            entries: entries(name, counters, &epochs, max_entries),
            max_entries,
        };
        Ok(map_sizes().iter().map(|map| fill(map.name, map.entries as u64)).collect())
    }

    /// What each program that is loaded has cost since [`RunStats::enable`]. Those of a trace are not, and an extra one
    /// may have been refused.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell.
    pub fn program_runs(&self) -> Result<Vec<ProgramRuns>, KernelError> {
        let loaded = self.ebpf.programs().filter(|(_, program)| program.fd().is_ok());
        let told = loaded.map(|(name, program)| {
            let info = program.info().map_err(|error| KernelError::Io {
                what: "cannot read the run times of the eBPF programs",
                source: io::Error::other(error),
            })?;
            Ok(ProgramRuns { name: name.to_owned(), run_time: info.run_time(), runs: info.run_count() })
        });
        told.collect()
    }
}

/// The records that were added and not removed. Of an LRU map that is as much as there is room for, at most: what it
/// drops by itself is not counted. The others' are not counted at all.
fn entries(name: &str, counters: &Counters, epochs: &[u64; EPOCHS], max_entries: u64) -> Option<u64> {
    match name {
        // A moment's sum over the CPUs can be wrong by what is just being counted.
        "UNREAPED" => {
            let sum = epochs.iter().fold(0u64, |sum, cell| sum.wrapping_add(*cell)).cast_signed();
            Some(sum.max(0).cast_unsigned())
        }
        "WAITS" => Some(counters.waits_added.saturating_sub(counters.waits_removed).min(max_entries)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_what_was_added_and_not_removed() {
        let counters = Counters { waits_added: 30, waits_removed: 8, ..Counters::default() };
        let mut epochs = [0; EPOCHS];
        (epochs[0], epochs[9]) = (3, 4);
        let of = |name, max| entries(name, &counters, &epochs, max);
        assert_eq!((of("UNREAPED", 100), of("WAITS", 100), of("EXECS", 100)), (Some(7), Some(22), None));
        assert_eq!(of("WAITS", 20), Some(20), "an LRU holds no more than there is room for");
        epochs[0] = u64::MAX - 6;
        assert_eq!(
            entries("UNREAPED", &counters, &epochs, 100),
            Some(0),
            "a free was counted before its exit"
        );
    }
}
