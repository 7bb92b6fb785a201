//! A reaper that is made to wait. This file checks its threads before a stop, and chooses the thread that waits.

use std::{fs, io, os::unix::fs::MetadataExt as _, thread, time::Duration};

use procfs::process::{ProcState, Process, Task};

use super::{
    inject::{Child, InjectError, Step, Stopped, Thread, in_one_stop},
    space::{AddressSpace, SpaceError},
};

/// The number of rounds in which the threads of a reaper are tried. Then the reaper is given up.
const ROUNDS: u32 = 20;
/// The pause between two rounds.
const PAUSE: Duration = Duration::from_millis(5);
/// The number of threads that are tried in one round.
const THREADS: usize = 16;

/// Why a process cannot be made to wait, according to its files in `/proc`.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is this process.
    #[error("it is supervisor itself: that reaps its own children")]
    Ourselves,
    /// It has exited, or is about to.
    #[error("it has exited")]
    Gone,
    /// Another process traces it.
    #[error("process {0} traces it (a debugger or strace), and only one process can: end that first")]
    Traced(u32),
    /// Job control has stopped it.
    #[error("it is stopped (SIGSTOP or a terminal): continue it first (`kill -CONT {0}`)")]
    Stopped(u32),
    /// No thread can be interrupted.
    #[error("it is in uninterruptible sleep (state D) and cannot be interrupted")]
    Uninterruptible,
    /// It uses a shadow stack.
    #[error("it uses a shadow stack (CET), which an injected return would violate")]
    ShadowStack,
    /// seccomp's strict mode.
    #[error("it runs in seccomp's strict mode, which allows no wait")]
    StrictSeccomp,
    /// Its address space does not allow an injection, or cannot be read.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// `/proc` could not be read.
    #[error("cannot read its files in /proc: {0}")]
    Proc(#[from] io::Error),
}

/// The fields of a thread's `stat` and `status` that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ThreadStatus {
    tid: u32,
    state: ProcState,
    tracer: u32,
    seccomp: u32,
    has_shadow_stack: bool,
}

/// A reaper that can be made to wait.
#[derive(Debug)]
pub struct Target {
    pid: u32,
    space: AddressSpace,
}

impl Target {
    /// Reads what an injection needs from a process. Refuses a process that cannot be made to wait.
    ///
    /// # Errors
    ///
    /// The reason why the process cannot be made to wait.
    pub fn open(pid: u32) -> Result<Self, Refused> {
        if pid == std::process::id() {
            return Err(Refused::Ourselves);
        }
        let threads = threads(pid)?;
        check(&threads, pid)?;
        // A main thread that has exited has no memory any more (`exit_mm()`, `kernel/exit.c`).
        let living = suitable(&threads).first().map_or(pid, |thread| thread.tid);
        Ok(Self { pid, space: AddressSpace::open(living)? })
    }

    /// Stops one of its threads once, and makes it wait for as many of the children as fit into the time.
    ///
    /// # Errors
    ///
    /// If no thread is fit for the injection, or the kernel refuses it.
    pub fn wait_for(
        &self,
        children: &[Child],
        budget: Duration,
        step: &mut (dyn FnMut(Step) + Send),
    ) -> Result<Stopped, WaitError> {
        let mut last = None;
        for round in 0..ROUNDS {
            if round > 0 {
                thread::sleep(PAUSE);
            }
            let threads = threads(self.pid)?;
            check(&threads, self.pid)?;
            for thread in suitable(&threads).into_iter().take(THREADS) {
                let thread = Thread {
                    pid: self.pid,
                    tid: thread.tid,
                    space: &self.space,
                    is_filtered: thread.seccomp == SECCOMP_FILTER,
                };
                match in_one_stop(thread, children, budget, step) {
                    // Another thread may be fit, or the same thread may be fit later.
                    Err(error @ InjectError::Unfit { .. }) => last = Some(error),
                    result => return Ok(result?),
                }
            }
            if let Some(InjectError::Unfit { why, .. }) = last
                && !why.may_pass()
            {
                break;
            }
        }
        Err(last.map_or(WaitError::Refused(Refused::Uninterruptible), WaitError::Inject))
    }
}

/// Why a target did not wait.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// It must not be stopped.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The injection has failed: the thread was stopped, or it could not be stopped.
    #[error(transparent)]
    Inject(#[from] InjectError),
}

impl From<io::Error> for WaitError {
    fn from(error: io::Error) -> Self {
        Self::Refused(Refused::Proc(error))
    }
}

const SECCOMP_STRICT: u32 = 1;
const SECCOMP_FILTER: u32 = 2;

/// Refuses a process if one of its threads is traced, is stopped, has a shadow stack or is in seccomp's strict mode, or
/// if no thread can be interrupted.
fn check(threads: &[ThreadStatus], pid: u32) -> Result<(), Refused> {
    if let Some(traced) = threads.iter().find(|thread| thread.tracer != 0) {
        return Err(Refused::Traced(traced.tracer));
    }
    if threads.iter().any(|thread| thread.has_shadow_stack) {
        return Err(Refused::ShadowStack);
    }
    let living: Vec<_> =
        threads.iter().filter(|it| !matches!(it.state, ProcState::Zombie | ProcState::Dead)).collect();
    if living.is_empty() {
        return Err(Refused::Gone);
    }
    if living.iter().any(|thread| thread.seccomp == SECCOMP_STRICT) {
        return Err(Refused::StrictSeccomp);
    }
    if living.iter().any(|thread| thread.state == ProcState::Stopped) {
        return Err(Refused::Stopped(pid));
    }
    if suitable(threads).is_empty() {
        return Err(Refused::Uninterruptible);
    }
    Ok(())
}

