//! Reads the host's `/proc` in another process: a *reader*. The collector itself opens no file of a process that it
//! watches, because that process could make the collector sleep in the kernel for as long as it likes.
//!
//! There is one exception: `Proc::is_there` opens `/proc/PID/stat` in the collector, for a pid that was just seen as a
//! zombie. A zombie has no memory map, so that read cannot sleep. If another process has got the pid meanwhile, the row
//! `stat` below applies to the collector.
//!
//! | file | where a read can sleep | who can delay it |
//! |---|---|---|
//! | `cmdline` (also `environ`, `maps`, `mem`, which are not read) | `mmap_read_lock_killable()` in `access_remote_vm()`, `mm/memory.c` | any process, for its own files: one thread faults on a FUSE page with the lock held, and another thread waits to write. The pages themselves cannot be on FUSE: `get_mm_cmdline()` passes `FOLL_ANON` |
//! | OCI state and bundles | `request_wait_answer()`, `fs/fuse/dev.c`: not killable once the FUSE server has read the request; the same for NFS | the server of a file system that we can see |
//! | `cgroup` | `cgroup_mutex` in `proc_cgroup_show()`, `kernel/cgroup/cgroup.c`: not killable; `cpuset_attach()` takes a target's memory map lock under it | root or an engine that moves a process with a blocked memory map lock to another cpuset |
//! | `stat`, `status` | no lock of the target (`do_task_stat()`, `task_mem()`), but `mmput()` at the end: if the target has exited meanwhile, the reader runs its `exit_mmap()` and `exit_aio()` | a process, for the duration of its exit |
//! | `exe`, `ns/pid` | `task_lock()`, which spins (`get_task_exe_file()`, `ns_get_name()`); the last `fput()` of a file runs its file system's release | as above |
//! | `mountinfo`, `/sys/fs/fuse/connections` | `namespace_sem` in `m_start()`, `fs/namespace.c`; the owner of a mount namespace can mount in it, but not hold the lock; no file system is asked | nobody for long |
//! | `syscall` (also `io`, `stack` and `personality`, which are not read) | `exec_update_lock` in `lock_trace()`, `fs/proc/base.c`: killable. `begin_new_exec()`, `fs/exec.c`, holds it while it closes descriptors | any process, for its own files: it calls `execve` with an open FUSE file that is marked close-on-exec, and the server does not answer the flush |
//! | `fd` and its links, not followed | `file_lock` of the descriptor table, which spins (`proc_readfd_common()`, `fs/proc/fd.c`); the last `fput()` as for `exe`. `fdinfo` is not read: the file's driver writes it (`ep_show_fdinfo()` takes `ep->mtx`) | as for `exe` |
//! | `task`, `wchan`, `cgroup.events`, `pids.max`, `cpu.max` and the like | nothing of the target: `get_wchan()` takes `pi_lock` and inspects the stack of a sleeping task; kernfs has its own locks | nobody |
//!
//! A thread instead of a process is not enough: a thread that is not killable keeps its process from ending. So the
//! reader reads everything else that belongs to another process. The table decides only which requests are left out
//! first ([`wire::Request::can_be_held_up`]).
//!
//! - An answer has a deadline. A reader that is late is killed, counted, and replaced at the next request.
//! - A late request is remembered and not repeated during a pause, which grows.
//! - All readers that cannot be killed are counted together. From 4 of them on, requests that a process can delay are
//!   left out. From 8 on, all requests are left out.
//! - Late answers and starts of readers spend an allowance: one second, and after that a tenth of the time that passes.
//!   When the allowance is spent, requests that a process can delay are left out. It does not limit other requests.
//! - A reader that died while it was idle is replaced, and the request is repeated once.
//! - After a failed start there is a pause, which grows. After 5 failed starts in a row a request is an error, unless
//!   the host is out of pids or memory.
//!
//! A reader has at most `CAP_SYS_PTRACE` and `CAP_DAC_READ_SEARCH`. It ends when its socket is closed.

mod child;
mod pool;
mod serve;
mod wire;

use std::{
    cell::{Cell, RefCell},
    io,
};

pub use serve::serve;

use supervisor_model::facts::{
    CpuFacts, HostIdentity, NotRead, OciFacts, OciPlaces, PidBudget, PipeWriters, ProcessFacts, RemoteMount,
    ThreadCall, ThreadFacts,
};

use self::{
    pool::{Pool, Unanswered},
    wire::Request,
};
use super::{Arguments, Host, ReadsLost, proc};

/// The first argument of a `supervisor` process that is a reader.
pub const READER: &str = "__reader";
/// The first bytes that a reader sends.
const READY: &[u8] = b"ready";

/// The running host, read through a reader. Facts that the reader does not give in time count as absent.
pub struct Proc {
    identity: HostIdentity,
    pool: RefCell<Pool>,
    was_not_read: Cell<bool>,
}

