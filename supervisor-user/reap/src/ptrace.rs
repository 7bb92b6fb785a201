//! The few ptrace requests that an injection makes, each with its types.
//!
//! A tracer is a thread, not a process. The thread that attached must call all of these functions.

use std::{io, mem, ptr};

use super::arch::{EXTENDED_STATE, Registers, XSTATE_LIMIT};

/// Size of the kernel's signal set, in bytes.
const SIGSET_LEN: usize = 8;
const NT_PRSTATUS: usize = 1;
const PTRACE_SECCOMP_GET_FILTER: libc::c_uint = 0x420c;
const PTRACE_GET_RSEQ_CONFIGURATION: libc::c_uint = 0x420f;

fn checked(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Attaches to a thread without stopping it. With `PTRACE_O_TRACESYSGOOD`, a stop at a system call differs from the
/// stop for a signal.
pub(super) fn seize(tid: i32) -> io::Result<()> {
    // SAFETY: the request reads no memory of this process.
    checked(unsafe { libc::ptrace(libc::PTRACE_SEIZE, tid, 0_usize, libc::PTRACE_O_TRACESYSGOOD as usize) })
        .map(drop)
}

/// Asks the thread to stop. If the thread is already stopped, it stops again before it is back in user
/// mode.
pub(super) fn interrupt(tid: i32) -> io::Result<()> {
    // SAFETY: the request reads no memory of this process.
    checked(unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, tid, 0_usize, 0_usize) }).map(drop)
}

/// How a stopped thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resume {
    /// It runs to the next entry or exit of a system call.
    ToCall,
    /// It runs on.
    On,
    /// It runs on, and is not traced any more.
    Detached,
}

/// Lets a stopped thread go on, with this signal if it is not 0.
pub(super) fn resume(tid: i32, how: Resume, signal: i32) -> io::Result<()> {
    let request = match how {
        Resume::ToCall => libc::PTRACE_SYSCALL,
        Resume::On => libc::PTRACE_CONT,
        Resume::Detached => libc::PTRACE_DETACH,
    };
    // SAFETY: the request reads no memory of this process.
    checked(unsafe { libc::ptrace(request, tid, 0_usize, signal as usize) }).map(drop)
}

/// The registers of a stopped thread. `ErrorKind::Unsupported` if the thread runs 32-bit code: the kernel returns the
/// registers of another architecture then.
pub(super) fn registers(tid: i32) -> io::Result<Registers> {
    // SAFETY: a register set is plain numbers.
    let mut regs: libc::user_regs_struct = unsafe { mem::zeroed() };
    let mut vector = libc::iovec { iov_base: ptr::from_mut(&mut regs).cast(), iov_len: size_of_val(&regs) };
    // SAFETY: the vector names memory of this size.
    checked(unsafe { libc::ptrace(libc::PTRACE_GETREGSET, tid, NT_PRSTATUS, ptr::from_mut(&mut vector)) })?;
    if vector.iov_len != size_of_val(&regs) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(Registers(regs))
}

/// Sets the registers of a stopped thread, all in one call.
pub(super) fn set_registers(tid: i32, registers: &Registers) -> io::Result<()> {
    let mut regs = registers.0;
    let vector = libc::iovec { iov_base: ptr::from_mut(&mut regs).cast(), iov_len: size_of_val(&regs) };
    // SAFETY: the vector names memory of this size, which is only read.
    checked(unsafe { libc::ptrace(libc::PTRACE_SETREGSET, tid, NT_PRSTATUS, ptr::from_ref(&vector)) })
        .map(drop)
}

/// The extended state (FPU, vectors) of a stopped thread.
pub(super) fn extended_state(tid: i32) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0_u8; XSTATE_LIMIT];
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: the vector names memory of this size.
    checked(unsafe {
        libc::ptrace(libc::PTRACE_GETREGSET, tid, EXTENDED_STATE, ptr::from_mut(&mut vector))
    })?;
    bytes.truncate(vector.iov_len);
    Ok(bytes)
}

/// The signals that a stopped thread blocks. If a system call has set another mask temporarily, this is the mask from
/// before that call.
pub(super) fn signal_mask(tid: i32) -> io::Result<u64> {
    let mut mask = 0_u64;
    // SAFETY: the request writes a mask of this size.
    checked(unsafe { libc::ptrace(libc::PTRACE_GETSIGMASK, tid, SIGSET_LEN, ptr::from_mut(&mut mask)) })?;
    Ok(mask)
}

