//! The internal model of findings. Every output is a mapping of this model.
//!
//! An unknown value is `None` or empty, never a made-up value. Times are nanoseconds of `CLOCK_BOOTTIME`.

use schemars::JsonSchema;
use serde::Serialize;
use supervisor_ebpf::ProcessId;

use crate::{
    diagnosis::{Confidence, Diagnosis},
    evidence::{EndFacts, EndingFacts},
    facts::{Call, CpuFacts, NotRead, PidBudget, PipeFacts, SigChld, ThreadCall, ThreadFacts},
    shared::Shared,
};

/// One unreaped process. `explain` makes a finding of any process.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Stable from open to close.
    pub id: String,
    /// The process.
    pub process: Process,
    /// Its state letter: `Z`, unless `explain` shows a living process or the process is exiting.
    pub state: char,
    /// Whether its last thread has begun to exit.
    pub is_exiting: bool,
    /// Kernel function that it sleeps in.
    pub wchan: Option<String>,
    /// Its threads, if it has more than one.
    pub threads: Vec<ThreadFacts>,
    /// Its role, which follows from its own exec.
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
    /// The signal that its exit sends to its parent; 17 is `SIGCHLD`.
    pub exit_signal: Option<i32>,
    /// The tracer of the process, or of one of its threads.
    pub tracer: Option<Tracer>,
    /// How it ended.
    pub exit: Option<Exit>,
    /// When its last thread exited, if that was seen.
    pub exit_ns: Option<u64>,
    /// A time before which it exited, if the exit itself was not seen.
    pub exited_before_ns: Option<u64>,
    /// The time of the first inspection: it was a zombie by then.
    pub seen_ns: u64,
    /// The time of the last inspection.
    pub looked_ns: u64,
    /// The grace period: the process is reported if it is unreaped for this long.
    pub grace_ns: u64,
    /// The process that must wait for it.
    pub reaper: Option<Reaper>,
    /// The process that forked it, the process that forked that process, and so on, nearest first. Many findings have
    /// the same creators, and share them.
    pub creators: Shared<Vec<Creator>>,
    /// The container runtime that it comes from.
    pub runtime: Option<Runtime>,
    /// The container monitor.
    pub monitor: Option<Monitor>,
    /// The container.
    pub container: Option<Container>,
    /// The orchestrator that placed the container here.
    pub orchestrator: Option<Orchestrator>,
    /// The confidence in container and pod, if they are not certain.
    pub identity_confidence: Option<Confidence>,
    /// The claims about container and pod, best first, if container and pod are not certain.
    pub claims: Vec<IdentityClaim>,
    /// Its PID namespace.
    pub pid_ns: Option<PidNs>,
    /// Path of its control group.
    pub cgroup: Option<String>,
    /// How it came into the container, or the fact that it is in no container.
    pub origin: Origin,
    /// PID namespaces that cannot end while it exists.
    pub blocks: Vec<Block>,
    /// The pids that it costs, if pids are limited.
    pub budget: Option<Budget>,
    /// How its reaper treated earlier zombies.
    pub pattern: Option<Pattern>,
    /// The facts about its exit, if the process was told to exit and is no zombie yet.
    pub ending: Option<EndingFacts>,
    /// Why it is unreaped.
    pub diagnosis: Diagnosis,
}

/// The thread that keeps a process from its end.
#[derive(Clone, Copy, Debug)]
pub struct LastThread<'a> {
    /// Its name and id, if the process has more than one thread.
    pub named: Option<(&'a str, u32)>,
    /// Host thread id.
    pub tid: u32,
    /// State letter.
    pub state: char,
    /// Kernel function that it sleeps in.
    pub wchan: Option<&'a str>,
}

impl Finding {
    /// The thread that keeps the process from its end: a thread in state D, or else the first thread that has not
    /// ended. A zombie has none.
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

/// How a reaper treated earlier findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The number of findings that it has reaped.
    pub reaped: u64,
    /// The median of the nanoseconds from exit to reap, among the latest findings.
    pub median_ns: u64,
    /// The longest time from exit to reap, in nanoseconds, among the latest findings.
    pub longest_ns: u64,
    /// Whether an open finding is overdue ([`Pattern::is_overdue_at`]). A finding of unknown age counts as overdue.
    pub is_broken: bool,
}

