//! Events for people: a headline, then who must reap, who created it, and where it lives.

use std::fmt::Write as _;

use supervisor_model::{
    clock::Wall,
    diagnosis::{Diagnosis, Prognosis},
    facts::{Call, NotRead},
    finding::{
        Authority, BlockedNamespace, Blocker, Budget, ClaimSource, Creator, Event, EventKind, Exit, Finding,
        IdentityClaim, Origin, PidNs, Reaper,
    },
    phrases::call,
    words::{clean, command_line, duration, in_ascii, signal_name, wrap},
};

use super::{
    sentence::{block as blocks, place as place_behind},
    short::{Short, short},
    story,
};

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
    /// Text in a colour.
    pub fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Never => text.to_owned(),
            Self::Always => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// What text looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether it is coloured.
    pub colour: Colour,
    /// How long its lines are at most, as far as it can be wrapped.
    pub columns: usize,
    /// Whether the reader's terminal has only ASCII.
    pub is_ascii: bool,
}

impl Style {
    /// Of what is no terminal.
    pub const PLAIN: Self = Self { colour: Colour::Never, columns: COLUMNS, is_ascii: false };

    /// The text as the reader's terminal can show it.
    pub(super) fn shown(self, text: String) -> String {
        if self.is_ascii { in_ascii(&text) } else { text }
    }
}

/// Where the text of a line begins, behind the indent and the label.
const LABEL: usize = 11;
/// Longer lines are hard to read.
pub const COLUMNS: usize = 110;

/// One event as lines, with the last newline.
#[must_use]
pub fn event(event: &Event, style: Style) -> String {
    style.shown(lines_of(event, style))
}

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

/// The time of day, in the zone of the reader.
pub(super) fn time(wall: Wall, at_ns: u64) -> String {
    wall.timestamp(at_ns).to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string()
}

/// Labelled lines below a headline.
pub(super) struct Lines {
    pub(super) out: String,
    style: Style,
}

impl Lines {
    /// Where labels begin: below the word of the headline, behind the time.
    pub(super) const INDENT: usize = 10;

    pub(super) fn new(headline: &str, style: Style) -> Self {
        Self { out: format!("{headline}\n"), style }
    }

    /// A headline that is wrapped, behind what all headlines begin with.
    pub(super) fn headed(before: &str, text: &str, style: Style) -> Self {
        // Time, word and gaps: `before` is painted already, and its colour takes no columns.
        let first = " ".repeat(Self::INDENT + "UNREAPED  ".len());
        let rest = " ".repeat(Self::INDENT + LABEL);
        let mut lines = String::new();
        wrap(&mut lines, text, &first, &rest, style.columns);
        let out = format!("{before}  {}", &lines[first.len()..]);
        Self { out, style }
    }

