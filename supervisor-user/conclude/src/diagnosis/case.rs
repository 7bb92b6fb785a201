//! A finding as the rules ask about it.

use supervisor_ebpf::{WAITED_ANY, WAITED_NARROW, WAITED_PEEK, WAITED_PGID, WAITED_PID, WAITED_PIDFD};
use supervisor_model::{
    diagnosis::{Confidence, Position},
    facts::{Call, OpenFile, PipeFacts, SigChld, ThreadCall},
    finding::{Exit, Finding, LastWait, Process, Reaper, Role, Tracer, WaitTarget},
    phrases::exit,
    words::{clean, duration},
};

/// Who was watched for this long has shown its habit.
const WELL_WATCHED_NS: u64 = 10_000_000_000;
/// Who was watched for less than this, and not since before the exit, has shown nothing.
const WATCHED_NS: u64 = 1_000_000_000;
/// From the exit hook to the zombie; much memory or a slow close takes longer.
const EXITING_NS: u64 = 100_000_000;
/// A free can follow its reap by this much: RCU callbacks may be lazy.
const FREE_DELAY_NS: u64 = 10_000_000_000;

/// Waits for children by their names.
pub(super) const BY_NAME: u32 = WAITED_PID | WAITED_PIDFD | WAITED_PEEK;

/// A finding, and what its reaper's waits amount to.
pub(super) struct Case<'a> {
    pub(super) finding: &'a Finding,
    pub(super) reaper: Option<&'a Reaper>,
}

/// What was seen of a reaper's waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// It made no wait call while it was watched.
    Never {
        /// For how long that was.
        for_ns: u64,
    },
    /// It waits, as far as was seen only for children that it names, the last time for another one.
    ByName,
    /// As above, and the last time for this one.
    AskedForIt {
        /// How long ago.
        ago_ns: u64,
        /// Whether this one had exited by then.
        exited: bool,
    },
    /// It waits, neither for any child nor for one that it names: for a group, as a peek, or in a call that could not
    /// be decoded.
    Otherwise,
    /// It waited for any child, the last time before this one was a zombie.
    Before {
        /// How long ago.
        ago_ns: u64,
        /// How long before that the time before was.
        gap_ns: Option<u64>,
    },
    /// It waited for any child after this one had exited, and did not get it.
    After {
        /// Whether this one was a zombie by then; if not, it may still have been exiting.
        sure: bool,
    },
    /// It was not watched.
    Unknown,
}

impl<'a> Case<'a> {
    pub(super) fn new(finding: &'a Finding) -> Self {
        Self { finding, reaper: finding.reaper.as_ref() }
    }

    /// Whether it is the reaper's own child, and not an adopted one. A process that is neither a subreaper nor a
    /// PID 1 adopts nothing.
    pub(super) fn is_own(&self) -> Option<bool> {
        let reaper = self.reaper?;
        match (reaper.adopted, reaper.is_subreaper, reaper.is_pidns_init) {
            (Some(adopted), ..) => Some(!adopted),
            (None, Some(false), Some(false)) => Some(true),
            _ => None,
        }
    }

    /// The same, where the fork was seen, or the start times prove it.
    pub(super) fn is_seen_own(&self) -> bool {
        self.reaper.is_some_and(|reaper| reaper.adopted == Some(false))
    }

    /// Who must reap it, and how it got it.
    pub(super) fn position(&self) -> Option<Position> {
        let reaper = self.reaper?;
        Some(match (self.is_own()?, reaper.is_pidns_init) {
            (true, _) => Position::OwnChild,
            (false, Some(true)) => Position::AdoptedByInit,
            (false, _) => Position::AdoptedBySubreaper,
        })
    }

    /// Whether a thread of the reaper runs or could run: what it did not do yet proves nothing.
    pub(super) fn is_runnable(&self) -> bool {
        self.reaper.is_some_and(|reaper| {
            reaper.state == Some('R')
                || reaper.threads.iter().any(|thread| thread.state == 'R')
                || reaper.calls.iter().any(|it| it.call == Call::Running)
        })
    }

