//! `supervisor doctor`: checks whether supervisor can run on this host, and says what to do if not.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Result;
use caps::Capability;
use clap::Args;
use supervisor_collect::{
    host::{Host as _, Proc},
    kernel::{HookState, KernelError, LoadOptions, Offsets, Programs, capabilities, hooks, map_sizes},
    privileges::{NEEDS, Need, REAP_NEEDS, Until, kept_for_maps},
};
use supervisor_model::words::{clean, wrap};
use supervisor_render::style::Colour;

use crate::{
    console::{colour, columns, print},
    exit::CommandExit,
};

/// The consequence if the kernel lets nobody trace the host's PID 1.
const HIDDEN_INIT: &str = "this kernel keeps it from being traced: what it forks and waits for is not seen, nor what is freed \
    while it runs (reported as lost, and recovered by reconciliation)";

/// Check whether it can run here, and say what to do if not.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Print the whole of what the kernel says of each eBPF program that it refuses
    #[arg(long)]
    verifier_log: bool,
}

/// Prints one line for each requirement. The exit code says whether a mandatory one is missing.
///
/// # Errors
///
/// If `/proc` cannot be read, if the kernel does not report the capabilities of this thread or does not let it disable
/// one for a moment, or if standard output cannot be written.
#[expect(clippy::too_many_lines, reason = "one line for each check, in the order of the report")]
pub fn run(args: &DoctorArgs) -> Result<CommandExit> {
    let mut report =
        Report { columns: columns(), shows_verifier_log: args.verifier_log, ..Report::default() };
    let host = Proc::new()?;
    report.good("kernel", &clean(&host.identity().kernel));
    let capabilities = capabilities()?;
    match capabilities.require_tracing() {
        Ok(()) => {
            report.good(
                "capabilities",
                "CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE are there; host PID namespace",
            );
        }
        Err(error) => report.bad("capabilities", &error.to_string()),
    }
    let mut tracer = None;
    if capabilities.require_tracing().is_ok() {
        // If the kernel refuses this, it also refuses one of the hooks below, and that line says why.
        tracer = Programs::start(&LoadOptions { report_after_ns: u64::MAX, ..LoadOptions::default() }).ok();
    }
    let kept = tracer.as_ref().map(kept_for_maps).transpose()?.flatten();
    for need in NEEDS.iter().chain(&REAP_NEEDS) {
        report.right(need, kept)?;
    }
    let has_types = report.types(Offsets::of_running_kernel());
    report.mounts();
    report.tracing(fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok().as_deref());
    if !has_types {
        report.line("without", "hooks", "not tried without the types and fields");
    } else if capabilities.bpf {
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
                        HookState::Refused(error) => report.refused("MISSING", hook.name, "", &error),
                        HookState::Spared(error) => {
                            report.refused("without", hook.name, &format!("{}: ", hook.purpose), &error);
                        }
                    }
                }
            }
            Err(error) => report.bad("hooks", &error.to_string()),
        }
        match tracer.as_mut().map(Programs::shows_init) {
            Some(Ok(true)) => report.good("PID 1", "this kernel does not hide it from tracing"),
            Some(Ok(false)) => report.line("without", "PID 1", HIDDEN_INIT),
            Some(Err(error)) => report.bad("PID 1", &clean(&error.to_string())),
            // A line above says why.
            None => {}
        }
    } else {
        report.bad("hooks", "not tried without the capabilities: run `sudo supervisor doctor`");
    }
    let total: usize = map_sizes().iter().map(|map| map.bytes).sum();
    let parts: Vec<String> = map_sizes().iter().map(|map| format!("{} {}", map.name, map.entries)).collect();
    report.good(
        "memory",
        &format!("kernel maps at most {} MiB: {}", total.div_ceil(1024 * 1024), parts.join(", ")),
    );
    print(&painted(&report.text, colour()))?;
    Ok(if report.missing == 0 { CommandExit::Ok } else { CommandExit::Found })
}

