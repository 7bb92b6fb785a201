//! Events for people: a headline, then who must reap, who created it, and where it lives.

use std::fmt::Write as _;

use super::{
    Context,
    sentence::{sentence, target_words},
    words::{clean, command_line, duration, signal_name},
};
use crate::finding::{Creator, Event, EventKind, Exit, Finding, PidNs, Reaper};

/// How wide a command line may be.
const COMMAND_WIDTH: usize = 72;

/// Whether to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Never,
    /// ANSI colours.
    Always,
}

impl Colour {
    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Never => text.to_owned(),
            Self::Always => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// One event as lines, with the last newline.
#[must_use]
pub fn event(event: &Event, context: &Context, colour: Colour) -> String {
    let time = context
        .wall
        .timestamp(event.at_ns)
        .to_zoned_datetime(jiff::tz::TimeZone::system())
        .strftime("%H:%M:%S")
        .to_string();
    match &event.kind {
        EventKind::Detected(finding) | EventKind::Existing(finding) | EventKind::State(finding) => {
            let word = colour.paint("1;31", "UNREAPED");
            let since = if matches!(event.kind, EventKind::Existing(_)) {
                "  exited before supervisor started".to_owned()
            } else {
                since(finding, event.at_ns)
            };
            let headline = format!("{time}  {word}  {}{since}", headline(finding));
            block(&headline, finding, event.at_ns, colour)
        }
        EventKind::Reaped { finding, dwell_ns } => {
            let word = colour.paint("1;32", "REAPED  ");
            let after =
                dwell_ns.map(|dwell| format!(", {} after its exit", duration(dwell))).unwrap_or_default();
            format!("{time}  {word}  {}[{}]{after}\n", clean(&finding.process.name), finding.process.pid)
        }
        EventKind::Lost(_) => format!("{time}  {}  {}\n", colour.paint("1;33", "LOST    "), sentence(event)),
    }
}

fn headline(finding: &Finding) -> String {
    let process = &finding.process;
    let exit = finding.exit.map(|exit| format!("  {}", short_exit(exit))).unwrap_or_default();
    format!("{}[{}]{exit}", clean(&process.name), process.pid)
}

fn since(finding: &Finding, now_ns: u64) -> String {
    finding.exit_ns.map_or_else(
        || "  at a time that is not known".to_owned(),
        |exit_ns| format!("  {} ago", duration(now_ns.saturating_sub(exit_ns))),
    )
}

fn block(headline: &str, finding: &Finding, now_ns: u64, colour: Colour) -> String {
    let mut out = format!("{headline}\n");
    let mut line = |label: &str, text: &str| {
        let _infallible = writeln!(out, "          {}  {text}", colour.paint("2", &format!("{label:<9}")));
    };
    match &finding.reaper {
        Some(reaper) => {
            for (i, text) in reaper_lines(reaper, now_ns).iter().enumerate() {
                line(if i == 0 { "reaper" } else { "" }, text);
            }
        }
        None => line("reaper", "not known"),
    }
    if finding.creators.is_empty() {
        line("created", "by a process that is not known: its fork was not seen, or its record had no room");
    }
    for (i, creator) in finding.creators.iter().enumerate() {
        line(if i == 0 { "created" } else { "" }, &creator_line(creator));
    }
    if let Some(runtime) = &finding.runtime {
        let verb = runtime.verb.as_deref().map(|verb| format!(" {}", clean(verb))).unwrap_or_default();
        line("runtime", &format!("{}{verb}; this is {}", clean(&runtime.name), runtime.stage.describe()));
    }
    if let Some(monitor) = &finding.monitor {
        line("monitor", &format!("{}[{}]", clean(&monitor.name), monitor.pid));
    }
    if let Some(container) = &finding.container {
        let name = container.name.as_deref().map(|name| format!("  ({})", clean(name))).unwrap_or_default();
        line("container", &format!("{}{name}", clean(&container.id)));
    }
    if let Some(ns) = &finding.pid_ns {
        line("pid ns", &pid_ns_line(ns, finding.process.vpid));
    }
    out
}

/// How a process ended, in a word or two.
#[must_use]
pub fn short_exit(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit {code}"),
        Exit::Signal { number, .. } => {
            signal_name(number).map_or_else(|| format!("signal {number}"), str::to_owned)
        }
    }
}

fn reaper_lines(reaper: &Reaper, now_ns: u64) -> Vec<String> {
    let mut parts = vec![format!("{}[{}]", clean(&reaper.process.name), reaper.process.pid)];
    match (reaper.adopted, reaper.created) {
        (Some(true), _) => parts.push("adopted it".to_owned()),
        (Some(false), Some(true)) => parts.push("created it itself".to_owned()),
        (Some(false), _) => parts.push("its parent since the fork".to_owned()),
        (None, _) => {}
    }
    if reaper.is_subreaper == Some(true) {
        parts.push("is a subreaper".to_owned());
    }
    if reaper.is_pidns_init == Some(true) {
        parts.push("is PID 1 of its namespace".to_owned());
    }
    if let Some(state) = reaper.state {
        let wchan = reaper.wchan.as_deref().map(|wchan| format!(" in {}", clean(wchan))).unwrap_or_default();
        parts.push(format!("state {state}{wchan}"));
    }
    let wait = match (&reaper.last_wait, reaper.never_waited_since_ns) {
        (Some(wait), _) => {
            let call = wait.call.map(|call| format!(": {call}")).unwrap_or_default();
            let target =
                wait.target.map(|target| format!(" for {}", target_words(target))).unwrap_or_default();
            let flags =
                if wait.flags.is_empty() { String::new() } else { format!(" ({})", wait.flags.join("|")) };
            format!("last wait {} ago{call}{target}{flags}", duration(now_ns.saturating_sub(wait.at_ns)))
        }
        (None, Some(since_ns)) => {
            format!("no wait call in the {} of watching", duration(now_ns.saturating_sub(since_ns)))
        }
        (None, None) if reaper.wchan.as_deref() == Some("do_wait") => {
            "in a wait call that began before this watch; for whom is not known".to_owned()
        }
        (None, None) => "its last wait is not known".to_owned(),
    };
    vec![parts.join(", "), wait]
}

fn creator_line(creator: &Creator) -> String {
    let gone = if creator.gone { " (gone)" } else { "" };
    let verb = creator.verb.as_deref().map(|verb| format!("{}: ", clean(verb))).unwrap_or_default();
    let command = command_line(&creator.process.args, COMMAND_WIDTH);
    format!("{}[{}]{gone}  {verb}{command}", clean(&creator.process.name), creator.process.pid)
}

fn pid_ns_line(ns: &PidNs, vpid: Option<u32>) -> String {
    let mut parts = vec![ns.ino.to_string()];
    if let Some(mode) = ns.mode {
        parts.push(mode.as_str().to_owned());
    }
    if let Some(level) = ns.level {
        parts.push(format!("level {level}"));
    }
    if let Some(vpid) = vpid {
        parts.push(format!("its pid there is {vpid}"));
    }
    if let Some(init) = &ns.init {
        parts.push(format!("PID 1 is {}[{}] in state {}", clean(&init.name), init.pid, init.state));
    }
    parts.join(", ")
}
