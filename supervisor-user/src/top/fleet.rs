//! All nodes: what their agents have left at a broker.

use std::cmp::Ordering;

use super::{Row, View};
use crate::{
    fleet::{
        self, FindingKind, Fleet,
        list::{EXITS, NAMESPACES, ZOMBIES, exit, host, namespace, zombie},
        story::story,
    },
    nats::Key,
    report::columns::{compare_cells, named, unknown},
};

/// How wide the columns of lists are.
const ZOMBIE_WIDTHS: [u16; 9] = [18, 8, 16, 14, 7, 24, 12, 24, 24];
const EXIT_WIDTHS: [u16; 7] = [18, 11, 16, 7, 12, 24, 24];
const NAMESPACE_WIDTHS: [u16; 7] = [18, 14, 22, 24, 12, 24, 24];
/// Where the age stands, which is sorted by time.
const AGE: usize = 6;

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

/// The oldest first, or by what the column says.
fn compare(column: usize, (one, its): &(Row, Entry<'_>), (other, others): &(Row, Entry<'_>)) -> Ordering {
    let end = |(_, row): &Entry<'_>| row.document.process.end;
    if column == AGE {
        end(its).cmp(&end(others))
    } else {
        compare_cells(&one.cells[column], &other.cells[column])
    }
}

impl View for Fleet {
    fn columns(&self) -> Vec<super::Column> {
        ZOMBIES.into_iter().zip(ZOMBIE_WIDTHS).collect()
    }

    fn sorts(&self) -> Vec<&'static str> {
        ZOMBIES.to_vec()
    }

    fn findings(&self, sort: usize, _now_ns: u64) -> Vec<Row> {
        let all = of(self, FindingKind::Zombie);
        let mut rows: Vec<_> =
            all.map(|(key, it)| (row((key, it), zombie(self, key, it)), (key, it))).collect();
        rows.sort_by(|one, other| compare(sort, one, other));
        rows.into_iter().map(|(row, _)| row).collect()
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
