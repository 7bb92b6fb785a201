//! `supervisor explain`: the whole story of one process, of a PID namespace, or of a family.

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::ps::say_reads_lost;
use crate::{
    clock::{self, Wall},
    conclusions::Conclusions,
    console::{Printer, print, say, style},
    diagnosis::{Family, page_text},
    engine::context,
    evidence::Evidence,
    exit::Exit,
    filter::Filter,
    finding::{Event, EventKind},
    glance::Glance,
    host::{Host as _, Proc},
    observation::Seen,
    redact::RedactArgs,
    report::{Format, story},
};

/// Tell all that is known of one process, of a PID namespace, or of a family of causes.
#[derive(Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("subject").required(true))]
pub struct ExplainArgs {
    /// A process, dead or alive, by its host pid
    #[arg(group = "subject")]
    pid: Option<u32>,
    /// The PID namespace with this inode number (readlink /proc/PID/ns/pid)
    #[arg(long, value_name = "INO", group = "subject")]
    pidns: Option<u32>,
    /// What there is to know about a family, such as F1
    #[arg(long, value_name = "FAMILY", group = "subject")]
    family: Option<Family>,
    /// How it is written to standard output
    #[arg(short, long, default_value = "text", value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    redact: RedactArgs,
}

/// Explains; the exit code says whether it is unreaped or blocked.
///
/// # Errors
///
/// If there is no such process or namespace, or something cannot be read or written.
pub fn run(args: &ExplainArgs) -> Result<Exit> {
    if let Some(family) = args.family {
        print(&page_text(family))?;
        return Ok(Exit::Ok);
    }
    let host = Proc::new().context("cannot read /proc")?;
    let redactor = args.redact.redactor()?;
    let mut glance = Glance::new(&host, &redactor)?;
    glance.give_up_capabilities()?;
    host.replace_reader()?;
    if let Some(missing) = glance.missing() {
        say(&format!("supervisor: only what /proc shows is known: {missing}"));
    }
    let mut conclusions = Conclusions::new(host.identity().clone(), 0, Filter::default());
    let pid = args.pid.map(|pid| match host.thread_group(pid) {
        Some(process) if process != pid => {
            say(&format!("{pid} is a thread of process {process}, which is this:"));
            process
        }
        _ => pid,
    });
    let kinds = match (pid, args.pidns) {
        (Some(pid), _) => explain_process(&host, &mut glance, &mut conclusions, pid)?,
        (None, Some(ino)) => vec![explain_namespace(&mut glance, &mut conclusions, ino)?],
        (None, None) => bail!("name a process, a PID namespace or a family"),
    };
    say_reads_lost(&host);
    let is_found = kinds.iter().any(|kind| match kind {
        EventKind::Explained(finding) => finding.ending.is_some(),
        _ => true,
    });
    let mut printer = Printer::new(args.output, context(host.identity(), glance.hooks()));
    for (i, kind) in kinds.into_iter().enumerate() {
        let event = Event { at_ns: clock::now_ns(), wall: Wall::now(), kind };
        let gap = if i > 0 { "\n" } else { "" };
        match (args.output, &event.kind) {
            (Format::Text, EventKind::State(finding) | EventKind::Explained(finding)) => {
                print(&format!("{gap}{}", story::process(finding, style())))?;
            }
            (Format::Text, EventKind::Blocked { namespace, .. }) => {
                print(&format!("{gap}{}", story::namespace(namespace, style())))?;
            }
            _ => printer.write(&event)?,
        }
    }
    Ok(if is_found { Exit::Found } else { Exit::Ok })
}

/// The process; and of one that is PID 1 of a namespace that cannot end, the namespace too.
fn explain_process(
    host: &Proc,
    glance: &mut Glance<'_>,
    conclusions: &mut Conclusions,
    pid: u32,
) -> Result<Vec<EventKind>> {
    let Some((evidence, namespaces)) = glance.process(pid)? else {
        if host.was_not_read() {
            bail!(
                "process {pid} could not be read in time: another process holds up reads of /proc; try again in 10 s"
            );
        }
        bail!("there is no process {pid}: it was reaped, or never was");
    };
    for namespace in namespaces {
        conclusions.take(&namespace);
    }
    let mut kinds = vec![said_of(conclusions, &evidence)];
    let own = conclusions.namespaces().filter(|namespace| namespace.init.process.pid == pid);
    kinds.extend(
        own.map(|namespace| EventKind::Blocked { namespace: Box::new(namespace.clone()), again: false }),
    );
    Ok(kinds)
}

fn said_of(conclusions: &mut Conclusions, evidence: &Evidence) -> EventKind {
    let finding = Box::new(conclusions.explain(evidence));
    if evidence.facts.is_unreaped() { EventKind::State(finding) } else { EventKind::Explained(finding) }
}

fn explain_namespace(glance: &mut Glance<'_>, conclusions: &mut Conclusions, ino: u32) -> Result<EventKind> {
    for observation in glance.namespaces()? {
        if let Seen::Held { evidence, .. } = &observation.seen
            && evidence.init.facts.pid_ns == Some(ino)
        {
            conclusions.take(&observation);
        }
    }
    if let Some(namespace) = conclusions.namespaces().next() {
        return Ok(EventKind::Blocked { namespace: Box::new(namespace.clone()), again: false });
    }
    let init = glance.init_of(ino)?.with_context(|| {
        format!("there is no PID namespace {ino} with a PID 1, or it cannot be seen from here")
    })?;
    say(&format!("PID namespace {ino} is not blocked; this is its PID 1:"));
    Ok(said_of(conclusions, &init))
}
