//! Answers the questions that the rules ask about a finding and its reaper.

mod left_out;

use supervisor_ebpf::{WAITED_PEEK, WAITED_PID, WAITED_PIDFD};
use supervisor_model::{
    diagnosis::{Confidence, Position},
    facts::{Call, OpenFile, PipeFacts, SigChld, ThreadCall},
    finding::{Exit, Finding, LastWait, Process, Reaper, Role, Tracer, WaitTarget},
    phrases::exit,
    words::{clean, duration},
};

/// A reaper that was watched for this long has shown its habit.
const WELL_WATCHED_NS: u64 = 10_000_000_000;
/// A habit that was observed for less than this, and not since before the exit, has low confidence. [`Habit::ByName`]
/// has at least medium confidence.
const WATCHED_NS: u64 = 1_000_000_000;
/// A process is usually a zombie this long after the exit hook. A slow close takes longer. Much memory takes longer
/// only since Linux 6.16: before that, `exit_mm()` runs before the hook (`do_exit()`, `kernel/exit.c`).
const EXITING_NS: u64 = 100_000_000;
/// A free can follow its reap by this much: RCU callbacks may be lazy.
const FREE_DELAY_NS: u64 = 10_000_000_000;

/// Waits that name a child by pid or pidfd, and peeks.
pub(super) const BY_NAME: u32 = WAITED_PID | WAITED_PIDFD | WAITED_PEEK;

/// A finding, and the questions about its reaper.
pub(super) struct Case<'a> {
    pub(super) finding: &'a Finding,
    pub(super) reaper: Option<&'a Reaper>,
}

/// How a reaper waits, as far as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// It made no wait call while it was watched.
    Never {
        /// How long it was watched.
        for_ns: u64,
    },
    /// No wait that any exited child satisfies was seen, and the last wait named a child: by the pid of another child,
    /// or by a pidfd. Also if no wait was seen, and it is in a wait by pid or pidfd now.
    ByName,
    /// As above, but the last wait was for this process.
    AskedForIt {
        /// How long ago.
        ago_ns: u64,
        /// Whether this process had exited by then.
        exited: bool,
    },
    /// No wait that any exited child satisfies was seen, and the last wait named no child. It was for a group, for any
    /// child with options that narrow it (a peek, `__WCLONE`), or in a call that could not be decoded.
    Otherwise,
    /// It waited for any child, the last time before this process was a zombie.
    Before {
        /// How long ago.
        ago_ns: u64,
        /// The time between the last two such waits.
        gap_ns: Option<u64>,
    },
    /// It waited for any child after this process had exited, and did not get it.
    After {
        /// Whether this process was a zombie by then. If not, it may still have been exiting.
        sure: bool,
    },
    /// It was not watched.
    Unknown,
}

impl<'a> Case<'a> {
    pub(super) fn new(finding: &'a Finding) -> Self {
        Self { finding, reaper: finding.reaper.as_ref() }
    }

    /// Whether the zombie is the reaper's own child, and not an adopted one. A process that is neither a subreaper nor
    /// a PID 1 adopts nothing.
    pub(super) fn is_own(&self) -> Option<bool> {
        let reaper = self.reaper?;
        match (reaper.adopted, reaper.is_subreaper, reaper.is_pidns_init) {
            (Some(adopted), ..) => Some(!adopted),
            (None, Some(false), Some(false)) => Some(true),
            _ => None,
        }
    }

    /// Whether the fork was seen, and the zombie is the reaper's own child.
    pub(super) fn is_seen_own(&self) -> bool {
        self.reaper.is_some_and(|reaper| reaper.adopted == Some(false))
    }

    /// How the reaper got the zombie that it must reap.
    pub(super) fn position(&self) -> Option<Position> {
        let reaper = self.reaper?;
        Some(match (self.is_own()?, reaper.is_pidns_init) {
            (true, _) => Position::OwnChild,
            (false, Some(true)) => Position::AdoptedByInit,
            (false, _) => Position::AdoptedBySubreaper,
        })
    }

