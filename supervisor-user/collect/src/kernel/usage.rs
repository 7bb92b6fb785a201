//! Measures the kernel side: how full its maps are, and the run time of its programs while the kernel measures it.

use std::{io, os::fd::OwnedFd, time::Duration};

use aya::sys::{Stats, enable_stats};
use supervisor_ebpf::EPOCHS;

use super::{KernelError, MapSize, Programs, map_sizes};

/// How full a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapFill {
    /// The map.
    pub name: &'static str,
    /// How many elements it holds, if the number is known without a read of all elements.
    pub entries: Option<u64>,
    /// How many it can hold.
    pub max_entries: u64,
}

/// The cost of an eBPF program since the kernel began to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramRuns {
    /// The program.
    pub name: String,
    /// How long it ran.
    pub run_time: Duration,
    /// How often.
    pub runs: u64,
}

/// While one exists, the kernel measures every eBPF program of the host, which makes each run slower.
#[derive(Debug)]
pub struct RunStats {
    _fd: OwnedFd,
}

impl RunStats {
    /// Asks the kernel to measure.
    ///
    /// # Errors
    ///
    /// Without `CAP_SYS_ADMIN`, or if the kernel refuses for another reason.
    pub fn enable() -> Result<Self, KernelError> {
        match enable_stats(Stats::RunTime) {
            Ok(fd) => Ok(Self { _fd: fd }),
            Err(error) if error.io_error.kind() == io::ErrorKind::PermissionDenied => {
                Err(KernelError::NoCapabilities(
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

impl Programs {
    /// How full the maps are; costs one map lookup.
    ///
    /// # Errors
    ///
    /// The error of the lookup.
    pub fn map_fill(&self) -> Result<Vec<MapFill>, KernelError> {
        let unreaped = unreaped(&self.epochs()?);
        let fill = |map: &MapSize| MapFill {
            name: map.name,
            entries: (map.name == "UNREAPED").then_some(unreaped),
            max_entries: map.entries as u64,
        };
        Ok(map_sizes().iter().map(fill).collect())
    }

    /// The cost of each loaded program since [`RunStats::enable`]. A watch does not load the programs of a trace, and
    /// the kernel may have refused an optional program.
    ///
    /// # Errors
    ///
    /// If the kernel does not report it.
    pub fn program_runs(&self) -> Result<Vec<ProgramRuns>, KernelError> {
        let loaded = self.ebpf.programs().filter(|(_, program)| program.fd().is_ok());
        let runs = loaded.map(|(name, program)| {
            let info = program.info().map_err(|error| KernelError::Io {
                what: "cannot read the run times of the eBPF programs",
                source: io::Error::other(error),
            })?;
            Ok(ProgramRuns { name: name.to_owned(), run_time: info.run_time(), runs: info.run_count() })
        });
        runs.collect()
    }
}

/// How many processes are unreaped. The sum over the CPUs can be wrong by the processes that the hooks are just
/// counting.
fn unreaped(epochs: &[u64; EPOCHS]) -> u64 {
    let sum = epochs.iter().fold(0u64, |sum, cell| sum.wrapping_add(*cell)).cast_signed();
    sum.max(0).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreaped_is_the_sum_of_all_epochs_and_never_negative() {
        let mut epochs = [0; EPOCHS];
        (epochs[0], epochs[9]) = (3, 4);
        assert_eq!(unreaped(&epochs), 7);
        epochs[0] = u64::MAX - 6;
        assert_eq!(unreaped(&epochs), 0, "a free was counted before its exit");
    }
}
