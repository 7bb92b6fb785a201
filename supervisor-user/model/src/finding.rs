//! The internal model: what one finding and one event say. Every output is a mapping of it.
//!
//! What is not known is `None` or empty, never a made-up value. Times are nanoseconds of `CLOCK_BOOTTIME`.

use schemars::JsonSchema;
use serde::Serialize;
use supervisor_ebpf::ProcessId;

use crate::{
    diagnosis::{Confidence, Diagnosis},
    evidence::{EndFacts, EndingFacts},
    facts::{Call, CpuFacts, NotRead, PidBudget, PipeFacts, SigChld, ThreadCall, ThreadFacts},
    shared::Shared,
};

/// One unreaped process. `explain` makes one of any process.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Stable from open to close.
    pub id: String,
    /// The process.
    pub process: Process,
    /// Its state letter: `Z`, unless it is explained alive or exiting.
    pub state: char,
    /// Whether its last thread has begun to exit.
    pub is_exiting: bool,
    /// Kernel function that it sleeps in.
    pub wchan: Option<String>,
    /// Its threads, if it has more than one.
    pub threads: Vec<ThreadFacts>,
    /// What its own exec makes of it.
    pub role: Role,
    /// Whether it has executed a file since it was forked.
    pub executed: Option<bool>,
    /// The program that its creator ran when it forked it, if the creator has executed another one since.
    pub forked_as: Option<String>,
    /// Its pid as its reaper's wait calls name it.
    pub pid_of_reaper: Option<u32>,
    /// Its process group, as the initial PID namespace counts.
    pub pgrp: Option<u32>,
    /// Its process group as its reaper's wait calls name it.
    pub pgrp_in_reaper_ns: Option<u32>,
    /// What its exit sends to its parent; 17 is `SIGCHLD`.
    pub exit_signal: Option<i32>,
    /// Who traces it, or one of its threads.
    pub tracer: Option<Tracer>,
    /// How it ended.
    pub exit: Option<Exit>,
    /// When its last thread exited, if that was seen.
    pub exit_ns: Option<u64>,
    /// A time that it exited before, if the exit itself was not seen.
    pub exited_before_ns: Option<u64>,
    /// When it was looked at first: it was a zombie by then.
    pub seen_ns: u64,
    /// When it was looked at last.
    pub looked_ns: u64,
    /// How long it had to be unreaped to be reported.
    pub grace_ns: u64,
    /// Who must wait for it.
    pub reaper: Option<Reaper>,
    /// Who forked it, and who forked that one, nearest first. Many findings have the same ones, and share them.
    pub creators: Shared<Vec<Creator>>,
    /// The container runtime that it comes from.
    pub runtime: Option<Runtime>,
    /// The container monitor.
    pub monitor: Option<Monitor>,
    /// The container.
    pub container: Option<Container>,
    /// What placed the container here.
    pub orchestrator: Option<Orchestrator>,
    /// How sure container and pod are, where that is not certain.
    pub identity_confidence: Option<Confidence>,
    /// What was claimed of container and pod, best first, where that is not certain.
    pub claims: Vec<IdentityClaim>,
    /// Its PID namespace.
    pub pid_ns: Option<PidNs>,
    /// Path of its control group.
    pub cgroup: Option<String>,
    /// How it came into the container, or that it is in none.
    pub origin: Origin,
    /// PID namespaces that cannot die while it stays.
    pub blocks: Vec<Block>,
    /// What it costs: pids, where they are limited.
    pub budget: Option<Budget>,
    /// What its reaper did with earlier ones.
    pub pattern: Option<Pattern>,
    /// Of one that was told to exit and is no zombie yet: what is known of that.
    pub ending: Option<EndingFacts>,
    /// Why it is unreaped.
    pub diagnosis: Diagnosis,
}

/// The thread of a process that does not end.
#[derive(Clone, Copy, Debug)]
pub struct LastThread<'a> {
    /// Its name and id, where there is more than one.
    pub named: Option<(&'a str, u32)>,
    /// Host thread id.
    pub tid: u32,
    /// State letter.
    pub state: char,
    /// Kernel function that it sleeps in.
    pub wchan: Option<&'a str>,
}

