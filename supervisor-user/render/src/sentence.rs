//! Describes an event in one sentence that stands alone in a log.

use supervisor_model::{
    event::{Dropped, Event, EventKind, Loss, ReapedBy, Suppressed},
    finding::{Block, Finding, Runtime, Stage},
    names::Names,
    phrases::exit,
    words::{clean, duration},
};

/// The sentence for an event.
#[must_use]
pub fn sentence(event: &Event) -> String {
    match &event.kind {
        EventKind::Detected(finding) | EventKind::State(finding) => unreaped(finding, event.at_ns),
        EventKind::Existing(finding) => {
            format!("{} (it had exited before supervisor started)", unreaped(finding, event.at_ns))
        }
        EventKind::Updated(finding) => {
            let blocks: Vec<String> = finding.blocks.iter().map(|it| block(finding, it)).collect();
            let blocks = if blocks.is_empty() { String::new() } else { format!("; {}", blocks.join("; ")) };
            format!("{}{blocks}", unreaped(finding, event.at_ns))
        }
        EventKind::Explained(finding) => {
            let (process, verdict) = (&finding.process, &finding.diagnosis.verdict);
            format!("{} (pid {}): {verdict}", clean(&process.name), process.pid)
        }
        EventKind::Reaped { finding, dwell_ns, by } => {
            let after =
                dwell_ns.map(|dwell| format!(" {} after its exit", duration(dwell))).unwrap_or_default();
            let by = by.as_ref().map(|by| format!(" by {}", reaped_by(by))).unwrap_or_default();
            format!("{} was reaped{after}{by}", subject(finding))
        }
        EventKind::Blocked { namespace, .. } => {
            format!("{}{}", namespace.diagnosis.verdict, place(&namespace.init, "; it is that of "))
        }
        EventKind::Released { namespace, blocked_ns } => {
            let after = blocked_ns
                .map(|blocked| format!(" {} after its PID 1 had exited", duration(blocked)))
                .unwrap_or_default();
            let init = &namespace.init;
            let ino = init.pid_ns.as_ref().map(|ns| ns.ino.to_string()).unwrap_or_default();
            let process = &init.process;
            format!(
                "PID namespace {ino} of {} (pid {}){} could end{after}",
                clean(&process.name),
                process.pid,
                place(init, " in ")
            )
        }
        EventKind::ExitBlocked { finding, .. } => cannot_exit(finding),
        EventKind::ExitFinished { finding, blocked_ns } => {
            let after = blocked_ns.map(|blocked| format!(" {} after it was told to", duration(blocked)));
            format!("{} has exited{}", subject(finding), after.unwrap_or_default())
        }
        EventKind::ReapRequested(request) => request.sentence(),
        EventKind::Lost(loss) => lost(loss, event.at_ns),
        EventKind::Dropped(dropped) => sink_drops(dropped, event.at_ns),
        EventKind::Suppressed(Suppressed { reaper_pid, reaper_name, count, since_ns }) => format!(
            "{count} more findings of {} (pid {reaper_pid}) were opened or updated within {} and are not reported one by \
             one; `supervisor ps` lists them",
            clean(reaper_name),
            duration(event.at_ns.saturating_sub(*since_ns))
        ),
    }
}

fn sink_drops(Dropped { sink, count, failed, since_ns }: &Dropped, now_ns: u64) -> String {
    let (why, of_them) = match *failed {
        0 => ("was too slow", String::new()),
        failed if failed == *count => ("failed", String::new()),
        failed => ("was too slow and failed", format!(", {failed} of them because it failed")),
    };
    let within = duration(now_ns.saturating_sub(*since_ns));
    format!("sink {} {why}: {count} events for it were dropped within {within}{of_them}", clean(sink))
}

fn unreaped(finding: &Finding, now_ns: u64) -> String {
    let how = finding.exit.map_or_else(|| "exited".to_owned(), exit);
    let since = finding
        .exit_ns
        .map(|exit_ns| format!(" {} ago", duration(now_ns.saturating_sub(exit_ns))))
        .unwrap_or_default();
    format!("{} {how}{since} and is not reaped: {}", subject(finding), finding.diagnosis.verdict)
}

/// Where a process lives, behind `lead`. Empty if its container has only an id.
pub(crate) fn place(finding: &Finding, lead: &str) -> String {
    let names = Names::of(finding).filter(Names::are_known);
    names.map(|names| format!("{lead}{}", names.phrase())).unwrap_or_default()
}

/// The process that reaped, by name and pid.
pub(super) fn reaped_by(by: &ReapedBy) -> String {
    let pid = by.id.tgid;
    by.name.as_ref().map_or_else(|| format!("pid {pid}"), |name| format!("{} (pid {pid})", clean(name)))
}

/// The sentence for a process that cannot exit, and for the PID namespaces of other processes that wait for it.
fn cannot_exit(finding: &Finding) -> String {
    let others = finding.blocks.iter().filter(|block| block.init_pid != finding.process.pid);
    let what = format!("{} cannot exit: {}", subject(finding), finding.diagnosis.verdict);
    let parts: Vec<String> = [what].into_iter().chain(others.map(|it| block(finding, it))).collect();
    parts.join("; ")
}

/// What a process blocks, as a clause.
pub(super) fn block(of: &Finding, block: &Block) -> String {
    if block.init_pid == of.process.pid {
        return format!("it is PID 1 of PID namespace {}, which cannot end before", block.ino);
    }
    format!(
        "it blocks the end of PID namespace {}, whose PID 1 {} (pid {}) has exited",
        block.ino,
        clean(&block.init_name),
        block.init_pid
    )
}

/// The process, with its role for its runtime and container.
fn subject(finding: &Finding) -> String {
    let process = &finding.process;
    let container = Names::of(finding).map(|names| names.phrase());
    let of = match (&finding.runtime, container) {
        (Some(runtime), Some(container)) => format!(", {}", part(runtime, process.vpid, &container)),
        (None, Some(container)) => format!(", of {container}"),
        (_, None) => String::new(),
    };
    let end = if of.is_empty() { "" } else { "," };
    format!("{} (pid {}){of}{end}", clean(&process.name), process.pid)
}

/// The role of a process for its runtime and container.
fn part(runtime: &Runtime, vpid: Option<u32>, container: &str) -> String {
    match runtime.stage {
        Stage::Container if runtime.is_session() => format!("a process of an exec session in {container}"),
        Stage::Container if vpid == Some(1) => format!("PID 1 of {container}"),
        Stage::Container => format!("a process of {container}"),
        Stage::Init | Stage::Intermediate | Stage::Runtime => {
            let verb = runtime.verb.as_deref().map(|verb| format!(" {}", clean(verb))).unwrap_or_default();
            format!("{} of `{}{verb}` for {container}", runtime.describe(vpid), clean(&runtime.name))
        }
    }
}

fn lost(loss: &Loss, now_ns: u64) -> String {
    let mut parts = Vec::new();
    for (count, what) in [
        (loss.exits, "exits that the table of unreaped processes had no room for"),
        (loss.reaps, "reaps that were not seen, or that the event ring had no room for"),
        (loss.records, "fork, exec or wait records that were not seen, or that there was no room for"),
        (loss.reads, "reads of other processes that took too long, or were left out for that reason"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    let what = if parts.is_empty() { "reaps that were not reported".to_owned() } else { parts.join(", ") };
    format!(
        "events were lost in the last {}: {what}; reconciliation found {} unknown unreaped processes and closed {} findings",
        duration(now_ns.saturating_sub(loss.since_ns)),
        loss.found,
        loss.closed
    )
}
