//! Formats the lines that events and stories have in common.

use std::fmt::Write as _;

use supervisor_model::{
    clock::Wall,
    facts::{Call, NotRead},
    finding::{
        Authority, Blocker, Budget, ClaimSource, Creator, Exit, Finding, IdentityClaim, Origin, PidNs,
        Reaper, named_blockers,
    },
    phrases::call,
    words::{clean, command_line, duration, signal_name, wrap},
};

use crate::{sentence::place as place_behind, style::Style};

/// The columns from the label to the text of a line: the label's width and the gap behind it.
const LABEL: usize = 11;
/// How wide a command line may be.
pub(crate) const COMMAND_WIDTH: usize = 72;

/// The time of day, in the reader's time zone.
pub(crate) fn time(wall: Wall, at_ns: u64) -> String {
    wall.timestamp(at_ns).to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string()
}

/// Labelled lines below a headline.
pub(crate) struct Lines {
    pub(crate) out: String,
    style: Style,
}

impl Lines {
    /// The column where labels begin: below the word of the headline, behind the time.
    pub(crate) const INDENT: usize = 10;

    pub(crate) fn new(headline: &str, style: Style) -> Self {
        Self { out: format!("{headline}\n"), style }
    }

    /// A headline: `before`, which all headlines begin with, and then the text, which is wrapped.
    pub(crate) fn headed(before: &str, text: &str, style: Style) -> Self {
        // The indent is time, word and gaps. `before` is already painted, and its colour codes take no columns.
        let first = " ".repeat(Self::INDENT + "UNREAPED  ".len());
        let rest = " ".repeat(Self::INDENT + LABEL);
        let mut lines = String::new();
        wrap(&mut lines, text, &first, &rest, style.columns);
        let out = format!("{before}  {}", &lines[first.len()..]);
        Self { out, style }
    }

    /// A text, wrapped; each further line is indented to it.
    pub(crate) fn add(&mut self, label: &str, text: &str) {
        let indent = " ".repeat(Self::INDENT);
        let rest = " ".repeat(Self::INDENT + LABEL);
        let mut lines = String::new();
        wrap(&mut lines, text, &rest, &rest, self.style.columns);
        // The label is painted only now, so that its colour takes no columns.
        let label = self.style.colour.paint("2", &format!("{label:<9}"));
        let _infallible = write!(self.out, "{indent}{label}  {}", &lines[rest.len()..]);
    }
}

/// The use of the limited pids. `None` unless less than a tenth of the pids is left, the number of unreaped processes
/// grows, or a fork has failed.
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

/// A story names at most this many blockers, and counts the others.
const MAX_BLOCKERS: usize = 8;

/// A line for each blocker that is named, and one for the number of the others.
pub(crate) fn blocker_lines(blockers: &[Blocker]) -> Vec<String> {
    let named = named_blockers(blockers, MAX_BLOCKERS);
    let mut lines: Vec<String> = named.iter().map(|it| blocker_line(it)).collect();
    match blockers.len() - named.len() {
        0 => {}
        others => lines.push(format!("and {others} more")),
    }
    lines
}

fn blocker_line(blocker: &Blocker) -> String {
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

/// Where the process lives, as the end of a headline.
pub(crate) fn place_of(finding: &Finding) -> String {
    place_behind(finding, ", in ")
}

pub(crate) fn headline(finding: &Finding) -> String {
    let process = &finding.process;
    let exit = finding.exit.map(|exit| format!("  {}", short_exit(exit))).unwrap_or_default();
    format!("{}[{}]{exit}", clean(&process.name), process.pid)
}

/// Adds the lines that say where the process lives.
pub(crate) fn place(lines: &mut Lines, finding: &Finding) {
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

/// One claim about the container and the pod, with the authority and the source behind it.
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

/// How a process ended, in one or two words.
#[must_use]
pub fn short_exit(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit {code}"),
        Exit::Signal { number, .. } => {
            signal_name(number).map_or_else(|| format!("signal {number}"), str::to_owned)
        }
    }
}

pub(crate) fn reaper_lines(reaper: &Reaper, now_ns: u64) -> Vec<String> {
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
            "in a wait call that began before this watch; its target is not known".to_owned()
        }
        (None, None) => "its last wait is not known".to_owned(),
    };
    vec![parts.join(", "), wait]
}

/// A creator with at most `columns` columns of its command.
pub(crate) fn creator_line(creator: &Creator, columns: usize) -> String {
    let gone = if creator.gone { " (gone)" } else { "" };
    let verb = creator.verb.as_deref().map(|verb| format!("{}: ", clean(verb))).unwrap_or_default();
    let command = command_line(&creator.process.args, creator.process.args_cut, columns);
    format!("{}[{}]{gone}  {verb}{command}", clean(&creator.process.name), creator.process.pid)
}

pub(crate) fn pid_ns_line(ns: &PidNs, vpid: Option<u32>) -> String {
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
