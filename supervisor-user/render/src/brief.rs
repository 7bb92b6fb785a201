//! Formats events for a person who watches: three lines for a finding. The headline has cause and prognosis. The second
//! line has the consequence, and the third line has the command to type. `watch --long` writes the whole story instead.

use supervisor_model::{
    clock::Wall,
    diagnosis::Prognosis,
    event::{Event, EventKind},
    finding::{BlockedNamespace, Finding},
    words::{clean, duration},
};

use super::{
    columns::{named, unknown, why},
    sentence::place,
    short::{Short, short},
    text,
};
use crate::{
    parts::{Lines, budget, short_exit, time},
    style::Style,
};

/// One event as lines, with the last newline.
#[must_use]
pub fn event(event: &Event, style: Style) -> String {
    let lines = match &event.kind {
        EventKind::Detected(it) | EventKind::Existing(it) | EventKind::State(it) => {
            finding("UNREAPED", it, event, style)
        }
        EventKind::Updated(it) => finding("UPDATED", it, event, style),
        EventKind::Blocked { namespace: it, .. } => namespace(it, event, style),
        EventKind::ExitBlocked { finding, .. } => stuck(finding, event, style),
        EventKind::Explained(_) => return text::event(event, style),
        _ => {
            let Short { code, word, text } = short(event);
            headline((event.wall, event.at_ns), code, word, &text, style).out
        }
    };
    style.shown(lines)
}

/// A headline that begins as all events do; its text is wrapped.
pub(super) fn headline(at: (Wall, u64), code: &str, word: &str, text: &str, style: Style) -> Lines {
    let word = style.colour.paint(code, &format!("{word:<8}"));
    Lines::headed(&format!("{}  {word}", time(at.0, at.1)), text, style)
}

fn finding(word: &str, finding: &Finding, event: &Event, style: Style) -> String {
    let process = &finding.process;
    let since = match (finding.exit_ns, &event.kind) {
        (Some(exit_ns), _) => Some(format!("{} ago", duration(event.at_ns.saturating_sub(exit_ns)))),
        (None, EventKind::Existing(_)) => Some("before this watch".to_owned()),
        (None, _) => None,
    };
    let exit = [finding.exit.map(short_exit), since].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let why = why(&finding.diagnosis).unwrap_or_else(|| "why is not known".to_owned());
    let reaper = finding.reaper.as_ref().map(|it| named(&it.process.name, it.process.pid));
    let reaper = reaper.unwrap_or_else(|| "not known".to_owned());
    let exit = if exit.is_empty() { exit } else { format!("; {exit}") };
    let text = format!(
        "{}: {why}; reaper {reaper}{exit}{}",
        named(&process.name, process.pid),
        place(finding, "; ")
    );
    let mut lines = headline((event.wall, event.at_ns), "1;31", word, &text, style);
    lines.add("so", &consequence(finding, &reaper));
    lines.add("do", &commands(process.pid, finding.diagnosis.is_reapable));
    lines.out
}

/// The consequence if nobody does anything.
fn consequence(finding: &Finding, reaper: &str) -> String {
    let fate = match finding.diagnosis.prognosis {
        Prognosis::Leaked => format!("it stays until {reaper} ends or is made to wait"),
        Prognosis::Late => format!("it goes away by itself, when {reaper} waits for it"),
        Prognosis::Unknown => "whether it will go away by itself is not known".to_owned(),
    };
    let pids = finding.budget.as_ref().and_then(budget).map(|text| format!("; pids: {text}"));
    let pids = pids.unwrap_or_default();
    match &*finding.blocks {
        [] => format!("{fate}{pids}"),
        [first, more @ ..] => {
            let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
            let init = named(&first.init_name, first.init_pid);
            format!(
                "PID namespace {} of {init}{more} cannot end, nor its Pod or container be deleted; {fate}{pids}",
                first.ino
            )
        }
    }
}

fn commands(pid: u32, is_reapable: bool) -> String {
    let reap = if is_reapable { format!(", `supervisor reap --dry-run {pid}`") } else { String::new() };
    format!("`supervisor explain {pid}`{reap}")
}

fn namespace(namespace: &BlockedNamespace, event: &Event, style: Style) -> String {
    let init = &namespace.init;
    let ino = init.pid_ns.as_ref().map_or_else(unknown, |ns| ns.ino.to_string());
    let held: Vec<String> = namespace
        .blockers
        .iter()
        .take(2)
        .map(|it| {
            let reaper = it.reaper.as_ref().map(|(pid, name)| format!(" of {}", named(name, *pid)));
            format!("{} {}{}", it.kind.as_str(), named(&it.name, it.pid), reaper.unwrap_or_default())
        })
        .collect();
    let more = namespace.blockers.len().saturating_sub(held.len());
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let held = if held.is_empty() { String::new() } else { format!(": held by {}{more}", held.join(", ")) };
    let text = format!(
        "PID namespace {ino} of {}{}{held}",
        named(&init.process.name, init.process.pid),
        place(init, ", ")
    );
    let mut lines = headline((event.wall, event.at_ns), "1;31", "BLOCKED", &text, style);
    lines.add("so", "it cannot end, and its Pod or container cannot be deleted");
    let reap = if namespace.diagnosis.is_reapable {
        format!(", `supervisor reap --dry-run --pidns {ino}`")
    } else {
        String::new()
    };
    lines.add("do", &format!("`supervisor explain --pidns {ino}`{reap}"));
    lines.out
}

fn stuck(finding: &Finding, event: &Event, style: Style) -> String {
    let process = &finding.process;
    let since_ns = finding.ending.as_ref().and_then(|ending| ending.since_ns);
    let since = since_ns
        .map(|at_ns| format!(", told to exit {} ago", duration(event.at_ns.saturating_sub(at_ns))))
        .unwrap_or_default();
    let text = format!(
        "{}{since}{}: {}",
        named(&process.name, process.pid),
        place(finding, ", "),
        clean(&finding.diagnosis.verdict)
    );
    let mut lines = headline((event.wall, event.at_ns), "1;31", "STUCK", &text, style);
    lines.add("so", "it cannot exit; if it is PID 1 of a container, this cannot be deleted");
    lines.add("do", &commands(process.pid, false));
    lines.out
}
