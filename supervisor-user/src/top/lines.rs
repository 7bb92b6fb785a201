//! Decides which lines a page has, and which line is selected.

use std::collections::HashMap;

use super::{Page, Top, item::contains};

/// A reaper with at most this many zombies is open until a person closes it.
const SMALL: usize = 5;
/// At most this many blocked PID namespaces stand above the findings; page 3 has all of them.
const MAX_BLOCKED: usize = 5;

/// One line of a list. The number is an index into the list's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A PID namespace that is blocked, above the findings.
    Blocked(usize),
    /// How many more PID namespaces are blocked.
    MoreBlocked(usize),
    /// A reaper, above its zombies.
    Group(usize),
    /// A zombie.
    Zombie(usize),
    /// A reaper, on its own page.
    Reaper(usize),
    /// A PID namespace, on its own page.
    Namespace(usize),
    /// An event; 0 is the newest.
    Event(usize),
    /// A process that cannot exit.
    Exit(usize),
}

impl Top {
    /// Rebuilds the lines of this page, and keeps the same line selected.
    pub(super) fn relist(&mut self) {
        let wanted = self.page_state().filter.to_lowercase();
        self.lines = match self.page {
            Page::Findings => self.finding_lines(&wanted),
            Page::Reapers => self.reaper_lines(&wanted),
            Page::Namespaces => {
                let cells = |index: usize| &*self.data.namespaces[index].row.cells;
                matching(self.data.namespaces.len(), &wanted, cells).map(Line::Namespace).collect()
            }
            Page::Events => {
                let is_wanted = |index: &usize| {
                    self.history.newest(*index).is_some_and(|event| contains(&event.line, &wanted))
                };
                (0..self.history.len()).filter(is_wanted).map(Line::Event).collect()
            }
            Page::Exits => {
                let cells = |index: usize| &*self.data.exits[index].cells;
                matching(self.data.exits.len(), &wanted, cells).map(Line::Exit).collect()
            }
        };
        self.reselect();
    }

    fn finding_lines(&self, wanted: &str) -> Vec<Line> {
        let data = &self.data;
        let blocked = 0..data.namespaces.len();
        let mut lines: Vec<Line> = blocked
            .filter(|&index| contains(&data.namespaces[index].headline, wanted))
            .map(Line::Blocked)
            .collect();
        if let more @ 1.. = lines.len().saturating_sub(MAX_BLOCKED) {
            lines.truncate(MAX_BLOCKED);
            lines.push(Line::MoreBlocked(more));
        }
        if self.is_flat {
            let is_wanted = |index: &usize| data.items[*index].contains(wanted);
            lines.extend((0..data.items.len()).filter(is_wanted).map(Line::Zombie));
            return lines;
        }
        for (index, group) in data.groups.iter().enumerate() {
            let members = group.members.iter().filter(|&&index| data.items[index].contains(wanted));
            let mut members = members.map(|&index| Line::Zombie(index)).peekable();
            if members.peek().is_some() {
                lines.push(Line::Group(index));
                if self.is_open(index) {
                    lines.extend(members);
                }
            }
        }
        lines
    }

    fn reaper_lines(&self, wanted: &str) -> Vec<Line> {
        let is_wanted = |index: &usize| {
            let group = &self.data.groups[*index];
            [&group.label, &group.cause, &group.container].into_iter().any(|text| contains(text, wanted))
        };
        self.data.by_size.iter().copied().filter(is_wanted).map(Line::Reaper).collect()
    }

    /// Whether the zombies of a reaper are shown below it.
    pub(super) fn is_open(&self, group: usize) -> bool {
        let group = &self.data.groups[group];
        let by_itself = self.is_filtered() || group.members.len() <= SMALL;
        let opened = &self.opened[usize::from(self.is_filtered())];
        opened.get(&group.label).copied().unwrap_or(by_itself)
    }

    /// The reapers that a person has opened or closed in the present list.
    pub(super) fn opened_mut(&mut self) -> &mut HashMap<String, bool> {
        &mut self.opened[usize::from(self.is_filtered())]
    }

    fn is_filtered(&self) -> bool {
        !self.pages[Page::Findings as usize].filter.is_empty()
    }

    /// Sets the filter of a page. The findings that match it are shown, even if their reaper was closed before.
    pub(super) fn set_filter(&mut self, page: Page, filter: String) {
        self.pages[page as usize].filter = filter;
        if page == Page::Findings {
            self.opened[1].clear();
        }
    }

    /// The finding that a line is about, or the first one of its reaper.
    pub(super) fn id_of(&self, line: Line) -> Option<&str> {
        let data = &self.data;
        match line {
            Line::Blocked(index) | Line::Namespace(index) => Some(&data.namespaces[index].row.id),
            Line::Group(index) | Line::Reaper(index) => {
                data.groups[index].members.first().map(|&index| &*data.items[index].id)
            }
            Line::Zombie(index) => Some(&data.items[index].id),
            Line::Exit(index) => Some(&data.exits[index].id),
            Line::Event(_) | Line::MoreBlocked(_) => None,
        }
    }

    /// The pid that a line is about; for a reaper, its own pid.
    pub(super) fn pid_of(&self, line: Line) -> Option<u32> {
        let data = &self.data;
        match line {
            Line::Blocked(index) | Line::Namespace(index) => Some(data.namespaces[index].row.pid),
            Line::Group(index) | Line::Reaper(index) => data.groups[index].pid,
            Line::Zombie(index) => Some(data.items[index].pid),
            Line::Exit(index) => Some(data.exits[index].pid),
            Line::Event(index) => self.history.newest(index)?.pid,
            Line::MoreBlocked(_) => None,
        }
    }

    /// A key that distinguishes a line from the others of its page, and that stays the same after a refresh.
    fn key_of(&self, line: Line) -> (u8, &str) {
        match line {
            Line::Group(index) | Line::Reaper(index) => (1, &self.data.groups[index].label),
            Line::Event(index) => (2, self.history.newest(index).map_or("", |event| &event.id)),
            Line::MoreBlocked(_) => (3, ""),
            _ => (0, self.id_of(line).unwrap_or_default()),
        }
    }

    /// Selects a line.
    pub(super) fn select(&mut self, at: usize) {
        let at = at.min(self.lines.len().saturating_sub(1));
        let key = self.line_of(at).filter(|_| at > 0).map(|line| self.key_of(line));
        let key = key.map(|(kind, text)| (kind, text.to_owned()));
        let state = self.page_state_mut();
        (state.at, state.key) = (at, key);
    }

    /// Selects the same line as before the lines were rebuilt. If that line has gone, selects the line at its position.
    fn reselect(&mut self) {
        let state = self.page_state();
        let Some((kind, text)) = &state.key else { return self.select(0) };
        let key = (*kind, &**text);
        let at = self.lines.iter().position(|line| self.key_of(*line) == key);
        self.select(at.unwrap_or(state.at));
    }
}

/// The indices of the rows that contain this text in a cell.
fn matching<'a>(
    count: usize,
    wanted: &'a str,
    cells: impl Fn(usize) -> &'a [String] + 'a,
) -> impl Iterator<Item = usize> + 'a {
    (0..count).filter(move |&index| cells(index).iter().any(|cell| contains(cell, wanted)))
}
