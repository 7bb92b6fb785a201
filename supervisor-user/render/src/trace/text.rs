//! Renders a trace for people, one event a line.

use std::fmt::Write as _;

use supervisor_model::{
    clock::Wall,
    finding::Exit,
    phrases::call,
    trace::{NamedProcess, TraceEvent, What},
    words::{command_line, padded, short_duration, signal_name},
};

use crate::{columns, style::Colour};

/// How times are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TimeFormat {
    /// Seconds since the trace began
    #[default]
    Relative,
    /// The time of day, in the zone of the reader
    Absolute,
    /// Seconds since the line before
    Delta,
}

/// At most this many characters of a file and its arguments are written.
const COMMAND: usize = 200;
/// This many characters of a container id are written.
const ID: usize = 12;

/// The lines of a trace.
#[derive(Debug)]
pub struct TraceLines {
    time: TimeFormat,
    colour: Colour,
    wall: Wall,
    /// The time that relative times count from.
    from_ns: u64,
}

impl TraceLines {
    /// The lines of a trace that begins at `now_ns`.
    #[must_use]
    pub fn new(time: TimeFormat, colour: Colour, wall: Wall, now_ns: u64) -> Self {
        Self { time, colour, wall, from_ns: now_ns }
    }

    /// The header above the columns.
    #[must_use]
    pub fn header(&self) -> String {
        let time = match self.time {
            TimeFormat::Absolute => "TIME           ",
            TimeFormat::Relative | TimeFormat::Delta => "     TIME",
        };
        format!("{time}  {:>7} {:<15} WHAT\n", "PID", "NAME")
    }

    /// Appends the line of an event.
    pub fn event(&mut self, event: &TraceEvent, out: &mut String) {
        self.time(event.at_ns, out);
        let name = padded(&event.process.shown(), 15);
        let _infallible = write!(out, "  {:>7} {name} ", event.process.id.tgid);
        let (word, code) = match &event.what {
            What::Forked(_) => ("fork", "36"),
            What::Executed { .. } => ("exec", "34"),
            What::Exited(..) => ("exit", "33"),
            What::Waits(_) => ("wait", "2"),
            What::Reaped { .. } => ("reap", "32"),
        };
        match self.colour {
            Colour::Never => out.push_str(word),
            Colour::Always => out.push_str(&self.colour.paint(code, word)),
        }
        out.push_str("  ");
        details(&event.what, out);
        if let Some(id) = event.cgroup.as_ref().and_then(|cgroup| cgroup.container.as_ref()) {
            let _infallible = write!(out, "  [{}]", id.get(..ID).unwrap_or(id));
        }
        out.push('\n');
    }

    /// Appends a line that reports lost records.
    pub fn lost(&mut self, count: u64, at_ns: u64, out: &mut String) {
        self.time(at_ns, out);
        let text = self.colour.paint("1;33", &lost(count));
        let _infallible = writeln!(out, "  {text}");
    }

    fn time(&mut self, at_ns: u64, out: &mut String) {
        let _infallible = match self.time {
            TimeFormat::Absolute => {
                let time = self.wall.timestamp(at_ns).to_zoned_datetime(jiff::tz::TimeZone::system());
                write!(out, "{}", time.strftime("%H:%M:%S.%6f"))
            }
            TimeFormat::Relative | TimeFormat::Delta => {
                let micros = at_ns.saturating_sub(self.from_ns) / 1000;
                write!(out, "{:>2}.{:06}", micros / 1_000_000, micros % 1_000_000)
            }
        };
        if self.time == TimeFormat::Delta {
            self.from_ns = at_ns;
        }
    }
}

/// The text behind the word of an event.
fn details(what: &What, out: &mut String) {
    let _infallible = match what {
        What::Forked(by) => write!(out, "by {}", named(by)),
        What::Executed { file, args, args_cut, .. } => write!(out, "{}", command(file, args, *args_cut)),
        What::Exited(exit, parent) => write!(out, "{}; {} must reap it", status(*exit), named(parent)),
        What::Waits(wait) => write!(out, "{}", call(wait)),
        What::Reaped { by, after_ns } => {
            let after = after_ns.map_or_else(
                || "its exit was not seen".to_owned(),
                |ns| format!("{} after its exit", short_duration(ns)),
            );
            match by {
                Some(by) => write!(out, "by {}, {after}", named(by)),
                // The reap was seen at the free of the process, which comes a little later.
                None if after_ns.is_some() => write!(out, "at most {after}"),
                None => write!(out, "{after}"),
            }
        }
    };
}

/// The same text as the end of a sentence whose subject is the process.
#[must_use]
pub fn sentence(what: &What) -> String {
    let mut out = match what {
        What::Forked(_) => "was forked ",
        What::Executed { .. } => "executes ",
        What::Exited(Exit::Code(_), _) => "exits with ",
        What::Exited(..) => "is killed by ",
        What::Waits(_) => "calls ",
        What::Reaped { by: Some(_), .. } => "is reaped ",
        What::Reaped { by: None, .. } => "is reaped, ",
    }
    .to_owned();
    details(what, &mut out);
    out
}

