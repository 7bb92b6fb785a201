//! What `supervisor top` shows, and what keys do to it. Pure: nothing here knows a terminal.

pub mod draw;
mod fleet;
mod host;
mod rates;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use rates::Rates;

use crate::{
    finding::{Event, EventKind},
    report::text::{self, COLUMNS, Style},
};

/// Events that are kept.
const EVENTS: usize = 500;

/// A column of a list: what it is called, and how wide it is.
type Column = (&'static str, u16);

/// What there is to be shown, of one host or of all.
pub trait View {
    /// What is shown of each finding, the most important first: the last do not fit a narrow terminal.
    fn columns(&self) -> Vec<Column>;

    /// What findings can be sorted by.
    fn sorts(&self) -> Vec<&'static str>;

    /// Open findings, sorted by one of those.
    fn findings(&self, sort: usize, now_ns: u64) -> Vec<Row>;

    /// Who must reap each of them, as it is named in their rows.
    fn reapers(&self) -> Vec<String>;

    /// What is shown of each PID namespace.
    fn namespace_columns(&self) -> Vec<Column>;

    /// PID namespaces that cannot end.
    fn namespaces(&self, now_ns: u64) -> Vec<Row>;

    /// What is shown of each process that cannot exit.
    fn exit_columns(&self) -> Vec<Column>;

    /// Processes that were told to exit and cannot.
    fn exits(&self, now_ns: u64) -> Vec<Row>;

    /// The whole story of a row, in lines of so many columns where it can be wrapped.
    fn story(&self, id: &str, columns: usize) -> Option<String>;
}

/// A page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Page {
    /// Open findings.
    #[default]
    Findings,
    /// Who must reap them.
    Reapers,
    /// PID namespaces that cannot end.
    Namespaces,
    /// What has happened.
    Events,
    /// Processes that cannot exit.
    Exits,
}

impl Page {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Findings, Self::Reapers, Self::Namespaces, Self::Events, Self::Exits];

    /// As it is called.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Findings => "Findings",
            Self::Reapers => "Reapers",
            Self::Namespaces => "PID namespaces",
            Self::Events => "Events",
            Self::Exits => "Stuck exits",
        }
    }
}

/// What a person wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// The one that deletes.
    Backspace,
    /// Confirms, or shows details.
    Enter,
    /// Goes back.
    Escape,
    /// The next page.
    Tab,
    /// The page before.
    BackTab,
    /// So many lines further, or back if it is negative.
    Move(isize),
    /// The first line.
    First,
    /// The last one.
    Last,
    /// A click on this line of the list, as it is on the screen.
    Line(usize),
}

/// What keys do now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// They go from line to line and from page to page.
    #[default]
    Browsing,
    /// They are the filter.
    Typing,
    /// Any of them ends the help.
    Help,
}

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it is of, from one look to the next.
    pub id: String,
    /// What it says.
    pub cells: Vec<String>,
    /// How a figure has changed, a second each, if that is shown.
    pub trend: Vec<u64>,
}

/// What there is now.
#[derive(Debug, Default)]
struct Data {
    columns: Vec<Column>,
    /// What it is sorted by.
    sorted: &'static str,
    findings: Vec<Row>,
    reapers: Vec<Row>,
    namespace_columns: Vec<Column>,
    namespaces: Vec<Row>,
    exit_columns: Vec<Column>,
    exits: Vec<Row>,
}

/// The state of the screen.
#[derive(Debug, Default)]
pub struct Top {
    /// Where it looks: host, kernel or recording.
    pub source: String,
    /// Why what is shown may not be so any more.
    pub trouble: Option<String>,
    page: Page,
    selected: [usize; Page::ALL.len()],
    sort: usize,
    reverse: bool,
    filter: String,
    mode: Mode,
    is_frozen: bool,
    detail: Option<Detail>,
    data: Data,
    events: VecDeque<Row>,
    /// Events that have come.
    told: u64,
    lost: u64,
    rates: Rates,
    /// The first line of the list that is on the screen.
    start: usize,
    /// How wide a story can be.
    columns: usize,
    /// When it was refreshed.
    now_ns: u64,
}

/// The whole story of one line.
#[derive(Debug)]
struct Detail {
    id: String,
    text: String,
    scroll: u16,
}

impl Top {
    /// An empty screen.
    #[must_use]
    pub fn new(source: String) -> Self {
        Self { source, columns: COLUMNS, ..Self::default() }
    }

    /// Takes in what has happened.
    pub fn event(&mut self, event: &Event) {
        if let EventKind::Lost(loss) = &event.kind {
            self.lost += loss.exits + loss.reaps + loss.records + loss.reads;
        }
        let text = text::event(event, Style::PLAIN);
        self.line(text.lines().next().unwrap_or_default().to_owned());
    }

    /// The same, in words.
    pub fn line(&mut self, text: String) {
        if self.events.len() >= EVENTS {
            self.events.pop_front();
        }
        self.told += 1;
        self.events.push_back(Row { id: self.told.to_string(), cells: vec![text], trend: Vec::new() });
    }

