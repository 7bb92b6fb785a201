//! One process and its threads, as `/proc` shows them.

use serde::{Deserialize, Deserializer, Serialize, de};

/// The maximum number of threads of one process that are inspected.
pub const MAX_THREADS: usize = 64;

/// The reason why a fact was not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotRead {
    /// The read took too long, now or a short time ago.
    Late {
        /// The kernel function in which the reader slept.
        wchan: Option<String>,
    },
    /// The read was left out, because too many reads were late.
    Skipped,
}

impl NotRead {
    /// Whether the reader slept in a function that waits for the memory map of another process. `/proc/PID/wchan`
    /// leaves out the functions of the scheduler and of locks. So it mostly names the caller of `down_read()`.
    #[must_use]
    pub fn is_memory_locked(&self) -> bool {
        let Self::Late { wchan: Some(wchan) } = self else { return false };
        ["access_remote_vm", "__access_remote_vm", "mmap_read_lock", "rwsem_down_read_slowpath", "down_read"]
            .iter()
            .any(|function| wchan.starts_with(function))
    }
}

/// One process as `/proc` shows it. A fact that could not be read is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFacts {
    /// Host pid.
    pub pid: u32,
    /// Host pid of the real parent; 0 if it has none.
    pub ppid: u32,
    /// Name.
    pub comm: String,
    /// State letter: `Z` is a zombie.
    #[serde(deserialize_with = "letter")]
    pub state: char,
    /// Start time in clock ticks since boot.
    pub start_ticks: u64,
    /// Exit status in the encoding of `wait(2)`; 0 while it lives.
    pub exit_status: Option<i32>,
    /// Its pid at every namespace level, outermost first.
    pub ns_pids: Vec<u32>,
    /// Inode of its PID namespace.
    pub pid_ns: Option<u32>,
    /// Real user id.
    pub uid: Option<u32>,
    /// 0 if the first thread has exited and no other thread is known to live. Otherwise not 0, but not the number of
    /// living threads: if the first thread lives, it is the number of all threads, and otherwise 1.
    pub live_threads: usize,
    /// The number of its threads.
    pub threads: u64,
    /// Host pid of the process that traces its leader.
    pub tracer: Option<u32>,
    /// Minor page faults of all children that it has waited for since it began.
    pub child_faults: u64,
    /// Whether a `SIGCHLD` is pending.
    pub sigchld_pending: bool,
    /// Whether it dumps core. Recordings of older versions do not have it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dumps_core: bool,
    /// The number of its process group at every namespace level, outermost first; 0 at a level where the group has no
    /// number. Recordings of older versions do not have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ns_pgrps: Vec<u32>,
    /// Kernel function that it sleeps in.
    pub wchan: Option<String>,
    /// The effect of `SIGCHLD` on it.
    pub sigchld: Option<SigChld>,
    /// Whether it has a handler for `SIGCHLD`, blocked or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sigchld_caught: Option<bool>,
    /// Path of its executable.
    pub exe: Option<String>,
    /// Its arguments, if they are wanted. They are not read if its exec was seen.
    pub args: Vec<String>,
    /// The number of arguments, and whether some are missing.
    #[serde(default, skip_serializing_if = "ArgsNote::is_empty")]
    pub args_note: ArgsNote,
    /// Why its arguments are not known, although they are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args_not_read: Option<NotRead>,
    /// Path of its control group in the unified hierarchy. If that is the root, the path in the hierarchy of the
    /// version 1 pids or memory controller.
    pub cgroup: Option<String>,
}

impl ProcessFacts {
    /// Whether it has exited with all threads and waits to be reaped.
    #[must_use]
    pub fn is_unreaped(&self) -> bool {
        self.state == 'Z' && self.live_threads == 0
    }

    /// Its pid in its innermost namespace.
    #[must_use]
    pub fn vpid(&self) -> Option<u32> {
        self.ns_pids.last().copied()
    }

    /// Its process group, as a pid of the initial PID namespace.
    #[must_use]
    pub fn pgrp(&self) -> Option<u32> {
        self.pgrp_at(0)
    }

    /// Its process group, as a pid of the namespace at that level.
    #[must_use]
    pub fn pgrp_at(&self, level: u32) -> Option<u32> {
        self.ns_pgrps.get(level as usize).copied().filter(|pgrp| *pgrp != 0)
    }

    /// Depth of its PID namespace; the initial one is 0.
    #[must_use]
    pub fn level(&self) -> Option<u32> {
        self.ns_pids.len().checked_sub(1).map(|level| level as u32)
    }
}

/// Reads a state from a recording. The state is printed unchanged, so it must not be a character that controls a
/// terminal.
fn letter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<char, D::Error> {
    let state = char::deserialize(deserializer)?;
    let wrong = || de::Error::invalid_value(de::Unexpected::Char(state), &"the letter of a state");
    if state.is_ascii_alphabetic() { Ok(state) } else { Err(wrong()) }
}

/// One thread as `/proc` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadFacts {
    /// Host thread id.
    pub tid: u32,
    /// Name.
    pub comm: String,
    /// State letter.
    #[serde(deserialize_with = "letter")]
    pub state: char,
    /// Kernel function that it sleeps in.
    pub wchan: Option<String>,
    /// Host pid of the process that traces it.
    pub tracer: Option<u32>,
}

impl ThreadFacts {
    /// Whether it still runs, or could run.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

/// What a `SIGCHLD` does to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SigChld {
    /// `SIG_DFL`: nothing, the process may wait.
    Default,
    /// `SIG_IGN`: children reap themselves.
    Ignored,
    /// A handler runs.
    Handled,
    /// It is blocked, for `signalfd` or `sigwait`, or by mistake.
    Blocked,
    /// As `SIG_DFL`, but with `SA_NOCLDWAIT`: children reap themselves. `/proc` does not show it.
    NoCldWait,
}

impl SigChld {
    /// The word of the event contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Ignored => "ignored",
            Self::Handled => "handled",
            Self::Blocked => "blocked",
            Self::NoCldWait => "nocldwait",
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::facts::process::NotRead;

    #[test]
    fn only_a_reader_that_waits_for_a_memory_map_shows_that_the_map_is_locked() {
        let late = |wchan: Option<&str>| NotRead::Late { wchan: wchan.map(str::to_owned) };
        assert!(late(Some("__access_remote_vm")).is_memory_locked());
        assert!(late(Some("mmap_read_lock_killable")).is_memory_locked());
        assert!(!late(Some("request_wait_answer")).is_memory_locked());
        assert!(!late(None).is_memory_locked());
        assert!(!NotRead::Skipped.is_memory_locked());
    }
}

/// Facts about a list of arguments that the list itself does not contain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArgsNote {
    /// The number of arguments, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Whether some are missing, or must not be shown.
    #[serde(default)]
    pub is_cut: bool,
    /// The number of arguments that may be shown, if it is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<u32>,
}

impl ArgsNote {
    /// The note for arguments that were read completely or cut.
    #[must_use]
    pub fn of(args: &[String], is_cut: bool) -> Self {
        Self { count: (!is_cut).then_some(args.len() as u32), is_cut, shown: None }
    }

    /// Whether the note is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
