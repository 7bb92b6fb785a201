//! Draws the screen of `supervisor top`.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph, Wrap},
};
use supervisor_model::{
    diagnosis::Prognosis,
    words::{ascii, cut, width as columns_of, wrap},
};
use supervisor_render::style::{Colour, Style as TextStyle};

use super::{
    Page, Top,
    keys::Mode,
    look::{Look, change},
    table,
    trend::Trend,
};

/// The help text: what each key does.
pub const KEYS: &str = "\
up down  j k        one line
PgUp PgDn Home End  ten lines, the first, the last
Tab  left right     the next page, the one before; 1 to 5 too
Enter               of a reaper: show or hide its zombies; on page 2: go to them
Enter  Esc          of anything else: the whole story; close it
e  g                show or hide all zombies; group by reaper or list all
/                   filter this page as you type; Enter keeps it, Esc clears it
s  S                sort by the next column, the other way round
y                   copy the pid to the terminal's clipboard (OSC 52)
r                   free the zombie: asks first, then runs supervisor reap
m                   mouse on or off; off, the terminal selects text
space               freeze what is shown
Ctrl-Z  q  Ctrl-C   suspend; quit

BLOCKS  a PID namespace (a Pod) cannot end while it stays
+/MIN   how many more than a minute ago
A mouse selects and scrolls.";

/// Columns of the help text, with its frame.
const HELP_WIDTH: u16 = 79;
/// A question or an answer takes at most this many columns.
const QUESTION_WIDTH: u16 = 90;

/// Draws everything. Call [`Top::prepare`] first.
pub fn draw(frame: &mut Frame<'_>, top: &mut Top, style: TextStyle) {
    let has_detail = top.detail.is_some();
    let verdict_lines = match frame.area().height {
        _ if has_detail || matches!(top.page, Page::Events) => 0,
        ..14 => 0,
        14..22 => 2,
        22.. => 4,
    };
    let [title, counts, pages, body, verdict, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(verdict_lines),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let look = Look { plain: style.colour == Colour::Never };
    frame.render_widget(title_line(top, look), title);
    frame.render_widget(count_line(top, counts.width, look), counts);
    frame.render_widget(page_line(top, look), pages);
    let (list, story) = if has_detail {
        let [list, story] = Layout::vertical([Constraint::Percentage(35), Constraint::Min(5)]).areas(body);
        (list, story)
    } else {
        (body, Rect::ZERO)
    };
    table::draw(frame, top, list, look);
    frame.render_widget(verdict_text(top, verdict, look), verdict);
    if let Some(detail) = &top.detail {
        let block = Block::bordered().title(Top::detail_title(detail));
        let text = Paragraph::new(detail.text.as_str()).wrap(Wrap { trim: false });
        frame.render_widget(text.scroll((detail.scroll, 0)).block(block), story);
    }
    frame.render_widget(foot_line(top, look), foot);
    popup(frame, top);
    if style.is_ascii {
        for cell in &mut frame.buffer_mut().content {
            let drawn = cell.symbol().chars().next().map(|c| (c, ascii(c)));
            if let Some((c, shown)) = drawn.filter(|(c, shown)| c != shown) {
                debug_assert_eq!(cell.symbol().len(), c.len_utf8());
                cell.set_char(shown);
            }
        }
    }
}

fn title_line(top: &Top, look: Look) -> Line<'_> {
    let mut spans = vec![Span::styled("supervisor top", look.bold(Color::Cyan))];
    if top.lost > 0 {
        spans.push(Span::styled(format!("  {} lost", top.lost), look.bold(Color::Yellow)));
    }
    if top.is_frozen {
        spans.push(Span::styled("  FROZEN", look.bold(Color::Yellow)));
    }
    spans.push(Span::raw(format!("  {}", top.source)));
    Line::from(spans)
}

/// The counts of blocked, leaked and other findings, and the change of each within a minute.
fn count_line(top: &Top, columns: u16, look: Look) -> Line<'static> {
    let unit = if columns < 80 { "" } else { "/min" };
    let data = &top.data;
    let of = |prognosis| data.items.iter().filter(|item| item.prognosis == prognosis).count();
    let trends = &top.trends;
    let counts = [
        ("blocked", data.namespaces.len(), Color::Red, Some(&trends.blocked)),
        ("leaked", of(Prognosis::Leaked), Color::Red, Some(&trends.leaked)),
        ("late", of(Prognosis::Late), Color::Yellow, Some(&trends.late)),
        ("unknown", of(Prognosis::Unknown), Color::Yellow, None),
        ("stuck", data.exits.len(), Color::Yellow, None),
    ];
    // A narrow terminal shows fewer changes, so that every count has its room.
    let line = |changes: &[&str]| {
        let shown = counts.iter().filter(|(_, count, _, trend)| *count > 0 || trend.is_some());
        let span = |&(what, count, colour, trend): &(&'static str, usize, Color, Option<&Trend>)| {
            let colour = if count > 0 { colour } else { Color::Green };
            let trend = trend.filter(|_| changes.contains(&what));
            let change = trend.map(|trend| format!(" {}{unit}", change(trend))).unwrap_or_default();
            Span::styled(format!("{what} {count}{change}  "), look.bold(colour))
        };
        Line::from(shown.map(span).collect::<Vec<_>>())
    };
    [&["blocked", "leaked", "late"][..], &["leaked"]]
        .into_iter()
        .map(line)
        .find(|line| line.width() <= usize::from(columns))
        .unwrap_or_else(|| line(&[]))
}