/// The threads that can be interrupted. The main thread comes first, then the threads that sleep.
fn suitable(threads: &[ThreadStatus]) -> Vec<ThreadStatus> {
    let can = |thread: &&ThreadStatus| matches!(thread.state, ProcState::Sleeping | ProcState::Running);
    let mut suitable: Vec<ThreadStatus> = threads.iter().filter(can).copied().collect();
    let first = threads.first().map(|it| it.tid);
    suitable.sort_by_key(|it| (Some(it.tid) != first, it.state != ProcState::Sleeping, it.tid));
    suitable
}

/// The threads of a process, its main thread first.
fn threads(pid: u32) -> io::Result<Vec<ThreadStatus>> {
    let gone = |_| io::Error::from(io::ErrorKind::NotFound);
    let tasks = Process::new(pid as i32).and_then(|process| process.tasks()).map_err(gone)?;
    // A thread that has ended meanwhile cannot be read.
    let mut threads: Vec<ThreadStatus> = tasks.flatten().filter_map(|task| status(pid, &task)).collect();
    threads.sort_by_key(|thread| (thread.tid != pid, thread.tid));
    Ok(threads)
}

/// Whether a process runs the same program as this one, by the same name: an agent, `top`, or `leaks --subreaper`. An
/// injected wait would take a child away from its own bookkeeping. `demo` plays other programs by their names.
#[must_use]
pub fn is_our_program(pid: u32) -> bool {
    let program = |dir: &str| {
        let file = fs::metadata(format!("{dir}/exe"))?;
        Ok::<_, io::Error>((file.dev(), file.ino(), fs::read(format!("{dir}/comm"))?))
    };
    program("/proc/self").is_ok_and(|own| program(&format!("/proc/{pid}")).is_ok_and(|it| it == own))
}

fn status(pid: u32, task: &Task) -> Option<ThreadStatus> {
    let tid = task.tid as u32;
    let state = task.stat().ok()?.state().ok()?;
    let content = fs::read(format!("/proc/{pid}/task/{tid}/status")).ok()?;
    Some(parse(tid, state, &content))
}

pub(super) fn parse(tid: u32, state: ProcState, status: &[u8]) -> ThreadStatus {
    // Only the name can have other characters than ASCII: a process chooses it.
    let status = String::from_utf8_lossy(status);
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let number = |name: &str| field(name).and_then(|value| value.parse().ok()).unwrap_or(0);
    let has_shadow_stack = field("x86_Thread_features").is_some_and(|features| features.contains("shstk"));
    ThreadStatus { tid, state, tracer: number("TracerPid"), seccomp: number("Seccomp"), has_shadow_stack }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(tid: u32, state: ProcState) -> ThreadStatus {
        ThreadStatus { tid, state, tracer: 0, seccomp: 0, has_shadow_stack: false }
    }

    fn message(threads: &[ThreadStatus]) -> String {
        check(threads, 7).expect_err("refused").to_string()
    }

    #[test]
    fn the_main_thread_is_tried_first_and_one_in_uninterruptible_sleep_never() {
        use ProcState::{Running, Sleeping, Waiting};
        let threads = [thread(7, Running), thread(8, Running), thread(9, Sleeping), thread(10, Waiting)];
        let order: Vec<u32> = suitable(&threads).iter().map(|it| it.tid).collect();
        assert_eq!(order, [7, 9, 8]);
    }

    #[test]
    fn each_refusal_names_its_reason() {
        let sleeping = thread(7, ProcState::Sleeping);
        assert!(check(&[sleeping], 7).is_ok());
        assert!(message(&[ThreadStatus { tracer: 5, ..sleeping }]).contains("process 5 traces it"));
        assert!(
            message(&[sleeping, ThreadStatus { has_shadow_stack: true, ..sleeping }])
                .contains("shadow stack")
        );
        assert!(message(&[ThreadStatus { seccomp: 1, ..sleeping }]).contains("strict mode"));
        assert!(message(&[sleeping, thread(8, ProcState::Stopped)]).contains("kill -CONT 7"));
        assert!(message(&[thread(7, ProcState::Waiting)]).contains("state D"));
        assert!(message(&[thread(7, ProcState::Zombie)]).contains("has exited"));
    }

    #[test]
    fn a_status_is_parsed_for_any_process_name() {
        let text =
            b"Name:\t\xff\xfe\nTracerPid:\t12\nSeccomp:\t2\nSeccomp_filters:\t3\nx86_Thread_features:\tshstk \n";
        let status = parse(7, ProcState::Sleeping, text);
        assert_eq!((status.tracer, status.seccomp, status.has_shadow_stack), (12, 2, true));
        assert_eq!(parse(7, ProcState::Sleeping, b""), thread(7, ProcState::Sleeping));
    }
}
