//! The real host, read from `/proc`. The process that is read can make a read sleep for as long as it likes, so this
//! code runs in a reader.

use std::{
    cell::{Ref, RefCell},
    fs,
    io::{self, Read as _},
    time::{Duration, Instant},
};

use procfs::{
    FromRead as _, ProcError, ProcResult,
    process::{Process, Stat, Status},
};
use supervisor_model::{
    evidence::split_arguments,
    facts::{
        ArgsNote, CpuFacts, HostIdentity, MAX_THREADS, NotRead, OciFacts, OciPlaces, PidBudget, PipeWriters,
        ProcessFacts, RemoteMount, SigChld, ThreadCall, ThreadFacts,
    },
};

use super::{Arguments, Host, calls, cgroup, descriptors, files, mounts, oci};

/// Arguments are cut to this many bytes in all; a process chooses them.
const ARGS_LIMIT: usize = 4096;

/// If the first thread of a process has exited, at most this many other threads are inspected. A process with more
/// threads counts as alive.
const MAX_EXITED_THREADS: usize = 4096;

/// The running host's `/proc`, read by this process.
#[derive(Debug)]
pub struct DirectProc {
    identity: HostIdentity,
    /// Whether the kernel shows us the exit statuses of other users' processes. If not, they read as 0.
    privileged: bool,
    uid: u32,
    cgroup_mounts: RefCell<(Instant, Vec<cgroup::Mount>)>,
    /// The last search for the writers of pipes.
    pipes: RefCell<Option<descriptors::Search>>,
}

impl DirectProc {
    /// Reads the host's identity.
    ///
    /// # Errors
    ///
    /// If `/proc` is not mounted.
    pub fn new() -> io::Result<Self> {
        let myself = Process::myself().and_then(|myself| myself.status()).map_err(io::Error::other)?;
        Ok(Self {
            identity: identity()?,
            privileged: myself.capeff >> 19 & 1 == 1,
            uid: myself.ruid,
            cgroup_mounts: RefCell::new((Instant::now(), cgroup::mounts())),
            pipes: RefCell::new(None),
        })
    }
}

/// The identity of this host.
pub(super) fn identity() -> io::Result<HostIdentity> {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
    let uname = rustix::system::uname();
    let id =
        fs::read_to_string("/etc/machine-id").ok().map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
    Ok(HostIdentity {
        id,
        hostname: uname.nodename().to_string_lossy().into_owned(),
        boot_id,
        kernel: uname.release().to_string_lossy().into_owned(),
        ticks_per_second: rustix::param::clock_ticks_per_second(),
    })
}

/// Whether `/proc` shows the process with that pid and start time. `/proc` shows it until `release_task()` unhashes it.
/// After that another process can get the pid at once. A read of the file takes no lock that the process can hold
/// (`do_task_stat()`, fs/proc/array.c).
pub(super) fn is_there(pid: u32, start_ticks: u64) -> bool {
    let stat = Process::new(pid as i32).and_then(|process| process.stat());
    stat.is_ok_and(|stat| stat.starttime == start_ticks)
}

/// The names in `/proc` that are pids. No file of a process is opened.
pub(super) fn pids() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

impl DirectProc {
    /// The arguments of the process with that pid and start time; none if it is gone, or if they cannot be read.
    pub(super) fn arguments_of(pid: u32, start_ticks: u64) -> Arguments {
        arguments(pid, start_ticks).unwrap_or_default()
    }
}

impl Host for DirectProc {
    fn process(&self, pid: u32) -> io::Result<Option<ProcessFacts>> {
        gone_is_none(self.read(pid))
    }

    fn arguments(&self, facts: &ProcessFacts) -> Result<Arguments, NotRead> {
        Ok(Self::arguments_of(facts.pid, facts.start_ticks))
    }

    fn thread_group(&self, tid: u32) -> Option<u32> {
        let status = Process::new(tid as i32).and_then(|process| status(&process)).ok()?;
        Some(status.tgid as u32)
    }

    fn is_there(&self, pid: u32, start_ticks: u64) -> bool {
        is_there(pid, start_ticks)
    }

    fn pids(&self) -> io::Result<Vec<u32>> {
        pids()
    }

    fn threads(&self, pid: u32) -> io::Result<Vec<ThreadFacts>> {
        Ok(gone_is_none(threads(pid))?.unwrap_or_default())
    }

    fn calls(&self, pid: u32) -> Vec<ThreadCall> {
        calls::read(pid)
    }

    fn has_io_uring(&self, pid: u32) -> Option<bool> {
        descriptors::has_io_uring(pid)
    }

    fn pipe_writers(&self) -> Option<PipeWriters> {
        let mut last = self.pipes.borrow_mut();
        let fresh = last.take().filter(descriptors::Search::is_fresh);
        let search = match fresh {
            Some(search) => search,
            None => descriptors::Search::of(pids().ok()?),
        };
        Some(last.insert(search).writers.clone())
    }

    fn cgroup(&self, pid: u32) -> Option<String> {
        cgroup(pid)
    }

