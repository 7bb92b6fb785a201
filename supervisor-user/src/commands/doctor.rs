//! `supervisor doctor`: can it run here, and what to do if not.

use std::{fmt::Write as _, path::Path};

use anyhow::Result;

use crate::{
    console::{colour, columns, print},
    exit::Exit,
    host::{Host as _, Proc},
    kernel::{HookState, KernelError, Offsets, hooks, map_sizes, rights, shows_init},
    privileges::{NEEDS, Need, Until},
    report::text::Colour,
    words::{clean, wrap},
};

/// What it means that the kernel lets nobody trace the host's PID 1.
const HIDDEN_INIT: &str = "this kernel keeps it from being traced: what it forks and waits for is not seen, nor what is freed \
    while it runs (told as lost, and made up for)";

/// Prints one line for each thing that is needed; the exit code says whether any is missing.
///
/// # Errors
///
/// If standard output cannot be written.
pub fn run() -> Result<Exit> {
    let mut report = Report { columns: columns(), ..Report::default() };
    let host = Proc::new()?;
    report.good("kernel", &clean(&host.identity().kernel));
    let rights = rights()?;
    match rights.require_tracing() {
        Ok(()) => {
            report.good("rights", "CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE are there; host PID namespace");
        }
        Err(error) => report.bad("rights", &error.to_string()),
    }
    for need in &NEEDS {
        report.right(need)?;
    }
    match Offsets::of_running_kernel() {
        Ok(offsets) => {
            let exit = match offsets.get("EXIT_ARGS") {
                Some(2..) => "tells the group's death",
                _ => "does not tell the group's death (before 6.16); signal->live does",
            };
            report.good("BTF", &format!("all {} types and fields are there", offsets.iter().count()));
            report.good("exit hook", exit);
        }
        Err(error) => report.bad("BTF", &error.to_string()),
    }
    report.mounts();
    if rights.bpf {
        match hooks() {
            Ok(hooks) => {
                for hook in hooks {
                    match hook.state {
                        HookState::Works(instructions) => {
                            let cost = instructions
                                .map(|count| format!(" ({count} instructions verified)"))
                                .unwrap_or_default();
                            report.good(hook.name, &format!("{}{cost}", hook.purpose));
                        }
                        HookState::Refused(error) => {
                            let log = "`supervisor watch` shows the verifier's log";
                            report.bad(hook.name, &format!("{}; {log}", refusal(&error)));
                        }
                        HookState::Spared(error) => {
                            report.line(
                                "without",
                                hook.name,
                                &format!("{}: {}", hook.purpose, refusal(&error)),
                            );
                        }
                    }
                }
            }
            Err(error) => report.bad("hooks", &error.to_string()),
        }
        // Otherwise it has been said why nothing can be seen.
        if report.missing == 0 {
            match shows_init() {
                Ok(true) => report.good("PID 1", "this kernel does not hide it from tracing"),
                Ok(false) => report.line("without", "PID 1", HIDDEN_INIT),
                Err(error) => report.bad("PID 1", &refusal(&error)),
            }
        }
    } else {
        report.bad("hooks", "not tried without the rights: run `sudo supervisor doctor`");
    }
    let total: usize = map_sizes().iter().map(|map| map.bytes).sum();
    let parts: Vec<String> = map_sizes().iter().map(|map| format!("{} {}", map.name, map.entries)).collect();
    report.good(
        "memory",
        &format!("kernel maps at most {} MiB: {}", total.div_ceil(1024 * 1024), parts.join(", ")),
    );
    print(&painted(&report.text, colour()))?;
    Ok(if report.missing == 0 { Exit::Ok } else { Exit::Found })
}

/// What is missing in red, and what it does without in yellow.
fn painted(text: &str, colour: Colour) -> String {
    let lines = text.lines().map(|line| match line.split_once(' ') {
        Some((word @ "MISSING", rest)) => format!("{} {rest}\n", colour.paint("1;31", word)),
        Some((word @ "without", rest)) => format!("{} {rest}\n", colour.paint("33", word)),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// Why the kernel refuses a program.
fn refusal(error: &KernelError) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    // The verifier's reason is the last line before its statistics.
    let is_statistics = |line: &str| line.starts_with("processed ") || line.starts_with("verification time");
    let log: Vec<&str> = text.lines().map(str::trim).collect();
    let reason = log.iter().position(|line| is_statistics(line)).and_then(|at| log.get(at.checked_sub(1)?));
    clean(reason.unwrap_or(&first).trim_end_matches(" Verifier output: ").trim_end_matches('.'))
}

#[derive(Default)]
struct Report {
    missing: u32,
    text: String,
    /// Of the terminal that it is wrapped to.
    columns: Option<usize>,
}

impl Report {
    fn good(&mut self, what: &str, text: &str) {
        self.line("ok", what, text);
    }

    fn bad(&mut self, what: &str, text: &str) {
        self.missing += 1;
        self.line("MISSING", what, text);
    }

    fn line(&mut self, verdict: &str, what: &str, text: &str) {
        let before = format!("{verdict:<8} {what:<20} ");
        match self.columns {
            Some(columns) => wrap(&mut self.text, text, &before, &" ".repeat(before.len()), columns),
            None => {
                let _infallible = writeln!(self.text, "{before}{text}");
            }
        }
    }

    /// One right; that one is missing without which nothing works is said by the line about all of them.
    fn right(&mut self, need: &Need) -> Result<()> {
        let verdict = if need.is_there()? { "ok" } else { "without" };
        let until = match need.until {
            Until::Attached => "until the hooks are attached",
            Until::End => "all the time",
        };
        self.line(verdict, &need.capability.to_string(), &format!("{until}: {}", need.why));
        Ok(())
    }

    fn mounts(&mut self) {
        let unified = |path: &str| Path::new(path).join("cgroup.controllers").exists();
        let cgroups = if unified("/sys/fs/cgroup") {
            "version 2"
        } else if unified("/sys/fs/cgroup/unified") {
            "hybrid: paths come from the version 1 pids or memory controller"
        } else {
            "version 1: paths come from the pids or memory controller"
        };
        self.good("cgroups", cgroups);
        self.good("tracefs, bpffs", "not needed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aligned_and_what_is_missing_is_counted() {
        let mut report = Report::default();
        report.good("kernel", "6.18.0");
        report.bad("rights", "CAP_BPF is missing");
        report.line("without", "release_task", "extra");
        let expected = [
            "ok       kernel               6.18.0",
            "MISSING  rights               CAP_BPF is missing",
            "without  release_task         extra",
        ];
        assert_eq!(report.text.lines().collect::<Vec<_>>(), expected);
        assert_eq!(report.missing, 1);
        let painted = painted(&report.text, Colour::Always);
        assert!(painted.contains("\n\x1b[1;31mMISSING\x1b[0m  rights"), "{painted}");
    }

    #[test]
    fn a_narrow_terminal_breaks_between_words() {
        let mut report = Report { columns: Some(44), ..Report::default() };
        report.good("kernel", "one two three four");
        assert_eq!(
            report.text,
            format!("ok       kernel               one two three\n{}four\n", " ".repeat(30))
        );
    }

    #[test]
    fn the_verifiers_reason_is_said_and_not_its_log() {
        let log = "0: R1=ctx()\nR3 invalid mem access 'scalar'\nprocessed 12 insns (limit 1000000)";
        let text = KernelError::NoRights(format!("it was refused. Verifier output: {log}"));
        assert_eq!(refusal(&text), "R3 invalid mem access 'scalar'");
    }
}
