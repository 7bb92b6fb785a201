//! Renders a trace as a tree: which process forked which one, how long each of them lived, and how it ended.

use std::{collections::HashMap, fmt::Write as _};

use supervisor_ebpf::ProcessId;
use supervisor_model::{
    finding::Exit,
    trace::{NamedProcess, TraceEvent, What},
    words::{cut, short_duration, width},
};

use super::text::{command, lost, named, status};
use crate::style::Colour;

/// At most this many processes are drawn.
const BOUND: usize = 10_000;
/// Lines are indented to this depth at most.
const DEPTH: usize = 40;
/// The tree marks a reap as late if it comes this long after the exit, or later.
const LATE_NS: u64 = 100_000_000;
/// A command keeps at least this many columns.
const NARROW_COMMAND: usize = 8;

/// Strokes before a child that others follow, before the last child, and below each of the two.
const STROKES: [&str; 4] = ["├─ ", "└─ ", "│  ", "   "];

/// The processes of a trace.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: HashMap<ProcessId, Node>,
    /// The processes without a creator in the tree, in the order of their first events.
    roots: Vec<ProcessId>,
    left_out: u64,
    lost: u64,
}

#[derive(Debug)]
struct Node {
    process: NamedProcess,
    /// The last file that it executed, with its arguments.
    command: Option<String>,
    /// When it was forked, if that was seen.
    forked_ns: Option<u64>,
    /// The time of its first event.
    first_ns: u64,
    exit: Option<(u64, Exit)>,
    reap: Option<(u64, Option<NamedProcess>)>,
    children: Vec<ProcessId>,
}

impl Tree {
    /// Adds an event.
    pub fn event(&mut self, event: &TraceEvent) {
        let id = event.process.id;
        if !self.nodes.contains_key(&id) {
            // A process that only waits or is only reaped does not appear in the tree.
            if matches!(event.what, What::Waits(_) | What::Reaped { .. }) {
                return;
            }
            if self.nodes.len() >= BOUND {
                self.left_out += 1;
                return;
            }
            let mut forked_ns = None;
            let mut creator = None;
            if let What::Forked(by) = &event.what {
                forked_ns = Some(event.at_ns);
                creator = self.nodes.get_mut(&by.id);
            }
            match creator {
                Some(creator) => creator.children.push(id),
                None => self.roots.push(id),
            }
            let node = Node {
                process: event.process,
                command: None,
                forked_ns,
                first_ns: event.at_ns,
                exit: None,
                reap: None,
                children: Vec::new(),
            };
            self.nodes.insert(id, node);
        }
        let Some(node) = self.nodes.get_mut(&id) else { return };
        // The node keeps the last name that the process had.
        node.process = event.process;
        match &event.what {
            What::Executed { file, args, args_cut, .. } => {
                node.command = Some(command(file, args, *args_cut));
            }
            What::Exited(exit, _) => node.exit = Some((event.at_ns, *exit)),
            What::Reaped { by, .. } => node.reap = Some((event.at_ns, *by)),
            What::Forked(_) | What::Waits(_) => {}
        }
    }

    /// Records that `count` records are missing.
    pub fn lost(&mut self, count: u64) {
        self.lost += count;
    }

    /// Draws the tree. Times count from `from_ns`. Commands are cut to the width of a terminal with this many columns.
    #[must_use]
    pub fn draw(&self, from_ns: u64, columns: Option<usize>, colour: Colour) -> String {
        let mut out = format!("{:>10} {:>10}  {:<24} PROCESS\n", "START", "LIVED", "ENDED");
        // Depth first. Each entry has the strokes before its own name, and those before the names below it.
        let mut stack: Vec<(ProcessId, String, String)> =
            self.roots.iter().rev().map(|id| (*id, String::new(), String::new())).collect();
        let [tee, corner, bar, blank] = STROKES;
        while let Some((id, before, below)) = stack.pop() {
            let Some(node) = self.nodes.get(&id) else { continue };
            node.draw(from_ns, &before, columns, colour, &mut out);
            let is_deep = below.chars().count() >= DEPTH * 3;
            for (i, child) in node.children.iter().enumerate().rev() {
                let (stroke, rest) = if i + 1 == node.children.len() { (corner, blank) } else { (tee, bar) };
                let below_child = if is_deep { below.clone() } else { format!("{below}{rest}") };
                stack.push((*child, format!("{below}{stroke}"), below_child));
            }
        }
        if self.left_out > 0 {
            let _infallible =
                writeln!(out, "{} events of more processes than {BOUND} are left out", self.left_out);
        }
        if self.lost > 0 {
            let _infallible = writeln!(out, "{}", colour.paint("1;33", &lost(self.lost)));
        }
        out
    }
}

