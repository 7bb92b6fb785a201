//! Lists the observed facts of a finding, each with its source.

use supervisor_model::{
    evidence::EndingFacts,
    facts::{Call, MAX_THREADS, NotRead, OpenFile, SigChld, ThreadCall, ThreadFacts},
    finding::{LastWait, PidNsMode},
    phrases::{call, exit},
    words::{clean, command_line, duration, signal_name},
};

use super::case::{Case, name};

/// Width of a command line in a fact.
const COMMAND_WIDTH: usize = 100;
/// More threads than this are not described.
const MAX_CALLS: usize = 4;

/// A kind of fact that a rule can cite. "The process" is the process of the finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// How and when the process exited.
    Exit,
    /// The state of the process.
    State,
    /// The threads of the process.
    Threads,
    /// The sender of the SIGKILL.
    Kill,
    /// Whether the control group of the process itself is frozen.
    EndingFrozen,
    /// The remote file systems that the threads of the process can wait for.
    Mounts,
    /// The program that the process executed.
    Exec,
    /// The signal that the exit of the process sends to its parent.
    ExitSignal,
    /// The tracer of the process.
    Tracer,
    /// The reaper.
    Reaper,
    /// Whether the reaper created or adopted the process.
    Ancestry,
    /// Whether the reaper is a subreaper.
    Subreaper,
    /// The state of the reaper.
    ReaperState,
    /// Whether the reaper's control group is frozen.
    Frozen,
    /// Whether the memory of the process or of the reaper can be read.
    Memory,
    /// The effect of a SIGCHLD on the reaper.
    SigChld,
    /// Whether the process that started the reaper blocks SIGCHLD too.
    Mask,
    /// Whether the reaper's SIGCHLD handler is still the same.
    Handler,
    /// The system calls that the reaper's threads are in.
    Calls,
    /// The pipe that the reaper reads.
    Pipe,
    /// The program that the reaper executed, and when.
    Image,
    /// The reaper's wait calls.
    Waits,
    /// The other children that the reaper has reaped.
    ReapedOthers,
    /// The number of unreaped children of the reaper.
    Held,
    /// How earlier findings of the reaper ended.
    Pattern,
    /// The processes that created the process.
    Creators,
    /// The PID namespace of the process.
    PidNs,
}

/// Returns each fact with its source and its text.
pub(super) fn of(case: &Case<'_>) -> Vec<(Fact, String, String)> {
    let mut facts = Facts(Vec::new());
    of_process(case, &mut facts);
    of_reaper(case, &mut facts);
    of_ancestry(case, &mut facts);
    facts.0
}

struct Facts(Vec<(Fact, String, String)>);

impl Facts {
    fn add(&mut self, fact: Fact, source: &str, text: String) {
        self.0.push((fact, source.to_owned(), text));
    }
}

/// Adds the facts about a process that was told to exit.
fn of_ending(ending: &EndingFacts, looked_ns: u64, pid: u32, facts: &mut Facts) {
    if let (Some((by, comm)), Some(since_ns)) = (&ending.killed_by, ending.since_ns) {
        let ago = duration(looked_ns.saturating_sub(since_ns));
        facts.add(
            Fact::Kill,
            "hook signal_generate",
            format!("{} (pid {by}) sent it SIGKILL {ago} ago", clean(comm)),
        );
    }
    if let Some(file) = &ending.frozen {
        facts.add(Fact::EndingFrozen, &clean(file), "its control group is frozen".to_owned());
    }
    for mount in &ending.mounts {
        let waiting = match mount.waiting {
            Some(count) => format!(", where {count} requests wait for an answer"),
            None => String::new(),
        };
        facts.add(
            Fact::Mounts,
            &format!("/proc/{pid}/task/TID/mountinfo"),
            format!(
                "it can use the {} file system {} on {}{waiting}",
                clean(&mount.fs_type),
                clean(&mount.source),
                clean(&mount.mount_point)
            ),
        );
    }
}

