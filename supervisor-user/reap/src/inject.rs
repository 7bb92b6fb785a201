//! Makes one thread of another process call wait4, and leaves the thread as it was.
//!
//! **The target goes on correctly, whatever happens to this process.** If this process dies, the kernel detaches the
//! thread. The thread then goes on with the registers that it has at that moment. So the thread can go on from each
//! intermediate state:
//!
//! 1. Until the registers are set, only bytes below the stack's red zone have changed. These bytes belong to no
//!    function. They hold a signal frame with the interrupted context.
//! 2. One call sets all registers: it is the commitment. From then on the thread itself waits and returns into
//!    `rt_sigreturn`, and the kernel restores the context from the frame. An interrupted system call is made once more.
//! 3. Then all signals are blocked, so that no handler runs in between. `rt_sigreturn` sets the mask of the frame.
//! 4. While this process lives, `rt_sigreturn` does not run. The thread stops once more on its way back to user mode,
//!    where the kernel restarts interrupted calls, and gets its mask and registers back. So the kernel restarts the
//!    call as if there had been no stop, with the time that is left of it (`restart_block`). A signal that came
//!    meanwhile ends the call as always.
//!
//! Code is never written. One effect stays: some calls end with `EINTR` after any stop, as after `strace -p` or SIGSTOP
//! and SIGCONT (signal(7)). This file restarts those calls that have no time limit.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use super::{
    arch::{Frame, Registers},
    ptrace::{self, Resume, Stop},
    seccomp::allows,
    space::AddressSpace,
};

/// A thread that does not stop for this long is left alone.
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// The number of checks for the next stop that are made without giving the processor away. A stop that comes from
/// another processor comes within microseconds.
const SPINS: u32 = 50;
/// The shortest and the longest pause between two checks after that. The pause grows with the time that has passed: this
/// thread goes before all others on its processor, and the target may need that processor to stop.
const PAUSES: [Duration; 2] = [Duration::from_micros(10), Duration::from_millis(1)];
/// A pause is this part of the time that has passed.
const PAUSE_PART: u32 = 8;

/// The last step of an injection that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The thread is traced.
    Seized,
    /// It has stopped.
    Stopped,
    /// The frame is on its stack.
    FrameWritten,
    /// Its registers are those of the chain.
    Committed,
    /// All its signals are blocked.
    Masked,
    /// It is at the entry of wait4.
    Entered,
    /// It is at the exit of wait4.
    Waited,
    /// It has stopped on its way back to user mode.
    StoppedAgain,
    /// It has its signal mask back.
    Unmasked,
    /// It has its registers back.
    Restored,
    /// It is not traced any more.
    Detached,
}

impl Step {
    /// All of them, in their order.
    pub const ALL: [Self; 11] = [
        Self::Seized,
        Self::Stopped,
        Self::FrameWritten,
        Self::Committed,
        Self::Masked,
        Self::Entered,
        Self::Waited,
        Self::StoppedAgain,
        Self::Unmasked,
        Self::Restored,
        Self::Detached,
    ];
}

/// A zombie child of the target.
#[derive(Debug)]
pub struct Child {
    /// Its pid in the PID namespace of the target.
    pub vpid: u32,
    /// The process. Another process may have the same pid when the target waits.
    pub pidfd: OwnedFd,
}

impl Child {
    /// Whether it is still not reaped.
    pub(super) fn is_there(&self) -> bool {
        let nothing = std::ptr::null_mut::<libc::siginfo_t>();
        // SAFETY: signal 0 is not sent, and the call reads no memory.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.pidfd.as_raw_fd(), 0, nothing, 0) == 0 }
    }
}

/// The result of wait4 for one child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// It is freed.
    Freed,
    /// It was freed before.
    Gone,
    /// It is a child, and wait4 cannot reap it yet: a tracer holds it, or it has other threads.
    NotYet,
    /// It is no child of the target.
    NotAChild,
    /// wait4 returned another error.
    Failed(i32),
}

/// The result of one stop.
#[derive(Debug)]
pub struct Stopped {
    /// How long the thread was stopped.
    pub length: Duration,
    /// The results for the first of the children. The other children have to wait for the next stop.
    pub waited: Vec<Waited>,
}

