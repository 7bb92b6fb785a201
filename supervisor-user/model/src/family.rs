//! The families of unreaped processes: their ids and names.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A class of cause: why a process that exited is still there.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum Family {
    /// A monitor is a subreaper and does not reap what it adopts.
    F1,
    /// PID 1 of a container does not reap what it adopts.
    F2,
    /// An exec session or health check left a child to PID 1.
    F3,
    /// A parent never waits for its own child.
    F4,
    /// An init is there, but neither PID 1 nor a subreaper.
    F5,
    /// A runtime left its own helper process.
    F6,
    /// The zombie is itself a monitor.
    F7,
    /// A PID namespace cannot end.
    F8,
    /// The leader exited, other threads live.
    F9,
    /// A tracer holds it.
    F10,
    /// The reaper cannot run.
    F11,
    /// It exits, but is no zombie yet.
    F12,
    /// The parent ignores SIGCHLD: never a zombie.
    F13,
    /// Its exit signal is not SIGCHLD.
    F14,
    /// It was waited for with `WNOWAIT` only.
    F15,
    /// `pause` cannot reap, because the PID namespace is not shared.
    F16,
    /// One wait per SIGCHLD: a child is lost.
    F17,
    /// The reaper waits only now and then.
    F18,
    /// It reads a child's output to its end before it waits.
    F19,
    /// It waits for another child first.
    F20,
    /// `SIGCHLD` is blocked, so that the reaper never gets the signal.
    F21,
    /// The handler that reaped was replaced.
    F22,
    /// The reaper executed another program after it had forked.
    F23,
    /// The reaper runs, or waits for a processor.
    F24,
}

/// No family has this id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is no family {given:?}; there are {}", valid_ids())]
pub struct UnknownFamily {
    given: String,
}

impl Family {
    /// All of them, in order.
    pub const ALL: [Self; 24] = [
        Self::F1,
        Self::F2,
        Self::F3,
        Self::F4,
        Self::F5,
        Self::F6,
        Self::F7,
        Self::F8,
        Self::F9,
        Self::F10,
        Self::F11,
        Self::F12,
        Self::F13,
        Self::F14,
        Self::F15,
        Self::F16,
        Self::F17,
        Self::F18,
        Self::F19,
        Self::F20,
        Self::F21,
        Self::F22,
        Self::F23,
        Self::F24,
    ];

    /// The id, the same for ever: `F1`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        self.words().0
    }

    /// A short name for machines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.words().1
    }

    /// A heading for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.words().2
    }

    /// The names that people may use for it: `F4`, `parent-never-waits`, or `4`.
    fn names(self) -> [&'static str; 3] {
        [self.id(), self.name(), &self.id()[1..]]
    }

    const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::F1 => ("F1", "monitor-does-not-reap", "A monitor does not reap what it adopts"),
            Self::F2 => ("F2", "pid1-does-not-reap", "PID 1 of the container does not reap"),
            Self::F3 => ("F3", "exec-leftover", "A health check or exec left a child to PID 1"),
            Self::F4 => ("F4", "parent-never-waits", "A parent never waits for its own child"),
            Self::F5 => ("F5", "init-not-pid1", "An init is there but not where orphans go"),
            Self::F6 => ("F6", "runtime-helper", "A runtime left its own helper"),
            Self::F7 => ("F7", "monitor-zombie", "The zombie is a monitor"),
            Self::F8 => ("F8", "namespace-blocked", "A PID namespace cannot end"),
            Self::F9 => ("F9", "threads-alive", "The leader exited and other threads live"),
            Self::F10 => ("F10", "held-by-tracer", "A tracer holds it"),
            Self::F11 => ("F11", "parent-cannot-run", "The reaper cannot run"),
            Self::F12 => ("F12", "still-exiting", "It still exits and is no zombie yet"),
            Self::F13 => ("F13", "sigchld-ignored", "The parent ignores SIGCHLD"),
            Self::F14 => ("F14", "exit-signal", "Its exit signal is not SIGCHLD"),
            Self::F15 => ("F15", "peeked-only", "It was looked at and not reaped"),
            Self::F16 => ("F16", "pause-without-sharing", "pause cannot reap without a shared namespace"),
            Self::F17 => ("F17", "lost-sigchld", "One wait per SIGCHLD loses a child"),
            Self::F18 => ("F18", "late-reaper", "The reaper waits only now and then"),
            Self::F19 => ("F19", "reads-to-end", "The reaper reads to the end before it waits"),
            Self::F20 => ("F20", "waits-for-another", "The reaper waits for another child first"),
            Self::F21 => ("F21", "sigchld-blocked", "SIGCHLD is blocked in the reaper"),
            Self::F22 => ("F22", "handler-replaced", "The reaper's SIGCHLD handler was replaced"),
            Self::F23 => ("F23", "image-replaced", "The reaper executed another program since"),
            Self::F24 => ("F24", "reaper-busy", "The reaper has not had the time"),
        }
    }

    /// Whether its findings are zombies, and not PID namespaces or processes that have not exited.
    #[must_use]
    pub const fn is_of_zombies(self) -> bool {
        !matches!(self, Self::F8 | Self::F9 | Self::F12)
    }

    /// The anchor of its heading in the book, as GitHub and mdBook make it.
    #[must_use]
    pub fn anchor(self) -> String {
        slug(&self.heading())
    }

    /// Its id and its heading for people.
    #[must_use]
    pub fn heading(self) -> String {
        format!("{} {}", self.id(), self.title())
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

impl FromStr for Family {
    type Err = UnknownFamily;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|family| family.names().iter().any(|name| name.eq_ignore_ascii_case(text)))
            .ok_or_else(|| UnknownFamily { given: text.to_owned() })
    }
}

impl clap::ValueEnum for Family {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        let [id, others @ ..] = self.names();
        Some(clap::builder::PossibleValue::new(id).aliases(others).help(self.title()))
    }
}

fn valid_ids() -> String {
    Family::ALL.map(Family::id).join(", ")
}

/// The link name of a heading, as GitHub and mdBook make it.
#[must_use]
pub fn slug(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}