impl Finding {
    /// The thread that keeps the process from its end: one in state D, or else the first that has not ended. `None` of a
    /// zombie.
    #[must_use]
    pub fn last_thread(&self) -> Option<LastThread<'_>> {
        let live = || self.threads.iter().filter(|thread| thread.is_live());
        let Some(thread) = live().find(|thread| thread.state == 'D').or_else(|| live().next()) else {
            return (self.state != 'Z').then_some(LastThread {
                named: None,
                tid: self.process.pid,
                state: self.state,
                wchan: self.wchan.as_deref(),
            });
        };
        Some(LastThread {
            named: Some((&thread.comm, thread.tid)),
            tid: thread.tid,
            state: thread.state,
            wchan: thread.wchan.as_deref(),
        })
    }

    /// State and kernel function of that thread.
    #[must_use]
    pub fn last_place(&self) -> (char, Option<&str>) {
        self.last_thread().map_or((self.state, self.wchan.as_deref()), |it| (it.state, it.wchan))
    }
}

/// What a reaper did with earlier findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// How many it has reaped.
    pub reaped: u64,
    /// Nanoseconds from exit to reap of the one in the middle, among the latest.
    pub median_ns: u64,
    /// Of the one that it left longest, among the latest.
    pub longest_ns: u64,
    /// Whether one is open that is overdue: older than any that it has reaped.
    pub is_broken: bool,
}

impl Pattern {
    /// Whether a zombie of that age is older than this reaper leaves any.
    #[must_use]
    pub fn is_overdue_at(longest_ns: u64, age_ns: u64) -> bool {
        const SLACK_NS: u64 = 1_000_000_000;
        age_ns > longest_ns.saturating_mul(2).saturating_add(SLACK_NS)
    }
}

/// A PID namespace whose init has exited and cannot finish.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockedNamespace {
    /// Stable from open to close.
    pub id: String,
    /// Its init, seen as a process: the process, its container, its namespace.
    pub init: Finding,
    /// When the init was first seen to be held.
    pub since_ns: u64,
    /// Everything that holds it.
    pub blockers: Vec<Blocker>,
    /// How many processes have a pid in it, its PID 1 included.
    pub processes: u64,
    /// What that means.
    pub diagnosis: Diagnosis,
}

/// What holds a PID namespace's init.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// Which process has a pid in the namespace.
    pub id: ProcessId,
    /// How.
    pub kind: BlockerKind,
    /// Its host pid.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Who must reap it, or the tracer that must: pid and name.
    pub reaper: Option<(u32, String)>,
    /// State letter; of a process that has not ended, that of a thread that cannot.
    pub state: char,
    /// Kernel function that it sleeps in.
    pub wchan: Option<String>,
    /// The system call that this thread is in.
    pub call: Option<Call>,
    /// The file of the frozen control group that it is in or below.
    pub frozen: Option<String>,
}

/// How a process holds a PID namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BlockerKind {
    /// It is a zombie, and its reaper does not reap.
    Zombie,
    /// It has not ended yet.
    Task,
    /// A tracer must collect it first.
    Tracer,
}

impl BlockerKind {
    /// The word of the event contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zombie => "zombie",
            Self::Task => "task",
            Self::Tracer => "tracer",
        }
    }
}

/// A PID namespace that a process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Inode number.
    pub ino: u32,
    /// Host pid of its init.
    pub init_pid: u32,
    /// Name of that.
    pub init_name: String,
    /// When the init exited, or if that was not seen, was first seen to be held.
    pub since_ns: u64,
}

/// Who traces a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracer {
    /// Host pid of the tracer.
    pub pid: u32,
    /// Its name.
    pub name: Option<String>,
    /// The thread that it traces.
    pub tid: u32,
    /// Its state, if it could be read.
    pub state: Option<char>,
}

/// How a process came into its container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// It descends from the container's own command, or is it.
    Entrypoint,
    /// It descends from a command that was executed in the running container.
    Exec,
    /// The same, and the command is executed again and again.
    HealthCheck {
        /// How often.
        period_ns: u64,
    },
    /// It is in no container.
    Host,
    /// Its descent was not seen.
    #[default]
    Unknown,
}

impl Origin {
    /// The word of the event contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Entrypoint => "entrypoint",
            Self::Exec => "exec",
            Self::HealthCheck { .. } => "healthcheck",
            Self::Host => "host",
            Self::Unknown => "unknown",
        }
    }
}

/// Pids, where they are limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Tasks now and at most, and who says so.
    pub pids: PidBudget,
    /// Unreaped processes under the same limit, if they were counted.
    pub unreaped: Option<u64>,
    /// By how many these grow in an hour; `None` if they do not, or if it was not watched for long enough.
    pub rate_per_hour: Option<u64>,
    /// When there will be no pid left at that rate.
    pub exhausted_in_ns: Option<u64>,
}

