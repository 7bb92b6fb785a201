//! `ps --tree`: zombies below their reapers and containers.

use std::fmt::Write as _;

use supervisor_model::{finding::Finding, words::cut};
use supervisor_render::{
    columns::{Column, named, unknown},
    groups::Group,
};

use super::Terminal;

/// The most zombies that are shown for one reaper, container and cause. The rest is only counted.
const SHOWN: usize = 10;

/// The tree.
pub(super) fn tree(findings: &[&Finding], all: bool, now_ns: u64, terminal: Terminal) -> String {
    let mut drawn =
        Tree { out: String::new(), terminal, now_ns, shown: if all { usize::MAX } else { SHOWN } };
    for reaper in split(findings, |it| it.reaper.as_ref().map(|reaper| reaper.process.pid)) {
        drawn.reaper(&reaper);
    }
    drawn.out
}

/// Groups findings by key. The groups stand in the order of their first findings.
fn split<'a, K: PartialEq>(findings: &[&'a Finding], key: impl Fn(&Finding) -> K) -> Vec<Vec<&'a Finding>> {
    let mut parts: Vec<(K, Vec<&Finding>)> = Vec::new();
    for finding in findings {
        let key = key(finding);
        match parts.iter_mut().find(|(other, _)| *other == key) {
            Some((_, part)) => part.push(finding),
            None => parts.push((key, vec![finding])),
        }
    }
    parts.into_iter().map(|(_, part)| part).collect()
}

struct Tree {
    out: String,
    terminal: Terminal,
    now_ns: u64,
    shown: usize,
}

impl Tree {
    fn reaper(&mut self, findings: &[&Finding]) {
        let Some(first) = findings.first() else { return };
        let name = first.reaper.as_ref().map(|reaper| named(&reaper.process.name, reaper.process.pid));
        let name = name.unwrap_or_else(|| "reaper not known".to_owned());
        let count = findings.len();
        let name = self.terminal.colour.paint("1", &name);
        let _infallible = writeln!(self.out, "{name}  must reap {count}");
        let containers = split(findings, |it| Column::Container.cell(it, self.now_ns));
        let last = containers.len();
        for (place, part) in (1..).zip(containers) {
            let label = Column::Container.cell(part[0], self.now_ns);
            let (stroke, indent) = strokes(place == last);
            if label == unknown() && last == 1 {
                self.zombies(&part, "");
            } else {
                let label = if label == unknown() { "in no container".to_owned() } else { label };
                self.line(stroke, &label);
                self.zombies(&part, indent);
            }
        }
    }

    /// The zombies of one reaper and container, below `indent`.
    fn zombies(&mut self, findings: &[&Finding], indent: &str) {
        let groups = Group::all(findings);
        let mut lines: Vec<String> = Vec::new();
        for group in groups {
            let zombies = group.findings();
            lines.extend(zombies.iter().take(self.shown).map(|it| self.zombie(it)));
            if let Some(more) = zombies.len().checked_sub(self.shown).filter(|more| *more > 0) {
                lines.push(format!("and {more} more: {}", group.why()));
            }
        }
        let last = lines.len();
        for (place, line) in (1..).zip(lines) {
            self.line(&format!("{indent}{}", strokes(place == last).0), &line);
        }
    }

    fn zombie(&self, finding: &Finding) -> String {
        let cell = |column: Column| column.cell(finding, self.now_ns);
        let blocks = cell(Column::Blocks);
        let blocks = (blocks != unknown()).then(|| format!("blocks {blocks}"));
        let cells = [
            Some(named(&finding.process.name, finding.process.pid)),
            blocks,
            Some(cell(Column::Age)),
            Some(cell(Column::Why)),
        ];
        cells.into_iter().flatten().filter(|cell| *cell != unknown()).collect::<Vec<_>>().join("  ")
    }

    fn line(&mut self, before: &str, text: &str) {
        let line = format!("{before}{text}");
        self.out.push_str(&self.terminal.columns.map_or(line.clone(), |columns| cut(&line, columns)));
        self.out.push('\n');
    }
}

/// The strokes before a child, and before the children of that child.
fn strokes(is_last: bool) -> (&'static str, &'static str) {
    if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") }
}
