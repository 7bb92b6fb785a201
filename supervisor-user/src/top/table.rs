//! Draws the list of a page: decides which columns fit, and fills the cells of each line.

use ratatui::{
    Frame,
    layout::Rect,
    style::{Color, Modifier, Style},
    symbols::bar::NINE_LEVELS,
    text::{Line as ScreenLine, Span},
    widgets::Paragraph,
};
use supervisor_model::{
    diagnosis::Prognosis,
    words::{cut, cut_name, padded, width},
};

use super::{
    Page, Sort, Top,
    lines::Line,
    look::{Look, change},
};

/// The longest name that widens the first column.
const MAX_LABEL: usize = 44;
const MIN_LABEL: usize = 20;
/// The indent before the name of a zombie.
const INDENT: &str = "    ";

/// The content of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    /// A reaper, or a zombie below its reaper.
    Name,
    Blocks,
    Holds,
    Change,
    Reaper,
    Prognosis,
    Age,
    Cause,
    Container,
    Family,
    Exit,
    PidNs,
    Trend,
    /// The cell of a row at this index.
    Text(usize),
}

/// A column: its cell and title, the least and the greatest width, and the sort key that it shows.
struct Column {
    cell: Cell,
    title: &'static str,
    least: usize,
    most: usize,
    sort: Option<Sort>,
}

const fn column(cell: Cell, title: &'static str, least: usize, most: usize, sort: Option<Sort>) -> Column {
    Column { cell, title, least, most, sort }
}

/// A column with the width that it gets.
type Placed = (Column, usize);

/// Draws the list.
pub(super) fn draw(frame: &mut Frame<'_>, top: &mut Top, area: Rect, look: Look) {
    top.first_row = area.y + 1;
    if top.lines.is_empty() {
        top.start = 0;
        frame.render_widget(Paragraph::new(format!("\n  {}", nothing(top))), area);
        return;
    }
    let columns = placed(columns(top, usize::from(area.width)), usize::from(area.width));
    let height = usize::from(area.height.saturating_sub(1)).max(1);
    let start = top.at().saturating_sub(height / 2).min(top.lines.len().saturating_sub(height));
    top.start = start;
    let mut lines = vec![header(top, &columns)];
    for (index, line) in top.lines.iter().enumerate().skip(start).take(height) {
        let mut shown = screen_line(top, *line, &columns, usize::from(area.width), look);
        if index == top.at() {
            shown = shown.patch_style(Style::new().add_modifier(Modifier::REVERSED));
        }
        lines.push(shown);
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// The text that replaces an empty list.
fn nothing(top: &Top) -> &'static str {
    match top.page {
        _ if top.now_ns == 0 => "looking",
        _ if !top.page_state().filter.is_empty() => "nothing matches the filter",
        Page::Findings | Page::Reapers => "nothing is unreaped",
        Page::Namespaces => "no PID namespace is blocked",
        Page::Exits => "no process is stuck in its exit",
        Page::Events => "nothing has happened yet",
    }
}

/// The columns of a page, the most important first.
fn columns(top: &Top, room: usize) -> Vec<Column> {
    let label = (top.data.label_width + 2).clamp(MIN_LABEL, MAX_LABEL);
    let rows = |columns: &[super::Column]| {
        let cell = |(index, (title, least, most)): (usize, &super::Column)| {
            column(Cell::Text(index), title, *least, *most, None)
        };
        columns.iter().enumerate().map(cell).collect()
    };
    let shared = || {
        [
            column(Cell::Prognosis, "PROGNOSIS", 10, 10, Some(Sort::Prognosis)),
            column(Cell::Age, "AGE", 11, 12, Some(Sort::Age)),
            column(Cell::Cause, "CAUSE", 16, 20, Some(Sort::Cause)),
            column(Cell::Container, "CONTAINER", 14, 40, Some(Sort::Container)),
            column(Cell::Family, "FAMILY", 6, 6, None),
            column(Cell::Exit, "EXIT", 8, 14, None),
            column(Cell::PidNs, "PID NS", 10, 10, None),
        ]
    };
    match top.page {
        Page::Findings if top.is_flat => [
            column(Cell::Name, "ZOMBIE", MIN_LABEL, 24, Some(Sort::Process)),
            column(Cell::Blocks, "BLOCKS", 6, 6, None),
            column(Cell::Reaper, "REAPER", label.min(room.saturating_sub(40)), label, None),
        ]
        .into_iter()
        .chain(shared())
        .collect(),
        Page::Findings => [
            column(
                Cell::Name,
                "REAPER, ZOMBIES",
                label.min(room.saturating_sub(34)),
                label,
                Some(Sort::Process),
            ),
            column(Cell::Blocks, "BLOCKS", 6, 6, None),
            column(Cell::Holds, "HOLDS", 6, 6, Some(Sort::Holds)),
            column(Cell::Change, "+/MIN", 6, 6, None),
        ]
        .into_iter()
        .chain(shared())
        .collect(),
        Page::Reapers => vec![
            column(Cell::Name, "REAPER[PID]", label.min(room.saturating_sub(39)), label, None),
            column(Cell::Holds, "HOLDS", 6, 6, Some(Sort::Holds)),
            column(Cell::Change, "+/MIN", 6, 6, None),
            column(Cell::Trend, "LAST MINUTE", 11, 61, None),
            column(Cell::Cause, "CAUSE", 12, 20, None),
            column(Cell::Container, "CONTAINER", 14, 50, None),
        ],
        Page::Namespaces => rows(&top.data.namespace_columns),
        Page::Exits => rows(&top.data.exit_columns),
        Page::Events => vec![column(Cell::Name, "EVENT", 1, room, None)],
    }
}

/// The columns that fit, from the first on. The remaining room widens the first columns that can take more.
fn placed(columns: Vec<Column>, room: usize) -> Vec<Placed> {
    let mut left = room + 1;
    let mut placed: Vec<Placed> = columns
        .into_iter()
        .map_while(|column| {
            left = left.checked_sub(column.least + 1)?;
            let least = column.least;
            Some((column, least))
        })
        .collect();
    for (column, width) in &mut placed {
        let more = (column.most - *width).min(left);
        (*width, left) = (*width + more, left - more);
    }
    placed
}

fn header(top: &Top, columns: &[Placed]) -> ScreenLine<'static> {
    let is_sorted = |column: &Column| match top.page {
        Page::Findings => column.sort == Some(top.order.sort),
        Page::Reapers => column.sort.is_some(),
        _ => false,
    };
    let mark = if top.page == Page::Findings && top.order.is_reversed { '▲' } else { '▼' };
    let cells = columns.iter().map(|(column, width)| {
        let mut title = column.title.to_owned();
        if is_sorted(column) {
            title.push(mark);
        }
        aligned(&title, *width, column.cell)
    });
    let text = cells.collect::<Vec<_>>().join(" ");
    ScreenLine::styled(text, Style::new().add_modifier(Modifier::BOLD))
}

