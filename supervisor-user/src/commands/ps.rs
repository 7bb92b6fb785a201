//! `supervisor ps`: what is unreaped now.

use std::{collections::HashMap, io, time::Duration};

use anyhow::{Context as _, Result};
use clap::Args;

use super::{
    print, say,
    watch::{context, parse_duration},
};
use crate::{
    attribution::attribute,
    clock,
    evidence::{Sources, starts_match},
    exit::Exit,
    filter::Filter,
    finding::{Event, EventKind, Finding},
    host::{Host, Proc, ProcessFacts},
    kernel::{ExitedTask, Options, Tracer, rights},
    report::clean,
    sink::{Format, Stdout},
};

/// List what is unreaped now.
#[derive(Args, Clone, Debug)]
pub struct PsArgs {
    /// How long a zombie must stay to be listed: every process is one for a moment
    #[arg(long, default_value = "200ms", value_parser = parse_duration, value_name = "TIME")]
    grace: Duration,
    /// How the list is written to standard output
    #[arg(short, long, default_value = "text", value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    filter: Filter,
}

/// Lists; the exit code says whether there is anything.
///
/// # Errors
///
/// If `/proc` cannot be read or standard output cannot be written.
pub fn run(args: &PsArgs) -> Result<Exit> {
    let host = Proc::new().context("cannot read /proc")?;
    let unreaped = unreaped(&host, args.grace)?;
    let tasks = tasks()?;
    let hooks = tasks.is_some().then_some("iter");
    let mut tasks = tasks.unwrap_or_default();
    let mut findings = Vec::new();
    for facts in unreaped {
        let task =
            tasks.remove(&facts.pid).filter(|task| starts_match(&host, &facts, task.record.id.start_ns));
        let id = task.as_ref().map(|task| task.record.id);
        let sources = Sources { tracer: None, host: &host, attached_ns: None };
        let evidence = sources.gather(facts, None, task, id)?;
        let finding = attribute(&evidence, host.identity(), args.grace.as_nanos() as u64);
        if args.filter.wants(&finding) {
            findings.push(finding);
        }
    }
    findings.sort_by_key(|finding| {
        (finding.reaper.as_ref().map(|reaper| reaper.process.pid), finding.process.pid)
    });
    let found = if findings.is_empty() { Exit::Ok } else { Exit::Found };
    match args.output {
        Format::Text => print_table(&findings)?,
        Format::Json => print_json(findings, &host, hooks)?,
    }
    Ok(found)
}

/// What the task iterator says of each pid that has exited; where it cannot be used, what is missing is said.
fn tasks() -> Result<Option<HashMap<u32, ExitedTask>>> {
    let rights = rights()?;
    if let Err(reason) = rights.require_tracing() {
        say(&format!(
            "supervisor: subreaper flags, cgroup v1 paths and other users' exit statuses are not known: {reason}"
        ));
        return Ok(None);
    }
    let options = Options { report_after_ns: u64::MAX, log: false, attach: false };
    match Tracer::start(&options).and_then(|mut tracer| tracer.scan(false, |_| {})) {
        Ok(tasks) => Ok(Some(tasks.into_iter().map(|task| (task.record.id.tgid, task)).collect())),
        Err(error) => {
            say(&format!("supervisor: subreaper flags and cgroup v1 paths are not known: {error}"));
            Ok(None)
        }
    }
}

/// Processes that are unreaped now and still after the grace period. Waits only if there is one.
fn unreaped(host: &dyn Host, grace: Duration) -> Result<Vec<ProcessFacts>> {
    let look = |pid: u32| {
        let facts = host.process(pid).context("cannot read /proc");
        facts.map(|facts| facts.filter(ProcessFacts::is_unreaped))
    };
    let mut first = Vec::new();
    for pid in host.pids().context("cannot read /proc")? {
        first.extend(look(pid)?);
    }
    if first.is_empty() {
        return Ok(first);
    }
    std::thread::sleep(grace);
    let mut still = Vec::new();
    for before in first {
        still.extend(look(before.pid)?.filter(|now| now.start_ticks == before.start_ticks));
    }
    Ok(still)
}

fn print_json(findings: Vec<Finding>, host: &Proc, hooks: Option<&'static str>) -> Result<()> {
    let mut stdout = Stdout::new(Format::Json);
    let context = context(host, hooks);
    for finding in findings {
        let event = Event { at_ns: clock::now_ns(), kind: EventKind::State(Box::new(finding)) };
        match stdout.write(&event, &context) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            result => result.context("cannot write to standard output")?,
        }
    }
    Ok(())
}

fn print_table(findings: &[Finding]) -> Result<()> {
    if findings.is_empty() {
        say("nothing is unreaped");
        return Ok(());
    }
    let header = ["PID", "NAME", "EXIT", "REAPER", "REAPER IS", "STATE", "PID NS", "VPID", "CONTAINER"];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(findings.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    print(&out)
}

fn row(finding: &Finding) -> [String; 9] {
    let unknown = || "-".to_owned();
    let reaper = finding.reaper.as_ref();
    let is = reaper.map(|reaper| {
        let mut is = Vec::new();
        if reaper.is_pidns_init == Some(true) {
            is.push("init");
        }
        if reaper.is_subreaper == Some(true) {
            is.push("subreaper");
        }
        if is.is_empty() { unknown() } else { is.join(",") }
    });
    [
        finding.process.pid.to_string(),
        clean(&finding.process.name),
        finding.exit.map_or_else(unknown, crate::report::text::short_exit),
        reaper.map_or_else(unknown, |reaper| {
            format!("{}[{}]", clean(&reaper.process.name), reaper.process.pid)
        }),
        is.unwrap_or_else(unknown),
        reaper.and_then(|reaper| reaper.state).map_or_else(unknown, |state| state.to_string()),
        finding.pid_ns.as_ref().map_or_else(unknown, |ns| ns.ino.to_string()),
        finding.process.vpid.map_or_else(unknown, |vpid| vpid.to_string()),
        finding.container.as_ref().map_or_else(unknown, |container| clean(&container.id)),
    ]
}
