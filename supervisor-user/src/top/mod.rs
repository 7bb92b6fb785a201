//! The state of `supervisor top`: what it shows, and what keys change. It is pure: it draws into a frame of
//! `ratatui`, and `commands/top` owns the terminal.

pub mod draw;
mod fleet;
mod groups;
mod history;
mod host;
mod item;
mod keys;
#[cfg(test)]
mod large;
mod lines;
mod look;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod screens;
mod table;
#[cfg(test)]
mod tests;
mod trend;

use std::{
    collections::{HashMap, HashSet},
    mem,
};

pub(crate) use self::fleet::id;
use self::{
    groups::{Group, Order, group},
    history::History,
    keys::Mode,
    lines::Line,
    trend::Trends,
};
pub use self::{
    item::{Age, Item, Sort},
    keys::{Ask, Key},
};
use supervisor_model::{
    event::{Event, EventKind},
    reaping::ReapAttempt,
    words::{duration, width},
};
use supervisor_render::style::COLUMNS;

/// A column of a list: its title, the least and the greatest number of terminal columns that it takes. The most
/// important columns come first, because the others do not fit a narrow terminal.
type Column = (&'static str, usize, usize);

/// The data that is shown, of one host or of all hosts.
pub trait View {
    /// Open findings. The view can take those that have not changed from the last refresh, which was `passed_ns` ago.
    fn items(&self, now_ns: u64, last: Vec<Item>, passed_ns: u64) -> Vec<Item>;

    /// The columns of the list of PID namespaces.
    fn namespace_columns(&self) -> Vec<Column>;

    /// PID namespaces that cannot end.
    fn namespaces(&self, now_ns: u64) -> Vec<Blocked>;

    /// The columns of the list of processes that cannot exit.
    fn exit_columns(&self) -> Vec<Column>;

    /// Processes that were told to exit and cannot.
    fn exits(&self, now_ns: u64) -> Vec<Row>;

    /// The verdict on a finding, and the first thing to do.
    fn verdict(&self, id: &str) -> Option<(String, Option<String>)>;

    /// The whole story of a finding, wrapped to lines of at most `columns` columns where that is possible.
    fn story(&self, id: &str, columns: usize, now_ns: u64) -> Option<Story>;

    /// A zombie of this host, with the decision whether `supervisor reap` frees it.
    fn reap(&self, id: &str) -> Option<ReapAttempt>;
}

/// The story of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// The text.
    pub text: String,
    /// How long ago the finding was inspected, if that is known.
    pub inspected_ns: Option<u64>,
}

/// One line of a list of cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The finding.
    pub id: String,
    /// The host pid of its process.
    pub pid: u32,
    /// A text for each column.
    pub cells: Vec<String>,
}

/// A PID namespace that cannot end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Its line.
    pub row: Row,
    /// For how long it has been blocked.
    pub age: Age,
    /// The whole state in one line, the most important part first.
    pub headline: String,
}

/// A page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Page {
    /// Open findings.
    #[default]
    Findings,
    /// The processes that must reap them.
    Reapers,
    /// PID namespaces that cannot end.
    Namespaces,
    /// Events that have happened.
    Events,
    /// Processes that cannot exit.
    Exits,
}

impl Page {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Findings, Self::Reapers, Self::Namespaces, Self::Events, Self::Exits];

    /// The title of the page.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Findings => "Findings",
            Self::Reapers => "Reapers",
            Self::Namespaces => "Namespaces",
            Self::Events => "Events",
            Self::Exits => "Stuck exits",
        }
    }
}

/// The state of one page.
#[derive(Debug, Default)]
struct PageState {
    filter: String,
    /// The selected line.
    at: usize,
    /// A key that distinguishes that line from the others. `None` on the first line, so that the selection stays there.
    key: Option<(u8, String)>,
}

/// The data of the last refresh.
#[derive(Debug, Default)]
struct Data {
    items: Vec<Item>,
    groups: Vec<Group>,
    /// The indices of the groups, the largest first.
    by_size: Vec<usize>,
    namespace_columns: Vec<Column>,
    namespaces: Vec<Blocked>,
    exit_columns: Vec<Column>,
    exits: Vec<Row>,
    /// Columns of the longest name of a reaper.
    label_width: usize,
    /// The time of this data.
    at_ns: u64,
}