/// Paints the word of missing requirements red, and the word of missing optional ones yellow.
fn painted(text: &str, colour: Colour) -> String {
    let lines = text.lines().map(|line| match line.split_once(' ') {
        Some((word @ "MISSING", rest)) => format!("{} {rest}\n", colour.paint("1;31", word)),
        Some((word @ "without", rest)) => format!("{} {rest}\n", colour.paint("33", word)),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

#[derive(Default)]
struct Report {
    missing: u32,
    text: String,
    /// The columns of the terminal. Lines are wrapped to them.
    columns: Option<usize>,
    shows_verifier_log: bool,
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

    /// Reports the types and fields that the kernel's BTF lacks. Returns false if nothing can be watched without them.
    fn types(&mut self, offsets: Result<Offsets, KernelError>) -> bool {
        let offsets = match offsets {
            Ok(offsets) => offsets,
            Err(error) => {
                self.bad("BTF", &error.to_string());
                return false;
            }
        };
        let lacking = offsets.missing().count();
        for offset in offsets.missing() {
            let member = if offset.member.is_empty() { "size" } else { offset.member };
            let text =
                format!("this kernel's `{}` has no `{member}`: {}", offset.type_name, offset.need.loss());
            self.line("without", "BTF", &text);
        }
        if lacking == 0 {
            self.good("BTF", &format!("all {} types and fields are there", offsets.iter().count()));
        }
        let exit = match offsets.get("EXIT_ARGS") {
            Some(2..) => "tells the group's death",
            _ => "does not tell the group's death (before 6.16); signal->live does",
        };
        self.good("exit hook", exit);
        true
    }

    /// Reports a program that the kernel refuses, with the verifier's log if the user asked for it.
    fn refused(&mut self, verdict: &str, hook: &str, before: &str, error: &KernelError) {
        self.missing += u32::from(verdict == "MISSING");
        self.line(verdict, hook, &clean(&format!("{before}{error}")));
        if let Some(log) = error.verifier_log().filter(|_| self.shows_verifier_log) {
            for line in log.lines() {
                let _infallible = writeln!(self.text, "    {}", clean(line));
            }
        }
    }

    /// Reports one capability. If a required one is missing, the line about all of them says so.
    fn right(&mut self, need: &Need, kept_for_maps: Option<Capability>) -> Result<()> {
        let verdict = if need.is_there()? { "ok" } else { "without" };
        let until = match need.until {
            Until::Attached if kept_for_maps == Some(need.capability) => {
                "all the time, as this kernel lets nobody read a map without it (before 5.19, with \
                 kernel.unprivileged_bpf_disabled)"
            }
            Until::Attached => "until the hooks are attached",
            Until::End => "all the time",
        };
        self.line(verdict, &need.capability.to_string(), &format!("{until}: {}", need.why));
        Ok(())
    }

    /// Reports if no reaper can be stopped: Yama's strictest scope allows nobody to attach.
    fn tracing(&mut self, ptrace_scope: Option<&str>) {
        if ptrace_scope.is_some_and(|scope| scope.trim() == "3") {
            let text = "kernel.yama.ptrace_scope is 3: `supervisor reap` and [reap] can stop no reaper until the next boot \
                        with another value";
            self.line("without", "ptrace", text);
        }
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
    use supervisor_collect::kernel::resolve;

    use super::*;

    #[test]
    fn lines_are_aligned_and_missing_items_are_counted() {
        let mut report = Report::default();
        report.good("kernel", "6.18.0");
        report.bad("capabilities", "CAP_BPF is missing");
        report.line("without", "release_task", "extra");
        let expected = [
            "ok       kernel               6.18.0",
            "MISSING  capabilities         CAP_BPF is missing",
            "without  release_task         extra",
        ];
        assert_eq!(report.text.lines().collect::<Vec<_>>(), expected);
        assert_eq!(report.missing, 1);
        let painted = painted(&report.text, Colour::Always);
        assert!(painted.contains("\n\x1b[1;31mMISSING\x1b[0m  capabilities"), "{painted}");
    }

    #[test]
    fn a_missing_kernel_field_is_named_with_its_consequence() {
        let mut btf = include_bytes!("../../tests/btf/7.3.btf").to_vec();
        let name = b"is_child_subreaper";
        let at = btf.windows(name.len()).position(|bytes| bytes == name).unwrap();
        btf[at] = b'I';
        let mut report = Report::default();
        assert!(report.types(resolve(btf)), "it is not required");
        let expected = "without  BTF                  this kernel's `signal_struct` has no `is_child_subreaper`: it is not \
                        known whether a reaper is a subreaper";
        assert_eq!(report.text.lines().next(), Some(expected));
        assert_eq!((report.text.lines().count(), report.missing), (2, 0), "{}", report.text);

        let mut report = Report::default();
        assert!(!report.types(resolve(include_bytes!("../../tests/btf/5.10.btf").to_vec())));
        assert!(
            report.text.starts_with("MISSING  BTF                  this kernel is too old: "),
            "{}",
            report.text
        );
        assert_eq!(report.missing, 1);
    }

    #[test]
    fn a_ptrace_scope_that_forbids_attaching_is_reported() {
        let text = |scope| {
            let mut report = Report::default();
            report.tracing(scope);
            report.text
        };
        assert!(text(Some("3\n")).starts_with("without  ptrace               kernel.yama.ptrace_scope is 3"));
        assert_eq!([text(Some("1\n")), text(None)], [""; 2]);
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
}
