//! Decides what `watch` prints. The first finding of a kind gets three lines. Later findings with the same reaper and
//! cause fold into one line with a counter. The module is pure: the output follows from the events and the given times.

use std::collections::{BTreeMap, HashMap, HashSet};

use supervisor_model::{
    clock::Wall,
    diagnosis::Prognosis,
    event::{Event, EventKind},
    finding::Finding,
};

use super::{
    brief,
    columns::{named, unknown, why},
    groups::GroupKey,
};
use crate::style::Style;

/// How much `watch` prints of each finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Three lines; repeats are folded.
    #[default]
    Brief,
    /// Three lines for each finding.
    Each,
    /// The whole story of each finding.
    Long,
}

/// A counter is printed this long after its first finding at the earliest.
const FIRST_NS: u64 = 1_000_000_000;
/// Each pause before a counter is twice as long as the pause before it, up to this.
const LONGEST_NS: u64 = 60_000_000_000;
/// With this many kinds, the fold forgets those whose counter has nothing to print. It prints the next finding of a
/// forgotten kind in full again.
const MAX_KINDS: usize = 4096;

/// The findings that were printed, and those that are only counted so far.
#[derive(Debug)]
pub struct Fold {
    is_each_printed: bool,
    style: Style,
    counters: HashMap<Key, Counter>,
    /// Ids of the findings that were printed themselves. Their updates and their ends are printed too.
    printed: HashSet<String>,
    reaped: BTreeMap<String, Reaped>,
}

/// Findings with an equal key are repeats of each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    group: GroupKey,
    prognosis: Prognosis,
    /// The first PID namespace that the finding blocks.
    blocks: Option<u32>,
}

#[derive(Debug)]
struct Counter {
    /// The number of reports that were only counted.
    all: u64,
    /// How many of those no line has reported yet.
    more: u64,
    /// When the first finding was printed.
    since_ns: u64,
    why: String,
    reaper: String,
    /// The process of the last counted report.
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

/// Findings that were only counted, and that are reaped now.
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
    /// Creates a fold that has printed nothing yet. `None` if whole stories are printed.
    #[must_use]
    pub fn new(detail: Detail, style: Style) -> Option<Self> {
        (detail != Detail::Long).then(|| Self {
            is_each_printed: detail == Detail::Each,
            style,
            counters: HashMap::new(),
            printed: HashSet::new(),
            reaped: BTreeMap::new(),
        })
    }

    /// The text to print for this event, with the last newline. It is empty if the event is only counted. Counters that
    /// are due come first.
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
            EventKind::Reaped { finding, .. } => self.is_reap_printed(finding, event.at_ns),
            _ => true,
        };
        if is_printed {
            out += &brief::event(event, self.style);
        }
        out
    }

    /// The lines of the counters that are due.
    #[must_use]
    pub fn due(&mut self, now_ns: u64, wall: Wall) -> String {
        self.print(now_ns, wall, |due| due.at_ns <= now_ns)
    }

    /// The lines of all counters, for the end of the run.
    #[must_use]
    pub fn rest(&mut self, now_ns: u64, wall: Wall) -> String {
        self.print(now_ns, wall, |_| true)
    }

    /// Whether a finding is printed itself. If not, it is counted.
    fn is_first(&mut self, finding: &Finding, now_ns: u64) -> bool {
        let was_printed = self.printed.contains(&finding.id);
        if self.counters.len() >= MAX_KINDS {
            self.counters.retain(|_, counter| counter.more > 0);
        }
        let key = Key {
            group: GroupKey::of(finding),
            prognosis: finding.diagnosis.prognosis,
            blocks: finding.blocks.first().map(|block| block.ino),
        };
        let is_first = !self.counters.contains_key(&key);
        let counter = self.counters.entry(key).or_insert_with(|| Counter::of(finding, now_ns));
        if is_first || was_printed {
            self.printed.insert(finding.id.clone());
        } else {
            counter.all += 1;
            counter.more += 1;
            counter.last = named(&finding.process.name, finding.process.pid);
        }
        is_first || was_printed
    }

    /// Whether a reap is printed itself: it is if the finding was. If not, it is counted.
    fn is_reap_printed(&mut self, finding: &Finding, now_ns: u64) -> bool {
        if self.printed.remove(&finding.id) {
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
