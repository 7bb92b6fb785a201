//! Formats the findings of all nodes for lists.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use supervisor_deliver::{
    fleet::{Document, Fleet, FleetRow, HostState},
    nats::BucketKey,
};
use supervisor_model::{
    diagnosis::{Cause, Prognosis},
    family::Family,
    finding,
    words::{clean, cut, duration},
};
use supervisor_render::{
    columns::{Column, SortKey, named, reaper_is, unknown, why_of},
    parts::short_exit,
};

/// No name or list takes more columns than this.
const CELL: usize = 60;

/// No sentence takes more columns than this.
const SENTENCE: usize = 500;

/// The columns of [`namespace`].
pub(crate) const NAMESPACES: [&str; 7] =
    ["HOST", "BLOCKED PID NS", "PID 1", "HELD BY", "AGE", "CONTAINER", "STATUS"];

/// The columns of [`exit`].
pub(crate) const EXITS: [&str; 7] = ["HOST", "CANNOT EXIT", "NAME", "FAMILY", "FOR", "CONTAINER", "STATUS"];

/// The text of a column for an unreaped process.
pub(crate) fn cell_of(column: Column, fleet: &Fleet, key: &BucketKey, row: &FleetRow) -> String {
    let Document { process, container, orchestrator, supervisor: it, .. } = &row.document;
    let reaper = it.reaper.as_ref();
    let known = match column {
        Column::Host => Some(host(fleet, key)),
        Column::Pid => Some(process.pid.to_string()),
        Column::Name => Some(cell(&process.name)),
        Column::Exit => it.exit.as_ref().and_then(|exit| match (exit.code, exit.signal) {
            (Some(code), _) => Some(short_exit(finding::Exit::Code(code))),
            (None, Some(number)) => Some(short_exit(finding::Exit::Signal { number, core_dumped: false })),
            (None, None) => None,
        }),
        Column::Age => process.end.map(|end| ago(end, fleet.now)),
        Column::Family => it.family.as_ref().map(|family| cell(&family.id)),
        Column::Cause => it.cause.as_deref().map(cell),
        Column::Prognosis => it.prognosis.as_deref().map(cell),
        Column::Why => {
            why(it.family.as_ref().map(|it| &*it.id), it.prognosis.as_deref(), it.cause.as_deref())
        }
        Column::Verdict => it.verdict.as_deref().map(|verdict| shortened(verdict, SENTENCE)),
        Column::Blocks => None,
        Column::Reaper => reaper.map(|reaper| cell(&named(&reaper.name, reaper.pid))),
        Column::ReaperIs => reaper.and_then(|reaper| reaper_is(reaper.is_pidns_init, reaper.is_subreaper)),
        Column::State => reaper.and_then(|reaper| reaper.state.as_deref()).map(cell),
        Column::Pidns => it.pid_ns.as_ref().map(|ns| ns.ino.to_string()),
        Column::Vpid => process.vpid.map(|vpid| vpid.to_string()),
        Column::Container => container.as_ref().map(|container| cell(&container.id)),
        Column::Pod => orchestrator.as_ref().and_then(|it| it.resource.name.as_deref()).map(cell),
        Column::Runtime => it.runtime.as_ref().map(|runtime| cell(&runtime.name)),
        Column::Monitor => it.monitor.as_ref().map(|monitor| cell(&named(&monitor.name, monitor.pid))),
        Column::Cgroup => it.cgroup.as_deref().map(|path| shortened(path, SENTENCE)),
        Column::Status => Some(status(fleet.state_of(key), fleet.now)),
    };
    known.unwrap_or_else(unknown)
}

/// Family, prognosis and cause, as far as this version knows the words of the version that has written them.
fn why(family: Option<&str>, prognosis: Option<&str>, cause: Option<&str>) -> Option<String> {
    let family = family.and_then(|id| id.parse::<Family>().ok());
    let cause = Cause::ALL.into_iter().find(|it| Some(it.as_str()) == cause);
    let known = [Prognosis::Leaked, Prognosis::Late].map(Prognosis::as_str);
    why_of(family, prognosis.filter(|it| known.contains(it)), cause)
}

/// The key by which a column sorts an unreaped process.
pub(crate) fn key_of(column: Column, fleet: &Fleet, key: &BucketKey, row: &FleetRow) -> SortKey {
    match column {
        // The oldest first.
        Column::Age => SortKey::Number(row.document.process.end.map_or(i128::MIN, Timestamp::as_nanosecond)),
        _ => SortKey::of(cell_of(column, fleet, key, row)),
    }
}

/// The cells of a PID namespace that cannot end.
pub(crate) fn namespace(fleet: &Fleet, key: &BucketKey, row: &FleetRow) -> [String; 7] {
    let it = &row.document.supervisor;
    let mut held: Vec<String> =
        it.blockers.iter().take(8).map(|by| format!("{} {}", named(&by.name, by.pid), by.kind)).collect();
    if it.blockers_left_out > 0 {
        held.push(format!("{} more", it.blockers_left_out));
    }
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

/// The cells of a process that cannot exit.
pub(crate) fn exit(fleet: &Fleet, key: &BucketKey, row: &FleetRow) -> [String; 7] {
    let it = &row.document.supervisor;
    let since = it.ending_ns.map(|ending_ns| {
        let before = SignedDuration::from_nanos(ending_ns.try_into().unwrap_or(i64::MAX));
        ago(row.document.at.saturating_sub(before).unwrap_or(row.document.at), fleet.now)
    });
    [
        host(fleet, key),
        row.document.process.pid.to_string(),
        cell(&row.document.process.name),
        it.family.as_ref().map_or_else(unknown, |family| cell(&family.id)),
        since.unwrap_or_else(unknown),
        container(&row.document),
        status(fleet.state_of(key), fleet.now),
    ]
}

/// The node of a finding.
#[must_use]
pub(crate) fn host(fleet: &Fleet, key: &BucketKey) -> String {
    let known = fleet.hosts.get(&(key.cluster.clone(), key.host.clone()));
    place(fleet, &key.cluster, known.map_or(&key.host, |host| &host.name))
}

/// A node's name; with its cluster, if there is more than one.
#[must_use]
pub(crate) fn place(fleet: &Fleet, cluster: &str, name: &str) -> String {
    let is_one = fleet.hosts.keys().all(|(other, _)| other == cluster);
    if is_one { cell(name) } else { format!("{}/{}", cell(cluster), cell(name)) }
}

fn container(document: &Document) -> String {
    document.names().map_or_else(unknown, |names| cell(&names.label()))
}

/// How long ago the process exited: its exit is by that host's clock, and now is by the broker's clock.
fn age(fleet: &Fleet, document: &Document) -> String {
    document.process.end.map_or_else(unknown, |end| ago(end, fleet.now))
}

fn ago(then: Timestamp, now: Timestamp) -> String {
    duration(u64::try_from(now.duration_since(then).as_nanos()).unwrap_or(0))
}

/// Whether a node reports.
#[must_use]
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

/// Text of another host, made harmless and not too long.
#[must_use]
pub(crate) fn cell(text: &str) -> String {
    shortened(text, CELL)
}

fn shortened(text: &str, columns: usize) -> String {
    // The text can be a megabyte, and only its beginning is shown.
    let text: String = text.chars().take(8 * columns).collect();
    cut(&clean(&text), columns)
}