    /// Takes in what is so now, once a second.
    pub fn refresh(&mut self, view: &dyn View, now_ns: u64) {
        self.now_ns = now_ns;
        self.rates.look(view.reapers());
        if self.is_frozen {
            return;
        }
        if let Some(detail) = &mut self.detail
            && let Some(text) = view.story(&detail.id, self.columns)
        {
            detail.text = text;
        }
        let mut findings = view.findings(self.sort, now_ns);
        if self.reverse {
            findings.reverse();
        }
        let mut namespaces = view.namespaces(now_ns);
        namespaces.sort_by(|one, other| one.cells.cmp(&other.cells));
        let mut exits = view.exits(now_ns);
        exits.sort_by(|one, other| one.cells.cmp(&other.cells));
        self.data = Data {
            columns: view.columns(),
            sorted: view.sorts()[self.sort],
            findings,
            reapers: self.rates.rows(),
            namespace_columns: view.namespace_columns(),
            namespaces,
            exit_columns: view.exit_columns(),
            exits,
        };
        self.keep_in_list();
    }

    /// Does what a key asks for; false if it is the end. What is shown in detail is looked up in the view.
    pub fn key(&mut self, key: Key, view: &dyn View) -> bool {
        if self.mode == Mode::Typing {
            match key {
                Key::Char(c) if self.filter.chars().count() < 40 => self.filter.push(c),
                Key::Backspace => drop(self.filter.pop()),
                Key::Enter => self.mode = Mode::Browsing,
                Key::Escape => {
                    self.mode = Mode::Browsing;
                    self.filter.clear();
                }
                _ => {}
            }
            self.keep_in_list();
            return true;
        }
        if self.mode == Mode::Help {
            self.mode = Mode::Browsing;
            return key != Key::Char('q');
        }
        match key {
            Key::Char('q') => return false,
            Key::Char('?' | 'h') => self.mode = Mode::Help,
            Key::Escape | Key::Enter if self.detail.is_some() => self.detail = None,
            Key::Escape => self.filter.clear(),
            Key::Char('/') => {
                self.mode = Mode::Typing;
                self.detail = None;
            }
            Key::Char(' ') => self.is_frozen = !self.is_frozen,
            Key::Char('s') => {
                self.sort = (self.sort + 1) % view.sorts().len();
                self.refresh(view, self.now_ns);
            }
            Key::Char('r') => {
                self.reverse = !self.reverse;
                self.data.findings.reverse();
            }
            Key::Tab => self.turn(1),
            Key::BackTab => self.turn(Page::ALL.len() - 1),
            Key::Char(c @ '1'..='5') => {
                self.page = Page::ALL[c as usize - '1' as usize];
                self.detail = None;
            }
            Key::Char('j') => self.go(1),
            Key::Char('k') => self.go(-1),
            Key::Move(by) => self.go(by),
            Key::First => self.go(isize::MIN),
            Key::Last => self.go(isize::MAX),
            Key::Line(line) => self.selected[self.page as usize] = self.start + line,
            Key::Enter => self.show(view),
            Key::Char(_) | Key::Backspace => {}
        }
        self.keep_in_list();
        true
    }

    fn turn(&mut self, by: usize) {
        self.page = Page::ALL[(self.page as usize + by) % Page::ALL.len()];
        self.detail = None;
    }

    fn go(&mut self, by: isize) {
        if let Some(detail) = &mut self.detail {
            let last = detail.text.lines().count().saturating_sub(1);
            detail.scroll = usize::from(detail.scroll).saturating_add_signed(by).min(last) as u16;
        } else {
            let at = &mut self.selected[self.page as usize];
            *at = at.saturating_add_signed(by);
        }
    }

    fn show(&mut self, view: &dyn View) {
        let Some(row) = self.rows().nth(self.selected()).cloned() else { return };
        let text = match self.page {
            // Of a reaper, what it holds: the list itself, filtered.
            Page::Reapers => {
                self.filter.clone_from(&row.cells[0]);
                self.page = Page::Findings;
                return;
            }
            Page::Findings | Page::Namespaces | Page::Exits => view.story(&row.id, self.columns),
            Page::Events => Some(row.cells.join("\n")),
        };
        self.detail = text.map(|text| Detail { id: row.id, text, scroll: 0 });
    }

    /// The lines of this page that the filter lets through.
    fn rows(&self) -> impl Iterator<Item = &Row> {
        let all: Box<dyn Iterator<Item = &Row>> = match self.page {
            Page::Findings => Box::new(self.data.findings.iter()),
            Page::Reapers => Box::new(self.data.reapers.iter()),
            Page::Namespaces => Box::new(self.data.namespaces.iter()),
            Page::Exits => Box::new(self.data.exits.iter()),
            // The newest first.
            Page::Events => Box::new(self.events.iter().rev()),
        };
        let wanted = self.filter.to_lowercase();
        all.filter(move |row| row.cells.iter().any(|cell| cell.to_lowercase().contains(&wanted)))
    }

    fn selected(&self) -> usize {
        self.selected[self.page as usize]
    }

    fn keep_in_list(&mut self) {
        let last = self.rows().count().saturating_sub(1);
        let at = &mut self.selected[self.page as usize];
        *at = (*at).min(last);
    }
}
