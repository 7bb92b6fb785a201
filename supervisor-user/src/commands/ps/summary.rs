//! `ps --summary`: one line for each reaper and cause.

use supervisor_model::finding::Finding;
use supervisor_render::{
    columns::Column,
    groups::Group,
    style::Colour,
    table::{Gives, table, unknown},
};

use super::Times;

/// Growth is counted over this time, or since the watch started if that is shorter.
const WINDOW_NS: u64 = 60_000_000_000;

const HEADER: [(&str, Gives); 7] = [
    ("COUNT", Gives::Nothing),
    ("GROWTH", Gives::Last(2)),
    ("OLDEST", Gives::Last(3)),
    ("WHY", Gives::End(16)),
    ("REAPER", Gives::Nothing),
    ("BLOCKS", Gives::Last(1)),
    ("CONTAINER", Gives::Last(0)),
];

/// The summary.
pub(super) fn summary(findings: &[&Finding], times: Times, room: Option<usize>, colour: Colour) -> String {
    let mut out = String::new();
    let groups = Group::all(findings);
    table(&mut out, &HEADER, groups.iter().map(|group| row(group, times)), room, colour);
    out
}

fn row(group: &Group<'_>, times: Times) -> [String; 7] {
    [
        group.count().to_string(),
        growth(group, times),
        group.oldest(times.now_ns),
        group.why(),
        group.reaper(),
        group.cell(Column::Blocks, times.now_ns),
        group.cell(Column::Container, times.now_ns),
    ]
}

/// The number of new zombies that exist and may stay. Zombies that were reaped meanwhile, or that will be, are not
/// counted.
fn growth(group: &Group<'_>, Times { now_ns, watched_since_ns }: Times) -> String {
    let Some(since_ns) = watched_since_ns else { return unknown() };
    let window_ns = now_ns.saturating_sub(since_ns).min(WINDOW_NS);
    match group.grown_by(window_ns, now_ns) {
        0 => "none".to_owned(),
        count if window_ns < WINDOW_NS => format!("+{count}/{} s", window_ns / 1_000_000_000),
        count => format!("+{count}/min"),
    }
}
