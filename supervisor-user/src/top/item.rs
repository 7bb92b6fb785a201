//! An open finding with the fields that lists, groups and counts need, and the order of findings.

use std::{borrow::Cow, cmp::Ordering, collections::HashMap, hash::Hash, sync::Arc};

use supervisor_model::{diagnosis::Prognosis, words::duration};
use supervisor_render::columns::unknown;

/// An open finding. There can be tens of thousands at each refresh, so a text that many of them share is made once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Stable from open to close.
    pub id: String,
    /// The number of the finding's last change, if the view counts changes.
    pub change: Option<u64>,
    /// Host pid of the zombie.
    pub pid: u32,
    /// The zombie, as `NAME[PID]`.
    pub process: String,
    /// The process that must reap it, as `NAME[PID]`, and its node where there are several.
    pub reaper: Arc<str>,
    /// Host pid of that process.
    pub reaper_pid: Option<u32>,
    /// Whether it will go away by itself.
    pub prognosis: Prognosis,
    /// What the reaper does instead of reaping.
    pub cause: Cow<'static, str>,
    /// Class of cause.
    pub family: Cow<'static, str>,
    /// Time since its exit.
    pub age: Age,
    /// Its container.
    pub container: Arc<str>,
    /// How it ended.
    pub exit: Arc<str>,
    /// Inode number of its PID namespace.
    pub pid_ns: Arc<str>,
    /// Whether a PID namespace cannot end while it stays.
    pub blocks: bool,
}

impl Item {
    /// Whether one of its texts contains this, in upper or lower case.
    #[must_use]
    pub fn contains(&self, wanted: &str) -> bool {
        let texts = [
            &*self.process,
            &self.reaper,
            &self.cause,
            &self.family,
            &self.container,
            &self.exit,
            &self.pid_ns,
            self.prognosis.as_str(),
        ];
        texts.into_iter().any(|text| contains(text, wanted))
    }
}

/// Texts that many findings share, by what they say.
pub(super) struct Shared<K> {
    texts: HashMap<K, Arc<str>>,
    /// Neighbours often have the same text. A comparison costs less than a hash of names.
    last: Option<(K, Arc<str>)>,
}

impl<K: Copy + Hash + Eq> Shared<K> {
    /// No text yet.
    pub(super) fn new() -> Self {
        Self { texts: HashMap::new(), last: None }
    }

    /// The text for this key. It is made for the first finding that has the key.
    pub(super) fn text(&mut self, key: K, make: impl FnOnce() -> String) -> Arc<str> {
        if let Some((last, text)) = &self.last
            && *last == key
        {
            return Arc::clone(text);
        }
        let text = Arc::clone(self.texts.entry(key).or_insert_with(|| make().into()));
        self.last = Some((key, Arc::clone(&text)));
        text
    }
}

/// Whether a text contains this, in upper or lower case. `wanted` is in lower case.
#[must_use]
pub(super) fn contains(text: &str, wanted: &str) -> bool {
    if wanted.is_empty() {
        return true;
    }
    if wanted.is_ascii() {
        // This comparison allocates no memory: each key press runs it for every finding.
        return text
            .as_bytes()
            .windows(wanted.len())
            .any(|part| part.eq_ignore_ascii_case(wanted.as_bytes()));
    }
    text.to_lowercase().contains(wanted)
}

/// How long ago something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Age {
    /// Nanoseconds, if they are known.
    ns: Option<u64>,
    /// Whether it is longer ago than that: it happened before the watch.
    is_more: bool,
}

impl Age {
    /// An age of an event that was seen.
    #[must_use]
    pub fn seen(ns: u64) -> Self {
        Self { ns: Some(ns), is_more: false }
    }

    /// An age of an event that happened before the watch: it is more than this.
    #[must_use]
    pub fn more_than(ns: u64) -> Self {
        Self { ns: Some(ns), is_more: true }
    }

    /// The age after this much more time.
    #[must_use]
    pub(super) fn after(self, ns: u64) -> Self {
        Self { ns: self.ns.map(|age_ns| age_ns.saturating_add(ns)), ..self }
    }

    /// The age in words for people.
    #[must_use]
    pub fn text(self) -> String {
        let more = if self.is_more { ">" } else { "" };
        self.ns.map_or_else(unknown, |ns| format!("{more}{}", duration(ns)))
    }

    /// Whether the event was seen, and happened within this time.
    #[must_use]
    pub fn is_within(self, ns: u64) -> bool {
        !self.is_more && self.ns.is_some_and(|age_ns| age_ns <= ns)
    }

    /// Compares two ages: the oldest comes first, and an unknown age comes last.
    #[must_use]
    pub fn compare(self, other: Self) -> Ordering {
        other.ns.cmp(&self.ns)
    }
}

/// The key that findings are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// How many zombies the reaper holds; of one reaper, their age.
    #[default]
    Holds,
    /// The oldest first.
    Age,
    /// Name and pid.
    Process,
    /// Leaked ones first.
    Prognosis,
    /// Cause.
    Cause,
    /// Container.
    Container,
}

impl Sort {
    /// The sort key that the next key press selects.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            Self::Holds => Self::Age,
            Self::Age => Self::Process,
            Self::Process => Self::Prognosis,
            Self::Prognosis => Self::Cause,
            Self::Cause => Self::Container,
            Self::Container => Self::Holds,
        }
    }

    /// The word for it on the screen.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Age => "age",
            Self::Process => "name",
            Self::Prognosis => "prognosis",
            Self::Cause => "cause",
            Self::Container => "container",
        }
    }

    /// Compares two findings by this key.
    #[must_use]
    pub fn compare(self, one: &Item, other: &Item) -> Ordering {
        let first = match self {
            Self::Holds | Self::Age => Ordering::Equal,
            Self::Process => one.process.cmp(&other.process),
            Self::Prognosis => rank(one.prognosis).cmp(&rank(other.prognosis)),
            Self::Cause => one.cause.cmp(&other.cause),
            Self::Container => one.container.cmp(&other.container),
        };
        first.then_with(|| one.age.compare(other.age)).then_with(|| one.pid.cmp(&other.pid))
    }
}

/// The rank of a prognosis: zombies that stay come first.
fn rank(prognosis: Prognosis) -> u8 {
    match prognosis {
        Prognosis::Leaked => 0,
        Prognosis::Unknown => 1,
        Prognosis::Late => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_in_upper_and_lower_case() {
        assert!(contains("Crun[12]", "crun") && contains("crun", "") && contains("NAÏVE", "naïve"));
        assert!(!contains("cru", "crun") && !contains("", "c"));
    }

    #[test]
    fn an_age_is_exact_only_if_the_beginning_was_seen() {
        assert_eq!(Age::seen(1_500_000_000).text(), "1.5 s");
        assert_eq!(Age::more_than(60_000_000_000).text(), ">1 min 0 s");
        assert_eq!(Age::default().text(), "-");
        assert!(Age::seen(5).is_within(5) && !Age::seen(6).is_within(5));
        assert!(!Age::more_than(5).is_within(5) && !Age::default().is_within(5));
        let mut ages = [Age::default(), Age::seen(1), Age::more_than(3), Age::seen(2)];
        ages.sort_by(|one, other| one.compare(*other));
        assert_eq!(ages, [Age::more_than(3), Age::seen(2), Age::seen(1), Age::default()]);
    }
}
