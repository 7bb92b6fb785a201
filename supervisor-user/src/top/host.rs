//! The view of one host: the conclusions about it.

use std::collections::HashMap;

use supervisor_conclude::{conclusions::Conclusions, decision::decide, diagnosis::in_full};
use supervisor_model::{
    diagnosis::Cause,
    family::Family,
    finding::{BlockedNamespace, Blocker, Exit, Finding},
    names::Names,
    reaping::ReapAttempt,
    words::clean,
};
use supervisor_render::{
    columns::{Column, EXITS, exit_cells, named, unknown},
    story,
    style::Style,
};

use super::{Age, Blocked, Item, Row, Story, View, item::Shared};

/// The least and the greatest widths of the columns for processes that cannot exit.
const EXIT_WIDTHS: [(usize, usize); 7] = [(11, 11), (10, 16), (5, 5), (8, 12), (6, 6), (12, 24), (14, 40)];
/// A list names at most this many blockers of a PID namespace, and counts the others.
const MAX_NAMED: usize = 5;

impl View for Conclusions {
    fn items(&self, now_ns: u64, last: Vec<Item>, passed_ns: u64) -> Vec<Item> {
        let index = |(index, item): (usize, &Item)| Some((item.change?, index));
        let indices: HashMap<u64, usize> = last.iter().enumerate().filter_map(index).collect();
        let mut is_unchanged = vec![false; last.len()];
        let mut texts = Texts::new();
        let mut changed = Vec::new();
        for (change, finding) in self.open_with_change() {
            match indices.get(&change) {
                Some(&index) => is_unchanged[index] = true,
                None => changed.push(texts.item(change, finding, now_ns)),
            }
        }
        // The others stay where they are: to move them all costs more than all else here.
        let mut items = last;
        let mut is_unchanged = is_unchanged.into_iter();
        items.retain(|_| is_unchanged.next() == Some(true));
        for item in &mut items {
            item.age = item.age.after(passed_ns);
        }
        if items.is_empty() {
            // There may be tens of thousands, and a copy of them takes time.
            return changed;
        }
        items.extend(changed);
        items
    }

    fn namespace_columns(&self) -> Vec<super::Column> {
        vec![
            ("PID 1", 14, 22),
            ("HELD BY", 30, 80),
            ("BLOCKED FOR", 11, 12),
            ("CONTAINER", 14, 40),
            ("PIDS", 4, 6),
            ("MODE", 6, 7),
            ("PID NS", 10, 10),
        ]
    }

    fn namespaces(&self, now_ns: u64) -> Vec<Blocked> {
        Self::namespaces(self).map(|it| blocked(it, now_ns)).collect()
    }

    fn exit_columns(&self) -> Vec<super::Column> {
        EXITS.into_iter().zip(EXIT_WIDTHS).map(|(title, (least, most))| (title, least, most)).collect()
    }

    fn exits(&self, now_ns: u64) -> Vec<Row> {
        let row = |finding: &Finding| Row {
            id: finding.id.clone(),
            pid: finding.process.pid,
            cells: exit_cells(finding, now_ns).into(),
        };
        Self::exits(self).map(row).collect()
    }

    fn verdict(&self, id: &str) -> Option<(String, Option<String>)> {
        let diagnosis = match find(self, id)? {
            Found::Process(finding) => in_full(finding).diagnosis,
            Found::Namespace(namespace) => namespace.diagnosis.clone(),
        };
        Some((diagnosis.verdict, diagnosis.remedies.into_iter().next()))
    }

    fn story(&self, id: &str, columns: usize, now_ns: u64) -> Option<Story> {
        let style = Style { columns, ..Style::PLAIN };
        let (text, looked_ns) = match find(self, id)? {
            Found::Process(finding) => {
                (story::process_at(&in_full(finding), now_ns, style), finding.looked_ns)
            }
            Found::Namespace(namespace) => {
                (story::namespace_at(namespace, now_ns, style), namespace.init.looked_ns)
            }
        };
        Some(Story { text, inspected_ns: Some(now_ns.saturating_sub(looked_ns)) })
    }

    fn reap(&self, id: &str) -> Option<ReapAttempt> {
        let finding = self.open().find(|finding| finding.id == id)?;
        Some(ReapAttempt::new(finding.clone(), decide(finding)))
    }
}