    /// Whether a thread of the reaper runs or could run. If so, a missing wait proves nothing yet.
    pub(super) fn is_runnable(&self) -> bool {
        self.reaper.is_some_and(|reaper| {
            reaper.state == Some('R')
                || reaper.threads.iter().any(|thread| thread.state == 'R')
                || reaper.calls.iter().any(|it| it.call == Call::Running)
        })
    }

    /// The longest timeout among the calls that the reaper's threads sleep in. Timeouts longer than `most_ns` do not
    /// count.
    pub(super) fn longest_timeout_ns(&self, most_ns: u64) -> Option<u64> {
        let timeouts = self.reaper?.calls.iter().filter_map(|thread| thread.timeout_ns);
        timeouts.filter(|timeout_ns| *timeout_ns <= most_ns).max()
    }

    /// Does the same as [`Self::longest_timeout_ns`] for calls that only sleep.
    pub(super) fn longest_sleep_ns(&self, most_ns: u64) -> Option<u64> {
        let sleeps = self.reaper?.calls.iter().filter(|thread| thread.call == Call::Sleep);
        sleeps.filter_map(|thread| thread.timeout_ns).filter(|sleep_ns| *sleep_ns <= most_ns).max()
    }

    /// Whether the reaper reads a pipe, and the processes that can write to the pipe are not known.
    pub(super) fn reads_from_strangers(&self) -> bool {
        let Some(reaper) = self.reaper else { return false };
        let reads = |call: &Call| matches!(call, Call::Read { file: OpenFile::Pipe(_), .. });
        let is_known = reaper.pipe.as_ref().is_some_and(|pipe| pipe.is_complete);
        !is_known && reaper.calls.iter().any(|thread| reads(&thread.call))
    }