/// A process as it is named in events.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Process {
    /// Host pid.
    pub pid: u32,
    /// Pid in its innermost namespace.
    pub vpid: Option<u32>,
    /// OCSF Common Process ID.
    pub entity_id: Option<String>,
    /// Name.
    pub name: String,
    /// The file that it executed, or that its forebear did if it has not.
    pub executable: Option<String>,
    /// Arguments of that exec: the first of them, without secrets.
    pub args: Vec<String>,
    /// How many there were, if that is known.
    pub args_count: Option<u32>,
    /// Whether there were more than are here.
    pub args_cut: bool,
    /// Why they are not known, if they had to be read in the process's memory.
    pub args_not_read: Option<NotRead>,
    /// Start time.
    pub start_ns: Option<u64>,
    /// Real user id.
    pub uid: Option<u32>,
}

/// A decoded exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It called exit.
    Code(u8),
    /// A signal killed it.
    Signal {
        /// Its number.
        number: u8,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
}

impl Exit {
    /// Decodes a status as `wait(2)` gives it.
    #[must_use]
    pub fn from_wait_status(status: i32) -> Self {
        match status & 0x7f {
            0 => Self::Code((status >> 8) as u8),
            number => Self::Signal { number: number as u8, core_dumped: status & 0x80 != 0 },
        }
    }
}

/// Who must reap.
#[derive(Clone, Debug, PartialEq)]
pub struct Reaper {
    /// The process. Many findings have the same one.
    pub process: Shared<Process>,
    /// Whether another process was its parent at first. Not known if the fork was not seen.
    pub adopted: Option<bool>,
    /// Whether it forked the unreaped one itself; with `CLONE_PARENT` a parent may not have.
    pub created: Option<bool>,
    /// Whether it asked to adopt its descendants' orphans.
    pub is_subreaper: Option<bool>,
    /// Whether it is PID 1 of a PID namespace.
    pub is_pidns_init: Option<bool>,
    /// State letter.
    pub state: Option<char>,
    /// Kernel function that it sleeps in.
    pub wchan: Option<String>,
    /// Its threads, if it has more than one.
    pub threads: Vec<ThreadFacts>,
    /// What a `SIGCHLD` does to it.
    pub sigchld: Option<SigChld>,
    /// Whether a `SIGCHLD` is pending.
    pub sigchld_pending: bool,
    /// The file of the frozen control group that it is in or below.
    pub frozen: Option<String>,
    /// What its exec makes of it.
    pub role: Role,
    /// Its last wait call, if one was seen.
    pub last_wait: Option<LastWait>,
    /// How many wait calls it has made since the hooks were attached.
    pub waits: Option<u64>,
    /// When it last waited so that any child that has exited would do.
    pub any_wait_ns: Option<u64>,
    /// How long before that the round of such waits before it was.
    pub any_wait_gap_ns: Option<u64>,
    /// Since when it is sure that it has made no wait call.
    pub never_waited_since_ns: Option<u64>,
    /// How many of its own children were reaped since the hooks were attached, and when the last.
    pub reaped: Option<(u64, u64)>,
    /// How many of them since the unreaped one was first looked at.
    pub reaped_since: Option<u64>,
    /// Whether it has ever waited for a child that was worth a page fault, before the watch included.
    pub ever_reaped: bool,
    /// How many unreaped processes it has, this one included.
    pub unreaped_held: Option<u64>,
    /// Since when it was seen in the same state and place, without a wait call.
    pub same_since_ns: u64,
    /// `WAITED_*` bits of all its wait calls since the hooks were attached; 0 is not known.
    pub wait_kinds: u32,
    /// Its process group, as the initial PID namespace counts.
    pub pgrp: Option<u32>,
    /// When it executed its program, if that was seen.
    pub exec_ns: Option<u64>,
    /// The program that it ran before that.
    pub previous_program: Option<String>,
    /// What its threads do in the kernel.
    pub calls: Vec<ThreadCall>,
    /// The pipe that one of them reads.
    pub pipe: Option<PipeFacts>,
    /// Its parent, pid and name, if that created it and blocks `SIGCHLD` as it does: it may have its mask from there.
    pub parent_blocks_sigchld: Option<(u32, String)>,
    /// Whether it has an `io_uring` descriptor.
    pub has_io_uring: Option<bool>,
    /// Limits of its processor time.
    pub cpu: Option<CpuFacts>,
    /// Whether its `SIGCHLD` handler was replaced since it last waited for any child.
    pub handler_changed: Option<bool>,
    /// Whether its `SIGCHLD` handler takes a `siginfo_t`.
    pub takes_siginfo: Option<bool>,
    /// Whether it has a `SIGCHLD` handler, blocked or not.
    pub sigchld_caught: Option<bool>,
    /// Who traces it, or one of its threads.
    pub tracer: Option<Tracer>,
}

