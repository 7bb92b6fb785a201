//! The view of all nodes: the findings that their agents have left at a broker.

use std::collections::HashMap;

use jiff::Timestamp;
use supervisor_deliver::{
    fleet::{self, FindingKind, Fleet, HostState},
    nats::BucketKey,
};
use supervisor_model::{diagnosis::Prognosis, reaping::ReapAttempt, words::clean};
use supervisor_render::columns::{Column, named, unknown};

use super::{Age, Blocked, Item, Row, Story, View};
use crate::nodes::{
    list::{EXITS, NAMESPACES, cell, cell_of, exit, host, namespace},
    story::story,
};

/// The least and the greatest widths of the columns of lists.
const EXIT_WIDTHS: [(usize, usize); 7] = [(12, 18), (11, 11), (10, 16), (6, 6), (8, 12), (14, 40), (10, 24)];
const NAMESPACE_WIDTHS: [(usize, usize); 7] =
    [(12, 18), (14, 14), (14, 22), (16, 60), (8, 12), (14, 40), (10, 24)];

impl View for Fleet {
    fn items(&self, _now_ns: u64, _last: Vec<Item>, _passed_ns: u64) -> Vec<Item> {
        let mut nodes = HashMap::new();
        let shown = |(key, row): (&BucketKey, &fleet::FleetRow)| {
            let node =
                nodes.entry((key.cluster.clone(), key.host.clone())).or_insert_with(|| node(self, key));
            let blocks = !row.document.supervisor.blocks.is_empty();
            item(self, key, row, node, blocks)
        };
        of(self, FindingKind::Zombie).map(shown).collect()
    }

    fn namespace_columns(&self) -> Vec<super::Column> {
        with_widths(NAMESPACES, NAMESPACE_WIDTHS)
    }

    fn namespaces(&self, _now_ns: u64) -> Vec<Blocked> {
        let blocked = |(key, row): (&BucketKey, &fleet::FleetRow)| {
            let cells = namespace(self, key, row);
            let age = age(row.document.process.end, self.now);
            let [host, ino, init, held, _, container, _] = &cells;
            let headline = format!(
                "BLOCKED  {init} on {host} by {held} for {}  {container}  PID namespace {ino}",
                age.text()
            );
            Blocked { row: line(key, row, cells), age, headline }
        };
        of(self, FindingKind::Namespace).map(blocked).collect()
    }

    fn exit_columns(&self) -> Vec<super::Column> {
        with_widths(EXITS, EXIT_WIDTHS)
    }

    fn exits(&self, _now_ns: u64) -> Vec<Row> {
        of(self, FindingKind::Exit).map(|(key, row)| line(key, row, exit(self, key, row))).collect()
    }

    fn verdict(&self, id: &str) -> Option<(String, Option<String>)> {
        let (_, row) = find(self, id)?;
        Some((clean(row.document.supervisor.verdict.as_deref()?), None))
    }

    fn story(&self, id: &str, columns: usize, _now_ns: u64) -> Option<Story> {
        let (key, row) = find(self, id)?;
        let text = story(&host(self, key), row.raw.as_deref()?, columns)?;
        let written_ns = self.now.duration_since(row.document.at).as_nanos();
        Some(Story { text, inspected_ns: u64::try_from(written_ns).ok() })
    }

    fn reap(&self, _id: &str) -> Option<ReapAttempt> {
        None
    }
}

fn find<'a>(fleet: &'a Fleet, wanted: &str) -> Option<(&'a BucketKey, &'a fleet::FleetRow)> {
    fleet.rows.iter().find(|(key, _)| id(key) == wanted)
}

fn item(fleet: &Fleet, key: &BucketKey, row: &fleet::FleetRow, node: &str, blocks: bool) -> Item {
    let it = &row.document.supervisor;
    let reaper = it.reaper.as_ref();
    let text = |column| cell_of(column, fleet, key, row);
    Item {
        id: id(key),
        change: None,
        pid: row.document.process.pid,
        process: cell(&named(&row.document.process.name, row.document.process.pid)),
        reaper: format!("{} on {node}", reaper.map_or_else(unknown, |it| cell(&named(&it.name, it.pid))))
            .into(),
        reaper_pid: reaper.map(|it| it.pid),
        prognosis: match it.prognosis.as_deref() {
            Some("leaked") => Prognosis::Leaked,
            Some("late") => Prognosis::Late,
            _ => Prognosis::Unknown,
        },
        cause: text(Column::Cause).into(),
        family: text(Column::Family).into(),
        age: age(row.document.process.end, fleet.now),
        container: row.document.names().map_or_else(unknown, |names| cell(&names.label())).into(),
        exit: text(Column::Exit).into(),
        pid_ns: text(Column::Pidns).into(),
        blocks,
    }
}

fn line(key: &BucketKey, row: &fleet::FleetRow, cells: impl Into<Vec<String>>) -> Row {
    Row { id: id(key), pid: row.document.process.pid, cells: cells.into() }
}

fn of(fleet: &Fleet, kind: FindingKind) -> impl Iterator<Item = (&BucketKey, &fleet::FleetRow)> {
    fleet.rows.iter().filter(move |(_, row)| row.document.supervisor.finding.kind == kind)
}

/// The id of a finding, unique among all nodes.
pub(crate) fn id(key: &BucketKey) -> String {
    format!("{}/{}/{}", key.cluster, key.host, key.finding.as_deref().unwrap_or_default())
}

/// The name of a node, with a mark if the node does not report.
fn node(fleet: &Fleet, key: &BucketKey) -> String {
    let stale = if matches!(fleet.state_of(key), HostState::Stale { .. }) { " (stale)" } else { "" };
    host(fleet, key) + stale
}

/// The age of a process that ended at `end` by its host's clock; `now` is this broker's time.
fn age(end: Option<Timestamp>, now: Timestamp) -> Age {
    end.map_or_else(Age::default, |end| {
        Age::seen(u64::try_from(now.duration_since(end).as_nanos()).unwrap_or(0))
    })
}

fn with_widths(titles: [&'static str; 7], widths: [(usize, usize); 7]) -> Vec<super::Column> {
    titles.into_iter().zip(widths).map(|(title, (least, most))| (title, least, most)).collect()
}