/// Sets the signals that a stopped thread blocks.
pub(super) fn set_signal_mask(tid: i32, mask: u64) -> io::Result<()> {
    // SAFETY: the request reads a mask of this size.
    checked(unsafe { libc::ptrace(libc::PTRACE_SETSIGMASK, tid, SIGSET_LEN, ptr::from_ref(&mask)) }).map(drop)
}

/// `struct ptrace_rseq_configuration`.
#[repr(C)]
#[derive(Debug, Default)]
struct RseqConfiguration {
    abi: u64,
    size: u32,
    signature: u32,
    flags: u32,
    padding: u32,
}

/// The address of a stopped thread's `struct rseq`, if it has one. Kernels before 5.13 do not report it.
pub(super) fn rseq(tid: i32) -> io::Result<Option<u64>> {
    let mut configuration = RseqConfiguration::default();
    // SAFETY: the request writes no more bytes than the given size, which is the size of `configuration`.
    let result = unsafe {
        libc::ptrace(
            PTRACE_GET_RSEQ_CONFIGURATION,
            tid,
            size_of::<RseqConfiguration>(),
            ptr::from_mut(&mut configuration),
        )
    };
    match checked(result) {
        Ok(_) => Ok((configuration.abi != 0).then_some(configuration.abi)),
        Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The seccomp filter with this index. Index 0 is the oldest filter (`get_nth_filter()`, `kernel/seccomp.c`). `None` if
/// the index is behind the last filter.
pub(super) fn seccomp_filter(tid: i32, index: usize) -> io::Result<Option<Vec<libc::sock_filter>>> {
    // SAFETY: with a null pointer the request writes no memory. It returns only the number of instructions.
    let counted =
        unsafe { libc::ptrace(PTRACE_SECCOMP_GET_FILTER, tid, index, ptr::null_mut::<libc::c_void>()) };
    let len = match checked(counted) {
        Ok(len) => len as usize,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut program = vec![libc::sock_filter { code: 0, jt: 0, jf: 0, k: 0 }; len];
    // SAFETY: a filter does not change, and `program` has memory for all of its instructions.
    checked(unsafe { libc::ptrace(PTRACE_SECCOMP_GET_FILTER, tid, index, program.as_mut_ptr()) })?;
    Ok(Some(program))
}

/// The reason of a thread's stop, or the fact that the thread has exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// This program has asked for the stop.
    Asked,
    /// Job control has stopped the process.
    Group,
    /// It is at the entry or exit of a system call.
    Call,
    /// It is about to get this signal.
    Signal(i32),
    /// It has exited.
    Gone,
}

/// The next stop of a thread, if the thread has stopped by now.
pub(super) fn next_stop(tid: i32) -> io::Result<Option<Stop>> {
    let mut status = 0;
    // SAFETY: the call writes one status.
    let found =
        unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL | libc::__WNOTHREAD | libc::WNOHANG) };
    match found {
        0 => Ok(None),
        _ if found == tid => Ok(Some(decode(status))),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            error if error.raw_os_error() == Some(libc::ECHILD) => Ok(Some(Stop::Gone)),
            error => Err(error),
        },
    }
}

fn decode(status: i32) -> Stop {
    if !libc::WIFSTOPPED(status) {
        return Stop::Gone;
    }
    let signal = libc::WSTOPSIG(status);
    match (status >> 16, signal) {
        (libc::PTRACE_EVENT_STOP, libc::SIGTRAP) => Stop::Asked,
        (libc::PTRACE_EVENT_STOP, _) => Stop::Group,
        (0, signal) if signal == libc::SIGTRAP | 0x80 => Stop::Call,
        (_, signal) => Stop::Signal(signal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_stop_is_decoded() {
        let stopped = |event: i32, signal: i32| decode(event << 16 | signal << 8 | 0x7f);
        assert_eq!(stopped(libc::PTRACE_EVENT_STOP, libc::SIGTRAP), Stop::Asked);
        assert_eq!(stopped(libc::PTRACE_EVENT_STOP, libc::SIGSTOP), Stop::Group);
        assert_eq!(stopped(0, libc::SIGTRAP | 0x80), Stop::Call);
        assert_eq!(stopped(0, libc::SIGTRAP), Stop::Signal(libc::SIGTRAP));
        assert_eq!(stopped(0, libc::SIGCHLD), Stop::Signal(libc::SIGCHLD));
        assert_eq!(decode(9), Stop::Gone);
    }
}