impl Pattern {
    /// Whether a zombie of that age is overdue: older than twice `longest_ns` plus 1 s. `longest_ns` is the longest
    /// time from exit to reap among the latest findings.
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
    /// A finding about its init: the process, its container, its namespace.
    pub init: Finding,
    /// When the init was first seen stuck in its exit.
    pub since_ns: u64,
    /// All processes that keep the init from its end.
    pub blockers: Vec<Blocker>,
    /// The number of processes that have a pid in it, its PID 1 included.
    pub processes: u64,
    /// The diagnosis of the blocked namespace.
    pub diagnosis: Diagnosis,
}

/// A process that keeps a PID namespace's init from its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// The process. It has a pid in the namespace.
    pub id: ProcessId,
    /// How it blocks the namespace.
    pub kind: BlockerKind,
    /// Its host pid.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// The process that must reap it, or the tracer that must: pid and name.
    pub reaper: Option<(u32, String)>,
    /// State letter. If the process has not ended, it is the state of a thread that cannot end.
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

/// A PID namespace that a process keeps from its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Inode number.
    pub ino: u32,
    /// Host pid of its init.
    pub init_pid: u32,
    /// Name of the init.
    pub init_name: String,
    /// When the init exited. If the exit was not seen: when the init was first seen stuck in its exit.
    pub since_ns: u64,
}

/// The tracer of a process.
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
    /// It descends from the container's own command, or it is that command.
    Entrypoint,
    /// It descends from a command that was executed in the running container.
    Exec,
    /// As [`Origin::Exec`], and the command is executed again and again.
    HealthCheck {
        /// The time between two of these commands.
        period_ns: u64,
    },
    /// It is in no container.
    Host,
    /// Its ancestry was not seen.
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

/// The use of pids, if they are limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The number of tasks now and at most, and the source of the limit.
    pub pids: PidBudget,
    /// Unreaped processes under the same limit, if they were counted.
    pub unreaped: Option<u64>,
    /// The growth of this number in an hour. `None` if it does not grow, or if it was not watched for long enough.
    pub rate_per_hour: Option<u64>,
    /// The time until no pid is left, at that rate.
    pub exhausted_in_ns: Option<u64>,
}

/// A process as events name it.
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
    /// The file that it executed. If it has executed none, the file that its ancestor executed.
    pub executable: Option<String>,
    /// The first arguments of that exec, without secrets.
    pub args: Vec<String>,
    /// The number of arguments of the exec, if it is known.
    pub args_count: Option<u32>,
    /// Whether the exec had more arguments than are here.
    pub args_cut: bool,
    /// Why the arguments are not known, if they had to be read from the process's memory.
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

/// The process that must reap.
#[derive(Clone, Debug, PartialEq)]
pub struct Reaper {
    /// The process. Many findings have the same reaper.
    pub process: Shared<Process>,
    /// Whether the unreaped process had another parent at first. Not known if the fork was not seen.
    pub adopted: Option<bool>,
    /// Whether it forked the unreaped process itself. With `CLONE_PARENT`, another process than the parent may have
    /// forked it.
    pub created: Option<bool>,
    /// Whether it has asked to adopt the orphans of its descendants.
    pub is_subreaper: Option<bool>,
    /// Whether it is PID 1 of a PID namespace.
    pub is_pidns_init: Option<bool>,
    /// Depth of its PID namespace; the initial one is 0.
    pub level: Option<u32>,
    /// State letter.
    pub state: Option<char>,
    /// Kernel function that it sleeps in.
    pub wchan: Option<String>,
    /// Its threads, if it has more than one.
    pub threads: Vec<ThreadFacts>,
    /// The effect of a `SIGCHLD` on it.
    pub sigchld: Option<SigChld>,
    /// Whether a `SIGCHLD` is pending.
    pub sigchld_pending: bool,
    /// The file of the frozen control group that it is in or below.
    pub frozen: Option<String>,
    /// Its role, which follows from its exec.
    pub role: Role,
    /// Its last wait call, if one was seen.
    pub last_wait: Option<LastWait>,
    /// The number of wait calls that it has made since the hooks were attached.
    pub waits: Option<u64>,
    /// The time of its last wait call that accepts any child that has exited.
    pub any_wait_ns: Option<u64>,
    /// The time between that round of such waits and the round before it.
    pub any_wait_gap_ns: Option<u64>,
    /// The time since which it has certainly made no wait call.
    pub never_waited_since_ns: Option<u64>,
    /// The number of its own children that were reaped since the hooks were attached, and the time of the last reap.
    pub reaped: Option<(u64, u64)>,
    /// The number of them that were reaped since the first inspection of the unreaped process.
    pub reaped_since: Option<u64>,
    /// Whether it has ever waited for a child that had a page fault. This includes the time before the watch.
    pub ever_reaped: bool,
    /// The number of its unreaped processes, this one included.
    pub unreaped_held: Option<u64>,
    /// The time since which it was seen in the same state and in the same kernel function, without a wait call.
    pub same_since_ns: u64,
    /// `WAITED_*` bits of all its wait calls since the hooks were attached, or since its last exec if that was later.
    /// It is 0 if no wait call is known.
    pub wait_kinds: u32,
    /// Its process group, as the initial PID namespace counts.
    pub pgrp: Option<u32>,
    /// When it executed its program, if that was seen.
    pub exec_ns: Option<u64>,
    /// The program that it ran before that.
    pub previous_program: Option<String>,
    /// The system calls that its threads are in.
    pub calls: Vec<ThreadCall>,
    /// The pipe that one of them reads.
    pub pipe: Option<PipeFacts>,
    /// Pid and name of its parent, if the parent created it and also blocks `SIGCHLD`. It may have inherited the mask.
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
    /// The tracer of the process, or of one of its threads.
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
    /// The target of the call. Its pids are those of the caller's namespace.
    pub target: Option<WaitTarget>,
    /// The options that were set.
    pub flags: Vec<&'static str>,
}

