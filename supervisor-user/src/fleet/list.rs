//! What lists say of the findings of all nodes.

use jiff::{Timestamp, tz::TimeZone};

use super::{Document, Fleet, HostState, Row};
use crate::{
    finding,
    nats::Key,
    report::{
        columns::{named, unknown},
        text::short_exit,
    },
    words::{clean, duration},
};

/// No name or list takes more characters of a line than this.
const CELL: usize = 60;

/// The columns of [`zombie`].
pub(crate) const ZOMBIES: [&str; 9] =
    ["HOST", "PID", "NAME", "EXIT", "FAMILY", "REAPER", "AGE", "CONTAINER", "STATUS"];
/// The columns of [`namespace`].
pub(crate) const NAMESPACES: [&str; 7] =
    ["HOST", "BLOCKED PID NS", "PID 1", "HELD BY", "AGE", "CONTAINER", "STATUS"];

/// An unreaped process.
pub(crate) fn zombie(fleet: &Fleet, key: &Key, row: &Row) -> [String; 9] {
    let it = &row.document.supervisor;
    let exit = it.exit.as_ref().and_then(|exit| match (exit.code, exit.signal) {
        (Some(code), _) => Some(finding::Exit::Code(code)),
        (None, Some(number)) => Some(finding::Exit::Signal { number, core_dumped: false }),
        (None, None) => None,
    });
    [
        host(fleet, key),
        row.document.process.pid.to_string(),
        cell(&row.document.process.name),
        exit.map_or_else(unknown, short_exit),
        it.family.as_ref().map_or_else(unknown, |family| cell(&family.id)),
        it.reaper.as_ref().map_or_else(unknown, |reaper| cell(&named(&reaper.name, reaper.pid))),
        age(fleet, &row.document),
        container(&row.document),
        status(fleet.state_of(key), fleet.now),
    ]
}

/// A PID namespace that cannot end.
pub(crate) fn namespace(fleet: &Fleet, key: &Key, row: &Row) -> [String; 7] {
    let it = &row.document.supervisor;
    let held: Vec<String> =
        it.blockers.iter().take(8).map(|by| format!("{} {}", named(&by.name, by.pid), by.kind)).collect();
    [
        host(fleet, key),
        it.pid_ns.as_ref().map_or_else(unknown, |ns| ns.ino.to_string()),
        cell(&named(&row.document.process.name, row.document.process.pid)),
        if held.is_empty() { unknown() } else { cell(&held.join(", ")) },
        age(fleet, &row.document),
        container(&row.document),
        status(fleet.state_of(key), fleet.now),
    ]
}

/// The node of a finding.
pub(crate) fn host(fleet: &Fleet, key: &Key) -> String {
    let known = fleet.hosts.get(&(key.cluster.clone(), key.host.clone()));
    place(fleet, &key.cluster, known.map_or(&key.host, |host| &host.name))
}

/// A node's name; with its cluster, if there is more than one.
pub(crate) fn place(fleet: &Fleet, cluster: &str, name: &str) -> String {
    let is_one = fleet.hosts.keys().all(|(other, _)| other == cluster);
    if is_one { cell(name) } else { format!("{}/{}", cell(cluster), cell(name)) }
}

fn container(document: &Document) -> String {
    document.names().map_or_else(unknown, |names| cell(&names.label()))
}

/// How long ago it exited; by that host's clock, and this broker's.
fn age(fleet: &Fleet, document: &Document) -> String {
    document.process.end.map_or_else(unknown, |end| ago(end, fleet.now))
}

fn ago(then: Timestamp, now: Timestamp) -> String {
    duration(u64::try_from(now.duration_since(then).as_nanos()).unwrap_or(0))
}

/// Whether a node reports.
pub(crate) fn status(state: HostState, now: Timestamp) -> String {
    match state {
        HostState::Reports => "reports".to_owned(),
        HostState::Stale { last: Some(last) } => {
            let at = last.to_zoned_datetime(TimeZone::system()).strftime("%F %T");
            format!("stale, last contact {at}, {} ago", ago(last, now))
        }
        HostState::Stale { last: None } => "stale, never reported".to_owned(),
    }
}

/// Text of another host, harmless and not too long.
pub(crate) fn cell(text: &str) -> String {
    let text: String = text.chars().take(CELL + 1).collect();
    let text = clean(&text);
    if text.chars().count() <= CELL { text } else { text.chars().take(CELL - 1).chain(['…']).collect() }
}