#[expect(clippy::too_many_lines, reason = "one entry for each fact, in the order of the evidence")]
fn of_process(case: &Case<'_>, facts: &mut Facts) {
    let finding = case.finding;
    let pid = finding.process.pid;
    let how = finding.exit.filter(|_| finding.is_exiting).map(exit);
    if let Some(exit_ns) = finding.exit_ns {
        let ago = duration(finding.looked_ns.saturating_sub(exit_ns));
        let how = how.unwrap_or_else(|| "exited".to_owned());
        facts.add(Fact::Exit, "hook sched_process_exit", format!("its last thread {how}, {ago} ago"));
    } else if let Some(how) = how {
        facts.add(Fact::Exit, &format!("/proc/{pid}/stat"), format!("it {how}; when was not seen"));
    }
    let wchan = finding.wchan.as_deref().map(|it| format!(" in {}", clean(it))).unwrap_or_default();
    facts.add(
        Fact::State,
        &format!("/proc/{pid}/stat"),
        format!("its first thread is in state {}{wchan}", finding.state),
    );
    if let Some(text) = finding.process.args_not_read.as_ref().and_then(memory) {
        facts.add(Fact::Memory, &format!("/proc/{pid}/cmdline"), text);
    }
    if !finding.threads.is_empty() {
        let live: Vec<String> = finding
            .threads
            .iter()
            .filter(|thread| thread.is_live())
            .map(|thread| format!("{} (tid {}, state {})", clean(&thread.comm), thread.tid, thread.state))
            .collect();
        let live = if live.is_empty() { "none".to_owned() } else { live.join(", ") };
        facts.add(
            Fact::Threads,
            &format!("/proc/{pid}/task"),
            format!("{} threads, living: {live}", thread_count(&finding.threads)),
        );
    }
    if let Some(ending) = &finding.ending {
        of_ending(ending, finding.looked_ns, pid, facts);
    }
    match finding.executed {
        Some(true) => {
            let command = command_line(&finding.process.args, finding.process.args_cut, COMMAND_WIDTH);
            facts.add(Fact::Exec, "hook sched_process_exec", format!("it executed `{command}`"));
        }
        Some(false) => {
            let file = finding.process.executable.as_deref().map(clean).unwrap_or_default();
            facts.add(
                Fact::Exec,
                "hook sched_process_exec",
                format!("it never executed a file of its own, and still ran {file} of its creator"),
            );
        }
        None => {}
    }
    if let Some(signal) = finding.exit_signal {
        let signal = match signal {
            0 => "no signal".to_owned(),
            _ => u8::try_from(signal)
                .ok()
                .and_then(signal_name)
                .map_or_else(|| format!("signal {signal}"), str::to_owned),
        };
        facts.add(
            Fact::ExitSignal,
            "iter/task exit_signal",
            format!("its exit sends {signal} to its parent"),
        );
    }
    if let Some(tracer) = &finding.tracer {
        let who = tracer.name.as_deref().map_or_else(|| "a process".to_owned(), clean);
        facts.add(
            Fact::Tracer,
            &format!("/proc/{pid}/task/{}/status TracerPid", tracer.tid),
            format!("{who} (pid {}) traces it", tracer.pid),
        );
    }
}

#[expect(clippy::too_many_lines, reason = "one entry for each fact, in the order of the evidence")]
fn of_reaper(case: &Case<'_>, facts: &mut Facts) {
    let Some(reaper) = case.reaper else { return };
    let pid = reaper.process.pid;
    let is_pid1 = match reaper.is_pidns_init {
        Some(true) => ", PID 1 of its PID namespace",
        Some(false) => ", not PID 1 of its PID namespace",
        None => "",
    };
    facts.add(
        Fact::Reaper,
        &format!("/proc/{}/stat", case.finding.process.pid),
        format!("its parent is {}{is_pid1}", name(&reaper.process)),
    );
    let is_younger =
        case.finding.process.start_ns.zip(reaper.process.start_ns).is_some_and(|(it, parent)| it < parent);
    let ancestry = match (reaper.adopted, reaper.created) {
        (Some(true), None) if is_younger => {
            Some(("/proc/PID/stat", "the parent is younger, so it has adopted it"))
        }
        (Some(true), _) => Some(("hook sched_process_fork", "another process was its parent at first")),
        (Some(false), Some(true)) => Some(("hook sched_process_fork", "this parent forked it")),
        (Some(false), Some(false)) => {
            Some(("hook sched_process_fork", "this parent has been it since the fork (CLONE_PARENT)"))
        }
        (Some(false), None) => Some(("hook sched_process_fork", "this parent has been it since the fork")),
        (None, _) => None,
    };
    if let Some((source, text)) = ancestry {
        facts.add(Fact::Ancestry, source, text.to_owned());
    }
    if let Some(is_subreaper) = reaper.is_subreaper {
        let not = if is_subreaper { "" } else { "not " };
        facts.add(Fact::Subreaper, "iter/task is_child_subreaper", format!("the parent is {not}a subreaper"));
    }
    let wchan = reaper.wchan.as_deref().map(|it| format!(" in {}", clean(it))).unwrap_or_default();
    if let Some(state) = reaper.state {
        let threads = match reaper.threads.len() {
            0 => String::new(),
            count => {
                let states: Vec<String> = reaper.threads.iter().map(|it| it.state.to_string()).collect();
                let first = if count < MAX_THREADS { "" } else { "first " };
                format!("; its {first}{count} threads are in {}", states.join(" "))
            }
        };
        facts.add(
            Fact::ReaperState,
            &format!("/proc/{pid}/stat, wchan"),
            format!("the parent is in state {state}{wchan}{threads}"),
        );
    }
    if let Some(text) = reaper.process.args_not_read.as_ref().and_then(memory) {
        facts.add(Fact::Memory, &format!("/proc/{pid}/cmdline"), text);
    }
    if let Some(file) = &reaper.frozen {
        facts.add(Fact::Frozen, &clean(file), "the parent's control group is frozen".to_owned());
    }
    if let Some(sigchld) = reaper.sigchld {
        let what = match sigchld {
            SigChld::Default => "does nothing to the parent",
            SigChld::Ignored => "is ignored by the parent",
            SigChld::Handled => "is handled by the parent",
            SigChld::Blocked => "is blocked by the parent",
            SigChld::NoCldWait => "does nothing to the parent, which has set SA_NOCLDWAIT",
        };
        let pending = if reaper.sigchld_pending { ", and one is pending" } else { "" };
        facts.add(Fact::SigChld, &format!("/proc/{pid}/status"), format!("SIGCHLD {what}{pending}"));
    }
    of_state(case, facts);
    of_waits(case, facts);
    if let Some(pattern) = case.finding.pattern {
        let broken = if pattern.is_broken { "; one is older than any of these" } else { "" };
        facts.add(
            Fact::Pattern,
            "earlier findings",
            format!(
                "the parent has reaped {} findings before: {} after the exit in the middle, {} at most{broken}",
                pattern.reaped,
                duration(pattern.median_ns),
                duration(pattern.longest_ns)
            ),
        );
    }
    if let Some(held) = reaper.unreaped_held.filter(|held| *held > 1) {
        facts.add(Fact::Held, "iter/task", format!("the parent has {held} unreaped children"));
    }
}

