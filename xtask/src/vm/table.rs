//! Writes the table of docs/kernels.md: the results on each kernel, and their date.

use std::{fmt::Write as _, fs, process::Command};

use anyhow::{Context as _, Result};

use super::{Booted, OF_ALL};
use crate::process;

const FILE: &str = "docs/kernels.md";
/// The table lies between these two lines.
const BEGIN: &str = "<!-- written by `cargo xtask vm --all` -->";
const END: &str = "<!-- end -->";

/// Writes the table into the page. The rest of the page does not change.
pub(super) fn write(results: &[Booted]) -> Result<()> {
    let file = process::workspace().join(FILE);
    let page = fs::read_to_string(&file).with_context(|| format!("cannot read {FILE}"))?;
    let today = process::output(Command::new("date").args(["-u", "+%Y-%m-%d"])).context("date fails")?;
    fs::write(&file, replaced(&page, &table(results, today.trim()))?)
        .with_context(|| format!("cannot write {FILE}"))
}

fn replaced(page: &str, table: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).with_context(|| format!("{FILE} has no line `{BEGIN}`"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{FILE} has no line `{END}`"))?;
    Ok(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

fn table(results: &[Booted], date: &str) -> String {
    let mut text = format!("\nSeen on {date}:\n\n| kernel | architecture | doctor | demo |");
    for name in OF_ALL {
        let _infallible = write!(text, " {name} |");
    }
    text.push_str("\n|---|---|---|---|");
    text.push_str(&"---|".repeat(OF_ALL.len()));
    text.push('\n');
    let mut notes = String::new();
    for Booted { arch, kernel, verdicts } in results {
        let _infallible = write!(text, "| {kernel} | {} |", arch.name());
        for step in
            ["doctor", "demo"].map(str::to_owned).into_iter().chain(OF_ALL.map(|it| format!("tests/{it}")))
        {
            let (word, said) = verdicts.of_step(&step);
            let _infallible = write!(text, " {word} |");
            if let Some(said) = said.filter(|_| !step.starts_with("tests/")) {
                let _infallible = writeln!(notes, "- {kernel}, {step}: `{}`", said.replace('`', "'"));
            }
        }
        text.push('\n');
        for test in verdicts.failed() {
            let _infallible = writeln!(notes, "- {kernel}: the test `{test}` failed");
        }
        if let Some(why) = &verdicts.broken {
            let _infallible = writeln!(notes, "- {kernel}: the machine broke: `{}`", why.replace('`', "'"));
        }
    }
    if !notes.is_empty() {
        text.push('\n');
        text.push_str(&notes);
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        arch::Arch,
        vm::{initramfs::Step, verdicts::Verdicts},
    };

    #[test]
    fn every_kernel_has_a_row_and_every_failure_a_line() {
        let steps = ["doctor", "demo"].map(|name| Step { name: name.to_owned(), command: "true".to_owned() });
        let mut verdicts = Verdicts::new(&steps);
        for line in ["VM-VERDICT doctor 0", "error: the `demo` gave up", "VM-VERDICT demo 3"] {
            verdicts.take(line);
        }
        let table =
            table(&[Booted { arch: Arch::Aarch64, kernel: "6.1.0-57".to_owned(), verdicts }], "2026-01-02");
        assert!(table.contains("Seen on 2026-01-02"), "{table}");
        assert!(table.contains("| 6.1.0-57 | aarch64 | ok | FAILED | no verdict |"), "{table}");
        assert!(table.contains("- 6.1.0-57, demo: `error: the 'demo' gave up`\n"), "{table}");
    }

    #[test]
    fn the_page_has_the_markers_of_the_table() {
        let page = fs::read_to_string(process::workspace().join(FILE)).unwrap();
        let written = replaced(&page, "x\n").unwrap();
        assert!(written.contains(&format!("{BEGIN}\nx\n{END}")), "{written}");
        assert_eq!(replaced(&written, "x\n").unwrap(), written);
    }
}