/// The text that reports lost records.
pub(super) fn lost(count: u64) -> String {
    format!("LOST  {count} records: they came faster than they were read; filters or --only let fewer come")
}

/// A process by name and pid.
pub(super) fn named(process: &NamedProcess) -> String {
    columns::named(&process.name(), process.id.tgid)
}

/// The executed file with its arguments. The file replaces the first argument, which usually names the file too.
pub(super) fn command(file: &str, args: &[String], is_cut: bool) -> String {
    let words: Vec<String> = [file.to_owned()].into_iter().chain(args.iter().skip(1).cloned()).collect();
    command_line(&words, is_cut, COMMAND)
}

/// How a process ended: its exit code, or the signal and whether a core was dumped.
pub(super) fn status(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("code {code}"),
        Exit::Signal { number, core_dumped } => {
            let name = signal_name(number).map_or_else(|| format!("signal {number}"), str::to_owned);
            format!("{name}{}", if core_dumped { ", core dumped" } else { "" })
        }
    }
}

#[cfg(test)]
mod tests {
    use supervisor_collect::decoder::Decoder;
    use supervisor_ebpf::{
        CALL_WAIT4, ProcessId, TRACE_EXIT, TRACE_FORK, TRACE_REAP, TRACE_WAIT, Traced, WAIT_ANY, Wait,
    };

    use super::*;

    fn traced(kind: u32, at_ns: u64, value: u64) -> Traced {
        let mut comm = [0; 16];
        comm[..3].copy_from_slice(b"a\x1b\n");
        let mut other_comm = [0; 16];
        other_comm[..4].copy_from_slice(b"init");
        let (id, other) = (ProcessId::new(20, 1), ProcessId::new(1, 1));
        Traced { kind, at_ns, id, other, value, comm, other_comm, ..Traced::default() }
    }

    fn lines(time: TimeFormat) -> String {
        let mut decoder = Decoder::default();
        let mut lines = TraceLines::new(time, Colour::Never, Wall::at_offset(0), 1_000_000_000);
        let mut out = String::new();
        for record in [
            traced(TRACE_FORK, 1_000_100_000, 0),
            traced(TRACE_WAIT, 1_000_200_000, Wait::pack(CALL_WAIT4, WAIT_ANY, 0, 1)),
            traced(TRACE_EXIT, 2_500_000_000, 139),
            traced(TRACE_REAP, 2_500_004_000, 0),
        ] {
            lines.event(&decoder.event(&record, None).unwrap(), &mut out);
        }
        lines.lost(3, 3_000_000_000, &mut out);
        out
    }

    #[test]
    fn lines_are_aligned_and_names_are_harmless() {
        let expected = [
            " 0.000100       20 a\\u{1b}\\u{a}    fork  by init[1]",
            " 0.000200       20 a\\u{1b}\\u{a}    wait  wait4 for any child (WNOHANG)",
            " 1.500000       20 a\\u{1b}\\u{a}    exit  SIGSEGV, core dumped; init[1] must reap it",
            " 1.500004       20 a\\u{1b}\\u{a}    reap  by init[1], 4.0 us after its exit",
            " 2.000000  LOST  3 records: they came faster than they were read; filters or --only let fewer come",
        ];
        assert_eq!(lines(TimeFormat::Relative).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn wide_names_move_no_column() {
        let mut record = traced(TRACE_FORK, 1_000_100_000, 0);
        record.comm = [0; 16];
        record.comm[..6].copy_from_slice("名前".as_bytes());
        let mut out = String::new();
        TraceLines::new(TimeFormat::Relative, Colour::Never, Wall::at_offset(0), 1_000_000_000)
            .event(&Decoder::default().event(&record, None).unwrap(), &mut out);
        assert_eq!(out, " 0.000100       20 名前            fork  by init[1]\n");
    }

    #[test]
    fn delta_times_count_from_the_line_before() {
        let text = lines(TimeFormat::Delta);
        let times: Vec<&str> =
            text.lines().map(|line| line.split_whitespace().next().unwrap_or_default()).collect();
        assert_eq!(times, ["0.000100", "0.000100", "1.499800", "0.000004", "0.499996"]);
    }

    #[test]
    fn a_sentence_says_the_same_as_a_line() {
        let mut decoder = Decoder::default();
        let mut said = |record| sentence(&decoder.event(&record, None).unwrap().what);
        assert_eq!(said(traced(TRACE_FORK, 1, 0)), "was forked by init[1]");
        assert_eq!(said(traced(TRACE_EXIT, 1, 0)), "exits with code 0; init[1] must reap it");
        assert_eq!(said(traced(TRACE_EXIT, 1, 9)), "is killed by SIGKILL; init[1] must reap it");
        assert_eq!(said(traced(TRACE_REAP, 1, 0)), "is reaped by init[1], 0 ns after its exit");
        let unseen = Traced { other: ProcessId::default(), ..traced(TRACE_REAP, 1, 0) };
        assert_eq!(said(unseen), "is reaped, its exit was not seen");
    }
}