fn page_line(top: &Top, look: Look) -> Line<'_> {
    let mut spans = Vec::new();
    for (i, page) in Page::ALL.into_iter().enumerate() {
        let filtered = if top.pages[i].filter.is_empty() { "" } else { "*" };
        let text = format!(" {} {}{filtered}", i + 1, page.title());
        let style = if page == top.page {
            look.colour(Color::Cyan).add_modifier(Modifier::REVERSED)
        } else {
            Style::new()
        };
        spans.push(Span::styled(text, style));
    }
    Line::from(spans)
}

/// The verdict on the selected line, and the first thing to do.
fn verdict_text(top: &Top, area: Rect, look: Look) -> Paragraph<'static> {
    let Some((verdict, remedy)) = top.verdict.as_ref().filter(|_| area.height > 0) else {
        return Paragraph::default();
    };
    let each = usize::from(area.height / 2);
    let mut lines: Vec<Line<'static>> = Vec::new();
    for (label, text) in [("why  ", Some(verdict)), ("do   ", remedy.as_ref())] {
        let Some(text) = text else { continue };
        let mut wrapped = String::new();
        wrap(&mut wrapped, text, label, "     ", usize::from(area.width));
        let mut wrapped = wrapped.lines();
        let mut shown: Vec<String> = wrapped.by_ref().take(each).map(str::to_owned).collect();
        if wrapped.next().is_some()
            && let Some(last) = shown.last_mut()
        {
            *last = cut(&format!("{last} …"), usize::from(area.width));
        }
        lines.extend(shown.into_iter().map(|line| Line::styled(line, look.colour(Color::Cyan))));
    }
    Paragraph::new(lines)
}

fn foot_line(top: &Top, look: Look) -> Line<'_> {
    let filter = &top.page_state().filter;
    if top.mode == Mode::Typing {
        return Line::styled(
            format!("filter: {filter}_   Enter keeps it  Esc clears it"),
            look.bold(Color::Yellow),
        );
    }
    if let Some(note) = top.note.as_ref().or(top.trouble.as_ref()) {
        return Line::styled(note.as_str(), look.bold(Color::Yellow));
    }
    let mut text = "? keys  / filter  Enter opens  q quit  y copy".to_owned();
    if top.page == Page::Findings {
        let order = if top.order.is_reversed { ", reversed" } else { "" };
        text = format!("{text}  r reap  g group  s sort: {}{order}", top.order.sort.title());
    }
    if filter.is_empty() {
        return Line::styled(text, look.colour(Color::DarkGray));
    }
    Line::from(vec![
        Span::styled(format!("filter: {filter}  (Esc clears it)  "), look.bold(Color::Yellow)),
        Span::styled(text, look.colour(Color::DarkGray)),
    ])
}

/// Draws the help, a question or an answer above everything else.
fn popup(frame: &mut Frame<'_>, top: &Top) {
    let (title, text, width) = match &top.mode {
        Mode::Help => (" keys; any key closes this ", KEYS, HELP_WIDTH),
        Mode::Question { text, .. } => (" free this zombie? ", &**text, QUESTION_WIDTH),
        Mode::Answer(text) => (" supervisor reap; any key closes this ", &**text, QUESTION_WIDTH),
        Mode::Browsing | Mode::Typing => return,
    };
    let width = width.min(frame.area().width);
    let mut wrapped = String::new();
    let room = usize::from(width.saturating_sub(2));
    for line in text.lines() {
        if columns_of(line) <= room {
            wrapped = wrapped + line + "\n";
        } else {
            let indent = " ".repeat(line.len() - line.trim_start().len());
            wrap(&mut wrapped, line, &indent, &indent, room);
        }
    }
    let area = centred(frame.area(), width, wrapped.lines().count() as u16 + 2);
    frame.render_widget(Clear, area);
    let text = Paragraph::new(wrapped).wrap(Wrap { trim: false });
    frame.render_widget(text.block(Block::bordered().title(title)), area);
}

fn centred(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect::new((area.width - width) / 2, (area.height - height) / 2, width, height)
}
