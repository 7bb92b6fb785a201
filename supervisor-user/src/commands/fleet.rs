//! `supervisor ps --from` and `supervisor watch --from`: all nodes, as their agents have told a NATS broker.

mod top;
mod watch;

use std::io::Write as _;

use anyhow::{Context as _, Result};
use serde::de::IgnoredAny;

pub(super) use self::{top::Nodes, watch::watch};
use super::{
    table::{table, unknown},
    unmatched::without_filter,
};
use crate::{
    console::{colour, print, say},
    engine::block_on,
    exit::Exit,
    filter::Filter,
    fleet::{
        FindingKind, Fleet, FleetArgs,
        list::{EXITS, NAMESPACES, ZOMBIES, exit, namespace, place, status, zombie},
        read,
    },
    nats::Link,
    report::Format,
    words::{clean, harmless_json},
};

/// Lists what is unreaped on all nodes; the exit code says whether there is anything, or a node does not report.
///
/// # Errors
///
/// If the broker cannot be read, no node matches, or standard output cannot be written.
pub(super) fn list(args: &FleetArgs, filter: &Filter, output: Format) -> Result<Exit> {
    anyhow::ensure!(
        output != Format::Ocsf,
        "the bucket holds ECS documents: with --from there are -o text and -o json"
    );
    let fleet = block_on(async {
        let failed = || format!("cannot read the open findings from NATS {}", args.access().places());
        let link = Link::open(&args.access(), "supervisor ps", args.answer()).await.with_context(failed)?;
        let fleet = read(&link, args, filter, output != Format::Text).await.with_context(failed)?;
        fleet.with_context(|| args.no_bucket()).with_context(failed)
    })?;
    anyhow::ensure!(
        !fleet.hosts.is_empty(),
        "no agent that matches has reported to bucket {}",
        args.bucket()
    );
    if output == Format::Text {
        print_tables(&fleet, filter)?;
    } else {
        print_documents(&fleet)?;
    }
    say_left_out(&fleet);
    let is_fine = fleet.rows.is_empty() && fleet.stale().next().is_none() && fleet.unreadable == 0;
    Ok(if is_fine { Exit::Ok } else { Exit::Found })
}

fn say_left_out(fleet: &Fleet) {
    for text in fleet.left_out() {
        say(&format!("supervisor: {text}"));
    }
}

/// False if nobody reads it any more.
fn write(line: &str) -> Result<bool> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true).context("cannot write to standard output"),
    }
}

/// A JSON document as one line; `None` if it is none.
fn json(bytes: &[u8]) -> Option<String> {
    serde_json::from_slice::<IgnoredAny>(bytes).ok()?;
    Some(harmless_json(std::str::from_utf8(bytes).ok()?.to_owned()) + "\n")
}

fn print_documents(fleet: &Fleet) -> Result<()> {
    for (_, host) in fleet.stale() {
        say(&format!("supervisor: {} is {}", clean(&host.name), status(host.state, fleet.now)));
    }
    for raw in fleet.rows.values().filter_map(|row| row.raw.as_deref()) {
        if !write(&json(raw).unwrap_or_default())? {
            break;
        }
    }
    Ok(())
}

fn print_tables(fleet: &Fleet, filter: &Filter) -> Result<()> {
    let of = |kind: FindingKind| {
        fleet.rows.iter().filter(move |(_, row)| row.document.supervisor.finding.kind == kind)
    };
    let mut zombies: Vec<_> = of(FindingKind::Zombie).collect();
    zombies.sort_by_key(|(key, row)| {
        let reaper = row.document.supervisor.reaper.as_ref().map(|reaper| reaper.pid);
        (&key.cluster, &key.host, reaper, row.document.process.pid)
    });
    let namespaces: Vec<_> = of(FindingKind::Namespace).collect();
    let silent: Vec<_> = fleet
        .stale()
        .filter(|((cluster, host), _)| {
            !fleet.rows.keys().any(|key| key.cluster == *cluster && key.host == *host)
        })
        .collect();

    let mut out = String::new();
    if !zombies.is_empty() || !silent.is_empty() {
        let silent = silent.into_iter().map(|((cluster, _), host)| {
            let mut cells = [(); 9].map(|()| unknown());
            cells[0] = place(fleet, cluster, &host.name);
            cells[8] = status(host.state, fleet.now);
            cells
        });
        table(
            &mut out,
            &ZOMBIES,
            zombies.iter().map(|(key, row)| zombie(fleet, key, row)).chain(silent),
            colour(),
        );
    }
    if !namespaces.is_empty() {
        if !out.is_empty() {
            out.push('\n');
        }
        table(
            &mut out,
            &NAMESPACES,
            namespaces.iter().map(|(key, row)| namespace(fleet, key, row)),
            colour(),
        );
    }
    let exits: Vec<_> = of(FindingKind::Exit).collect();
    if !exits.is_empty() {
        if !out.is_empty() {
            out.push('\n');
        }
        table(&mut out, &EXITS, exits.iter().map(|(key, row)| exit(fleet, key, row)), colour());
    }
    if out.is_empty() {
        let nodes = fleet.hosts.len();
        if *filter == Filter::default() {
            say(&format!("nothing is unreaped; nodes that report: {nodes}"));
        } else {
            let others = without_filter(fleet.unwanted());
            say(&format!("nothing that matches is unreaped; {others}; nodes that report: {nodes}"));
        }
    }
    print(&out)
}
