//! Handles keys: changes the state of the screen, or asks the terminal for something.

use supervisor_model::{decision::Decision, reaping::ReapAttempt, words::clean};

use super::{Detail, Page, Story, Subject, Top, View, lines::Line};

/// The longest filter.
const MAX_FILTER: usize = 80;

/// An input of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// The key that deletes a character.
    Backspace,
    /// Confirms, or shows details.
    Enter,
    /// Goes back.
    Escape,
    /// The next page.
    Tab,
    /// The page before.
    BackTab,
    /// Moves by this many lines, backwards if negative.
    Move(isize),
    /// The first line.
    First,
    /// The last one.
    Last,
    /// A click on this line of the screen.
    Line(u16),
    /// Ctrl-Z.
    Suspend,
}

/// A request to the terminal that follows from a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To draw the changes.
    Draw,
    /// To end.
    Quit,
    /// To give the terminal back until the shell continues us.
    Suspend,
    /// To copy this.
    Copy(String),
    /// To report the mouse, or not to.
    Mouse(bool),
    /// To free the zombie with this pid.
    Reap(u32),
}

/// The meaning that keys have now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// Keys move from line to line and from page to page.
    #[default]
    Browsing,
    /// Keys are typed into the filter.
    Typing,
    /// Any key closes the help.
    Help,
    /// One key frees a zombie; any other key closes the question.
    Question {
        /// The question.
        text: String,
        /// The zombie, if it may be freed.
        pid: Option<u32>,
    },
    /// Any key closes the answer.
    Answer(String),
}

impl Top {
    /// Handles a key. The view provides the details that are shown.
    pub fn key(&mut self, key: Key, view: &dyn View) -> Ask {
        self.note = None;
        match (&self.mode, key) {
            (_, Key::Suspend) => return Ask::Suspend,
            (Mode::Typing, key) => {
                self.typed(key);
                return Ask::Draw;
            }
            (Mode::Browsing, key) => return self.browse(key, view),
            (_, Key::Char('q')) if !matches!(self.mode, Mode::Question { .. }) => return Ask::Quit,
            (Mode::Question { pid: Some(pid), .. }, Key::Char('y')) => {
                let pid = *pid;
                self.mode = Mode::Browsing;
                self.note = Some(format!("supervisor reap --yes {pid} runs"));
                return Ask::Reap(pid);
            }
            // Any other key closes it.
            (Mode::Help | Mode::Question { .. } | Mode::Answer(_), _) => self.mode = Mode::Browsing,
        }
        Ask::Draw
    }

    fn typed(&mut self, key: Key) {
        let mut filter = self.page_state().filter.clone();
        match key {
            Key::Char(c) if filter.chars().count() < MAX_FILTER => filter.push(c),
            Key::Backspace => drop(filter.pop()),
            Key::Enter => self.mode = Mode::Browsing,
            Key::Escape => {
                filter.clear();
                self.mode = Mode::Browsing;
            }
            _ => return,
        }
        self.set_filter(self.page, filter);
        self.relist();
    }

    fn browse(&mut self, key: Key, view: &dyn View) -> Ask {
        match key {
            Key::Char('q') => return Ask::Quit,
            Key::Char('?' | 'h') => self.mode = Mode::Help,
            Key::Escape | Key::Enter if self.detail.is_some() => self.detail = None,
            Key::Escape => {
                self.set_filter(self.page, String::new());
                self.relist();
            }
            Key::Char('/') => {
                self.mode = Mode::Typing;
                self.detail = None;
            }
            Key::Char(' ') => self.is_frozen = !self.is_frozen,
            Key::Char(c @ ('s' | 'S' | 'g' | 'e')) if self.page == Page::Findings => self.arrange(c),
            Key::Char('y') => return self.copy(),
            Key::Char('m') => {
                self.is_mouse_off = !self.is_mouse_off;
                let state = if self.is_mouse_off { "off: the terminal selects text" } else { "on" };
                self.note = Some(format!("the mouse is {state}"));
                return Ask::Mouse(!self.is_mouse_off);
            }
            Key::Char('r') => self.question(view),
            Key::Tab => self.turn(self.page as usize + 1),
            Key::BackTab => self.turn(self.page as usize + Page::ALL.len() - 1),
            Key::Char(c @ '1'..='5') => self.turn(c as usize - '1' as usize),
            Key::Char('j') => self.go(1),
            Key::Char('k') => self.go(-1),
            Key::Move(by) => self.go(by),
            Key::First => self.go(isize::MIN),
            Key::Last => self.go(isize::MAX),
            Key::Line(line) => {
                if let Some(line) = line.checked_sub(self.first_row) {
                    self.select(self.start + usize::from(line));
                }
            }
            Key::Enter => self.enter(view),
            Key::Char(_) | Key::Backspace | Key::Suspend => {}
        }
        Ask::Draw
    }

