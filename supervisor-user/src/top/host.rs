//! One host: what was concluded of it.

use super::{Row, View};
use crate::{
    conclusions::Conclusions,
    diagnosis::in_full,
    finding::{BlockedNamespace, Finding},
    report::{
        columns::{Column, EXITS, exit_cells, named, unknown},
        story,
        text::Style,
    },
    words::duration,
};

/// Each with its width.
const COLUMNS: [(Column, u16); 11] = [
    (Column::Pid, 8),
    (Column::Name, 16),
    (Column::Exit, 14),
    (Column::Age, 12),
    (Column::Family, 7),
    (Column::Cause, 19),
    (Column::Prognosis, 9),
    (Column::Reaper, 24),
    (Column::Container, 24),
    (Column::Pidns, 11),
    (Column::Why, 120),
];
/// Of the columns of processes that cannot exit.
const EXIT_WIDTHS: [u16; 7] = [11, 16, 6, 12, 7, 24, 24];
const SORTS: [Column; 6] =
    [Column::Age, Column::Pid, Column::Name, Column::Family, Column::Reaper, Column::Container];

impl View for Conclusions {
    fn columns(&self) -> Vec<super::Column> {
        COLUMNS.iter().map(|(column, width)| (column.header(), *width)).collect()
    }

    fn sorts(&self) -> Vec<&'static str> {
        SORTS.iter().map(|column| column.header()).collect()
    }

    fn findings(&self, sort: usize, now_ns: u64) -> Vec<Row> {
        let mut findings: Vec<&Finding> = self.open().collect();
        findings.sort_by_cached_key(|finding| (SORTS[sort].key(finding), finding.process.pid));
        let row = |finding: &Finding| Row {
            id: finding.id.clone(),
            cells: COLUMNS.iter().map(|(column, _)| column.cell(finding, now_ns)).collect(),
            trend: Vec::new(),
        };
        findings.into_iter().map(row).collect()
    }

    fn reapers(&self) -> Vec<String> {
        let reapers = self.open().filter_map(|it| it.reaper.as_ref());
        reapers.map(|it| named(&it.process.name, it.process.pid)).collect()
    }

    fn namespace_columns(&self) -> Vec<super::Column> {
        vec![
            ("PID NS", 11),
            ("PID 1", 22),
            ("MODE", 7),
            ("BLOCKED FOR", 12),
            ("HELD BY", 8),
            ("PIDS", 12),
            ("CONTAINER", 24),
        ]
    }

    fn namespaces(&self, now_ns: u64) -> Vec<Row> {
        Self::namespaces(self).map(|it| namespace(it, now_ns)).collect()
    }

    fn exit_columns(&self) -> Vec<super::Column> {
        EXITS.into_iter().zip(EXIT_WIDTHS).collect()
    }

    fn exits(&self, now_ns: u64) -> Vec<Row> {
        Self::exits(self)
            .map(|it| Row { id: it.id.clone(), cells: exit_cells(it, now_ns).into(), trend: Vec::new() })
            .collect()
    }

    fn story(&self, id: &str, columns: usize) -> Option<String> {
        let style = Style { columns, ..Style::PLAIN };
        let finding = self.open().chain(Self::exits(self)).find(|it| it.id == id);
        let finding = finding.map(|it| story::process(&in_full(it), style));
        let namespace = || {
            let namespace = Self::namespaces(self).find(|it| it.id == id)?;
            Some(story::namespace(namespace, style))
        };
        finding.or_else(namespace)
    }
}

fn namespace(namespace: &BlockedNamespace, now_ns: u64) -> Row {
    let init = &namespace.init;
    let since = init.exit_ns.map(|at_ns| duration(now_ns.saturating_sub(at_ns)));
    let budget = init.budget.as_ref().map(|it| format!("{} of {}", it.pids.current, it.pids.max));
    Row {
        id: namespace.id.clone(),
        cells: vec![
            init.pid_ns.as_ref().map_or_else(unknown, |ns| ns.ino.to_string()),
            named(&init.process.name, init.process.pid),
            init.pid_ns.as_ref().and_then(|ns| ns.mode).map_or_else(unknown, |mode| mode.as_str().to_owned()),
            since.unwrap_or_else(unknown),
            namespace.blockers.len().to_string(),
            budget.unwrap_or_else(unknown),
            Column::Container.cell(init, now_ns),
        ],
        trend: Vec::new(),
    }
}
