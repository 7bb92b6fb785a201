//! `supervisor ps`, `watch` and `top` with `--from`: all nodes, as their agents have reported to a NATS broker.

mod top;
mod watch;

use std::io::Write as _;

use anyhow::{Context as _, Result};
use serde::de::IgnoredAny;

use crate::nodes::list::{EXITS, NAMESPACES, cell_of, exit, key_of, namespace, place, status};

pub(super) use self::{top::Nodes, watch::watch};
use supervisor_deliver::{
    fleet::{FindingKind, Fleet, FleetArgs, FleetRow, Node, read},
    nats::{BucketKey, Link},
    say::say,
};
use supervisor_model::{
    filter::Filter,
    words::{clean, harmless_json},
};
use supervisor_render::{
    Format,
    columns::{Column, SortKey},
    style::Colour,
    table::{Gives, table, unknown},
};

use super::{
    listing::{Listed, Listing},
    unmatched::without_filter,
};
use crate::{
    console::{colour, columns, print},
    engine::block_on,
    exit::CommandExit,
};

/// Lists everything unreaped on all nodes, with `before` in front of the text. The exit code says whether there is
/// anything, or whether a node does not report.
///
/// # Errors
///
/// If the broker cannot be read, no node matches, or standard output cannot be written.
pub(super) fn list(
    args: &FleetArgs,
    filter: &Filter,
    output: Format,
    listing: &Listing,
    before: &str,
) -> Result<CommandExit> {
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
        print_tables(&fleet, filter, listing, before)?;
    } else {
        print_documents(&fleet)?;
    }
    say_left_out(&fleet);
    let is_fine = fleet.rows.is_empty() && fleet.stale().next().is_none() && fleet.unreadable == 0;
    Ok(if is_fine { CommandExit::Ok } else { CommandExit::Found })
}

fn say_left_out(fleet: &Fleet) {
    for text in fleet.left_out() {
        say(&format!("supervisor: {text}"));
    }
}

/// Writes a line. Returns false if nobody reads standard output any more.
fn write(line: &str) -> Result<bool> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true).context("cannot write to standard output"),
    }
}

/// A JSON document as one line; `None` if the bytes are no JSON.
fn json(bytes: &[u8]) -> Option<String> {
    serde_json::from_slice::<IgnoredAny>(bytes).ok()?;
    Some(harmless_json(std::str::from_utf8(bytes).ok()?.to_owned()) + "\n")
}

fn print_documents(fleet: &Fleet) -> Result<()> {
    say_stale(fleet);
    for raw in fleet.rows.values().filter_map(|row| row.raw.as_deref()) {
        if !write(&json(raw).unwrap_or_default())? {
            break;
        }
    }
    Ok(())
}

fn say_stale(fleet: &Fleet) {
    for (_, host) in fleet.stale() {
        say(&format!("supervisor: {} is {}", clean(&host.name), status(host.state, fleet.now)));
    }
}

/// A line of the list of unreaped processes.
enum Line<'a> {
    Zombie(&'a Fleet, &'a BucketKey, &'a FleetRow),
    /// A node that does not report and has left no finding.
    Silent(&'a Fleet, &'a str, &'a Node),
}

impl Listed for Line<'_> {
    fn cell(&self, column: Column) -> String {
        match (self, column) {
            (Self::Zombie(fleet, key, row), column) => cell_of(column, fleet, key, row),
            (Self::Silent(fleet, cluster, host), Column::Host) => place(fleet, cluster, &host.name),
            (Self::Silent(fleet, _, host), Column::Status) => status(host.state, fleet.now),
            (Self::Silent(..), _) => unknown(),
        }
    }

    fn key(&self, column: Column) -> SortKey {
        match self {
            Self::Zombie(fleet, key, row) => key_of(column, fleet, key, row),
            Self::Silent(..) => SortKey::of(self.cell(column)),
        }
    }
}

/// Nodes that do not report and have left no finding.
fn silent(fleet: &Fleet) -> impl Iterator<Item = Line<'_>> {
    let stale = fleet.stale().filter(|((cluster, host), _)| {
        !fleet.rows.keys().any(|key| key.cluster == *cluster && key.host == *host)
    });
    stale.map(move |((cluster, _), host)| Line::Silent(fleet, cluster, host))
}