/// The state of the screen.
#[derive(Debug, Default)]
pub struct Top {
    /// The source of the data: host, kernel or recording.
    pub source: String,
    /// Why the shown data may be out of date.
    pub trouble: Option<String>,
    /// Why `r` frees no zombie.
    pub no_reap: Option<String>,
    page: Page,
    pages: [PageState; Page::ALL.len()],
    order: Order,
    is_flat: bool,
    /// The reapers that a person has opened or closed: without a filter, and with the present filter.
    opened: [HashMap<String, bool>; 2],
    mode: Mode,
    /// The effect of the last key, if nothing else shows it.
    note: Option<String>,
    is_frozen: bool,
    is_mouse_off: bool,
    detail: Option<Detail>,
    data: Data,
    lines: Vec<Line>,
    /// The verdict on the selected line, and the first thing to do.
    verdict: Option<(String, Option<String>)>,
    history: History,
    trends: Trends,
    lost: u64,
    /// The first line of the list that is on the screen. The next field is the line of the screen that has it.
    start: usize,
    first_row: u16,
    /// How wide a story can be.
    columns: usize,
    /// The time of the last refresh.
    now_ns: u64,
}

/// The text that is shown below the list.
#[derive(Debug)]
struct Detail {
    of: Subject,
    text: String,
    inspected_ns: Option<u64>,
    scroll: u16,
}

/// The subject of a detail.
#[derive(Debug)]
enum Subject {
    /// A finding as it is now.
    Finding(String),
    /// All events of a finding.
    History(String),
    /// An event that is about no finding.
    Text,
}

impl Top {
    /// An empty screen.
    #[must_use]
    pub fn new(source: String) -> Self {
        Self { source, columns: COLUMNS, ..Self::default() }
    }

    /// Adds an event.
    pub fn event(&mut self, event: &Event) {
        if let EventKind::Lost(loss) = &event.kind {
            self.lost += loss.exits + loss.reaps + loss.records + loss.reads;
        }
        self.history.add(event);
    }

    /// Adds an event of another host, with the finding that it is about.
    pub fn line(&mut self, text: String, finding: Option<String>) {
        self.history.add_line(text, finding);
    }

    /// Shows the answer of `supervisor reap`.
    pub fn answered(&mut self, text: String) {
        self.note = None;
        self.mode = Mode::Answer(text);
    }

    /// Shows in the last line what was done.
    pub fn note(&mut self, text: String) {
        self.note = Some(text);
    }

    /// Takes the present state from the view.
    pub fn refresh(&mut self, view: &dyn View, now_ns: u64) {
        let passed_ns = now_ns.saturating_sub(self.data.at_ns);
        // Frozen data stays as it is.
        let last = if self.is_frozen { Vec::new() } else { mem::take(&mut self.data.items) };
        let mut items = view.items(now_ns, last, passed_ns);
        self.order.sort(&mut items);
        let groups = group(&items, self.order);
        self.take(view, now_ns, items, groups);
    }

    /// Increases the ages of the findings, if nothing has happened since the last refresh. Reads the namespaces and the
    /// stuck exits again, but no finding. If the screen is frozen, it does the same as [`Self::refresh`].
    pub fn pass(&mut self, view: &dyn View, now_ns: u64) {
        if self.is_frozen {
            // The frozen data is not the present state.
            return self.refresh(view, now_ns);
        }
        let passed_ns = now_ns.saturating_sub(self.data.at_ns);
        let (mut items, mut groups) = (mem::take(&mut self.data.items), mem::take(&mut self.data.groups));
        for age in items.iter_mut().map(|it| &mut it.age).chain(groups.iter_mut().map(|it| &mut it.oldest)) {
            *age = age.after(passed_ns);
        }
        self.take(view, now_ns, items, groups);
    }

