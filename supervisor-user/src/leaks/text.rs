//! Writes the report for people.

use std::fmt::Write as _;

use supervisor_model::{
    event::EventKind,
    words::{clean, command_line, duration, signal_name},
};
use supervisor_render::{
    story,
    style::{COLUMNS, Style},
};

use super::{CommandEnd, Leak, LeakKind, Report, allow::Allowed, sentence_of};

/// The whole report. It is empty if nothing was left behind, everything could be seen, and [`Report::unmatched`] is
/// empty.
#[must_use]
pub fn report(report: &Report, style: Style) -> String {
    let mut out = String::new();
    let total = report.news().count();
    for (number, leak) in (1..).zip(report.news()) {
        let title = format!("leak {number} of {total}: {}", title(leak));
        let _infallible = writeln!(out, "{}", style.colour.paint("1", &title));
        out.push_str(&story(leak, style));
        out.push('\n');
    }
    for leak in &report.leaks {
        if let (Some(entry), Some(finding)) = (&leak.allowed, leak.finding()) {
            let process = format!("{}[{}]", clean(&finding.process.name), finding.process.pid);
            let _infallible = writeln!(out, "known: {process}, {}: {}", leak.kind.as_str(), because(entry));
        }
    }
    for entry in &report.unmatched {
        let _infallible =
            writeln!(out, "the allow list has an entry that no leak matches: {}", because(entry));
    }
    for what in &report.unseen {
        let _infallible = writeln!(out, "not seen: {what}");
    }
    if !out.is_empty() {
        out.push_str(&summary(report));
        out.push('\n');
    }
    out
}

fn because(entry: &Allowed) -> String {
    format!("line {}, `{}` ({})", entry.line, clean(&entry.entry), clean(&entry.reason))
}

/// The title of a leak, with its test.
fn title(leak: &Leak) -> String {
    let what = match leak.kind {
        LeakKind::Namespace => "a PID namespace that cannot end".to_owned(),
        LeakKind::Unreaped => "a process that was not reaped".to_owned(),
        LeakKind::Running => sentence_of(leak),
        LeakKind::Late => "a zombie that was reaped late".to_owned(),
    };
    let test = leak.test().map(|test| format!(", of the test `{}`", clean(&test)));
    format!("{what}{}", test.unwrap_or_default())
}

fn story(leak: &Leak, style: Style) -> String {
    let late = |dwell_ns: Option<u64>| {
        dwell_ns.map_or_else(
            || "It was reaped later. This is what was seen before:\n".to_owned(),
            |dwell_ns| {
                format!(
                    "It was reaped {} after its exit. This is what was seen before:\n",
                    duration(dwell_ns)
                )
            },
        )
    };
    match &leak.event.kind {
        EventKind::Blocked { namespace, .. } => story::namespace(namespace, style),
        EventKind::Reaped { finding, dwell_ns, .. } => {
            format!("{}{}", late(*dwell_ns), story::process(finding, style))
        }
        _ => leak.finding().map(|finding| story::process(finding, style)).unwrap_or_default(),
    }
}

/// One line: the number of leaks of each kind, and how the command ended.
#[must_use]
pub fn summary(report: &Report) -> String {
    let mut parts = Vec::new();
    for kind in [LeakKind::Unreaped, LeakKind::Running, LeakKind::Namespace, LeakKind::Late] {
        let count = report.news().filter(|leak| leak.kind == kind).count();
        if count > 0 {
            parts.push(format!("{count} {}", kind.as_str()));
        }
    }
    let known = report.leaks.len() - report.news().count();
    let found = if parts.is_empty() { "no leak".to_owned() } else { format!("leaks: {}", parts.join(", ")) };
    let known = if known > 0 { format!(", {known} known") } else { String::new() };
    let ended = match report.ended {
        CommandEnd::Code(code) => format!("ended with {code}"),
        CommandEnd::Signal(number) => {
            let name = signal_name(number).map_or_else(|| number.to_string(), str::to_owned);
            format!("was ended by {name}")
        }
    };
    format!("supervisor: {found}{known}; `{}` {ended}", command_line(&report.command, false, COLUMNS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaks::sample;

    #[test]
    fn each_new_leak_has_its_story_and_each_known_leak_one_line() {
        let text = report(&sample::report(), Style::PLAIN);
        for part in [
            "leak 1 of 3: a process that was not reaped\nUNREAPED  crun[22]",
            "leak 2 of 3: sleep[23] still runs; adopted by monitor[10]\nALIVE  sleep[23]",
            "leak 3 of 3: a zombie that was reaped late, of the test `it is <late>`\nIt was reaped 2.5 s after",
            "known: gpg-agent[25], running: line 1, `name gpg-agent` (signs)\n",
            "an entry that no leak matches: line 2, `name conmon` (of its container)\n",
            "supervisor: leaks: 1 unreaped, 1 running, 1 late, 1 known; `bats tests/` ended with 0\n",
        ] {
            assert!(text.contains(part), "{part}\nis not in\n{text}");
        }
    }

    #[test]
    fn a_report_is_empty_if_nothing_was_left_behind() {
        let clean = Report { leaks: Vec::new(), unmatched: Vec::new(), ..sample::report() };
        assert_eq!(report(&clean, Style::PLAIN), "");
        let blind = Report { unseen: vec!["orphans".to_owned()], ..clean };
        let text = report(&blind, Style::PLAIN);
        assert!(text.starts_with("not seen: orphans\nsupervisor: no leak;"), "{text}");
    }
}