impl Node {
    fn draw(&self, from_ns: u64, before: &str, columns: Option<usize>, colour: Colour, out: &mut String) {
        let micros = self.first_ns.saturating_sub(from_ns) / 1000;
        // The lifetime of a process that existed before the trace is not known.
        let start = match self.forked_ns {
            Some(_) => format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000),
            None => "before".to_owned(),
        };
        let lived = match (self.forked_ns, self.exit) {
            (Some(forked_ns), Some((exit_ns, _))) => short_duration(exit_ns.saturating_sub(forked_ns)),
            _ => "-".to_owned(),
        };
        let (ended, code) = match (self.exit, self.reap) {
            (None, _) => ("runs".to_owned(), "2"),
            (Some((_, exit)), None) => (format!("{}, UNREAPED", status(exit)), "1;31"),
            (Some((exit_ns, exit)), Some((reap_ns, _))) if reap_ns.saturating_sub(exit_ns) >= LATE_NS => {
                (format!("{}, reaped {} later", status(exit), short_duration(reap_ns - exit_ns)), "33")
            }
            (Some((_, exit @ Exit::Code(0))), Some(_)) => (status(exit), "0"),
            (Some((_, exit)), Some(_)) => (status(exit), "33"),
        };
        let ended = format!("{ended:<24}");
        let name = format!("{before}{}", named(&self.process));
        let painted = colour.paint(code, &ended);
        let _infallible = write!(out, "{start:>10} {lived:>10}  {painted} {name}");
        if let Some(command) = &self.command {
            // The terminal must not break a line: that would break the tree.
            let used = 26 + width(&ended) + width(&name);
            let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(used).max(NARROW_COMMAND));
            let _infallible = write!(out, "  {}", cut(command, room));
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use supervisor_collect::decoder::Decoder;
    use supervisor_ebpf::{TRACE_EXIT, TRACE_FORK, TRACE_REAP, TRACE_WAIT, Traced};

    use super::*;

    fn traced(kind: u32, at_ms: u64, pid: u32, by: u32, value: u64) -> Traced {
        let mut comm = [0; 16];
        comm[..4].copy_from_slice(b"init");
        Traced {
            kind,
            at_ns: at_ms * 1_000_000,
            id: ProcessId::new(pid, u64::from(pid)),
            other: ProcessId::new(by, u64::from(by)),
            value,
            comm,
            ..Traced::default()
        }
    }

    #[test]
    fn a_tree_shows_how_each_process_ended() {
        let mut decoder = Decoder::default();
        let mut tree = Tree::default();
        for record in [
            traced(TRACE_WAIT, 1, 9, 0, 0),
            traced(TRACE_FORK, 1, 2, 1, 0),
            traced(TRACE_FORK, 2, 3, 2, 0),
            traced(TRACE_FORK, 3, 4, 3, 0),
            traced(TRACE_FORK, 4, 5, 2, 0),
            traced(TRACE_EXIT, 5, 4, 3, 9),
            traced(TRACE_EXIT, 6, 3, 2, 0x100),
            traced(TRACE_REAP, 7, 3, 2, 0),
            traced(TRACE_EXIT, 8, 2, 1, 0),
            traced(TRACE_REAP, 908, 2, 1, 0),
        ] {
            tree.event(&decoder.event(&record, None).unwrap());
        }
        tree.lost(3);
        let drawn = tree.draw(1_000_000, None, Colour::Never);
        let expected = "     START      LIVED  ENDED                    PROCESS\n  \
                        0.000000     7.0 ms  code 0, reaped 900.0 ms later init[2]\n  \
                        0.001000     4.0 ms  code 1                   ├─ init[3]\n  \
                        0.002000     2.0 ms  SIGKILL, UNREAPED        │  └─ init[4]\n  \
                        0.003000          -  runs                     └─ init[5]\n\
                        LOST  3 records: they came faster than they were read; filters or --only let fewer come\n";
        assert_eq!(drawn, expected);
    }

    #[test]
    fn events_beyond_the_bound_are_counted() {
        let mut decoder = Decoder::default();
        let mut tree = Tree::default();
        for pid in 1..=BOUND as u32 + 5 {
            tree.event(&decoder.event(&traced(TRACE_FORK, 1, pid + 1, pid, 0), None).unwrap());
        }
        let drawn = tree.draw(0, None, Colour::Never);
        assert!(drawn.contains("5 events of more processes than 10000 are left out"));
        assert!(drawn.lines().all(|line| line.len() < 250), "no line is indented without end");
    }
}
