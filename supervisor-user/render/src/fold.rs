//! What `watch` prints: three lines for a finding; those of the same reaper and cause that follow fold into one line with a
//! counter. Pure: what is printed follows from the events and the times that are given.

use std::collections::{BTreeMap, HashMap, HashSet};

use supervisor_model::{
    clock::Wall,
    event::{Event, EventKind},
    finding::Finding,
};

use super::{
    brief,
    columns::{named, unknown, why},
    groups::Kind,
};
use crate::style::Style;

/// How much of each finding is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Three lines, and repeats are folded.
    #[default]
    Brief,
    /// Three lines, of each.
    Each,
    /// The whole story, of each.
    Long,
}

/// A counter is printed no sooner than this after the finding that it counts with.
const FIRST_NS: u64 = 1_000_000_000;
/// Each counter waits twice as long as the one before it, up to this.
const LONGEST_NS: u64 = 60_000_000_000;
/// Of so many kinds it is remembered that they were told; with more, some are told again.
const MAX_KINDS: usize = 4096;

/// What was printed, and what is only counted so far.
#[derive(Debug)]
pub struct Fold {
    is_each_printed: bool,
    style: Style,
    counters: HashMap<Key, Counter>,
    /// Findings that were printed themselves: so are their updates and their ends.
    told: HashSet<String>,
    reaped: BTreeMap<String, Reaped>,
}

/// What makes findings repeats of each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    kind: Kind,
    /// The first PID namespace that it blocks.
    blocks: Option<u32>,
}

#[derive(Debug)]
struct Counter {
    /// All reports that were only counted.
    all: u64,
    /// Those of them that no line has told of yet.
    more: u64,
    /// When the first was printed.
    since_ns: u64,
    why: String,
    reaper: String,
    /// The process of the last report.
    last: String,
    due: Due,
}

impl Counter {
    /// The counter of a finding that is the first of its kind.
    fn of(finding: &Finding, now_ns: u64) -> Self {
        let reaper = finding.reaper.as_ref().map(|it| named(&it.process.name, it.process.pid));
        Self {
            all: 0,
            more: 0,
            since_ns: now_ns,
            why: why(&finding.diagnosis).unwrap_or_else(|| "why is not known".to_owned()),
            reaper: reaper.unwrap_or_else(|| "not known".to_owned()),
            last: String::new(),
            due: Due::after(now_ns),
        }
    }

    fn line(&self, wall: Wall) -> String {
        let Self { all, more, why, reaper, last, .. } = self;
        let since = crate::parts::time(wall, self.since_ns);
        let all = if all > more { format!(", {all}") } else { String::new() };
        format!("{more} more{all} since {since}: {why}; reaper {reaper}; the last {last}")
    }
}

/// Findings that were only counted, and are reaped.
#[derive(Debug)]
struct Reaped {
    count: u64,
    last: String,
    due: Due,
}

/// When a counter is printed.
#[derive(Clone, Copy, Debug)]
struct Due {
    at_ns: u64,
    pause_ns: u64,
}

impl Due {
    fn after(now_ns: u64) -> Self {
        Self { at_ns: now_ns + FIRST_NS, pause_ns: FIRST_NS }
    }

    fn printed(&mut self, now_ns: u64) {
        self.pause_ns = (self.pause_ns * 2).min(LONGEST_NS);
        self.at_ns = now_ns + self.pause_ns;
    }
}

impl Fold {
    /// Nothing was printed yet. `None` if whole stories are printed.
    #[must_use]
    pub fn new(detail: Detail, style: Style) -> Option<Self> {
        (detail != Detail::Long).then(|| Self {
            is_each_printed: detail == Detail::Each,
            style,
            counters: HashMap::new(),
            told: HashSet::new(),
            reaped: BTreeMap::new(),
        })
    }

    /// What is printed when this happens, with the last newline; nothing if it is only counted. Counters that are due come
    /// first.
    #[must_use]
    pub fn event(&mut self, event: &Event) -> String {
        if self.is_each_printed {
            return brief::event(event, self.style);
        }
        let mut out = self.due(event.at_ns, event.wall);
        let is_printed = match &event.kind {
            EventKind::Detected(it) | EventKind::Existing(it) | EventKind::Updated(it) => {
                self.is_first(it, event.at_ns)
            }
            EventKind::Reaped { finding, .. } => self.is_reap_told(finding, event.at_ns),
            _ => true,
        };
        if is_printed {
            out += &brief::event(event, self.style);
        }
        out
    }

    /// The counters that are due.
    #[must_use]
    pub fn due(&mut self, now_ns: u64, wall: Wall) -> String {
        self.print(now_ns, wall, |due| due.at_ns <= now_ns)
    }

    /// All counters, at the end.
    #[must_use]
    pub fn rest(&mut self, now_ns: u64, wall: Wall) -> String {
        self.print(now_ns, wall, |_| true)
    }

    /// Whether a finding is printed itself. If not, it is counted.
    fn is_first(&mut self, finding: &Finding, now_ns: u64) -> bool {
        let was_told = self.told.contains(&finding.id);
        if self.counters.len() >= MAX_KINDS {
            self.counters.retain(|_, counter| counter.more > 0);
        }
        let key = Key { kind: Kind::of(finding), blocks: finding.blocks.first().map(|block| block.ino) };
        let is_first = !self.counters.contains_key(&key);
        let counter = self.counters.entry(key).or_insert_with(|| Counter::of(finding, now_ns));
        if is_first || was_told {
            self.told.insert(finding.id.clone());
        } else {
            counter.all += 1;
            counter.more += 1;
            counter.last = named(&finding.process.name, finding.process.pid);
        }
        is_first || was_told
    }

    /// Whether a reap is printed itself: if the finding was. If not, it is counted.
    fn is_reap_told(&mut self, finding: &Finding, now_ns: u64) -> bool {
        if self.told.remove(&finding.id) {
            return true;
        }
        let reaper = finding.reaper.as_ref().map(|it| named(&it.process.name, it.process.pid));
        let counter = self.reaped.entry(reaper.unwrap_or_else(unknown)).or_insert_with(|| Reaped {
            count: 0,
            last: String::new(),
            due: Due::after(now_ns),
        });
        counter.count += 1;
        counter.last = named(&finding.process.name, finding.process.pid);
        false
    }

    fn print(&mut self, now_ns: u64, wall: Wall, is_due: impl Fn(&Due) -> bool) -> String {
        let mut out = String::new();
        let mut more: Vec<&mut Counter> =
            self.counters.values_mut().filter(|it| it.more > 0 && is_due(&it.due)).collect();
        more.sort_by(|one, other| (one.since_ns, &one.last).cmp(&(other.since_ns, &other.last)));
        for counter in more {
            let text = counter.line(wall);
            out += &brief::headline((wall, now_ns), "1;33", "MORE", &text, self.style).out;
            counter.more = 0;
            counter.due.printed(now_ns);
        }
        for (reaper, reaped) in self.reaped.iter_mut().filter(|(_, it)| it.count > 0 && is_due(&it.due)) {
            let text = format!("{} of {reaper}; the last {}", reaped.count, reaped.last);
            out += &brief::headline((wall, now_ns), "1;32", "REAPED", &text, self.style).out;
            reaped.count = 0;
            reaped.due.printed(now_ns);
        }
        self.reaped.retain(|_, reaped| reaped.count > 0 || reaped.due.at_ns > now_ns);
        self.style.shown(out)
    }
}