/// Adds the facts about what the reaper does instead of waiting, and what has changed about it.
fn of_state(case: &Case<'_>, facts: &mut Facts) {
    let Some(reaper) = case.reaper else { return };
    let pid = reaper.process.pid;
    if let Some((from, comm)) = &reaper.parent_blocks_sigchld {
        facts.add(
            Fact::Mask,
            &format!("/proc/{from}/status SigBlk"),
            format!("{} (pid {from}), which started the parent, blocks SIGCHLD too", clean(comm)),
        );
    }
    if let Some(changed) = reaper.handler_changed {
        let text = if changed { "another one than" } else { "the same as" };
        facts.add(
            Fact::Handler,
            "hook sched_process_wait, iter/task sa_handler",
            format!("the parent's SIGCHLD handler is {text} when it last waited for any child"),
        );
    }
    let calls = doings(&reaper.calls);
    if !calls.is_empty() {
        facts.add(
            Fact::Calls,
            &format!("/proc/{pid}/task/TID/syscall"),
            format!("the parent's threads: {}", calls.join(", ")),
        );
    }
    if let Some(pipe) = &reaper.pipe {
        let writers: Vec<String> =
            pipe.writers.iter().map(|it| format!("{} (pid {})", clean(&it.comm), it.pid)).collect();
        let more = if pipe.is_complete { "" } else { "; not all processes were looked at" };
        let writers = if writers.is_empty() { "no other process".to_owned() } else { writers.join(", ") };
        facts.add(
            Fact::Pipe,
            "/proc/PID/fd",
            format!("the parent reads pipe {}, which {writers} can write to{more}", pipe.ino),
        );
    }
    // The reaper's exec matters only if it came after the zombie's fork.
    let is_later = |exec_ns: &u64| case.finding.process.start_ns.is_some_and(|start_ns| start_ns < *exec_ns);
    if let Some(exec_ns) = reaper.exec_ns.filter(is_later) {
        let file = reaper.process.executable.as_deref().map_or("a file".to_owned(), clean);
        let before = reaper
            .previous_program
            .as_deref()
            .map(|it| format!(", and ran {} before", clean(it)))
            .unwrap_or_default();
        let ago = duration(case.finding.looked_ns.saturating_sub(exec_ns));
        facts.add(
            Fact::Image,
            "hook sched_process_exec",
            format!("the parent executed {file} {ago} ago{before}"),
        );
    }
    if reaper.has_io_uring == Some(true) {
        facts.add(
            Fact::Waits,
            &format!("/proc/{pid}/fd"),
            "the parent has an io_uring: waits through it are not seen".to_owned(),
        );
    }
}

/// Describes what the threads do, as far as it matters.
fn doings(threads: &[ThreadCall]) -> Vec<String> {
    // Idle threads of a pool sleep in a futex too. The only thread of a process waits for something there.
    if let [ThreadCall { tid, call: Call::Futex, .. }] = threads {
        return vec![format!("{tid} sleeps in futex")];
    }
    threads.iter().filter_map(doing).take(MAX_CALLS).collect()
}

