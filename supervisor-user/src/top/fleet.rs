//! All nodes: what their agents have left at a broker.

use super::{Row, View};
use crate::{
    fleet::{
        self, FindingKind, Fleet,
        list::{EXITS, NAMESPACES, ZOMBIES, cell_of, exit, host, key_of, namespace},
        story::story,
    },
    nats::Key,
    report::columns::{Column, named, unknown},
};

/// How wide the columns of lists are.
const ZOMBIE_WIDTHS: [u16; 9] = [18, 8, 16, 14, 7, 24, 12, 24, 24];
const EXIT_WIDTHS: [u16; 7] = [18, 11, 16, 7, 12, 24, 24];
const NAMESPACE_WIDTHS: [u16; 7] = [18, 14, 22, 24, 12, 24, 24];

/// A finding, and where it is kept.
type Entry<'a> = (&'a Key, &'a fleet::Row);

fn of(fleet: &Fleet, kind: FindingKind) -> impl Iterator<Item = Entry<'_>> {
    fleet.rows.iter().filter(move |(_, row)| row.document.supervisor.finding.kind == kind)
}

fn id((key, _): Entry<'_>) -> String {
    format!("{}/{}/{}", key.cluster, key.host, key.finding.as_deref().unwrap_or_default())
}

fn row(entry: Entry<'_>, cells: impl Into<Vec<String>>) -> Row {
    Row { id: id(entry), cells: cells.into(), trend: Vec::new() }
}

impl View for Fleet {
    fn columns(&self) -> Vec<super::Column> {
        ZOMBIES.map(Column::header).into_iter().zip(ZOMBIE_WIDTHS).collect()
    }

    fn sorts(&self) -> Vec<&'static str> {
        ZOMBIES.map(Column::header).to_vec()
    }

    fn findings(&self, sort: usize, _now_ns: u64) -> Vec<Row> {
        let mut entries: Vec<Entry<'_>> = of(self, FindingKind::Zombie).collect();
        entries.sort_by_cached_key(|(key, it)| key_of(ZOMBIES[sort], self, key, it));
        let cells = |key, it| ZOMBIES.map(|column| cell_of(column, self, key, it));
        entries.into_iter().map(|(key, it)| row((key, it), cells(key, it))).collect()
    }

    fn reapers(&self) -> Vec<String> {
        let reaper = |(key, row): Entry<'_>| {
            let reaper = row.document.supervisor.reaper.as_ref();
            let reaper = reaper.map_or_else(unknown, |it| named(&it.name, it.pid));
            format!("{} on {}", reaper, host(self, key))
        };
        of(self, FindingKind::Zombie).map(reaper).collect()
    }

    fn namespace_columns(&self) -> Vec<super::Column> {
        NAMESPACES.into_iter().zip(NAMESPACE_WIDTHS).collect()
    }

    fn namespaces(&self, _now_ns: u64) -> Vec<Row> {
        of(self, FindingKind::Namespace).map(|(key, it)| row((key, it), namespace(self, key, it))).collect()
    }

    fn exit_columns(&self) -> Vec<super::Column> {
        EXITS.into_iter().zip(EXIT_WIDTHS).collect()
    }

    fn exits(&self, _now_ns: u64) -> Vec<Row> {
        of(self, FindingKind::Exit).map(|(key, it)| row((key, it), exit(self, key, it))).collect()
    }

    fn story(&self, wanted: &str, columns: usize) -> Option<String> {
        let (key, row) = self.rows.iter().find(|entry| id(*entry) == wanted)?;
        story(&host(self, key), row.raw.as_deref()?, columns)
    }
}