    /// Sorts, groups, opens or closes the findings in another way.
    fn arrange(&mut self, key: char) {
        match key {
            's' => {
                self.order.sort = self.order.sort.next();
                self.regroup();
            }
            'S' => {
                self.order.is_reversed = !self.order.is_reversed;
                self.regroup();
            }
            'g' => {
                self.is_flat = !self.is_flat;
                self.relist();
            }
            _ => {
                let is_open = !(0..self.data.groups.len()).all(|group| self.is_open(group));
                *self.opened_mut() =
                    self.data.groups.iter().map(|group| (group.label.clone(), is_open)).collect();
                self.relist();
            }
        }
    }

    fn turn(&mut self, page: usize) {
        self.page = Page::ALL[page % Page::ALL.len()];
        self.detail = None;
        self.relist();
    }

    fn go(&mut self, by: isize) {
        if let Some(detail) = &mut self.detail {
            let last = detail.text.lines().count().saturating_sub(1);
            detail.scroll = usize::from(detail.scroll).saturating_add_signed(by).min(last) as u16;
        } else {
            self.select(self.at().saturating_add_signed(by));
        }
    }

    fn enter(&mut self, view: &dyn View) {
        let Some(line) = self.line_of(self.at()) else { return };
        match line {
            Line::Group(index) => {
                let is_open = self.is_open(index);
                let label = self.data.groups[index].label.clone();
                self.opened_mut().insert(label, !is_open);
                self.relist();
            }
            // Shows the zombies of the reaper: the first page, filtered by its name.
            Line::Reaper(index) => {
                self.set_filter(Page::Findings, self.data.groups[index].label.clone());
                self.turn(Page::Findings as usize);
                self.select(0);
            }
            Line::MoreBlocked(_) => self.turn(Page::Namespaces as usize),
            Line::Event(index) => {
                let Some(event) = self.history.newest(index) else { return };
                self.detail = Some(Detail {
                    of: event.finding.clone().map_or(Subject::Text, Subject::History),
                    text: event.line.clone(),
                    inspected_ns: None,
                    scroll: 0,
                });
                self.update_detail(view);
            }
            Line::Blocked(_) | Line::Zombie(_) | Line::Namespace(_) | Line::Exit(_) => {
                let Some(id) = self.id_of(line).map(str::to_owned) else { return };
                let story = view.story(&id, self.columns, self.now_ns);
                self.detail = story.map(|Story { text, inspected_ns }| Detail {
                    of: Subject::Finding(id),
                    text,
                    inspected_ns,
                    scroll: 0,
                });
            }
        }
    }

    fn copy(&mut self) -> Ask {
        let Some(pid) = self.line_of(self.at()).and_then(|line| self.pid_of(line)) else {
            self.note = Some("this line has no pid".to_owned());
            return Ask::Draw;
        };
        self.note = Some(format!("{pid} is sent to the terminal's clipboard (OSC 52)"));
        Ask::Copy(pid.to_string())
    }

    /// Asks whether the selected zombie is to be freed, or says why it cannot be.
    fn question(&mut self, view: &dyn View) {
        if let Some(reason) = &self.no_reap {
            self.note = Some(reason.clone());
            return;
        }
        let line = self.line_of(self.at());
        let entry = match line {
            Some(line @ Line::Zombie(_)) => self.id_of(line).and_then(|id| view.reap(id)),
            _ => None,
        };
        let Some(entry) = entry else {
            let reaper = line.filter(|line| matches!(line, Line::Group(_) | Line::Reaper(_)));
            self.note = Some(match reaper.and_then(|line| self.pid_of(line)) {
                Some(pid) => format!("select a zombie; all of this reaper: supervisor reap --reaper {pid}"),
                None => "select a zombie to free it".to_owned(),
            });
            return;
        };
        let pid = Some(entry.finding.process.pid).filter(|_| entry.is_allowed(false));
        self.mode = Mode::Question { text: question_text(&entry), pid };
    }
}

/// The decision about a zombie and its consequences, in the words of `supervisor reap`.
fn question_text(entry: &ReapAttempt) -> String {
    let pid = entry.finding.process.pid;
    let mut lines = vec![supervisor_render::reaping::text(entry, false)];
    match &entry.decision {
        Decision::Reap => {
            let reaper = entry.finding.reaper.as_ref();
            let reaper = reaper.map_or_else(String::new, |it| {
                format!(" to {}[{}], which is stopped for a moment", clean(&it.process.name), it.process.pid)
            });
            lines.push(format!("Its exit status is lost{reaper}."));
            for block in &entry.finding.blocks {
                let init = clean(&block.init_name);
                let (ino, pid) = (block.ino, block.init_pid);
                lines.push(format!(
                    "PID namespace {ino} of {init}[{pid}] can end once nothing else holds it."
                ));
            }
            lines.push(String::new());
            lines.push(format!("y runs `supervisor reap --yes {pid}`. Any other key leaves the zombie."));
        }
        Decision::NeedsForce(_) => {
            lines.push("`top` forces nothing. To free it nevertheless:".to_owned());
            lines.push(format!("`supervisor reap --force {pid}`"));
            lines.push(String::new());
            lines.push("Any key closes this.".to_owned());
        }
        Decision::Refused(_) => lines.push("Any key closes this.".to_owned()),
    }
    lines.join("\n")
}
