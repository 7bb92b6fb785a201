//! Answers whether the reaper's waits leave the zombie out: they are for another process group, or their options exclude
//! it.

use supervisor_ebpf::{WAITED_ANY, WAITED_NARROW, WAITED_PGID};
use supervisor_model::{diagnosis::Confidence, finding::WaitTarget};

use super::{Case, Habit};

impl Case<'_> {
    /// Describes which children the options of the reaper's waits exclude, as the end of a sentence about the reaper,
    /// and which options would include them.
    pub(in crate::diagnosis) fn narrowed(&self) -> Option<(&'static str, &'static str)> {
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

    /// The confidence that the reaper waits in no other way than [`Self::narrowed`] says.
    pub(in crate::diagnosis) fn is_always_narrowed(&self) -> Confidence {
        let is_always = self.reaper.is_some_and(|reaper| {
            reaper.wait_kinds & !WAITED_NARROW == 0
                && reaper.last_wait.as_ref().is_some_and(|wait| wait.at_ns >= self.zombie_ns())
        });
        if is_always { Confidence::High } else { Confidence::Medium }
    }

    /// Whether the reaper's last wait was for a process group, and the zombie is known to be in another one. False if a
    /// wait that any exited child satisfies was seen.
    pub(in crate::diagnosis) fn is_for_another_group(&self) -> bool {
        let Some(reaper) = self.reaper.filter(|reaper| reaper.wait_kinds & WAITED_ANY == 0) else {
            return false;
        };
        let target = reaper.last_wait.as_ref().and_then(|wait| wait.target);
        let groups = match target {
            Some(WaitTarget::Pgid(0)) => reaper.pgrp.zip(self.finding.pgrp),
            // The kernel interprets the number in the caller's PID namespace.
            Some(WaitTarget::Pgid(group)) => Some(group).zip(self.finding.pgrp_in_reaper_ns),
            _ => return false,
        };
        groups.is_some_and(|(waited, own)| waited != own)
    }

    /// Whether the reaper's waits can get children, but not this one: they are for another process group, or their
    /// options exclude it.
    pub(in crate::diagnosis) fn waits_leave_it_out(&self) -> bool {
        self.habit() == Habit::Otherwise && (self.is_for_another_group() || self.narrowed().is_some())
    }

    /// The same, and such a wait was made after the exit. Then it does not matter what else the reaper does.
    pub(in crate::diagnosis) fn has_left_it_out(&self) -> bool {
        let last_ns = self.reaper.and_then(|reaper| reaper.last_wait.as_ref()).map(|wait| wait.at_ns);
        self.waits_leave_it_out() && last_ns.is_some_and(|at_ns| at_ns >= self.zombie_ns())
    }

    /// Describes the group that the reaper waits for and the group of the zombie.
    pub(super) fn group(&self) -> String {
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
}