fn screen_line(top: &Top, line: Line, columns: &[Placed], room: usize, look: Look) -> ScreenLine<'static> {
    // These lines have no cells: their text takes the whole line.
    let whole = match line {
        Line::Blocked(index) => Some(top.data.namespaces[index].headline.clone()),
        Line::MoreBlocked(count) => Some(format!("BLOCKED  and {count} more PID namespaces: page 3")),
        Line::Event(index) => top.history.newest(index).map(|event| event.line.clone()),
        _ => None,
    };
    if let Some(text) = whole {
        let style = if matches!(line, Line::Event(_)) { Style::new() } else { look.bold(Color::Red) };
        return ScreenLine::styled(padded(&cut(&text, room), room), style);
    }
    let mut spans = Vec::new();
    for (index, (column, width)) in columns.iter().enumerate() {
        if index > 0 {
            spans.push(Span::raw(" "));
        }
        let text =
            if column.cell == Cell::Trend { trend(top, line, *width) } else { cell(top, line, column.cell) };
        spans.push(Span::styled(
            aligned(&text, *width, column.cell),
            style_of(column.cell, &text, line, look),
        ));
    }
    ScreenLine::from(spans)
}

/// A cell, padded to its column. Numbers are aligned to the right; so is a trend, whose newest count stands at the
/// right.
fn aligned(text: &str, room: usize, cell: Cell) -> String {
    // People copy pids into other commands.
    let text = if matches!(cell, Cell::Name | Cell::Reaper) { cut_name(text, room) } else { cut(text, room) };
    if matches!(cell, Cell::Holds | Cell::Change | Cell::Trend) {
        return " ".repeat(room.saturating_sub(width(&text))) + &text;
    }
    padded(&text, room)
}