/// Describes what a thread does.
fn doing(thread: &ThreadCall) -> Option<String> {
    let what = match &thread.call {
        Call::Running => "runs".to_owned(),
        Call::Wait(request) => {
            let wait = supervisor_ebpf::Wait { request: *request, ..Default::default() };
            format!("is in {}", call(&LastWait::of(&wait)))
        }
        Call::Read { fd, file } => match file {
            OpenFile::Pipe(_) => format!("reads a pipe (descriptor {fd})"),
            OpenFile::Socket => format!("reads a socket (descriptor {fd})"),
            OpenFile::Other => format!("reads descriptor {fd}"),
        },
        Call::Poll => "waits for descriptors".to_owned(),
        Call::Signal => "waits for a signal".to_owned(),
        Call::Sleep => "sleeps for a time".to_owned(),
        Call::Uring => "waits for an io_uring".to_owned(),
        Call::Other(_) if thread.call.is_for_resource() => {
            format!("sleeps in {}", thread.call.name().unwrap_or_default())
        }
        Call::Futex | Call::Outside | Call::Compat | Call::Other(_) => return None,
    };
    Some(format!("{} {what}", thread.tid))
}

/// Describes why the arguments of a process cannot be read. The arguments lie in its memory.
fn memory(why: &NotRead) -> Option<String> {
    let NotRead::Late { wchan } = why else { return None };
    let place =
        wchan.as_deref().map(|it| format!(" (the reader slept in {})", clean(it))).unwrap_or_default();
    let what = if why.is_memory_locked() {
        "its memory map is locked, so that its arguments cannot be read"
    } else {
        "its arguments were not read in time"
    };
    Some(format!("{what}{place}"))
}

/// The number of threads, as far as they were inspected.
fn thread_count(threads: &[ThreadFacts]) -> String {
    let more = if threads.len() < MAX_THREADS { "" } else { "the first " };
    format!("{more}{}", threads.len())
}

fn of_waits(case: &Case<'_>, facts: &mut Facts) {
    let Some(reaper) = case.reaper else { return };
    let ago = |at_ns: u64| duration(case.finding.looked_ns.saturating_sub(at_ns));
    match (&reaper.last_wait, reaper.never_waited_since_ns) {
        (Some(wait), _) => {
            let count = reaper.waits.map(|count| format!(", one of {count}")).unwrap_or_default();
            let any = match (reaper.any_wait_ns, reaper.any_wait_gap_ns) {
                (None, _) => "; none for any child was seen".to_owned(),
                (Some(at_ns), None) => format!("; last for any child {} ago", ago(at_ns)),
                (Some(at_ns), Some(gap_ns)) => {
                    format!("; last for any child {} ago, and {} before that", ago(at_ns), duration(gap_ns))
                }
            };
            facts.add(
                Fact::Waits,
                "hook sched_process_wait",
                format!("the parent's last wait was {} ago: {}{count}{any}", ago(wait.at_ns), call(wait)),
            );
        }
        (None, Some(since_ns)) => facts.add(
            Fact::Waits,
            "hook sched_process_wait",
            format!("the parent has made no wait call in the {} of watching it", ago(since_ns)),
        ),
        (None, None) => {}
    }
    let pid = reaper.process.pid;
    if let Some((count, at_ns)) = reaper.reaped.filter(|(count, _)| *count > 0) {
        facts.add(
            Fact::ReapedOthers,
            "hook sched_process_free",
            format!("{count} of the parent's own children were reaped, the last {} ago", ago(at_ns)),
        );
    } else if !reaper.ever_reaped {
        facts.add(
            Fact::ReapedOthers,
            &format!("/proc/{pid}/stat cminflt"),
            "no child that the parent has ever collected shows in its accounts".to_owned(),
        );
    }
}

fn of_ancestry(case: &Case<'_>, facts: &mut Facts) {
    let finding = case.finding;
    if !finding.creators.is_empty() {
        let chain: Vec<String> = finding
            .creators
            .iter()
            .map(|creator| {
                let verb = creator.verb.as_deref().map(|it| format!(" {}", clean(it))).unwrap_or_default();
                let gone = if creator.gone { ", gone" } else { "" };
                format!("{}{verb} (pid {}{gone})", clean(&creator.process.name), creator.process.pid)
            })
            .collect();
        facts.add(
            Fact::Creators,
            "hooks sched_process_fork, sched_process_exec",
            format!("created by {}", chain.join(", by ")),
        );
    }
    if let Some(ns) = &finding.pid_ns {
        let mode = match ns.mode {
            Some(PidNsMode::Joined) => ", which it joined",
            Some(PidNsMode::Own) => ", made for it",
            Some(PidNsMode::Host) => ", the host's",
            None => "",
        };
        facts.add(
            Fact::PidNs,
            &format!("/proc/{}/ns/pid", finding.process.pid),
            format!("it is in PID namespace {}{mode}", ns.ino),
        );
    }
}