impl LastWait {
    /// Decodes a wait call that the kernel side has seen.
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

/// The children that a wait call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitTarget {
    /// Any child.
    Any,
    /// One child.
    Pid(u32),
    /// The children in a process group; 0 is the caller's own group.
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

/// One ancestor.
#[derive(Clone, Debug, PartialEq)]
pub struct Creator {
    /// The process.
    pub process: Process,
    /// The verb, if it is a runtime.
    pub verb: Option<String>,
    /// Its role.
    pub role: Role,
    /// Whether only the name of its file says that it is a runtime, monitor or engine: root has not started it, or
    /// other users than root can change the file.
    pub is_unverified: bool,
    /// Whether it runs a program that is made to reap orphans.
    pub is_init_program: bool,
    /// Whether it does not exist any more.
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

/// The container runtime that an unreaped process comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// `crun`, `runc`, `youki`, `runsc`, `lxc`, `systemd-nspawn`, `kata`; or the name of the file that a monitor calls.
    pub name: String,
    /// The file that was executed.
    pub executable: Option<String>,
    /// `create`, `run`, `exec`; of LXC `start`, `execute`, `attach`. Not known if its exec was not seen.
    pub verb: Option<String>,
    /// The part of the unreaped process in the work of this runtime.
    pub stage: Stage,
    /// As [`Creator::is_unverified`].
    pub is_unverified: bool,
}

impl Runtime {
    /// Whether it was called to start a process in a running container: `exec`, or LXC's `attach`.
    #[must_use]
    pub fn is_session(&self) -> bool {
        matches!(self.verb.as_deref(), Some("exec" | "attach"))
    }

    /// Describes the unreaped process, as a part of a sentence. `vpid` is its pid in its innermost namespace.
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
    /// containerd's namespace of its containers. This is not the Kubernetes namespace.
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
    /// The software that manages it: `podman`, `cri-o`, `containerd`, `docker`, or a bare runtime.
    pub runtime: Option<String>,
}

/// The software that placed a container on this host, and the pod that the container belongs to.
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

/// The authority behind a claim about a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// The kernel: the name of a control group that no user can choose.
    Kernel,
    /// Root in the host's PID namespace.
    Root,
    /// Another user.
    User(u32),
    /// A process of any user in a container.
    Container,
}

impl Authority {
    /// The rank of this authority. The authority that is believed first has the lowest rank.
    #[must_use]
    pub fn rank(self) -> u8 {
        match self {
            Self::Kernel => 0,
            Self::Root => 1,
            Self::User(_) | Self::Container => 2,
        }
    }

    /// Whether it may name a pod, and containers of other users.
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

/// The source of a claim about a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimSource {
    /// The path of the control group.
    Cgroup,
    /// Arguments of a runtime or monitor.
    Arguments,
    /// The file of the container at that path.
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

/// The claim of one source about container and pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityClaim {
    /// The source of the claim.
    pub source: ClaimSource,
    /// The authority behind the claim.
    pub by: Authority,
    /// The container's id.
    pub container_id: Option<String>,
    /// The pod.
    pub pod: Option<Orchestrator>,
    /// Whether container and pod of the finding are taken from this claim.
    pub is_accepted: bool,
}

/// A PID namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PidNs {
    /// Inode number.
    pub ino: u32,
    /// Depth; the initial one is 0.
    pub level: Option<u32>,
    /// How the container of the process came to this namespace.
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
