//! The text of `ps` for people: blocked PID namespaces first, then processes that cannot exit, then zombies, then the
//! next commands to type. The functions are pure.

use supervisor_model::{
    diagnosis::Prognosis,
    finding::{BlockedNamespace, Finding},
    words::{age, wrap},
};
use supervisor_render::{
    columns::{Column, EXITS, exit_cells},
    style::{COLUMNS, Colour},
    table::{Gives, align, fit, named, table, unknown},
};

use super::{super::listing::Listing, Found, Shape, Terminal, Times, summary::summary, tree::tree};

/// The whole text.
pub(in crate::commands) fn screen(
    found: &Found<'_>,
    shape: Shape,
    listing: &Listing,
    times: Times,
    terminal: Terminal,
) -> String {
    let (room, colour) = (terminal.columns.filter(|_| !listing.is_wide()), terminal.colour);
    let mut parts = Vec::new();
    // A user who chooses columns reads the list of processes with a program.
    if !listing.is_chosen() {
        parts.push(blocked_table(found.namespaces, times.now_ns, room, colour));
        parts.push(exits_table(found.exits, times.now_ns, room, colour));
    }
    let above: usize = parts.iter().map(|part| part.lines().count() + 1).sum();
    let is_long = terminal.lines.is_some_and(|lines| above + found.findings.len() + FOOTER > lines);
    let shape = match shape {
        Shape::Fitting if is_long && !listing.is_shaped() => Shape::Summary,
        shape => shape,
    };
    let is_short = shape == Shape::Summary;
    parts.push(match shape {
        _ if found.findings.is_empty() => String::new(),
        Shape::Summary => summary(found.findings, times, room, colour),
        Shape::Tree { all } => tree(found.findings, all, times.now_ns, terminal),
        Shape::Fitting | Shape::All => {
            let mut list = String::new();
            listing.list(room, times.now_ns, &mut list, found.findings, colour);
            list
        }
    });
    if terminal.lines.is_some() && !listing.is_bare() && !found.is_empty() {
        parts.push(footer(found, is_short, times, terminal));
    } else if is_short && !listing.is_bare() && !found.is_empty() {
        parts.push(format!("{}\n", counts(found)));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

/// The lines of a header, of a footer, and of the prompt after it.
const FOOTER: usize = 8;

/// The list of PID namespaces that cannot end.
fn blocked_table(
    namespaces: &[&BlockedNamespace],
    now_ns: u64,
    room: Option<usize>,
    colour: Colour,
) -> String {
    const HEADER: [(&str, Gives); 6] = [
        ("BLOCKED PID NS", Gives::Nothing),
        ("PID 1", Gives::Nothing),
        ("AGE", Gives::Last(0)),
        ("HELD BY", Gives::Last(1)),
        ("MUST REAP", Gives::Last(3)),
        ("POD OR CONTAINER", Gives::Last(2)),
    ];
    let mut out = String::new();
    if !namespaces.is_empty() {
        table(&mut out, &HEADER, namespaces.iter().map(|it| namespace_row(it, now_ns)), room, colour);
    }
    out
}

fn namespace_row(namespace: &BlockedNamespace, now_ns: u64) -> [String; 6] {
    let init = &namespace.init;
    let since_ns = init.exit_ns.map(|at_ns| age(now_ns.saturating_sub(at_ns)));
    let held = namespace.blockers.first().map(|first| {
        let kind = first.kind.as_str();
        format!("{kind} {}{}", named(&first.name, first.pid), more(namespace.blockers.len()))
    });
    let mut reapers: Vec<_> = namespace.blockers.iter().filter_map(|it| it.reaper.as_ref()).collect();
    reapers.dedup();
    let first = reapers.first().map(|(pid, name)| format!("{}{}", named(name, *pid), more(reapers.len())));
    [
        init.pid_ns.as_ref().map_or_else(unknown, |ns| ns.ino.to_string()),
        named(&init.process.name, init.process.pid),
        since_ns.unwrap_or_else(unknown),
        held.unwrap_or_else(unknown),
        first.unwrap_or_else(unknown),
        Column::Container.cell(init, now_ns),
    ]
}

/// The number of items after the first.
fn more(count: usize) -> String {
    if count > 1 { format!(" +{}", count - 1) } else { String::new() }
}

/// The list of processes that cannot exit.
fn exits_table(exits: &[&Finding], now_ns: u64, room: Option<usize>, colour: Colour) -> String {
    const GIVES: [Gives; 7] = [
        Gives::Nothing,
        Gives::End(8),
        Gives::First(0),
        Gives::Nothing,
        Gives::First(1),
        Gives::End(12),
        Gives::Last(0),
    ];
    let header: [_; 7] = std::array::from_fn(|column| (EXITS[column], GIVES[column]));
    let mut out = String::new();
    if !exits.is_empty() {
        table(&mut out, &header, exits.iter().map(|it| exit_cells(it, now_ns)), room, colour);
    }
    out
}

/// The counts, and the commands that a person may type next.
fn footer(found: &Found<'_>, is_short: bool, times: Times, terminal: Terminal) -> String {
    let mut next: Vec<(String, &str)> = Vec::new();
    let ino = found.namespaces.first().and_then(|it| it.init.pid_ns.as_ref()).map(|ns| ns.ino);
    let first = found.findings.first().or(found.exits.first());
    match (ino, first) {
        (Some(ino), _) => next.push((
            format!("supervisor explain --pidns {ino}"),
            "what holds it, who is to blame, what to do",
        )),
        (None, Some(first)) => next
            .push((format!("supervisor explain {}", first.process.pid), "why, who is to blame, what to do")),
        (None, None) => {}
    }
    let mut reapable = found.findings.iter().filter(|it| it.diagnosis.is_reapable);
    if let Some(ino) = ino.filter(|_| found.namespaces[0].diagnosis.is_reapable) {
        next.push((
            format!("supervisor reap --dry-run --pidns {ino}"),
            "how it could be freed; does nothing yet",
        ));
    } else if let Some(first) = reapable.next() {
        next.push((
            format!("supervisor reap --dry-run {}", first.process.pid),
            "how it could be freed; does nothing yet",
        ));
    }
    if is_short {
        next.push(("supervisor ps --all".to_owned(), "a line for each of them"));
    }
    if times.watched_since_ns.is_none() {
        next.push(("supervisor watch".to_owned(), "while it runs, ages, growth and prognoses are known"));
    }
    let mut rows: Vec<Vec<String>> =
        next.into_iter().map(|(command, why)| vec![command, why.to_owned()]).collect();
    fit(&mut rows, 0, &[Gives::Nothing, Gives::Last(0)], terminal.columns);
    let mut out = String::new();
    wrap(&mut out, &counts(found), "", "  ", terminal.columns.unwrap_or(COLUMNS));
    align(&mut out, &rows, terminal.columns, |_, column| (column == 0).then_some("1"), terminal.colour);
    out
}

/// The number of findings of each kind.
pub(in crate::commands) fn counts(found: &Found<'_>) -> String {
    let with =
        |prognosis: Prognosis| found.findings.iter().filter(|it| it.diagnosis.prognosis == prognosis).count();
    let of_them: Vec<String> = [
        (Prognosis::Leaked, "leaked (stay)"),
        (Prognosis::Late, "late (go away by themselves)"),
        (Prognosis::Unknown, "of unknown prognosis"),
    ]
    .into_iter()
    .map(|(prognosis, word)| (with(prognosis), word))
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    let mut parts = Vec::new();
    match found.namespaces.len() {
        0 => {}
        1 => parts.push("1 PID namespace cannot end".to_owned()),
        count => parts.push(format!("{count} PID namespaces cannot end")),
    }
    match found.exits.len() {
        0 => {}
        1 => parts.push("1 process cannot exit".to_owned()),
        count => parts.push(format!("{count} processes cannot exit")),
    }
    if !found.findings.is_empty() {
        parts.push(format!("{} unreaped: {}", found.findings.len(), of_them.join(", ")));
    }
    parts.join("; ")
}