impl Proc {
    /// Reads the host's identity. The first request starts this program again as a reader. So the program must serve as
    /// a reader if its first argument is the hidden subcommand for that.
    ///
    /// # Errors
    ///
    /// If `/proc` is not mounted.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            identity: proc::identity()?,
            pool: RefCell::new(Pool::new(child::start)),
            was_not_read: Cell::new(false),
        })
    }

    fn ask<T: serde::de::DeserializeOwned>(&self, request: &Request) -> io::Result<Result<T, NotRead>> {
        match self.pool.borrow_mut().ask(request) {
            Ok(answer) => Ok(Ok(answer)),
            Err(Unanswered::NotRead(why)) => Ok(Err(why)),
            Err(Unanswered::Broken(error)) => Err(broken(&error)),
        }
    }

    /// Replaces the reader. Call it after the collector has given up capabilities: a reader that replaces a late one
    /// starts without them, and this start shows whether that is possible.
    ///
    /// # Errors
    ///
    /// If the program cannot be started as a reader.
    pub fn replace_reader(&self) -> io::Result<()> {
        self.pool.borrow_mut().replace().map_err(|error| {
            let why = format!(
                "{}. This process has given up its capabilities: let its user execute the program without \
                 CAP_DAC_OVERRIDE, and remove file capabilities from it",
                broken(&error)
            );
            io::Error::new(error.kind(), why)
        })
    }

    /// Whether a process is one of our readers.
    pub fn is_reader(&self, pid: u32) -> bool {
        self.pool.borrow().has(pid)
    }

    /// An answer in which the reader may report an error.
    fn ask_fallible<T: serde::de::DeserializeOwned + Default>(&self, request: &Request) -> io::Result<T> {
        let answer: Result<Result<T, String>, NotRead> = self.ask(request)?;
        answer.map_or_else(|_not_read| Ok(T::default()), |answer| answer.map_err(io::Error::other))
    }

    /// An answer that may be absent.
    fn ask_option<T: serde::de::DeserializeOwned>(&self, request: &Request) -> Option<T> {
        self.ask::<Option<T>>(request).ok()?.ok()?
    }
}

/// Reads each frame of a stream as a request and as an answer. A fuzz target calls it.
pub(super) fn read_all(mut stream: &[u8]) {
    let mut questions = stream;
    while let Ok(Some(_question)) = wire::read::<Request>(&mut questions) {}
    while let Ok(Some(_answer)) = wire::read::<Result<Option<ProcessFacts>, String>>(&mut stream) {}
}

fn broken(error: &io::Error) -> io::Error {
    let why = format!("cannot start the process that reads /proc (/proc/self/exe {READER}): {error}");
    io::Error::new(error.kind(), why)
}

impl Host for Proc {
    fn process(&self, pid: u32) -> io::Result<Option<ProcessFacts>> {
        let answer: Result<Result<_, String>, NotRead> = self.ask(&Request::Process(pid))?;
        self.was_not_read.set(answer.is_err());
        answer.map_or(Ok(None), |answer| answer.map_err(io::Error::other))
    }

    fn was_not_read(&self) -> bool {
        self.was_not_read.get()
    }

    fn arguments(&self, facts: &ProcessFacts) -> Result<Arguments, NotRead> {
        let request = Request::Arguments { pid: facts.pid, start_ticks: facts.start_ticks };
        // `process()` reports it if no reader can be started.
        self.ask(&request).unwrap_or(Err(NotRead::Skipped))
    }

    fn thread_group(&self, tid: u32) -> Option<u32> {
        self.ask_option(&Request::ThreadGroup(tid))
    }

    fn is_there(&self, pid: u32, start_ticks: u64) -> bool {
        proc::is_there(pid, start_ticks)
    }

    fn pids(&self) -> io::Result<Vec<u32>> {
        proc::pids()
    }

    fn threads(&self, pid: u32) -> io::Result<Vec<ThreadFacts>> {
        self.ask_fallible(&Request::Threads(pid))
    }

    fn calls(&self, pid: u32) -> Vec<ThreadCall> {
        self.ask(&Request::Calls(pid)).ok().and_then(Result::ok).unwrap_or_default()
    }

    fn has_io_uring(&self, pid: u32) -> Option<bool> {
        self.ask_option(&Request::HasIoUring(pid))
    }

    fn pipe_writers(&self) -> Option<PipeWriters> {
        self.ask_option(&Request::PipeWriters)
    }

    fn cgroup(&self, pid: u32) -> Option<String> {
        self.ask_option(&Request::Cgroup(pid))
    }

    fn frozen(&self, pid: u32) -> Option<String> {
        self.ask_option(&Request::Frozen(pid))
    }

    fn remote_mounts(&self, tid: u32) -> Vec<RemoteMount> {
        self.ask(&Request::RemoteMounts(tid)).ok().and_then(Result::ok).unwrap_or_default()
    }

    fn cpu(&self, pid: u32) -> Option<CpuFacts> {
        self.ask_option(&Request::Cpu(pid))
    }

    fn pid_budget(&self, pid: u32, v1_group: Option<&str>, neighbour: Option<u32>) -> Option<PidBudget> {
        self.ask_option(&Request::PidBudget { pid, v1_group: v1_group.map(str::to_owned), neighbour })
    }

    fn oci(&self, places: &[OciPlaces]) -> Result<Option<OciFacts>, NotRead> {
        self.ask(&Request::Oci(places.to_vec())).unwrap_or(Err(NotRead::Skipped))
    }

    fn is_roots_file(&self, path: &str) -> Option<bool> {
        // An attack that makes reads late must not make a program trusted.
        self.ask(&Request::IsRootsFile(path.to_owned()))
            .unwrap_or(Err(NotRead::Skipped))
            .unwrap_or(Some(false))
    }

    fn identity(&self) -> &HostIdentity {
        &self.identity
    }

    fn reads_lost(&self) -> ReadsLost {
        self.pool.borrow_mut().lost()
    }
}