impl Reaper {
    /// The wait calls that its threads are in now.
    #[must_use]
    pub fn waits_in_progress(&self) -> Vec<LastWait> {
        let waits = self.calls.iter().filter_map(|thread| match thread.call {
            Call::Wait(request) => {
                Some(LastWait::of(&supervisor_ebpf::Wait { request, ..Default::default() }))
            }
            _ => None,
        });
        waits.collect()
    }
}

/// A wait call that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastWait {
    /// When it was entered.
    pub at_ns: u64,
    /// `wait4` or `waitid`; none for a call that could not be decoded.
    pub call: Option<&'static str>,
    /// For whom, as the caller's namespace counts.
    pub target: Option<WaitTarget>,
    /// The options that were set.
    pub flags: Vec<&'static str>,
}

impl LastWait {
    /// What the kernel side has seen.
    #[must_use]
    pub fn of(wait: &supervisor_ebpf::Wait) -> Self {
        let call = match wait.call() {
            supervisor_ebpf::CALL_WAIT4 => Some("wait4"),
            supervisor_ebpf::CALL_WAITID => Some("waitid"),
            _ => None,
        };
        let target = call.and(match wait.idtype() {
            supervisor_ebpf::WAIT_ANY => Some(WaitTarget::Any),
            supervisor_ebpf::WAIT_PID => Some(WaitTarget::Pid(wait.target())),
            supervisor_ebpf::WAIT_PGID => Some(WaitTarget::Pgid(wait.target())),
            supervisor_ebpf::WAIT_PIDFD => Some(WaitTarget::PidFd(wait.target())),
            _ => None,
        });
        Self {
            at_ns: wait.at_ns,
            call,
            target,
            flags: call.map(|_| wait.flags().collect()).unwrap_or_default(),
        }
    }
}

/// For whom a wait call waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitTarget {
    /// Any child.
    Any,
    /// One child.
    Pid(u32),
    /// A process group; 0 is the caller's own.
    Pgid(u32),
    /// One child by file descriptor.
    PidFd(u32),
}

impl std::fmt::Display for WaitTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Pid(pid) => write!(f, "pid:{pid}"),
            Self::Pgid(pgid) => write!(f, "pgid:{pgid}"),
            Self::PidFd(fd) => write!(f, "pidfd:{fd}"),
        }
    }
}

/// One forebear.
#[derive(Clone, Debug, PartialEq)]
pub struct Creator {
    /// The process.
    pub process: Process,
    /// A runtime's verb.
    pub verb: Option<String>,
    /// What it is.
    pub role: Role,
    /// Whether it is a runtime, monitor or engine by the name of its file only: root has not started it, or others than
    /// root can change the file.
    pub is_unverified: bool,
    /// Whether it runs a program that is made to reap orphans.
    pub is_init_program: bool,
    /// Whether it exists no more.
    pub gone: bool,
    /// How it ended, if that was seen.
    pub end: Option<EndFacts>,
}

/// What a process is in a container's process tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// crun, runc, youki, runsc, LXC's programs, systemd-nspawn.
    Runtime,
    /// conmon, conmonrs, a shim, LXC's monitor.
    Monitor,
    /// podman, crio, containerd, dockerd, buildkitd, kubelet.
    Engine,
    /// PID 1 of a PID namespace, or a program made to be it.
    Init,
    /// A shell.
    Shell,
    /// Anything else.
    #[default]
    Other,
}

/// A container runtime's part in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// `crun`, `runc`, `youki`, `runsc`, `lxc`, `systemd-nspawn`, `kata`; or the name of the file that a monitor calls.
    pub name: String,
    /// The file that was executed.
    pub executable: Option<String>,
    /// `create`, `run`, `exec`; of LXC `start`, `execute`, `attach`. Not known if its exec was not seen.
    pub verb: Option<String>,
    /// What the unreaped process is to it.
    pub stage: Stage,
    /// As [`Creator::is_unverified`].
    pub is_unverified: bool,
}

impl Runtime {
    /// Whether it was called to start a process in a container that runs: `exec`, or LXC's `attach`.
    #[must_use]
    pub fn is_session(&self) -> bool {
        matches!(self.verb.as_deref(), Some("exec" | "attach"))
    }