fn style_of(cell: Cell, text: &str, line: Line, look: Look) -> Style {
    match cell {
        Cell::Blocks => look.bold(Color::Red),
        Cell::Prognosis if text == Prognosis::Leaked.as_str() => look.colour(Color::Red),
        Cell::Prognosis if text == Prognosis::Late.as_str() => look.colour(Color::Yellow),
        Cell::Name if matches!(line, Line::Group(_)) => Style::new().add_modifier(Modifier::BOLD),
        _ => Style::new(),
    }
}

/// The cell of a line in a column.
fn cell(top: &Top, line: Line, cell: Cell) -> String {
    match line {
        Line::Zombie(index) => zombie_cell(top, index, cell),
        Line::Group(index) | Line::Reaper(index) => reaper_cell(top, line, index, cell),
        Line::Namespace(index) => row_cell(&top.data.namespaces[index].row.cells, cell),
        Line::Exit(index) => row_cell(&top.data.exits[index].cells, cell),
        Line::Blocked(_) | Line::MoreBlocked(_) | Line::Event(_) => String::new(),
    }
}

fn row_cell(cells: &[String], cell: Cell) -> String {
    match cell {
        Cell::Text(index) => cells.get(index).cloned().unwrap_or_default(),
        _ => String::new(),
    }
}

fn zombie_cell(top: &Top, index: usize, cell: Cell) -> String {
    let item = &top.data.items[index];
    match cell {
        Cell::Name if top.is_flat => item.process.clone(),
        Cell::Name => format!("{INDENT}{}", item.process),
        Cell::Blocks if item.blocks => "BLOCKS".to_owned(),
        Cell::Reaper => item.reaper.to_string(),
        Cell::Prognosis => item.prognosis.as_str().to_owned(),
        Cell::Age => item.age.text(),
        Cell::Cause => item.cause.to_string(),
        Cell::Container => item.container.to_string(),
        Cell::Family => item.family.to_string(),
        Cell::Exit => item.exit.to_string(),
        Cell::PidNs => item.pid_ns.to_string(),
        Cell::Blocks | Cell::Holds | Cell::Change | Cell::Trend | Cell::Text(_) => String::new(),
    }
}

fn reaper_cell(top: &Top, line: Line, index: usize, cell: Cell) -> String {
    let group = &top.data.groups[index];
    match cell {
        Cell::Name if matches!(line, Line::Reaper(_)) => group.label.clone(),
        Cell::Name => format!("{} {}", if top.is_open(index) { '▾' } else { '▸' }, group.label),
        Cell::Blocks if group.blocks => "BLOCKS".to_owned(),
        Cell::Holds => group.members.len().to_string(),
        Cell::Change => top.trends.of_reaper(&group.label).map(change).unwrap_or_default(),
        Cell::Prognosis => group.prognosis.map_or("mixed", Prognosis::as_str).to_owned(),
        Cell::Age => group.oldest.text(),
        Cell::Cause => group.cause.clone(),
        Cell::Container => group.container.clone(),
        _ => String::new(),
    }
}

/// Bars of the newest counts, as many as fit.
fn trend(top: &Top, line: Line, room: usize) -> String {
    const BARS: [&str; 9] = [
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
    let Line::Reaper(index) = line else { return String::new() };
    let Some(trend) = top.trends.of_reaper(&top.data.groups[index].label) else { return String::new() };
    let counts: Vec<u64> = trend.counts().collect();
    let counts = &counts[counts.len().saturating_sub(room)..];
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    counts.iter().map(|count| BARS[(count * 8).div_ceil(most) as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_get_their_least_width_and_the_first_ones_the_rest() {
        let columns = || {
            vec![
                column(Cell::Name, "NAME", 10, 15, None),
                column(Cell::Age, "AGE", 5, 5, None),
                column(Cell::Cause, "CAUSE", 8, 20, None),
            ]
        };
        let widths = |room| placed(columns(), room).iter().map(|(_, width)| *width).collect::<Vec<_>>();
        assert_eq!(widths(9), [0; 0]);
        assert_eq!(widths(10), [10]);
        assert_eq!(widths(16), [10, 5]);
        assert_eq!(widths(18), [12, 5]);
        assert_eq!(widths(25), [10, 5, 8]);
        assert_eq!(widths(32), [15, 5, 10]);
        assert_eq!(widths(100), [15, 5, 20]);
    }
}
