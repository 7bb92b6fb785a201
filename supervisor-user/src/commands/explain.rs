//! `supervisor explain`: the whole story of a process, of a reaper and its zombies, of a PID namespace, or of a family.

mod search;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use supervisor_collect::{
    host::{Host as _, Proc},
    one_shot::OneShotScan,
};
use supervisor_conclude::{conclusions::Conclusions, diagnosis::in_full};
use supervisor_deliver::say::say;
use supervisor_model::{
    arguments,
    clock::{self, Wall},
    event::{Event, EventKind},
    evidence::Evidence,
    family::Family,
    filter::Filter,
    finding::{BlockedNamespace, Finding},
    observation::{Observation, Seen},
    redact::RedactArgs,
};
use supervisor_render::{Format, families::page_text, groups::Group, story};

use self::search::{by_name, in_place};
use super::one_look::say_reads_lost;
use crate::{
    console::{Printer, print, style},
    engine::context,
    exit::CommandExit,
};

/// The most stories for one name, container or pod. The others are only counted.
const STORIES: usize = 5;
/// A zombie counts only if it stays for this long.
const GRACE: Duration = Duration::from_millis(200);
/// A process that was told to exit counts only if it has not exited within this time.
const EXIT_GRACE: Duration = Duration::from_secs(5);

/// Tell all that is known of processes, of a container or pod, of a PID namespace, or of a family of causes.
#[derive(Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("subject").required(true))]
pub struct ExplainArgs {
    /// Processes, dead or alive, by their host pids, or by a name: of this, what is unreaped is explained first. Of a reaper,
    /// what it holds
    #[arg(group = "subject", value_name = "PID|NAME", value_parser = subject)]
    subjects: Vec<Subject>,
    /// What this process must reap, by cause: the same as its pid alone
    #[arg(long, value_name = "PID", group = "subject", value_parser = arguments::pid)]
    reaper: Option<u32>,
    /// The PID namespace with this inode number (readlink /proc/PID/ns/pid)
    #[arg(long, value_name = "INO", group = "subject", value_parser = arguments::pid_namespace)]
    pidns: Option<u32>,
    /// What is unreaped or blocked, or cannot exit, in the container with this id, the beginning of its id, this name, or as lists show it
    #[arg(long, value_name = "ID", group = "subject")]
    container: Option<String>,
    /// What is unreaped or blocked, or cannot exit, in the Kubernetes pod with this name, NAMESPACE/NAME, or uid
    #[arg(long, value_name = "POD", group = "subject")]
    pod: Option<String>,
    /// What there is to know about a family, such as F1
    #[arg(long, value_name = "FAMILY", group = "subject", value_enum, ignore_case = true)]
    #[arg(hide_possible_values = true)]
    family: Option<Family>,
    /// How it is written to standard output
    #[arg(short, long, default_value = "text", value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    redact: RedactArgs,
}

/// The meaning of an argument without an option.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Pid(u32),
    Name(String),
    Family(Family),
}

/// Parses an argument without an option.
fn subject(text: &str) -> Result<Subject, String> {
    const EXAMPLES: &str = "supervisor explain takes pids (supervisor explain 1234) or the name of a process \
                            (supervisor explain conmonrs)";
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return arguments::pid(text).map(Subject::Pid).map_err(|error| format!("{error}; {EXAMPLES}"));
    }
    // Only a word like F4 is a family here. Other names of a family, such as `4`, are a pid or a process name.
    let is_id = text.starts_with(['F', 'f']) && text[1..].bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(family) if is_id => Ok(Subject::Family(family)),
        _ if text.len() < supervisor_ebpf::COMM_LEN => Ok(Subject::Name(text.to_owned())),
        _ => Err(format!("a process's name has at most 15 bytes; {EXAMPLES}")),
    }
}

/// A part of the answer.
pub(super) enum Part {
    Event(EventKind),
    /// A process, and the zombies that it must reap.
    Reaper(Box<Finding>, Vec<Finding>),
    /// Text only: it stands for the parts that are left out.
    Note(String),
}

impl Part {
    /// Whether something is unreaped or blocked, or a process was told to exit and is no zombie yet.
    fn is_found(&self) -> bool {
        match self {
            Self::Event(EventKind::Explained(finding)) | Self::Reaper(finding, _) => finding.ending.is_some(),
            Self::Event(_) => true,
            Self::Note(_) => false,
        }
    }
}