    /// The call that the reaper is in, if it has only one living thread. If it has several, a thread other than the one
    /// that forked may wait.
    pub(super) fn only_call(&self) -> Option<&'a Call> {
        let reaper = self.reaper?;
        let live = reaper.threads.iter().filter(|thread| thread.is_live()).count();
        match reaper.calls.as_slice() {
            [ThreadCall { call, .. }] if live <= 1 => Some(call),
            _ => None,
        }
    }

    /// The call that keeps the reaper's only thread from its children: a read, or a call that needs a resource. The
    /// thread comes to its children only when that call ends.
    pub(super) fn other_call(&self) -> Option<&'a Call> {
        self.only_call().filter(|call| matches!(call, Call::Read { .. }) || call.is_for_resource())
    }

    /// Whether the reaper's only thread sleeps in a read that may be related to the zombie. The read is unrelated if
    /// all writers of the pipe are known and none descends from the zombie.
    pub(super) fn reads_unknown(&self) -> bool {
        match self.only_call() {
            Some(Call::Read { file: OpenFile::Pipe(_), .. }) => {
                let pipe = self.reaper.and_then(|reaper| reaper.pipe.as_ref());
                let is_strange = |pipe: &PipeFacts| {
                    pipe.is_complete && pipe.writers.iter().all(|it| it.is_descendant == Some(false))
                };
                !pipe.is_some_and(is_strange)
            }
            Some(Call::Read { .. }) => true,
            _ => false,
        }
    }

    /// Whether the reaper has received a SIGCHLD since the zombie exited: a handler, a `signalfd` or `sigtimedwait`
    /// takes each SIGCHLD, and none is pending. The kernel sends the signal when the zombie can be waited for.
    pub(super) fn has_got_sigchld(&self) -> bool {
        self.reaper.is_some_and(|reaper| {
            let takes = matches!(reaper.sigchld, Some(SigChld::Handled | SigChld::Blocked));
            (takes || reaper.is_in_sigtimedwait()) && !reaper.sigchld_pending
        })
    }

    /// Whether the reaper polls its children by their pids, but has not polled since this process exited, although
    /// SIGCHLD was delivered to it. It may still poll.
    pub(super) fn has_not_polled(&self) -> bool {
        let wait = self.reaper.and_then(|reaper| reaper.last_wait.as_ref());
        let is_before = |wait: &LastWait| wait.at_ns < self.zombie_ns() && wait.flags.contains(&"WNOHANG");
        self.habit() == Habit::ByName && self.has_got_sigchld() && wait.is_some_and(is_before)
    }

    /// Whether the reaper waits when SIGCHLD comes, as far as is known, and the watch began only after the SIGCHLD of
    /// this zombie. Then a missing wait call says nothing.
    pub(super) fn got_sigchld_before_the_watch(&self) -> bool {
        let is_handled = self.reaper.is_some_and(|reaper| {
            reaper.ever_reaped && reaper.sigchld == Some(SigChld::Handled) && !reaper.sigchld_pending
        });
        is_handled
            && self.is_own() == Some(true)
            && self.finding.exit_ns.is_none()
            && matches!(self.habit(), Habit::Never { .. })
    }

    /// Whether the reaper polls its children: a moment ago it asked for another child by its pid without blocking.
    pub(super) fn polls_others(&self) -> bool {
        const MOMENT_NS: u64 = 2_000_000_000;
        let wait = self.reaper.and_then(|reaper| reaper.last_wait.as_ref());
        wait.is_some_and(|wait| {
            matches!(wait.target, Some(WaitTarget::Pid(_) | WaitTarget::PidFd(_)))
                && wait.flags.contains(&"WNOHANG")
                && wait.at_ns > self.zombie_ns()
                && self.finding.looked_ns.saturating_sub(wait.at_ns) <= MOMENT_NS
        })
    }

    /// Whether all wait calls of the reaper since the watch began, or since its last exec if that was later, are known
    /// to be of these kinds.
    pub(super) fn waits_only(&self, kinds: u32) -> bool {
        self.reaper.is_some_and(|reaper| reaper.wait_kinds != 0 && reaper.wait_kinds & !kinds == 0)
    }

    /// How long the reaper could have reaped the zombie while it was watched.
    pub(super) fn waited_for_ns(&self) -> u64 {
        self.finding.looked_ns.saturating_sub(self.zombie_ns())
    }

    pub(super) fn habit(&self) -> Habit {
        let Some(reaper) = self.reaper else { return Habit::Unknown };
        // From this time on the process could certainly be waited for.
        let zombie_ns = self.zombie_ns();
        let ago = |at_ns: u64| self.finding.looked_ns.saturating_sub(at_ns);
        if reaper.last_wait.is_none()
            && let Some(request) = self.wait_that_it_is_in()
        {
            // The call began before the hooks were attached.
            return match request.target {
                Some(WaitTarget::Pid(_) | WaitTarget::PidFd(_)) => Habit::ByName,
                _ => Habit::Unknown,
            };
        }
        match (reaper.any_wait_ns, &reaper.last_wait) {
            (Some(at_ns), _) if at_ns >= zombie_ns => {
                Habit::After { sure: at_ns >= self.finding.seen_ns || at_ns - zombie_ns >= EXITING_NS }
            }
            (Some(at_ns), _) => Habit::Before { ago_ns: ago(at_ns), gap_ns: reaper.any_wait_gap_ns },
            (None, Some(wait)) => match wait.target {
                Some(WaitTarget::Pid(pid)) if self.finding.pid_of_reaper == Some(pid) => {
                    Habit::AskedForIt { ago_ns: ago(wait.at_ns), exited: wait.at_ns >= zombie_ns }
                }
                Some(WaitTarget::Pid(_) | WaitTarget::PidFd(_)) => Habit::ByName,
                Some(WaitTarget::Any | WaitTarget::Pgid(_)) | None => Habit::Otherwise,
            },
            (None, None) => reaper
                .never_waited_since_ns
                .map_or(Habit::Unknown, |since_ns| Habit::Never { for_ns: ago(since_ns) }),
        }
    }

    /// A wait call that a thread of the reaper is in now.
    pub(super) fn wait_that_it_is_in(&self) -> Option<LastWait> {
        self.reaper?.waits_in_progress().into_iter().next()
    }

    /// The time from which the process could be waited for, or was about to be a zombie.
    pub(super) fn zombie_ns(&self) -> u64 {
        self.finding.exit_ns.unwrap_or(self.finding.seen_ns)
    }

    /// The confidence that the reaper never makes a wait that could get this zombie, if that is its habit. For a high
    /// confidence, it has to be watched since before the exit, or for long.
    pub(super) fn is_habit_sure(&self) -> Option<Confidence> {
        let reaper = self.reaper?;
        let since_ns = match self.habit() {
            Habit::Never { .. } => reaper.never_waited_since_ns?,
            Habit::ByName | Habit::AskedForIt { .. } => match reaper.first_wait_ns {
                Some(first_ns) => first_ns,
                None => return Some(Confidence::Medium),
            },
            _ => return None,
        };
        let watched_ns = self.finding.looked_ns.saturating_sub(since_ns);
        let before_exit = self.finding.exit_ns.is_some_and(|exit_ns| since_ns <= exit_ns);
        Some(if self.reaps_unseen() {
            Confidence::Low
        } else if before_exit || watched_ns >= WELL_WATCHED_NS {
            Confidence::High
        } else if matches!(self.habit(), Habit::ByName) || watched_ns >= WATCHED_NS {
            Confidence::Medium
        } else {
            Confidence::Low
        })
    }

    /// Whether the reaper's children are reaped although no wait call of it was seen. Waits through `io_uring` pass no
    /// hook.
    pub(super) fn reaps_unseen(&self) -> bool {
        // Children that reap themselves because SIGCHLD is ignored count as reaped too.
        let may_use_io_uring =
            |reaper: &&Reaper| reaper.last_wait.is_none() && reaper.has_io_uring != Some(false);
        let Some(reaper) = self.reaper.filter(may_use_io_uring) else { return false };
        let reaped_ns = reaper.reaped.map(|(_, at_ns)| at_ns);
        reaped_ns
            .zip(reaper.never_waited_since_ns)
            .is_some_and(|(at_ns, since)| at_ns > since + FREE_DELAY_NS)
    }

    /// The process that the reaper forked and waited for last, if that process is in the ancestry of the zombie.
    fn started_and_waited_for(&self) -> Option<&'a Process> {
        let reaper = self.reaper?;
        // In another PID namespace, the same process has a different pid.
        let target = reaper.last_wait.as_ref()?.target.filter(|_| self.is_on_host());
        let Some(WaitTarget::Pid(pid)) = target else {
            return None;
        };
        let mut pairs = self.finding.creators.iter().zip(self.finding.creators.iter().skip(1));
        let (child, _) = pairs.find(|(child, parent)| {
            child.process.pid == pid && parent.process.pid == reaper.process.pid && !parent.gone
        })?;
        Some(&child.process)
    }

    /// Describes what the reaper does instead of reaping, as the end of a sentence about the reaper.
    pub(super) fn instead(&self) -> String {
        match self.habit() {
            Habit::Never { for_ns } => no_call(for_ns),
            Habit::ByName => match (self.started_and_waited_for(), self.waits_only(BY_NAME)) {
                (Some(child), true) => format!("waits only for what it started (last for {})", name(child)),
                (Some(child), false) => format!("waited last for what it started ({})", name(child)),
                (None, true) => "waits only for children that it names".to_owned(),
                (None, false) => "was seen to wait for children that it names".to_owned(),
            },
            Habit::AskedForIt { ago_ns, exited: false } => {
                format!("asked for it last {} ago, before it had exited", duration(ago_ns))
            }
            Habit::AskedForIt { ago_ns, exited: true } => {
                format!("asked for it {} ago and did not get it", duration(ago_ns))
            }
            Habit::Before { .. } => {
                format!(
                    "has not waited for any child since {}{}",
                    self.since(),
                    self.although_it_got_sigchld()
                )
            }
            Habit::After { .. } => {
                format!("has waited for any child since {} and did not get it", self.since())
            }
            Habit::Otherwise if self.is_for_another_group() => self.group(),
            Habit::Otherwise => self.narrowed().map_or("does not reap it", |(how, _)| how).to_owned(),
            Habit::Unknown => "does not reap it".to_owned(),
        }
    }

    /// Describes the [`Self::other_call`] of the reaper, as the end of a sentence about the reaper. Empty if there is
    /// none.
    pub(super) fn while_in(&self) -> String {
        self.other_call().map(|call| format!(": it is in {}", self.place_of(call))).unwrap_or_default()
    }

    /// Returns the same as [`Self::while_in`], or says that the signal alone did not make the reaper wait.
    pub(super) fn although_it_got_sigchld(&self) -> String {
        match self.other_call() {
            None if self.has_got_sigchld() => ", although SIGCHLD was delivered to it".to_owned(),
            _ => self.while_in(),
        }
    }

    /// Describes a call of the reaper and its object.
    pub(super) fn place_of(&self, call: &Call) -> String {
        match call {
            Call::Read { fd, file: OpenFile::Pipe(_) } => {
                let pipe = self.reaper.and_then(|reaper| reaper.pipe.as_ref());
                let writer = pipe.and_then(|pipe| pipe.writers.first());
                let open = writer
                    .map(|it| format!(", which {} (pid {}) holds open", clean(&it.comm), it.pid))
                    .unwrap_or_default();
                format!("a read of a pipe (descriptor {fd}){open}")
            }
            Call::Read { fd, file: OpenFile::Socket } => format!("a read of a socket (descriptor {fd})"),
            Call::Read { fd, .. } => format!("a read of a file or terminal (descriptor {fd})"),
            call => {
                let wchan = self.reaper.and_then(|reaper| reaper.wchan.as_deref());
                let place = wchan.map(|wchan| format!(", {}", clean(wchan))).unwrap_or_default();
                format!("system call {}{place}", call.name().unwrap_or_default())
            }
        }
    }

    /// Whether the reaper has the same pid in its own PID namespace as on the host.
    fn is_on_host(&self) -> bool {
        self.reaper.is_some_and(|reaper| reaper.process.vpid == Some(reaper.process.pid))
    }

    /// The event since which the reaper could have reaped the zombie, as far as was seen.
    pub(super) fn since(&self) -> &'static str {
        if self.finding.exit_ns.is_some() { "it exited" } else { "it was seen first" }
    }

    /// Whether the reaper reaps anything at all, as far as was seen.
    pub(super) fn reaps_others(&self) -> bool {
        self.reaper
            .is_some_and(|reaper| reaper.ever_reaped || reaper.reaped.is_some_and(|(count, _)| count > 0))
    }

    /// Whether the reaper was watched for long since the zombie exited, made no wait call that could get the zombie,
    /// and reaped nothing.
    pub(super) fn never_reaps(&self) -> bool {
        let Some(reaper) = self.reaper else { return false };
        let since_ns = match self.habit() {
            Habit::Never { .. } => reaper.never_waited_since_ns,
            Habit::ByName => reaper.last_wait.as_ref().map(|wait| wait.at_ns),
            _ => None,
        };
        let watched_ns =
            since_ns.map(|since_ns| self.finding.looked_ns.saturating_sub(since_ns.max(self.zombie_ns())));
        watched_ns.is_some_and(|watched_ns| watched_ns >= WELL_WATCHED_NS) && !self.reaps_others()
    }

    /// A clause about the process that forked the zombie and has exited: its name and how it ended.
    pub(super) fn lost_parent_story(&self) -> Option<String> {
        let creator = self.finding.creators.first().filter(|creator| creator.gone)?;
        let who = name(&creator.process);
        let Some(end) = &creator.end else { return Some(format!("{who}, which forked it, is gone")) };
        let how = exit(Exit::from_wait_status(end.status));
        let lived = creator.process.start_ns.map(|start_ns| end.at_ns.saturating_sub(start_ns));
        let after = lived.map(|ns| format!(" after {}", duration(ns))).unwrap_or_default();
        let by = end.killed_by.as_ref().map(|(pid, comm)| format!(" by {} (pid {pid})", clean(comm)));
        Some(format!("{who}, which forked it, {how}{}{after}", by.unwrap_or_default()))
    }

    pub(super) fn has_role(&self, role: Role) -> bool {
        self.finding.role == role
    }
}

/// Describes the observation of a reaper that does not wait, as the end of a sentence.
pub(super) fn no_call(for_ns: u64) -> String {
    format!("has made no wait call in the {} that it was watched", duration(for_ns))
}

/// Names a tracer for use in a sentence.
pub(super) fn tracer_name(tracer: &Tracer) -> String {
    format!("{} (pid {})", tracer.name.as_deref().map_or("a process".to_owned(), clean), tracer.pid)
}

/// Names a process for use in a sentence.
pub(super) fn name(process: &Process) -> String {
    format!("{} (pid {})", clean(&process.name), process.pid)
}