    /// A text, wrapped; each further line is indented to it.
    pub(super) fn add(&mut self, label: &str, text: &str) {
        let indent = " ".repeat(Self::INDENT);
        let rest = " ".repeat(Self::INDENT + LABEL);
        let mut lines = String::new();
        wrap(&mut lines, text, &rest, &rest, self.style.columns);
        // The label is painted only now, so that its colour takes no columns.
        let label = self.style.colour.paint("2", &format!("{label:<9}"));
        let _infallible = write!(self.out, "{indent}{label}  {}", &lines[rest.len()..]);
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

/// Why, and what to do.
fn verdict(lines: &mut Lines, diagnosis: &Diagnosis) {
    why(lines, diagnosis);
    for (i, remedy) in diagnosis.remedies.iter().enumerate() {
        lines.add(if i == 0 { "do" } else { "" }, remedy);
    }
    for (i, in_vain) in diagnosis.wont_help.iter().enumerate() {
        lines.add(if i == 0 { "in vain" } else { "" }, in_vain);
    }
    if let Some(family) = diagnosis.family {
        lines.add(
            "more",
            &format!("`supervisor explain --family {family}`, docs/families.md#{}", family.anchor()),
        );
    }
}

/// What it blocks and costs.
fn consequences(lines: &mut Lines, finding: &Finding) {
    for (i, held) in finding.blocks.iter().enumerate() {
        lines.add(if i == 0 { "blocks" } else { "" }, &blocks(finding, held));
    }
    if let Some(text) = finding.budget.as_ref().and_then(budget) {
        lines.add("pids", &text);
    }
}

/// Only what is worth a line: many, growing, few pids left, or forks that failed.
#[must_use]
pub fn budget(budget: &Budget) -> Option<String> {
    let left = budget.pids.max.saturating_sub(budget.pids.current);
    let is_tight = left < budget.pids.max / 10;
    let failures = budget.pids.fork_failures.filter(|count| *count > 0);
    if !is_tight && budget.rate_per_hour.is_none() && failures.is_none() {
        return None;
    }
    let unreaped =
        budget.unreaped.map(|unreaped| format!(", {unreaped} of them unreaped")).unwrap_or_default();
    let mut text = format!(
        "{} of {} in use{unreaped} ({})",
        budget.pids.current,
        budget.pids.max,
        clean(&budget.pids.source)
    );
    if let Some(rate) = budget.rate_per_hour {
        let _infallible = write!(text, ", {rate} more in an hour");
    }
    if let Some(left_ns) = budget.exhausted_in_ns {
        let _infallible = write!(text, ": none left in {}", duration(left_ns));
    }
    if let Some(count) = failures {
        let _infallible = write!(text, "; fork has failed {count} times");
    }
    Some(text)
}

/// A blocked namespace: why, what holds it, where it lives.
fn namespace_lines(lines: &mut Lines, namespace: &BlockedNamespace) {
    verdict(lines, &namespace.diagnosis);
    for (i, blocker) in namespace.blockers.iter().enumerate() {
        lines.add(if i == 0 { "held by" } else { "" }, &blocker_line(blocker));
    }
    place(lines, &namespace.init);
}

pub(super) fn blocker_line(blocker: &Blocker) -> String {
    let wchan = blocker.wchan.as_deref().map(|it| format!(" in {}", clean(it))).unwrap_or_default();
    let reaper = blocker
        .reaper
        .as_ref()
        .map(|(pid, name)| format!(", {}[{pid}] must reap it", clean(name)))
        .unwrap_or_default();
    let call = blocker.call.as_ref().and_then(Call::name).map(|it| format!(", in system call {it}"));
    let call = call.unwrap_or_default();
    let frozen = blocker.frozen.as_deref().map(|it| format!(", frozen: {}", clean(it))).unwrap_or_default();
    format!(
        "{:<6}  {}[{}]  state {}{wchan}{call}{frozen}{reaper}",
        blocker.kind.as_str(),
        clean(&blocker.name),
        blocker.pid,
        blocker.state
    )
}

/// Where it lives, at the end of a headline.
pub(super) fn place_of(finding: &Finding) -> String {
    place_behind(finding, ", in ")
}

pub(super) fn headline(finding: &Finding) -> String {
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

fn block(headline: &str, finding: &Finding, now_ns: u64, style: Style) -> String {
    let mut lines = Lines::new(headline, style);
    verdict(&mut lines, &finding.diagnosis);
    consequences(&mut lines, finding);
    who(&mut lines, finding, now_ns);
    place(&mut lines, finding);
    lines.out
}

/// Who must reap it, and who created it.
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

/// Where it lives.
pub(super) fn place(lines: &mut Lines, finding: &Finding) {
    if let Some(runtime) = &finding.runtime {
        let verb = runtime.verb.as_deref().map(|verb| format!(" {}", clean(verb))).unwrap_or_default();
        lines.add(
            "runtime",
            &format!("{}{verb}; this is {}", clean(&runtime.name), runtime.describe(finding.process.vpid)),
        );
    }
    if let Some(monitor) = &finding.monitor {
        lines.add("monitor", &format!("{}[{}]", clean(&monitor.name), monitor.pid));
    }
    if let Some(pod) = &finding.orchestrator {
        let name = pod.pod_name.as_deref().or(pod.pod_uid.as_deref()).map(clean).unwrap_or_default();
        let namespace = pod.namespace.as_deref().map(|it| format!("{}/", clean(it))).unwrap_or_default();
        lines.add("pod", &format!("{namespace}{name}"));
    }
    if let Some(container) = &finding.container {
        let id = clean(&container.id);
        let what = container.name.as_deref().filter(|name| **name != container.id);
        let what = what.map_or_else(|| id.clone(), |name| format!("{}  ({id})", clean(name)));
        let origin = match finding.origin {
            Origin::Exec => ", left by an exec session".to_owned(),
            Origin::HealthCheck { period_ns } => {
                format!(", left by a health check about every {}", duration(period_ns))
            }
            Origin::Entrypoint | Origin::Host | Origin::Unknown => String::new(),
        };
        lines.add("container", &format!("{what}{origin}"));
    }
    if let Some(confidence) = finding.identity_confidence {
        let said: Vec<String> = finding.claims.iter().map(claim_line).collect();
        lines.add("identity", &format!("confidence {}: {}", confidence.as_str(), said.join("; ")));
    }
    if let Some(ns) = &finding.pid_ns {
        lines.add("pid ns", &pid_ns_line(ns, finding.process.vpid));
    }
}

/// Who says what of container and pod.
fn claim_line(claim: &IdentityClaim) -> String {
    let by = match claim.by {
        Authority::User(uid) => format!("user {uid}"),
        Authority::Kernel | Authority::Root => claim.by.as_str().to_owned(),
        Authority::Container => "a container".to_owned(),
    };
    let source = match &claim.source {
        ClaimSource::Cgroup => "the control group".to_owned(),
        ClaimSource::Arguments => "arguments".to_owned(),
        ClaimSource::File(path) => clean(path),
    };
    let container = claim.container_id.as_deref().map(|id| format!("container {}", clean(id)));
    let pod = claim.pod.as_ref().map(|pod| {
        let name = pod.pod_name.as_deref().or(pod.pod_uid.as_deref()).map(clean).unwrap_or_default();
        let namespace = pod.namespace.as_deref().map(|it| format!("{}/", clean(it))).unwrap_or_default();
        format!("pod {namespace}{name}")
    });
    let what: Vec<String> = container.into_iter().chain(pod).collect();
    let refused = if claim.is_accepted { "" } else { " (not believed)" };
    format!("{by}, by {source}: {}{refused}", what.join(", "))
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

pub(super) fn reaper_lines(reaper: &Reaper, now_ns: u64) -> Vec<String> {
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
    match &reaper.process.args_not_read {
        Some(why) if why.is_memory_locked() => parts.push("its memory map is locked".to_owned()),
        Some(NotRead::Late { .. }) => parts.push("its arguments were not read in time".to_owned()),
        Some(NotRead::Skipped) | None => {}
    }
    let wait = match (&reaper.last_wait, reaper.never_waited_since_ns) {
        (Some(wait), _) => {
            format!("last wait {} ago: {}", duration(now_ns.saturating_sub(wait.at_ns)), call(wait))
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

/// A creator with its command, of which so many columns are shown.
pub(super) fn creator_line(creator: &Creator, columns: usize) -> String {
    let gone = if creator.gone { " (gone)" } else { "" };
    let verb = creator.verb.as_deref().map(|verb| format!("{}: ", clean(verb))).unwrap_or_default();
    let command = command_line(&creator.process.args, creator.process.args_cut, columns);
    format!("{}[{}]{gone}  {verb}{command}", clean(&creator.process.name), creator.process.pid)
}

pub(super) fn pid_ns_line(ns: &PidNs, vpid: Option<u32>) -> String {
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
    if ns.containers.len() > 1 {
        parts.push(format!("shared by {} containers", ns.containers.len()));
    }
    parts.join(", ")
}