/// The object that an id belongs to.
enum Found<'a> {
    Process(&'a Finding),
    Namespace(&'a BlockedNamespace),
}

fn find<'a>(conclusions: &'a Conclusions, id: &str) -> Option<Found<'a>> {
    let process = conclusions.open().chain(conclusions.exits()).find(|it| it.id == id);
    let namespace = || conclusions.namespaces().find(|it| it.id == id).map(Found::Namespace);
    process.map(Found::Process).or_else(namespace)
}

/// The texts that findings share.
struct Texts<'a> {
    reapers: Shared<Option<(&'a str, u32)>>,
    containers: Shared<Option<Names<'a>>>,
    exits: Shared<Option<Exit>>,
    pid_namespaces: Shared<Option<u32>>,
}

impl<'a> Texts<'a> {
    fn new() -> Self {
        Self {
            reapers: Shared::new(),
            containers: Shared::new(),
            exits: Shared::new(),
            pid_namespaces: Shared::new(),
        }
    }

    fn item(&mut self, change: u64, finding: &'a Finding, now_ns: u64) -> Item {
        let reaper = finding.reaper.as_ref().map(|reaper| (&*reaper.process.name, reaper.process.pid));
        let container = Names::of(finding);
        let pid_ns = finding.pid_ns.as_ref().map(|ns| ns.ino);
        let cell = |column: Column| column.cell(finding, now_ns);
        Item {
            id: finding.id.clone(),
            change: Some(change),
            pid: finding.process.pid,
            process: named(&finding.process.name, finding.process.pid),
            reaper: self.reapers.text(reaper, || reaper.map_or_else(unknown, |(name, pid)| named(name, pid))),
            reaper_pid: reaper.map(|(_, pid)| pid),
            prognosis: finding.diagnosis.prognosis,
            cause: finding.diagnosis.cause.map_or("-", Cause::as_str).into(),
            family: finding.diagnosis.family.map_or("-", Family::id).into(),
            age: age(finding.exit_ns, finding.seen_ns, now_ns),
            container: self
                .containers
                .text(container, || container.map_or_else(unknown, |names| names.label())),
            exit: self.exits.text(finding.exit, || cell(Column::Exit)),
            pid_ns: self.pid_namespaces.text(pid_ns, || cell(Column::Pidns)),
            blocks: !finding.blocks.is_empty(),
        }
    }
}

/// The age of a state: exact if its beginning is known, otherwise more than the time since it was first seen.
fn age(began_ns: Option<u64>, seen_ns: u64, now_ns: u64) -> Age {
    began_ns.map_or_else(
        || Age::more_than(now_ns.saturating_sub(seen_ns)),
        |began_ns| Age::seen(now_ns.saturating_sub(began_ns)),
    )
}

fn blocked(namespace: &BlockedNamespace, now_ns: u64) -> Blocked {
    let init = &namespace.init;
    let age = age(init.exit_ns, namespace.since_ns, now_ns);
    let init_name = named(&init.process.name, init.process.pid);
    let ino = init.pid_ns.as_ref().map_or_else(unknown, |ns| ns.ino.to_string());
    let container = Names::of(init).map(|names| names.label());
    let holders = holders(&namespace.blockers);
    let mut headline = format!("BLOCKED  {init_name} by {holders} for {}", age.text());
    for text in container.iter().cloned().chain([format!("PID namespace {ino}")]) {
        headline = headline + "  " + &text;
    }
    let mode = init.pid_ns.as_ref().and_then(|ns| ns.mode);
    Blocked {
        row: Row {
            id: namespace.id.clone(),
            pid: init.process.pid,
            cells: vec![
                init_name,
                holders,
                age.text(),
                container.unwrap_or_else(unknown),
                namespace.processes.to_string(),
                mode.map_or_else(unknown, |mode| mode.as_str().to_owned()),
                ino,
            ],
        },
        age,
        headline,
    }
}

/// The blockers of a namespace by name, each with the process that must reap it.
fn holders(blockers: &[Blocker]) -> String {
    let holder = |blocker: &Blocker| {
        let of = blocker.reaper.as_ref().map(|(pid, name)| format!(" of {}", named(name, *pid)));
        format!("{}[{}]{}", clean(&blocker.name), blocker.pid, of.unwrap_or_default())
    };
    let mut names: Vec<String> = blockers.iter().take(MAX_NAMED).map(holder).collect();
    match blockers.len() {
        0 => return "what was not seen".to_owned(),
        count if count > MAX_NAMED => names.push(format!("{} more", count - MAX_NAMED)),
        _ => {}
    }
    names.join(", ")
}