/// Why a stopped thread is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It runs 32-bit code.
    #[error("it runs 32-bit code")]
    Mode,
    /// The bounds of its stack are not known.
    #[error("its stack was placed by the program itself, as a goroutine's is, so its bounds are not known")]
    Stack,
    /// It is in a restartable sequence.
    #[error("it is in a restartable sequence (rseq)")]
    Sequence,
    /// The instructions are no longer at their addresses.
    #[error("its code has changed")]
    Code,
    /// The extended state cannot be put into a frame.
    #[error("its FPU state has an unknown format")]
    ExtendedState,
    /// Its seccomp filter does not allow the calls.
    #[error("its seccomp filter does not allow wait4 and rt_sigreturn")]
    Seccomp,
    /// The filter cannot be read (`seccomp_get_filter()`, `kernel/seccomp.c`).
    #[error(
        "it has a seccomp filter, which only a process with CAP_SYS_ADMIN and without a filter of its own can read: \
         run `supervisor reap` as root"
    )]
    SeccompHidden,
}

impl Unfit {
    /// Whether the thread may be fit a moment later.
    #[must_use]
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Stack | Self::Sequence)
    }
}

/// Why an injection was not done, or not completely.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// A tracer cannot attach to the thread.
    #[error("cannot attach to thread {tid}: {source}")]
    Attach {
        /// The thread.
        tid: u32,
        /// Why.
        source: io::Error,
    },
    /// The thread is left alone.
    #[error("thread {tid} was left alone: {why}")]
    Unfit {
        /// The thread.
        tid: u32,
        /// Why.
        why: Unfit,
    },
    /// Job control has stopped it.
    #[error("it is stopped (SIGSTOP or a terminal): continue it first")]
    JobControl,
    /// It has exited.
    #[error("it has exited")]
    Gone,
    /// It does not stop.
    #[error("thread {0} did not stop within {limit} s: it cannot be interrupted where it is", limit = STOP_LIMIT.as_secs())]
    NoStop(u32),
    /// The kernel refused a request.
    #[error("cannot {what} thread {tid}: {source}")]
    Kernel {
        /// The request.
        what: &'static str,
        /// The thread.
        tid: u32,
        /// Why.
        source: io::Error,
    },
}

/// A thread that is made to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thread<'a> {
    /// Its process.
    pub(super) pid: u32,
    /// The thread.
    pub(super) tid: u32,
    /// Its address space.
    pub(super) space: &'a AddressSpace,
    /// Whether it has a seccomp filter.
    pub(super) is_filtered: bool,
}

