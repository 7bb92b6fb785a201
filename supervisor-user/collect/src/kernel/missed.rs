//! Runs that the kernel left out because the program was running on that CPU already: no counter of the programs has them.

use std::{
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::{Ebpf, programs::Program};
use supervisor_ebpf::Counters;

use super::KernelError;

/// The losses that the hooks of a watch did not count themselves. What a missed `sched_process_free` leaves behind is counted
/// when its slot is used again, and a missed `release_task` loses no reap.
///
/// # Errors
///
/// If the kernel does not say.
pub(super) fn of_watch(ebpf: &Ebpf) -> Result<Counters, KernelError> {
    Ok(Counters {
        lost_exits: of(ebpf, "sched_process_exit")?,
        lost_forks: of(ebpf, "sched_process_fork")?,
        lost_execs: of(ebpf, "sched_process_exec")?,
        lost_waits: of(ebpf, "sched_process_wait")?,
        ..Counters::default()
    })
}

/// How often a program was left out.
///
/// # Errors
///
/// If the kernel does not say.
pub(super) fn of(ebpf: &Ebpf, name: &'static str) -> Result<u64, KernelError> {
    let program = ebpf.program(name).ok_or(KernelError::NotInObject(name))?;
    recursion_misses(program).map_err(|source| KernelError::Io {
        what: "cannot read how often the kernel left out an eBPF program",
        source,
    })
}

/// Of the program's `bpf_prog_info` only `/proc` shows this without a system call of our own (`bpf_prog_show_fdinfo()`,
/// `kernel/bpf/syscall.c`).
fn recursion_misses(program: &Program) -> io::Result<u64> {
    // One that is not loaded has not run.
    let Ok(fd) = program.fd() else { return Ok(0) };
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))?;
    Ok(parse(&text).unwrap_or(0))
}

/// The number behind `recursion_misses:`. `None` before Linux 5.12, which does not count them.
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