    /// The longest timeout of a call that a thread of the reaper sleeps in, of those that are not longer than this.
    pub(super) fn longest_timeout_ns(&self, most_ns: u64) -> Option<u64> {
        let timeouts = self.reaper?.calls.iter().filter_map(|thread| thread.timeout_ns);
        timeouts.filter(|timeout_ns| *timeout_ns <= most_ns).max()
    }

    /// The same of calls that do nothing else than to sleep.
    pub(super) fn longest_sleep_ns(&self, most_ns: u64) -> Option<u64> {
        let sleeps = self.reaper?.calls.iter().filter(|thread| thread.call == Call::Sleep);
        sleeps.filter_map(|thread| thread.timeout_ns).filter(|sleep_ns| *sleep_ns <= most_ns).max()
    }

    /// Whether the reaper reads a pipe, and it is not known who can write to that.
    pub(super) fn reads_from_strangers(&self) -> bool {
        let Some(reaper) = self.reaper else { return false };
        let reads = |call: &Call| matches!(call, Call::Read { file: OpenFile::Pipe(_), .. });
        let is_known = reaper.pipe.as_ref().is_some_and(|pipe| pipe.is_complete);
        !is_known && reaper.calls.iter().any(|thread| reads(&thread.call))
    }

    /// What the reaper does in the kernel, if it has one living thread only: of several, another one than that which
    /// forked may wait.
    pub(super) fn only_call(&self) -> Option<&'a Call> {
        let reaper = self.reaper?;
        let live = reaper.threads.iter().filter(|thread| thread.is_live()).count();
        match reaper.calls.as_slice() {
            [ThreadCall { call, .. }] if live <= 1 => Some(call),
            _ => None,
        }
    }

    /// The other call that the reaper's only thread sleeps in: it reads, or needs a resource. It comes to its children only
    /// when that call ends.
    pub(super) fn other_call(&self) -> Option<&'a Call> {
        self.only_call().filter(|call| matches!(call, Call::Read { .. }) || call.is_for_resource())
    }

    /// Whether the reaper's only thread sleeps in a read, and the zombie may have to do with that. It has not if all writers of
    /// a pipe are known, and none descends from it.
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

    /// Which children the options of the reaper's waits leave out, as the end of a sentence about it, and what would mend that.
    pub(super) fn narrowed(&self) -> Option<(&'static str, &'static str)> {
        let reaper = self.reaper.filter(|reaper| reaper.wait_kinds & WAITED_ANY == 0)?;
        let wait = reaper.last_wait.as_ref().filter(|wait| wait.target == Some(WaitTarget::Any))?;
        let has = |flag| wait.flags.contains(&flag);
        if wait.call == Some("waitid") && !has("WEXITED") {
            Some(("asks only for children that stop or continue, and not for exited ones", "with WEXITED"))
        } else if has("__WCLONE") && !has("__WALL") {
            Some((
                "waits with __WCLONE, which leaves out children whose exit sends SIGCHLD",
                "without __WCLONE, or with __WALL",
            ))
        } else if has("__WNOTHREAD") {
            Some((
                "waits with __WNOTHREAD, which leaves out children of its other threads",
                "without __WNOTHREAD",
            ))
        } else {
            None
        }
    }

    /// Whether the reaper has got a SIGCHLD since the zombie exited: a handler, a `signalfd` or `sigtimedwait` takes
    /// each, and none is pending. The kernel sends it when the zombie can be waited for.
    pub(super) fn is_told(&self) -> bool {
        self.reaper.is_some_and(|reaper| {
            // `do_sigtimedwait()`, `kernel/signal.c`, unblocks what it waits for while it sleeps.
            let takes = reaper.wchan.as_deref().is_some_and(|wchan| wchan.contains("sigtimedwait"));
            let takes = takes || matches!(reaper.sigchld, Some(SigChld::Handled | SigChld::Blocked));
            takes && !reaper.sigchld_pending
        })
    }

    /// Whether the reaper polls its children by their pids, and has not done so since this one exited, although SIGCHLD was
    /// delivered to it: it may not have come to that yet.
    pub(super) fn has_not_polled(&self) -> bool {
        let wait = self.reaper.and_then(|reaper| reaper.last_wait.as_ref());
        let is_before = |wait: &LastWait| wait.at_ns < self.zombie_ns() && wait.flags.contains(&"WNOHANG");
        self.habit() == Habit::ByName && self.is_told() && wait.is_some_and(is_before)
    }

    /// Whether the reaper waits when SIGCHLD comes, as far as is known, and the watch began only after this zombie's: that it
    /// makes no wait call then says nothing.
    pub(super) fn was_told_before_the_watch(&self) -> bool {
        let is_handled = self.reaper.is_some_and(|reaper| {
            reaper.ever_reaped && reaper.sigchld == Some(SigChld::Handled) && !reaper.sigchld_pending
        });
        is_handled
            && self.is_own() == Some(true)
            && self.finding.exit_ns.is_none()
            && matches!(self.habit(), Habit::Never { .. })
    }

    /// How sure it is that the reaper waits in no other way than [`Self::narrowed`] says.
    pub(super) fn is_always_narrowed(&self) -> Confidence {
        let is_always = self.reaper.is_some_and(|reaper| {
            reaper.wait_kinds & !WAITED_NARROW == 0
                && reaper.last_wait.as_ref().is_some_and(|wait| wait.at_ns >= self.zombie_ns())
        });
        if is_always { Confidence::High } else { Confidence::Medium }
    }

    /// Whether the reaper asked for another child by its pid a moment ago without blocking: it polls its children.
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

    /// Whether all wait calls of the reaper since the watch began are known to be of these kinds.
    pub(super) fn waits_only(&self, kinds: u32) -> bool {
        self.reaper.is_some_and(|reaper| reaper.wait_kinds != 0 && reaper.wait_kinds & !kinds == 0)
    }

    /// For how long the reaper could have reaped it while it was watched.
    pub(super) fn waited_for_ns(&self) -> u64 {
        self.finding.looked_ns.saturating_sub(self.zombie_ns())
    }

    pub(super) fn habit(&self) -> Habit {
        let Some(reaper) = self.reaper else { return Habit::Unknown };
        // Since when it certainly was one to be waited for.
        let zombie_ns = self.zombie_ns();
        let ago = |at_ns: u64| self.finding.looked_ns.saturating_sub(at_ns);
        if reaper.last_wait.is_none()
            && let Some(request) = self.wait_that_it_is_in()
        {
            // It began before the hooks were attached.
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

    /// Since when it was one to be waited for, or was about to be.
    pub(super) fn zombie_ns(&self) -> u64 {
        self.finding.exit_ns.unwrap_or(self.finding.seen_ns)
    }

    /// How sure it is that the reaper never waits so that it could get this one, if that is its habit: it has to be
    /// watched since before the exit, or for long.
    pub(super) fn is_habit_sure(&self) -> Option<Confidence> {
        let reaper = self.reaper?;
        let since_ns = match self.habit() {
            Habit::Never { .. } => reaper.never_waited_since_ns?,
            Habit::ByName | Habit::AskedForIt { .. } => match &reaper.last_wait {
                Some(wait) => wait.at_ns,
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

    /// Whether the reaper's children are reaped although it makes no wait call. Waits through `io_uring` pass no hook.
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

    /// The process that the reaper forked and waited for last, if that is in the unreaped one's descent.
    fn started_and_waited_for(&self) -> Option<&'a Process> {
        let reaper = self.reaper?;
        // Other namespaces' pids are other numbers.
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

    /// What the reaper does instead of reaping, as the end of a sentence about it.
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
                format!("has not waited for any child since {}{}", self.since(), self.although_told())
            }
            Habit::After { .. } => {
                format!("has waited for any child since {} and did not get it", self.since())
            }
            Habit::Otherwise if self.is_for_another_group() => self.group(),
            Habit::Otherwise => self.narrowed().map_or("does not reap it", |(how, _)| how).to_owned(),
            Habit::Unknown => "does not reap it".to_owned(),
        }
    }

    /// The other call that the reaper is in, as the end of a sentence about it; empty if there is none.
    pub(super) fn while_in(&self) -> String {
        self.other_call().map(|call| format!(": it is in {}", self.place_of(call))).unwrap_or_default()
    }

    /// That, or that the signal alone did not make the reaper wait.
    pub(super) fn although_told(&self) -> String {
        match self.other_call() {
            None if self.is_told() => ", although SIGCHLD was delivered to it".to_owned(),
            _ => self.while_in(),
        }
    }

    /// A call of the reaper, and what it is about.
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

    /// Whether the reaper's last wait was for a process group, and the unreaped one is not known to be in it.
    pub(super) fn is_for_another_group(&self) -> bool {
        let Some(reaper) = self.reaper.filter(|reaper| reaper.wait_kinds & WAITED_ANY == 0) else {
            return false;
        };
        let target = reaper.last_wait.as_ref().and_then(|wait| wait.target);
        let groups = match target {
            Some(WaitTarget::Pgid(0)) => reaper.pgrp.zip(self.finding.pgrp),
            // It counts as the caller does.
            Some(WaitTarget::Pgid(group)) => Some(group).zip(self.finding.pgrp_in_reaper_ns),
            _ => return false,
        };
        groups.is_some_and(|(waited, own)| waited != own)
    }

    /// For which group the reaper waits, and in which the unreaped one is.
    fn group(&self) -> String {
        let target = self.reaper.and_then(|reaper| reaper.last_wait.as_ref()?.target);
        let pgrp = self.reaper.and_then(|reaper| reaper.pgrp);
        let waited = match (target, pgrp) {
            (Some(WaitTarget::Pgid(0)), Some(group)) => format!("its own process group ({group})"),
            (Some(WaitTarget::Pgid(0)), None) => "its own process group".to_owned(),
            (Some(WaitTarget::Pgid(group)), _) => format!("process group {group}"),
            _ => "a process group".to_owned(),
        };
        let own =
            self.finding.pgrp.map(|group| format!(", and this one is in group {group}")).unwrap_or_default();
        let only = if self.waits_only(WAITED_PGID) { "only " } else { "" };
        format!("waits {only}for {waited}{own}")
    }

    /// Whether the reaper counts pids as the host does.
    fn is_on_host(&self) -> bool {
        self.reaper.is_some_and(|reaper| reaper.process.vpid == Some(reaper.process.pid))
    }

    /// Since when the reaper could have got it, as far as was seen.
    pub(super) fn since(&self) -> &'static str {
        if self.finding.exit_ns.is_some() { "it exited" } else { "it was seen first" }
    }

    /// Whether the reaper reaps anything at all, as far as was seen.
    pub(super) fn reaps_others(&self) -> bool {
        self.reaper
            .is_some_and(|reaper| reaper.ever_reaped || reaper.reaped.is_some_and(|(count, _)| count > 0))
    }

    /// Whether the reaper was watched for long since the zombie exited, made no wait call that could get it, and reaped
    /// nothing.
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

    /// The process that forked it and is gone, with how it ended, in a sentence.
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

/// What was seen of a reaper that does not wait.
pub(super) fn no_call(for_ns: u64) -> String {
    format!("has made no wait call in the {} that it was watched", duration(for_ns))
}

/// A tracer in a sentence.
pub(super) fn tracer_name(tracer: &Tracer) -> String {
    format!("{} (pid {})", tracer.name.as_deref().map_or("a process".to_owned(), clean), tracer.pid)
}

/// A process in a sentence.
pub(super) fn name(process: &Process) -> String {
    format!("{} (pid {})", clean(&process.name), process.pid)
}