    fn frozen(&self, pid: u32) -> Option<String> {
        cgroup::frozen(&self.cgroup_mounts(), &memberships(pid)?)
    }

    fn remote_mounts(&self, tid: u32) -> Vec<RemoteMount> {
        mounts::remote(tid)
    }

    fn cpu(&self, pid: u32) -> Option<CpuFacts> {
        cgroup::cpu(&self.cgroup_mounts(), &memberships(pid)?)
    }

    fn pid_budget(&self, pid: u32, v1_group: Option<&str>, neighbour: Option<u32>) -> Option<PidBudget> {
        let lines = if let Some(path) = v1_group {
            vec![cgroup::in_pids_group(path)]
        } else {
            let own = memberships(pid).unwrap_or_default();
            cgroup::with_pids_group(own, || neighbour.and_then(memberships))
        };
        cgroup::pid_budget(&self.cgroup_mounts(), &lines)
    }

    fn oci(&self, places: &[OciPlaces]) -> Result<Option<OciFacts>, NotRead> {
        Ok(oci::read(places))
    }

    fn is_roots_file(&self, path: &str) -> Option<bool> {
        files::is_roots(path)
    }

    fn identity(&self) -> &HostIdentity {
        &self.identity
    }
}

impl DirectProc {
    /// The hierarchies that are mounted now. The list is read again only if it is older than a second.
    fn cgroup_mounts(&self) -> Ref<'_, Vec<cgroup::Mount>> {
        const KEEP: Duration = Duration::from_secs(1);
        if self.cgroup_mounts.borrow().0.elapsed() > KEEP {
            *self.cgroup_mounts.borrow_mut() = (Instant::now(), cgroup::mounts());
        }
        Ref::map(self.cgroup_mounts.borrow(), |(_, mounts)| mounts)
    }

    fn read(&self, pid: u32) -> ProcResult<ProcessFacts> {
        let process = Process::new(pid as i32)?;
        let stat = Stat::from_read(whole(process.open_relative("stat")?)?.as_slice())?;
        let status = status(&process)?;
        if status.tgid != process.pid {
            // `/proc` also has a directory for each thread, and does not list it.
            return Err(ProcError::NotFound(None));
        }
        let ns_pids: Vec<u32> = status.nspid.iter().flatten().map(|pid| *pid as u32).collect();
        if ns_pids.contains(&0) {
            // It was released between the two reads (`task_state()`, fs/proc/array.c, after `__unhash_process()`).
            return Err(ProcError::NotFound(None));
        }
        let zombie = matches!(stat.state, 'Z' | 'X');
        let live_threads = match (zombie, stat.num_threads) {
            (false, threads) => threads as usize,
            (true, ..=1) => 0,
            (true, _) => usize::from(has_live_thread(&process)?),
        };
        let may_see = self.privileged || status.ruid == self.uid;
        Ok(ProcessFacts {
            pid,
            ppid: stat.ppid as u32,
            comm: stat.comm,
            state: stat.state,
            start_ticks: stat.starttime,
            exit_status: stat.exit_code.filter(|_| may_see),
            pid_ns: pid_ns(pid)?,
            uid: Some(status.ruid),
            live_threads,
            threads: stat.num_threads.cast_unsigned(),
            tracer: tracer(&status),
            child_faults: stat.cminflt,
            sigchld_pending: (status.sigpnd | status.shdpnd) & SIGCHLD_BIT != 0,
            dumps_core: status.core_dumping == Some(true),
            ns_pgrps: status.nspgid.iter().flatten().map(|pgrp| *pgrp as u32).collect(),
            // A zombie sleeps in no kernel function, and has released its executable and its arguments.
            wchan: (!zombie)
                .then(|| process.wchan().ok())
                .flatten()
                .filter(|wchan| !wchan.is_empty() && wchan != "0"),
            sigchld: (!zombie).then(|| sigchld(&status)),
            sigchld_caught: (!zombie).then_some(status.sigcgt & SIGCHLD_BIT != 0),
            exe: (!zombie)
                .then(|| process.exe().ok())
                .flatten()
                .map(|exe| exe.to_string_lossy().into_owned()),
            args: Vec::new(),
            args_note: ArgsNote::default(),
            args_not_read: None,
            cgroup: cgroup(pid),
            ns_pids,
        })
    }
}

const SIGCHLD_BIT: u64 = 1 << (libc::SIGCHLD - 1);

/// Reads `/proc/PID/status` even if the name of the process is not UTF-8: procfs accepts only UTF-8.
fn status(process: &Process) -> ProcResult<Status> {
    status_of(process, "status")
}

fn status_of(process: &Process, file: &str) -> ProcResult<Status> {
    parse_status(&whole(process.open_relative(file)?)?)
}

/// Parses the content of `status`.
pub(super) fn parse_status(content: &[u8]) -> ProcResult<Status> {
    Status::from_read(String::from_utf8_lossy(content).as_bytes())
}

