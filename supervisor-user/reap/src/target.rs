//! A reaper that is to be made to wait: what is read of it before, and which of its threads does it.

use std::{fs, io, thread, time::Duration};

use procfs::process::{ProcState, Process, Task};

use super::{
    inject::{Child, InjectError, Step, Stopped, Thread, in_one_stop},
    space::{AddressSpace, SpaceError},
};

/// So often are its threads tried before it is given up.
const ROUNDS: u32 = 20;
/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(5);
/// So many of its threads are tried in a round.
const THREADS: usize = 16;

/// Why a process cannot be made to wait, as its files in `/proc` say.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is us.
    #[error("it is supervisor itself: that reaps its own children")]
    Ourselves,
    /// It has exited, or is about to.
    #[error("it has exited")]
    Gone,
    /// Somebody traces it.
    #[error("process {0} traces it (a debugger or strace), and only one process can: end that first")]
    Traced(u32),
    /// Job control.
    #[error("it is stopped (SIGSTOP or a terminal): continue it first (`kill -CONT {0}`)")]
    Stopped(u32),
    /// No thread can be interrupted.
    #[error("it is in uninterruptible sleep (state D) and cannot be interrupted")]
    Uninterruptible,
    /// The freezer.
    #[error("its control group is frozen: thaw it first ({0})")]
    Frozen(String),
    /// Shadow stacks.
    #[error("it uses a shadow stack (CET), which an injected return would violate")]
    ShadowStack,
    /// Strict seccomp.
    #[error("it runs in seccomp's strict mode, which allows no wait")]
    StrictSeccomp,
    /// Its address space.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// `/proc` could not be read.
    #[error("cannot read its files in /proc: {0}")]
    Proc(#[from] io::Error),
}

/// What a thread's status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ThreadStatus {
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
    /// Reads what is needed of a process, and refuses where it cannot be made to wait.
    ///
    /// # Errors
    ///
    /// The reason why not.
    pub fn open(pid: u32) -> Result<Self, Refused> {
        if pid == std::process::id() {
            return Err(Refused::Ourselves);
        }
        check(&threads(pid)?, pid)?;
        Ok(Self { pid, space: AddressSpace::open(pid)? })
    }

    /// Stops one of its threads once, and makes it wait for as many of the children as fit into the time.
    ///
    /// # Errors
    ///
    /// If no thread is fit for it, or the kernel refuses.
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
                    // Another one may be fit, or the same one later.
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
    /// It was stopped, or could not be.
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

/// Refuses a process of which no thread can be made to wait.
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

/// Threads that can be interrupted: the main thread first, then those that sleep.
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
    // One that has ended meanwhile cannot be read.
    let mut threads: Vec<ThreadStatus> = tasks.flatten().filter_map(|task| status(pid, &task)).collect();
    threads.sort_by_key(|thread| (thread.tid != pid, thread.tid));
    Ok(threads)
}

fn status(pid: u32, task: &Task) -> Option<ThreadStatus> {
    let tid = task.tid as u32;
    let state = task.stat().ok()?.state().ok()?;
    let content = fs::read(format!("/proc/{pid}/task/{tid}/status")).ok()?;
    Some(parse(tid, state, &content))
}

fn parse(tid: u32, state: ProcState, status: &[u8]) -> ThreadStatus {
    // Only the name can be other than ASCII: a process chooses it.
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
    fn a_status_is_read_whatever_the_name() {
        let text =
            b"Name:\t\xff\xfe\nTracerPid:\t12\nSeccomp:\t2\nSeccomp_filters:\t3\nx86_Thread_features:\tshstk \n";
        let status = parse(7, ProcState::Sleeping, text);
        assert_eq!((status.tracer, status.seccomp, status.has_shadow_stack), (12, 2, true));
        assert_eq!(parse(7, ProcState::Sleeping, b""), thread(7, ProcState::Sleeping));
    }
}
