//! Formats events for people: a headline, then the process that must reap, its creators, and where it lives.

use supervisor_model::{
    diagnosis::{Diagnosis, Prognosis},
    event::{Event, EventKind},
    finding::{BlockedNamespace, Finding},
    words::{clean, duration},
};

use super::{
    sentence::block as blocks,
    short::{Short, short},
    story,
};
use crate::{
    parts::{
        COMMAND_WIDTH, Lines, blocker_lines, budget, creator_line, headline, place, place_of, reaper_lines,
        time,
    },
    style::Style,
};

/// One event as lines, with the last newline.
#[must_use]
pub fn event(event: &Event, style: Style) -> String {
    style.shown(lines_of(event, style))
}

#[expect(clippy::too_many_lines, reason = "one arm for each kind of event")]
fn lines_of(event: &Event, style: Style) -> String {
    let colour = style.colour;
    let time = time(event.wall, event.at_ns);
    let word = |code: &str, text: &str| colour.paint(code, &format!("{text:<8}"));
    match &event.kind {
        EventKind::Explained(finding) => story::process(finding, style),
        EventKind::Detected(finding) | EventKind::Existing(finding) | EventKind::State(finding) => {
            let since = if matches!(event.kind, EventKind::Existing(_)) {
                "  exited before supervisor started".to_owned()
            } else {
                since(finding, event.at_ns)
            };
            let (headline, place) = (headline(finding), place_of(finding));
            let headline = format!("{time}  {}  {headline}{since}{place}", word("1;31", "UNREAPED"));
            block(&headline, finding, event.at_ns, style)
        }
        EventKind::Updated(finding) => {
            let since = since(finding, event.at_ns);
            let (headline, place) = (headline(finding), place_of(finding));
            let headline = format!("{time}  {}  {headline}{since}{place}", word("1;31", "UPDATED"));
            let mut lines = Lines::new(&headline, style);
            why(&mut lines, &finding.diagnosis);
            consequences(&mut lines, finding);
            lines.out
        }
        EventKind::Blocked { namespace, .. } => {
            let init = &namespace.init;
            let first = format!(
                "{time}  {}  PID namespace {} of {}{}{}",
                word("1;31", "BLOCKED"),
                init.pid_ns.as_ref().map(|ns| ns.ino.to_string()).unwrap_or_default(),
                headline(init),
                since(init, event.at_ns),
                place_of(init)
            );
            let mut lines = Lines::new(&first, style);
            namespace_lines(&mut lines, namespace);
            lines.out
        }
        EventKind::ExitBlocked { finding, .. } => {
            let process = &finding.process;
            let since_ns = finding.ending.as_ref().and_then(|ending| ending.since_ns);
            let since = since_ns.map_or_else(
                || "  told to exit at a time that is not known".to_owned(),
                |since_ns| format!("  told to exit {} ago", duration(event.at_ns.saturating_sub(since_ns))),
            );
            let first = format!(
                "{time}  {}  {}[{}]{since}",
                word("1;31", "STUCK"),
                clean(&process.name),
                process.pid
            );
            block(&first, finding, event.at_ns, style)
        }
        EventKind::Reaped { .. }
        | EventKind::Released { .. }
        | EventKind::ExitFinished { .. }
        | EventKind::Lost(_)
        | EventKind::Dropped(_)
        | EventKind::Suppressed(_)
        | EventKind::ReapRequested(_) => {
            let Short { code, word: name, text } = short(event);
            format!("{time}  {}  {text}\n", word(code, name))
        }
    }
}

fn why(lines: &mut Lines, diagnosis: &Diagnosis) {
    let family = diagnosis.family.map(|family| format!("{family}, ")).unwrap_or_default();
    let prognosis = match diagnosis.prognosis {
        Prognosis::Unknown => String::new(),
        known => format!("{}, ", known.as_str()),
    };
    let confidence = diagnosis.confidence.as_str();
    lines.add("why", &format!("{} [{family}{prognosis}{confidence}]", diagnosis.verdict));
}

/// Adds the lines that say why, and what to do.
fn verdict(lines: &mut Lines, diagnosis: &Diagnosis) {
    why(lines, diagnosis);
    for (i, remedy) in diagnosis.remedies.iter().enumerate() {
        lines.add(if i == 0 { "do" } else { "" }, remedy);
    }
    for (i, wont_help) in diagnosis.wont_help.iter().enumerate() {
        lines.add(if i == 0 { "no help" } else { "" }, wont_help);
    }
    if let Some(family) = diagnosis.family {
        lines.add(
            "more",
            &format!("`supervisor explain --family {family}`, docs/families.md#{}", family.anchor()),
        );
    }
}

/// Adds the lines that say what the process blocks and costs.
fn consequences(lines: &mut Lines, finding: &Finding) {
    for (i, held) in finding.blocks.iter().enumerate() {
        lines.add(if i == 0 { "blocks" } else { "" }, &blocks(finding, held));
    }
    if let Some(text) = finding.budget.as_ref().and_then(budget) {
        lines.add("pids", &text);
    }
}

/// Adds the lines of a blocked namespace: why, what holds it, where it lives.
fn namespace_lines(lines: &mut Lines, namespace: &BlockedNamespace) {
    verdict(lines, &namespace.diagnosis);
    for (i, line) in blocker_lines(&namespace.blockers).iter().enumerate() {
        lines.add(if i == 0 { "held by" } else { "" }, line);
    }
    place(lines, &namespace.init);
}

fn since(finding: &Finding, now_ns: u64) -> String {
    finding.exit_ns.map_or_else(
        || "  at a time that is not known".to_owned(),
        |exit_ns| format!("  {} ago", duration(now_ns.saturating_sub(exit_ns))),
    )
}

fn block(headline: &str, finding: &Finding, now_ns: u64, style: Style) -> String {
    let mut lines = Lines::new(headline, style);
    verdict(&mut lines, &finding.diagnosis);
    consequences(&mut lines, finding);
    who(&mut lines, finding, now_ns);
    place(&mut lines, finding);
    lines.out
}

/// Adds the lines that name the reaper and the creators.
fn who(lines: &mut Lines, finding: &Finding, now_ns: u64) {
    match &finding.reaper {
        Some(reaper) => {
            for (i, text) in reaper_lines(reaper, now_ns).iter().enumerate() {
                lines.add(if i == 0 { "reaper" } else { "" }, text);
            }
        }
        None => lines.add("reaper", "not known"),
    }
    if finding.creators.is_empty() {
        lines.add(
            "created",
            "by a process that is not known: its fork was not seen, or its record had no room",
        );
    }
    for (i, creator) in finding.creators.iter().enumerate() {
        lines.add(if i == 0 { "created" } else { "" }, &creator_line(creator, COMMAND_WIDTH));
    }
}