/// Explains. The exit code says whether a subject is unreaped or blocked, or was told to exit and is no zombie yet. If
/// one of several subjects cannot be explained, a message says why, and the result is [`CommandExit::Failed`].
///
/// # Errors
///
/// If the only subject does not exist, if something cannot be read or written, or if the capabilities cannot be given
/// up.
pub fn run(args: &ExplainArgs) -> Result<CommandExit> {
    let families =
        args.subjects.iter().filter_map(|it| if let Subject::Family(it) = it { Some(it) } else { None });
    let families: Vec<&Family> = args.family.iter().chain(families).collect();
    if !families.is_empty() {
        let pages: Vec<String> = families.iter().map(|family| page_text(**family)).collect();
        print(&pages.join("\n"))?;
    }
    if args.family.is_some() || (!args.subjects.is_empty() && families.len() == args.subjects.len()) {
        return Ok(CommandExit::Ok);
    }
    let host = Proc::new().context("cannot read /proc")?;
    let redactor = args.redact.redactor()?;
    let mut scan = OneShotScan::new(&host, &redactor)?;
    scan.give_up_capabilities()?;
    host.replace_reader()?;
    if let Some(missing) = scan.missing() {
        say(&format!("supervisor: only what /proc shows is known: {missing}"));
    }
    let mut printer = Printer::new(args.output, context(host.identity(), scan.hooks()));
    let mut stories = Stories { output: args.output, printer: &mut printer, is_first: families.is_empty() };
    let exit = explain_all(args, &host, &mut scan, &mut stories);
    say_reads_lost(&host);
    exit
}

/// Explains one subject after the other. If one of several subjects does not exist, the function says so and explains
/// the others.
fn explain_all(
    args: &ExplainArgs,
    host: &Proc,
    scan: &mut OneShotScan<'_>,
    stories: &mut Stories<'_>,
) -> Result<CommandExit> {
    if let Some(ino) = args.pidns {
        return stories.parts(vec![explain_namespace(host, scan, ino)?]);
    }
    if args.container.is_some() || args.pod.is_some() {
        return stories.parts(in_place(host, scan, args.container.as_deref(), args.pod.as_deref())?);
    }
    let mut worst = CommandExit::Ok;
    for subject in args.subjects.iter().chain(args.reaper.map(Subject::Pid).as_ref()) {
        let parts = match subject {
            Subject::Pid(pid) => explain_pid(host, scan, *pid),
            Subject::Name(name) => by_name(host, scan, name),
            Subject::Family(_) => continue,
        };
        let exit = match parts {
            Err(error) if args.subjects.len() > 1 => {
                say(&format!("supervisor: {}", supervisor_model::words::clean(&format!("{error:#}"))));
                CommandExit::Failed
            }
            parts => stories.parts(parts?)?,
        };
        worst = if exit as u8 > worst as u8 { exit } else { worst };
    }
    Ok(worst)
}

/// Writes the parts of the answer.
struct Stories<'a> {
    output: Format,
    printer: &'a mut Printer,
    is_first: bool,
}

impl Stories<'_> {
    fn parts(&mut self, parts: Vec<Part>) -> Result<CommandExit> {
        let is_found = parts.iter().any(Part::is_found);
        for part in parts {
            self.part(part)?;
        }
        Ok(if is_found { CommandExit::Found } else { CommandExit::Ok })
    }

    fn part(&mut self, part: Part) -> Result<()> {
        let text = match (self.output, &part) {
            (_, Part::Note(note)) => {
                say(note);
                return Ok(());
            }
            (Format::Text, Part::Event(EventKind::State(finding) | EventKind::Explained(finding))) => {
                story::process(finding, style())
            }
            (Format::Text, Part::Event(EventKind::Blocked { namespace, .. })) => {
                story::namespace(namespace, style())
            }
            (Format::Text, Part::Reaper(finding, held)) => {
                let held: Vec<&Finding> = held.iter().collect();
                let groups = Group::all(&held);
                match groups.first().map(|worst| in_full(worst.first()).diagnosis) {
                    Some(worst) => {
                        story::reaper(finding, story::Held { groups: &groups, worst: &worst }, style())
                    }
                    None => story::process(finding, style()),
                }
            }
            _ => return self.event(part),
        };
        let gap = if self.is_first { "" } else { "\n" };
        self.is_first = false;
        print(&format!("{gap}{text}"))
    }

    fn event(&mut self, part: Part) -> Result<()> {
        let kind = match part {
            Part::Event(kind) => kind,
            Part::Reaper(finding, _) => EventKind::Explained(finding),
            Part::Note(_) => return Ok(()),
        };
        self.printer.write(&Event { at_ns: clock::now_ns(), wall: Wall::now(), kind })
    }
}

fn explain_pid(host: &Proc, scan: &mut OneShotScan<'_>, pid: u32) -> Result<Vec<Part>> {
    let pid = match host.thread_group(pid) {
        Some(process) if process != pid => {
            say(&format!("{pid} is a thread of process {process}, which is this:"));
            process
        }
        _ => pid,
    };
    explain_process(host, scan, pid)
}

