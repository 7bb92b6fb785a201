//! The screen of `supervisor top`.

use std::fmt::Write as _;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    symbols::bar::NINE_LEVELS,
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph, Row as TableRow, Table, TableState, Wrap},
};

use super::{Column, Mode, Page, Row, Top};
use crate::{
    report::text::{COLUMNS, Colour, Style as TextStyle},
    words::{ascii, cut},
};

/// What keys do.
const HELP: &str = "\
up down  j k        one line
PgUp PgDn Home End  ten lines, the first, the last
Tab  left right     the next page, the one before; 1 to 5 too
Enter               the whole story, Esc closes it; of a reaper, what it holds
/                   filter as you type; Enter keeps it, Esc ends it
s  r                sort by the next column, the other way round
space               freeze what is shown
q  Ctrl-C           quit

A mouse selects and scrolls. Any key closes this.";

/// Columns of that, with its frame.
const HELP_WIDTH: u16 = 80;

/// Lines above the list: title, pages, the list's own header.
const ABOVE: u16 = 3;

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, top: &mut Top, style: TextStyle) {
    let [title, pages, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let look = Look { plain: style.colour == Colour::Never };
    frame.render_widget(title_line(top, look), title);
    frame.render_widget(page_line(top, look), pages);
    let has_detail = top.detail.is_some();
    let (list, story) = if has_detail {
        let [list, story] = Layout::vertical([Constraint::Percentage(35), Constraint::Min(5)]).areas(body);
        (list, story)
    } else {
        (body, Rect::ZERO)
    };
    top.start = list_of(frame, top, list);
    top.columns = usize::from(body.width).saturating_sub(2).min(COLUMNS);
    if let Some(detail) = &top.detail {
        let block = Block::bordered().title(" the whole story; up and down scroll, Esc closes it ");
        let text = Paragraph::new(detail.text.as_str()).wrap(Wrap { trim: false });
        frame.render_widget(text.scroll((detail.scroll, 0)).block(block), story);
    }
    frame.render_widget(foot_line(top, look), foot);
    if top.mode == Mode::Help {
        let area = centred(frame.area(), HELP_WIDTH, HELP.lines().count() as u16 + 2);
        frame.render_widget(Clear, area);
        frame.render_widget(Paragraph::new(HELP).block(Block::bordered().title(" keys ")), area);
    }
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

/// Which line of the list stands on this line of the screen.
#[must_use]
pub fn line_at(row: u16) -> Option<usize> {
    row.checked_sub(ABOVE).map(usize::from)
}

#[derive(Clone, Copy)]
struct Look {
    plain: bool,
}

impl Look {
    fn colour(self, colour: Color) -> Style {
        if self.plain { Style::new() } else { Style::new().fg(colour) }
    }

    fn bold(self, colour: Color) -> Style {
        self.colour(colour).add_modifier(Modifier::BOLD)
    }
}

fn title_line(top: &Top, look: Look) -> Line<'_> {
    let blocked = match top.data.namespaces.len() {
        1 => "PID namespace blocked",
        _ => "PID namespaces blocked",
    };
    let count = |count: usize, what: &str| {
        let colour = if count > 0 { Color::Red } else { Color::Green };
        Span::styled(format!("  {count} {what}"), look.bold(colour))
    };
    let mut spans = vec![
        Span::styled("supervisor top", look.bold(Color::Cyan)),
        count(top.data.findings.len(), "unreaped"),
        count(top.data.namespaces.len(), blocked),
    ];
    if !top.data.exits.is_empty() {
        spans.push(count(top.data.exits.len(), "stuck in exit"));
    }
    if top.lost > 0 {
        spans.push(Span::styled(format!("  {} lost", top.lost), look.bold(Color::Yellow)));
    }
    if top.is_frozen {
        spans.push(Span::styled("  FROZEN", look.bold(Color::Yellow)));
    }
    spans.push(Span::raw(format!("  {}", top.source)));
    Line::from(spans)
}

fn page_line(top: &Top, look: Look) -> Line<'_> {
    let mut spans = Vec::new();
    for (i, page) in Page::ALL.into_iter().enumerate() {
        let text = format!(" {} {} ", i + 1, page.title());
        let style = if page == top.page {
            look.colour(Color::Cyan).add_modifier(Modifier::REVERSED)
        } else {
            Style::new()
        };
        spans.push(Span::styled(text, style));
    }
    Line::from(spans)
}