/// Stops the thread once, and makes it wait for as many children as fit into the time, at least one. A separate thread
/// of this process does all of it: when that thread ends, in whatever way, the kernel detaches the target.
pub(super) fn in_one_stop(
    target: Thread<'_>,
    children: &[Child],
    budget: Duration,
    step: &mut (dyn FnMut(Step) + Send),
) -> Result<Stopped, InjectError> {
    thread::scope(|scope| {
        let tracer = scope.spawn(move || {
            hurry();
            Injection { target, step }.run(children, budget)
        });
        tracer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Lets this thread run as soon as it can, because the target is stopped while this thread waits for a processor. If
/// that is not allowed, the stops are longer, and nothing else changes.
fn hurry() {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameters live during the call, and 0 is this thread.
    let _best_effort = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    // SAFETY: no memory is passed. The kernel may add this many nanoseconds to each sleep of this thread.
    let _best_effort = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
}

struct Injection<'a, 'b> {
    target: Thread<'a>,
    step: &'b mut (dyn FnMut(Step) + Send),
}

/// The state that the thread gets back at the end.
struct Original {
    registers: Registers,
    mask: u64,
    since: Instant,
}

/// The thread did not stop where it had to. It stopped on its way to user mode, with this signal.
struct Diverted(i32);

impl Injection<'_, '_> {
    fn tid(&self) -> i32 {
        self.target.tid as i32
    }

    fn failed(&self, what: &'static str) -> impl FnOnce(io::Error) -> InjectError {
        let tid = self.target.tid;
        move |source| match source.raw_os_error() {
            // The thread was killed while it was stopped.
            Some(libc::ESRCH) => InjectError::Gone,
            _ => InjectError::Kernel { what, tid, source },
        }
    }

    fn run(&mut self, children: &[Child], budget: Duration) -> Result<Stopped, InjectError> {
        let Some(first) = children.first() else {
            return Ok(Stopped { length: Duration::ZERO, waited: Vec::new() });
        };
        let original = self.stop()?;
        let frame = match self.frame(&original, first.vpid) {
            Ok(frame) => frame,
            Err(error) => {
                self.resume(Resume::Detached, 0)?;
                return Err(error);
            }
        };
        (self.step)(Step::FrameWritten);
        let (waited, diverted) = self.wait_for(children, &original, &frame, budget)?;
        let signal = match diverted {
            Some(Diverted(signal)) => signal,
            None if waited.iter().all(|it| *it == Waited::Gone) => 0,
            None => self.stop_again()?,
        };
        self.give_back(&original, signal)?;
        Ok(Stopped { length: original.since.elapsed(), waited })
    }

    /// Attaches and stops the thread.
    fn stop(&mut self) -> Result<Original, InjectError> {
        let tid = self.tid();
        ptrace::seize(tid).map_err(|source| match source.raw_os_error() {
            Some(libc::ESRCH) => InjectError::Gone,
            _ => InjectError::Attach { tid: self.target.tid, source },
        })?;
        (self.step)(Step::Seized);
        ptrace::interrupt(tid).map_err(self.failed("stop"))?;
        let since = loop {
            match self.next_stop()? {
                Stop::Asked => break Instant::now(),
                Stop::Signal(signal) => self.resume(Resume::On, signal)?,
                Stop::Call => self.resume(Resume::On, 0)?,
                Stop::Group => {
                    self.resume(Resume::Detached, 0)?;
                    return Err(InjectError::JobControl);
                }
                Stop::Gone => return Err(InjectError::Gone),
            }
        };
        (self.step)(Step::Stopped);
        let registers = ptrace::registers(tid).map_err(|error| match error.kind() {
            io::ErrorKind::Unsupported => InjectError::Unfit { tid: self.target.tid, why: Unfit::Mode },
            _ => self.failed("read the registers of")(error),
        })?;
        let mask = ptrace::signal_mask(tid).map_err(self.failed("read the signal mask of"))?;
        Ok(Original { registers, mask, since })
    }

    /// Checks that the thread is fit, and writes the frame.
    fn frame(&self, original: &Original, vpid: u32) -> Result<Frame, InjectError> {
        let (tid, space) = (self.tid(), self.target.space);
        let unfit = |why| InjectError::Unfit { tid: self.target.tid, why };
        if !original.registers.is_64_bit() {
            return Err(unfit(Unfit::Mode));
        }
        if !space.is_unchanged().map_err(self.failed("read the code of"))? {
            return Err(unfit(Unfit::Code));
        }
        if self.is_in_sequence(&original.registers)? {
            return Err(unfit(Unfit::Sequence));
        }
        if self.target.is_filtered && !self.is_allowed(vpid)? {
            return Err(unfit(Unfit::Seccomp));
        }
        let state = ptrace::extended_state(tid).map_err(self.failed("read the FPU state of"))?;
        let frame = Frame::new(&original.registers, original.mask, &state, space.gadgets())
            .ok_or_else(|| unfit(Unfit::ExtendedState))?;
        if !space.fits(&original.registers, &frame, self.target.tid == self.target.pid) {
            return Err(unfit(Unfit::Stack));
        }
        space.write(&frame).map_err(self.failed("write below the stack of"))?;
        Ok(frame)
    }

    /// Whether the thread is in a restartable sequence. The kernel would not abort the sequence if the thread came back
    /// into it later.
    fn is_in_sequence(&self, registers: &Registers) -> Result<bool, InjectError> {
        /// The offset of the address of a `struct rseq_cs` in `struct rseq`. The next two are the offsets of the
        /// sequence's start and length in `struct rseq_cs`.
        const SEQUENCE: u64 = 8;
        const START: u64 = 8;
        const LENGTH: u64 = 16;
        let Some(abi) = ptrace::rseq(self.tid()).map_err(self.failed("read the rseq of"))? else {
            return Ok(false);
        };
        let space = self.target.space;
        let read = |at: u64| space.read_u64(at).map_err(self.failed("read the rseq of"));
        let sequence = read(abi + SEQUENCE)?;
        if sequence == 0 {
            return Ok(false);
        }
        let (start, length) = (read(sequence + START)?, read(sequence + LENGTH)?);
        Ok(registers.instruction().wrapping_sub(start) < length)
    }

    /// Whether all its seccomp filters allow the calls of the chain.
    fn is_allowed(&self, vpid: u32) -> Result<bool, InjectError> {
        let calls = self.target.space.gadgets().calls(vpid);
        for index in 0.. {
            let filter = ptrace::seccomp_filter(self.tid(), index).map_err(|error| {
                if error.raw_os_error() == Some(libc::EACCES) {
                    return InjectError::Unfit { tid: self.target.tid, why: Unfit::SeccompHidden };
                }
                self.failed("read the seccomp filter of")(error)
            });
            let Some(filter) = filter? else { break };
            if !calls.iter().all(|call| allows(&filter, call)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes the thread wait for one child after the other.
    fn wait_for(
        &mut self,
        children: &[Child],
        original: &Original,
        frame: &Frame,
        budget: Duration,
    ) -> Result<(Vec<Waited>, Option<Diverted>), InjectError> {
        let mut waited = Vec::new();
        let mut is_committed = false;
        for child in children {
            if !waited.is_empty() && original.since.elapsed() >= budget {
                break;
            }
            // Between this check and wait4, another thread of the target could reap this child and get a new child with
            // the same pid. That is very unlikely: the time is microseconds, and `alloc_pid()` takes pids in a cycle.
            if !child.is_there() {
                waited.push(Waited::Gone);
                continue;
            }
            let registers = original.registers.in_chain(self.target.space.gadgets(), frame, child.vpid);
            self.set_registers(&registers)?;
            if !is_committed {
                is_committed = true;
                (self.step)(Step::Committed);
                ptrace::set_signal_mask(self.tid(), u64::MAX).map_err(self.failed("block the signals of"))?;
                (self.step)(Step::Masked);
            }
            for step in [Step::Entered, Step::Waited] {
                self.resume(Resume::ToCall, 0)?;
                match self.next_stop()? {
                    Stop::Call => (self.step)(step),
                    Stop::Gone => return Err(InjectError::Gone),
                    Stop::Signal(signal) => return Ok((waited, Some(Diverted(signal)))),
                    Stop::Asked | Stop::Group => return Ok((waited, Some(Diverted(0)))),
                }
            }
            let registers = ptrace::registers(self.tid()).map_err(self.failed("read the registers of"))?;
            waited.push(outcome(&registers, child.vpid));
        }
        Ok((waited, None))
    }

    /// Lets the thread stop on its way back to user mode. Returns the signal that it is about to get, if any.
    fn stop_again(&mut self) -> Result<i32, InjectError> {
        ptrace::interrupt(self.tid()).map_err(self.failed("stop"))?;
        self.resume(Resume::On, 0)?;
        let signal = match self.next_stop()? {
            Stop::Signal(signal) => signal,
            Stop::Asked | Stop::Group | Stop::Call => 0,
            Stop::Gone => return Err(InjectError::Gone),
        };
        (self.step)(Step::StoppedAgain);
        Ok(signal)
    }

    /// Gives the thread its mask back, and then its registers. In the other order the thread would block all signals
    /// forever if this process died in between.
    fn give_back(&mut self, original: &Original, signal: i32) -> Result<(), InjectError> {
        ptrace::set_signal_mask(self.tid(), original.mask).map_err(self.failed("unblock the signals of"))?;
        (self.step)(Step::Unmasked);
        self.set_registers(&original.registers.to_resume())?;
        (self.step)(Step::Restored);
        self.resume(Resume::Detached, signal)?;
        (self.step)(Step::Detached);
        Ok(())
    }

    fn set_registers(&self, registers: &Registers) -> Result<(), InjectError> {
        ptrace::set_registers(self.tid(), registers).map_err(self.failed("set the registers of"))
    }

    fn resume(&self, how: Resume, signal: i32) -> Result<(), InjectError> {
        ptrace::resume(self.tid(), how, signal).map_err(self.failed("resume"))
    }

    fn next_stop(&self) -> Result<Stop, InjectError> {
        let start = Instant::now();
        for looks in 0_u32.. {
            if let Some(stop) = ptrace::next_stop(self.tid()).map_err(self.failed("wait for"))? {
                return Ok(stop);
            }
            let waited = start.elapsed();
            if looks < SPINS {
                std::hint::spin_loop();
            } else if waited < STOP_LIMIT {
                thread::sleep((waited / PAUSE_PART).clamp(PAUSES[0], PAUSES[1]));
            } else {
                break;
            }
        }
        Err(InjectError::NoStop(self.target.tid))
    }
}

fn outcome(registers: &Registers, vpid: u32) -> Waited {
    const NO_CHILD: i64 = -(libc::ECHILD as i64);
    match registers.result() {
        0 => Waited::NotYet,
        NO_CHILD => Waited::NotAChild,
        pid if pid == i64::from(vpid) => Waited::Freed,
        error => Waited::Failed(error as i32),
    }
}