/// Explains a process. If it is PID 1 of a namespace that cannot end, the namespace comes first. If it is a reaper, its
/// zombies are included.
pub(super) fn explain_process(host: &Proc, scan: &mut OneShotScan<'_>, pid: u32) -> Result<Vec<Part>> {
    let Some((evidence, namespaces)) = scan.process(pid)? else {
        if host.was_not_read() {
            bail!(
                "process {pid} could not be read in time: another process holds up reads of /proc; try again in 10 s"
            );
        }
        bail!("there is no process {pid}: it was reaped, or never was");
    };
    let mut conclusions = new_conclusions(host, scan, Filter::default())?;
    let mut parts: Vec<Part> = Vec::new();
    for namespace in namespaces {
        conclusions.take(&namespace);
        if let Seen::Held { evidence, .. } = &namespace.seen
            && evidence.init.facts.pid == pid
        {
            parts.extend(explain_blocked(host, scan, &namespace)?);
        }
    }
    let said = said_of(&mut conclusions, &evidence);
    parts.push(match said {
        EventKind::Explained(finding) => {
            scan.unreaped_by(pid, GRACE, |observation| conclusions.note(observation))?;
            Part::Reaper(finding, conclusions.open().cloned().collect())
        }
        said => Part::Event(said),
    });
    Ok(parts)
}

/// Empty conclusions for a one-shot scan.
pub(super) fn new_conclusions(host: &Proc, scan: &OneShotScan<'_>, filter: Filter) -> Result<Conclusions> {
    let mut conclusions = Conclusions::new(host.identity().clone(), 0, filter);
    conclusions.set_watched_since(scan.watched_since_ns()?);
    Ok(conclusions)
}

pub(super) fn blocked(namespace: &BlockedNamespace) -> Part {
    Part::Event(EventKind::Blocked { namespace: Box::new(namespace.clone()), again: false })
}

pub(super) fn zombie(finding: &Finding) -> Part {
    Part::Event(EventKind::State(Box::new(in_full(finding))))
}

pub(super) fn cannot_exit(finding: &Finding) -> Part {
    Part::Event(EventKind::Explained(Box::new(in_full(finding))))
}

fn said_of(conclusions: &mut Conclusions, evidence: &Evidence) -> EventKind {
    let finding = Box::new(conclusions.explain(evidence));
    if evidence.facts.is_unreaped() { EventKind::State(finding) } else { EventKind::Explained(finding) }
}

/// Explains a PID namespace that cannot end. Its zombies are inspected too, because the remedies depend on whether they
/// can be freed. `None` if it has ended meanwhile.
fn explain_blocked(
    host: &Proc,
    scan: &mut OneShotScan<'_>,
    observation: &Observation,
) -> Result<Option<Part>> {
    let mut conclusions = new_conclusions(host, scan, Filter::default())?;
    conclusions.take(observation);
    if let Seen::Held { evidence, .. } = &observation.seen {
        scan.unreaped_in(evidence, |zombie| conclusions.note(zombie))?;
    }
    Ok(conclusions.namespaces().next().map(blocked))
}

fn explain_namespace(host: &Proc, scan: &mut OneShotScan<'_>, ino: u32) -> Result<Part> {
    for observation in scan.namespaces()? {
        if let Seen::Held { evidence, .. } = &observation.seen
            && evidence.init.facts.pid_ns == Some(ino)
            && let Some(part) = explain_blocked(host, scan, &observation)?
        {
            return Ok(part);
        }
    }
    let mut conclusions = new_conclusions(host, scan, Filter::default())?;
    let init = scan.init_of(ino)?.with_context(|| {
        format!("there is no PID namespace {ino} with a PID 1, or it cannot be seen from here")
    })?;
    say(&format!("PID namespace {ino} is not blocked; this is its PID 1:"));
    Ok(Part::Event(said_of(&mut conclusions, &init)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_pid_a_family_or_a_name() {
        assert_eq!(subject("12"), Ok(Subject::Pid(12)));
        assert_eq!(subject("f4"), Ok(Subject::Family(Family::F4)));
        assert_eq!(subject("conmonrs"), Ok(Subject::Name("conmonrs".to_owned())));
        assert_eq!(subject("F99"), Ok(Subject::Name("F99".to_owned())), "a process can be called so");
        for wrong in ["99999999999", "a-name-of-sixteen"] {
            let error = subject(wrong).expect_err(wrong);
            assert!(error.contains("supervisor explain 1234"), "{error}");
        }
    }
}
