//! Counts the runs that the kernel skipped because the program was already running on that CPU. The programs' own
//! counters do not include them.

use std::{
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::{Ebpf, programs::Program};
use supervisor_ebpf::Counters;

use super::KernelError;

/// The losses that the hooks of a watch did not count themselves. A missed `sched_process_free` leaves an entry, which
/// is counted as lost when its slot is used again. A missed `release_task` loses no reap. A missed `signal_generate`
/// loses the record of a SIGKILL, and is counted nowhere.
///
/// # Errors
///
/// Those of [`of`].
pub(super) fn of_watch(ebpf: &Ebpf) -> Result<Counters, KernelError> {
    Ok(Counters {
        lost_exits: of(ebpf, "sched_process_exit")?,
        lost_forks: of(ebpf, "sched_process_fork")?,
        lost_execs: of(ebpf, "sched_process_exec")?,
        lost_waits: of(ebpf, "sched_process_wait")?,
        ..Counters::default()
    })
}

/// How often the kernel skipped a program; 0 if the kernel does not report the number.
///
/// # Errors
///
/// If the object has no such program, or `/proc/self/fdinfo` cannot be read.
pub(super) fn of(ebpf: &Ebpf, name: &'static str) -> Result<u64, KernelError> {
    let program = ebpf.program(name).ok_or(KernelError::NotInObject(name))?;
    recursion_misses(program).map_err(|source| KernelError::Io {
        what: "cannot read how often the kernel left out an eBPF program",
        source,
    })
}

/// Reads the number from `/proc` (`bpf_prog_show_fdinfo()`, `kernel/bpf/syscall.c`). Any other way to read this field
/// of `bpf_prog_info` needs a system call of our own.
fn recursion_misses(program: &Program) -> io::Result<u64> {
    // A program that is not loaded has not run.
    let Ok(fd) = program.fd() else { return Ok(0) };
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))?;
    Ok(parse(&text).unwrap_or(0))
}

/// The number after `recursion_misses:`. `None` on kernels before Linux 5.12, which do not count the misses.
fn parse(fdinfo: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_misses_is_found_in_fdinfo() {
        let text = "pos:\t0\nflags:\t02000002\nprog_type:\t26\nrun_cnt:\t0\nrecursion_misses:\t17\nverified_insns:\t700\n";
        assert_eq!(parse(text), Some(17));
        assert_eq!(parse("pos:\t0\nrun_cnt:\t5\n"), None);
    }
}