/// Reads a small file in one read. A file of `/proc` reports the size 0. Without a better size `read_to_end` reads it
/// in pieces of 32 bytes and more.
fn whole(file: impl io::Read) -> io::Result<Vec<u8>> {
    const USUAL: usize = 4096;
    let mut bytes = Vec::with_capacity(USUAL);
    // `take` hides the size of the file from `read_to_end`.
    file.take(u64::MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The tracer of a process, as far as it is visible from here.
fn tracer(status: &Status) -> Option<u32> {
    u32::try_from(status.tracerpid).ok().filter(|pid| *pid != 0)
}

fn threads(pid: u32) -> ProcResult<Vec<ThreadFacts>> {
    let process = Process::new(pid as i32)?;
    let mut threads = Vec::new();
    for task in process.tasks()?.take(MAX_THREADS) {
        let read = task.and_then(|task| {
            let stat = task.stat()?;
            let status = status_of(&process, &format!("task/{}/status", task.tid))?;
            let wchan = fs::read_to_string(format!("/proc/{pid}/task/{}/wchan", task.tid)).ok();
            Ok(ThreadFacts {
                tid: task.tid as u32,
                comm: stat.comm,
                state: stat.state,
                wchan: wchan.filter(|wchan| !wchan.is_empty() && wchan != "0"),
                tracer: tracer(&status),
            })
        });
        threads.extend(absent_is_none(read)?);
    }
    Ok(threads)
}

fn absent_is_none<T>(result: ProcResult<T>) -> ProcResult<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(ProcError::NotFound(_)) => Ok(None),
        // `ESRCH`: the process was released between open and read.
        Err(ProcError::Io(error, _)) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A process may vanish at every step; that is an answer, not an error.
fn gone_is_none<T>(result: ProcResult<T>) -> io::Result<Option<T>> {
    absent_is_none(result).map_err(io::Error::other)
}

fn has_live_thread(process: &Process) -> ProcResult<bool> {
    for (seen, task) in process.tasks()?.enumerate() {
        let stat = absent_is_none(task.and_then(|task| task.stat()))?;
        if seen >= MAX_EXITED_THREADS || stat.is_some_and(|stat| !matches!(stat.state, 'Z' | 'X')) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The PID namespace of a process. `None` if it may not be seen; an error if the process is gone.
fn pid_ns(pid: u32) -> ProcResult<Option<u32>> {
    let gone = [libc::ENOENT, libc::ESRCH].map(Some);
    let link = match fs::read_link(format!("/proc/{pid}/ns/pid")) {
        Ok(link) => link,
        Err(error) if gone.contains(&error.raw_os_error()) => return Err(ProcError::NotFound(None)),
        Err(_) => return Ok(None),
    };
    let ino = |link: &str| link.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok();
    Ok(link.to_str().and_then(ino))
}

fn sigchld(status: &Status) -> SigChld {
    if status.sigign & SIGCHLD_BIT != 0 {
        SigChld::Ignored
    } else if status.sigblk & SIGCHLD_BIT != 0 {
        SigChld::Blocked
    } else if status.sigcgt & SIGCHLD_BIT != 0 {
        SigChld::Handled
    } else {
        SigChld::Default
    }
}

/// Fails if the process is gone, or if its arguments cannot be read.
fn arguments(pid: u32, start_ticks: u64) -> ProcResult<Arguments> {
    // Both files belong to the process that had the pid when this directory was opened.
    let process = Process::new(pid as i32)?;
    if process.stat()?.starttime != start_ticks {
        return Err(ProcError::NotFound(None));
    }
    let mut bytes = Vec::new();
    process.open_relative("cmdline")?.take(ARGS_LIMIT as u64).read_to_end(&mut bytes)?;
    let mut args = split_arguments(&bytes);
    let is_cut = bytes.len() == ARGS_LIMIT;
    if is_cut {
        // The last argument is cut: the redactor does not recognise half a secret.
        args.pop();
    }
    let note = ArgsNote::of(&args, is_cut);
    Ok((args, note))
}

fn cgroup(pid: u32) -> Option<String> {
    memberships(pid).and_then(|lines| cgroup::choose(&lines))
}

/// The lines of `/proc/PID/cgroup`.
fn memberships(pid: u32) -> Option<Vec<cgroup::Membership>> {
    let text = fs::File::open(format!("/proc/{pid}/cgroup")).and_then(whole).ok()?;
    Some(cgroup::memberships(&String::from_utf8_lossy(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_arguments_are_kept() {
        assert_eq!(split_arguments(b"a\0\0b\0"), ["a", "", "b"]);
        assert!(split_arguments(b"").is_empty());
    }

    #[test]
    fn this_process_is_read() {
        let host = DirectProc::new().expect("/proc is mounted");
        let me = host.process(std::process::id()).expect("readable").expect("exists");
        assert!(!me.is_unreaped());
        assert!(me.live_threads >= 1);
        assert_eq!(me.ns_pids.first().copied(), Some(std::process::id()));
        let pgrp = rustix::process::getpgrp().as_raw_pid().cast_unsigned();
        assert_eq!((me.pgrp(), me.ns_pgrps.len()), (Some(pgrp), me.ns_pids.len()));
        assert!(host.process(0x7FFF_FFFF).expect("no error").is_none());
    }
}