    fn take(&mut self, view: &dyn View, now_ns: u64, items: Vec<Item>, groups: Vec<Group>) {
        self.now_ns = now_ns;
        let mut namespaces = view.namespaces(now_ns);
        namespaces
            .sort_by(|one, other| one.age.compare(other.age).then_with(|| one.row.cmp_cells(&other.row)));
        self.trends.take(now_ns, &items, &groups, &namespaces);
        if self.is_frozen {
            return;
        }
        let mut exits = view.exits(now_ns);
        exits.sort_by(Row::cmp_cells);
        self.data = Data {
            items,
            namespace_columns: view.namespace_columns(),
            namespaces,
            exit_columns: view.exit_columns(),
            exits,
            at_ns: now_ns,
            ..Data::default()
        };
        self.take_groups(groups);
        let labels: HashSet<&str> = self.data.groups.iter().map(|group| &*group.label).collect();
        for opened in &mut self.opened {
            opened.retain(|label, _| labels.contains(&**label));
        }
        self.update_detail(view);
        self.relist();
    }

    /// Whether one of the findings began within this time.
    #[must_use]
    pub fn is_younger_than(&self, ns: u64) -> bool {
        let ages = self.data.items.iter().map(|item| item.age);
        ages.chain(self.data.namespaces.iter().map(|blocked| blocked.age)).any(|age| age.is_within(ns))
    }

    /// Sorts and groups the present data again.
    fn regroup(&mut self) {
        self.order.sort(&mut self.data.items);
        let groups = group(&self.data.items, self.order);
        self.take_groups(groups);
        self.relist();
    }

    fn take_groups(&mut self, groups: Vec<Group>) {
        let data = &mut self.data;
        data.label_width = groups.iter().map(|group| width(&group.label)).max().unwrap_or(0);
        data.by_size = (0..groups.len()).collect();
        data.by_size.sort_by_key(|&index| std::cmp::Reverse(groups[index].members.len()));
        data.groups = groups;
    }

    /// Whether the mouse selects and scrolls.
    #[must_use]
    pub fn has_mouse(&self) -> bool {
        !self.is_mouse_off
    }

    /// Prepares a screen of this width. Call it before each [`draw::draw`].
    pub fn prepare(&mut self, view: &dyn View, columns: u16) {
        let columns = usize::from(columns).saturating_sub(2).min(COLUMNS);
        if columns != self.columns {
            self.columns = columns;
            self.update_detail(view);
        }
        let id = self.line_of(self.at()).and_then(|line| self.id_of(line));
        self.verdict = id.and_then(|id| view.verdict(id));
    }

    /// Updates the text below the list to the present state and to the width of the screen.
    fn update_detail(&mut self, view: &dyn View) {
        let Some(detail) = &mut self.detail else { return };
        let story = match &detail.of {
            Subject::Finding(id) => view.story(id, self.columns, self.now_ns),
            Subject::History(finding) => {
                let text = self.history.story(finding, view, self.columns, self.now_ns);
                Some(Story { text, inspected_ns: None })
            }
            Subject::Text => None,
        };
        // The last known text of a closed finding stays.
        if let Some(Story { text, inspected_ns }) = story {
            detail.scroll = detail.scroll.min(text.lines().count().saturating_sub(1) as u16);
            (detail.text, detail.inspected_ns) = (text, inspected_ns);
        }
    }

    /// The title of a detail.
    fn detail_title(detail: &Detail) -> String {
        let inspected = detail.inspected_ns.map(|ns| format!(", inspected {} ago", duration(ns)));
        let what = match detail.of {
            Subject::Finding(_) => "the whole story",
            Subject::History(_) => "the history of this finding",
            Subject::Text => "the event",
        };
        format!(" {what}{}; up and down scroll, Esc closes it ", inspected.unwrap_or_default())
    }

    fn page_state(&self) -> &PageState {
        &self.pages[self.page as usize]
    }

    fn page_state_mut(&mut self) -> &mut PageState {
        &mut self.pages[self.page as usize]
    }

    /// The selected line.
    fn at(&self) -> usize {
        self.page_state().at
    }

    fn line_of(&self, index: usize) -> Option<Line> {
        self.lines.get(index).copied()
    }
}

impl Row {
    fn cmp_cells(&self, other: &Self) -> std::cmp::Ordering {
        self.cells.cmp(&other.cells)
    }
}