/// Whether the list has a line for each silent node. That line needs the columns with its name and its status.
fn shows_silent(listing: &Listing) -> bool {
    !listing.is_chosen() || (listing.names(Column::Host) && listing.names(Column::Status))
}

/// The lists, on a terminal with `room` columns.
fn tables(fleet: &Fleet, listing: &Listing, room: Option<usize>, colour: Colour) -> String {
    let of = |kind: FindingKind| {
        fleet.rows.iter().filter(move |(_, row)| row.document.supervisor.finding.kind == kind)
    };
    let mut zombies: Vec<_> = of(FindingKind::Zombie).collect();
    zombies.sort_by_key(|(key, row)| {
        let reaper = row.document.supervisor.reaper.as_ref().map(|reaper| reaper.pid);
        (&key.cluster, &key.host, reaper, row.document.process.pid)
    });
    let mut lines: Vec<Line<'_>> =
        zombies.into_iter().map(|(key, row)| Line::Zombie(fleet, key, row)).collect();
    if shows_silent(listing) {
        lines.extend(silent(fleet));
    }
    let room_of_tables = room.filter(|_| !listing.is_wide());
    let mut parts = Vec::new();
    let namespaces: Vec<_> = of(FindingKind::Namespace).collect();
    // A user who chooses columns reads the list of processes with a program.
    if !namespaces.is_empty() && !listing.is_chosen() {
        let header: [_; 7] = std::array::from_fn(|column| (NAMESPACES[column], OF_NAMESPACES[column]));
        let rows = namespaces.into_iter().map(|(key, row)| namespace(fleet, key, row));
        let mut out = String::new();
        table(&mut out, &header, rows, room_of_tables, colour);
        parts.push(out);
    }
    let exits: Vec<_> = of(FindingKind::Exit).collect();
    if !exits.is_empty() && !listing.is_chosen() {
        let header: [_; 7] = std::array::from_fn(|column| (EXITS[column], OF_EXITS[column]));
        let rows = exits.iter().map(|(key, row)| exit(fleet, key, row));
        let mut out = String::new();
        table(&mut out, &header, rows, room_of_tables, colour);
        parts.push(out);
    }
    if !lines.is_empty() {
        let mut out = String::new();
        listing.write(&USUAL, room, &mut out, lines, colour);
        parts.push(out);
    }
    parts.join("\n")
}

/// The columns of the list of zombies if the user chooses none.
const USUAL: [Column; 9] = [
    Column::Host,
    Column::Pid,
    Column::Name,
    Column::Age,
    Column::Why,
    Column::Reaper,
    Column::Container,
    Column::Exit,
    Column::Status,
];
/// How the columns of [`NAMESPACES`] shrink on a narrow terminal.
const OF_NAMESPACES: [Gives; 7] = [
    Gives::Nothing,
    Gives::Nothing,
    Gives::Nothing,
    Gives::End(16),
    Gives::Last(0),
    Gives::Last(1),
    Gives::End(7),
];
/// How the columns of [`EXITS`] shrink on a narrow terminal.
const OF_EXITS: [Gives; 7] = [
    Gives::Nothing,
    Gives::Nothing,
    Gives::End(8),
    Gives::Last(1),
    Gives::Last(2),
    Gives::Last(0),
    Gives::End(7),
];

fn print_tables(fleet: &Fleet, filter: &Filter, listing: &Listing, before: &str) -> Result<()> {
    // A repeated list clears the screen, so all messages come after it.
    print(&format!("{before}{}", tables(fleet, listing, columns(), colour())))?;
    if !shows_silent(listing) {
        say_stale(fleet);
    }
    if fleet.rows.is_empty() && silent(fleet).next().is_none() {
        let nodes = fleet.hosts.len();
        if *filter == Filter::default() {
            say(&format!("nothing is unreaped; nodes that report: {nodes}"));
        } else {
            let others = without_filter(fleet.unwanted());
            say(&format!("nothing that matches is unreaped; {others}; nodes that report: {nodes}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