    /// What the unreaped process is, for a sentence; `vpid` is its pid in its innermost namespace.
    #[must_use]
    pub fn describe(&self, vpid: Option<u32>) -> &'static str {
        match (self.stage, self.is_session()) {
            (Stage::Init, false) => "the container init",
            (Stage::Init, true) => "the first process of an exec session",
            (Stage::Intermediate, _) => "an intermediate stage",
            (Stage::Container, true) => "a process of an exec session",
            (Stage::Container, false) if vpid == Some(1) => "the container's PID 1",
            (Stage::Container, false) => "a process of the container",
            (Stage::Runtime, _) => "the called process",
        }
    }
}

/// A runtime's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The first process of a container or exec session, which has not executed the command.
    Init,
    /// One that only prepares and forks the next.
    Intermediate,
    /// A process of the container itself.
    Container,
    /// The process that was called with the verb.
    Runtime,
}

/// A container monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// Its name.
    pub name: String,
    /// Host pid.
    pub pid: u32,
    /// The file that it executed.
    pub executable: Option<String>,
    /// containerd's namespace of its containers: not the Kubernetes one.
    pub namespace: Option<String>,
    /// As [`Creator::is_unverified`].
    pub is_unverified: bool,
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// What manages it: `podman`, `cri-o`, `containerd`, `docker`, or a bare runtime.
    pub runtime: Option<String>,
}

/// What placed a container on this host, and as part of what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orchestrator {
    /// `kubernetes`.
    pub kind: &'static str,
    /// The pod's namespace.
    pub namespace: Option<String>,
    /// The pod's name.
    pub pod_name: Option<String>,
    /// The pod's uid.
    pub pod_uid: Option<String>,
}

/// On whose authority something is said of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// The kernel: a control group that no user names.
    Kernel,
    /// Root in the host's PID namespace.
    Root,
    /// Another user.
    User(u32),
    /// A process in a container, whatever its user.
    Container,
}

impl Authority {
    /// What is believed first has the least rank.
    #[must_use]
    pub fn rank(self) -> u8 {
        match self {
            Self::Kernel => 0,
            Self::Root => 1,
            Self::User(_) | Self::Container => 2,
        }
    }

    /// Whether it may name a pod, and containers of others.
    #[must_use]
    pub fn is_trusted(self) -> bool {
        matches!(self, Self::Kernel | Self::Root)
    }

    /// The word of the event contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Root => "root",
            Self::User(_) => "user",
            Self::Container => "container",
        }
    }
}

/// Where something about a container was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimSource {
    /// The path of the control group.
    Cgroup,
    /// Arguments of a runtime or monitor.
    Arguments,
    /// The container's file of that path.
    File(String),
}

impl ClaimSource {
    /// The word of the event contract.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Arguments => "arguments",
            Self::File(_) => "file",
        }
    }
}

/// What one source says of container and pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityClaim {
    /// Where it was found.
    pub source: ClaimSource,
    /// Who says it.
    pub by: Authority,
    /// The container's id.
    pub container_id: Option<String>,
    /// The pod.
    pub pod: Option<Orchestrator>,
    /// Whether container and pod of the finding rest on it.
    pub is_accepted: bool,
}

/// A PID namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PidNs {
    /// Inode number.
    pub ino: u32,
    /// Depth; the initial one is 0.
    pub level: Option<u32>,
    /// How the process's container came to it.
    pub mode: Option<PidNsMode>,
    /// Its PID 1.
    pub init: Option<NsInit>,
    /// Ids of the containers that share it, as far as control groups name them.
    pub containers: Vec<String>,
}

/// How a container came to its PID namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PidNsMode {
    /// It is the initial namespace.
    Host,
    /// The namespace was made for it.
    Own,
    /// It entered one that was there.
    Joined,
}

impl PidNsMode {
    /// The word of the event contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Own => "own",
            Self::Joined => "joined",
        }
    }
}

/// PID 1 of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NsInit {
    /// Host pid.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// State letter.
    pub state: char,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_status_is_decoded() {
        assert_eq!(Exit::from_wait_status(0x0100), Exit::Code(1));
        assert_eq!(Exit::from_wait_status(0xff00), Exit::Code(255));
        assert_eq!(Exit::from_wait_status(9), Exit::Signal { number: 9, core_dumped: false });
        assert_eq!(Exit::from_wait_status(0x8b), Exit::Signal { number: 11, core_dumped: true });
    }
}