fn foot_line(top: &Top, look: Look) -> Line<'_> {
    if top.mode == Mode::Typing {
        return Line::styled(
            format!("filter: {}_   Enter keeps it  Esc ends it", top.filter),
            look.bold(Color::Yellow),
        );
    }
    if let Some(trouble) = &top.trouble {
        return Line::styled(trouble.as_str(), look.bold(Color::Yellow));
    }
    let mut text = "? keys  / filter  s sort  Enter story  q quit".to_owned();
    if !top.filter.is_empty() {
        text = format!("filter: {}  (Esc ends it)  {text}", top.filter);
    }
    if top.page == Page::Findings {
        let order = if top.reverse { ", reversed" } else { "" };
        let _infallible = write!(text, "  sorted by {}{order}", top.data.sorted.to_lowercase());
    }
    Line::styled(text, look.colour(Color::DarkGray))
}

/// Draws the list; returns which of its lines is the first on the screen.
fn list_of(frame: &mut Frame<'_>, top: &Top, area: Rect) -> usize {
    let rows: Vec<&Row> = top.rows().collect();
    let (header, widths): (Vec<&str>, Vec<u16>) = match top.page {
        Page::Findings => fitting(&top.data.columns, area.width),
        Page::Reapers => (
            vec!["REAPER", "HOLDS", "A MINUTE", "TREND"],
            REAPER_WIDTHS.into_iter().chain([area.width]).collect(),
        ),
        Page::Namespaces => fitting(&top.data.namespace_columns, area.width),
        Page::Exits => fitting(&top.data.exit_columns, area.width),
        Page::Events => (vec!["EVENT"], vec![area.width]),
    };
    if rows.is_empty() {
        let text = match top.page {
            _ if top.now_ns == 0 => "looking",
            _ if !top.filter.is_empty() => "nothing matches the filter",
            Page::Findings | Page::Reapers => "nothing is unreaped",
            Page::Namespaces => "no PID namespace is blocked",
            Page::Exits => "no process is stuck in its exit",
            Page::Events => "nothing has happened yet",
        };
        frame.render_widget(Paragraph::new(format!("\n  {text}")), area);
        return 0;
    }
    // Of many, only those around the selected one are made: the others are not seen.
    let height = usize::from(area.height.saturating_sub(1)).max(1);
    let start = top.selected().saturating_sub(height / 2).min(rows.len().saturating_sub(height));
    let trend_width = area.width.saturating_sub(REAPER_WIDTHS.iter().map(|width| width + 1).sum());
    let shown = rows.iter().skip(start).take(height).map(|row| {
        let trend = (top.page == Page::Reapers).then(|| trend(&row.trend, trend_width));
        let cells = row.cells.iter().zip(&widths).map(|(cell, width)| cut(cell, usize::from(*width)));
        TableRow::new(cells.chain(trend))
    });
    let table = Table::new(shown, widths.iter().map(|width| Constraint::Length(*width)))
        .header(TableRow::new(header).style(Style::new().add_modifier(Modifier::BOLD)))
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(top.selected() - start);
    frame.render_stateful_widget(table, area, &mut state);
    start
}

/// As many columns as there is room for.
fn fitting(columns: &[Column], room: u16) -> (Vec<&'static str>, Vec<u16>) {
    let mut used = 0;
    let fits = |(title, width): &Column| {
        let left = room.saturating_sub(used);
        // Of less than a half, and of a header that is cut, nobody reads much.
        let least = (width / 2).max(title.len() as u16).min(*width);
        used += width + 1;
        (left >= least).then_some((*title, left.min(*width)))
    };
    columns.iter().map_while(fits).unzip()
}

/// How wide what is said of a reaper is, before its trend.
const REAPER_WIDTHS: [u16; 3] = [30, 6, 9];

/// A line of bars, of the newest figures for which there is room.
fn trend(history: &[u64], room: u16) -> String {
    let history = &history[history.len().saturating_sub(usize::from(room))..];
    let most = history.iter().copied().max().unwrap_or(0).max(1);
    let bars = [
        NINE_LEVELS.empty,
        NINE_LEVELS.one_eighth,
        NINE_LEVELS.one_quarter,
        NINE_LEVELS.three_eighths,
        NINE_LEVELS.half,
        NINE_LEVELS.five_eighths,
        NINE_LEVELS.three_quarters,
        NINE_LEVELS.seven_eighths,
        NINE_LEVELS.full,
    ];
    history.iter().map(|count| bars[(count * 8).div_ceil(most) as usize]).collect()
}

fn centred(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect::new((area.width - width) / 2, (area.height - height) / 2, width, height)
}
