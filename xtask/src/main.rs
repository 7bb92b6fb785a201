//! `cargo xtask`: fetches the programs that the build needs, builds, runs the demo, and tests.

mod apt;
mod arch;
mod bench;
mod binary;
mod bpf;
mod btf;
mod dist;
mod docs;
mod fuzz;
mod installed;
mod kernels;
mod lint;
mod plan;
mod process;
mod setup;
mod soak;
mod test;
mod vm;
mod youki;

#[cfg(test)]
#[path = "../../tests/tests/live/docs/commands.rs"]
mod commands_of_docs;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build and test supervisor.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install the programs that the demo and the tests need; only what is missing
    Setup {
        /// Change nothing: list what is missing and the commands that would be run; exit 1 if there are any
        #[arg(long)]
        check: bool,
    },
    /// Build the release binary, which is statically linked
    Build(binary::Args),
    /// Build without optimisation, then run `supervisor demo`
    Demo {
        /// Passed on to `supervisor demo`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Check formatting and lints, run unit tests, the core of the live tests on other kernels, then all live tests one by
    /// one (as root)
    Test {
        /// Only tests with one of these in their names; options of the test runner
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        filter: Vec<String>,
    },
    /// Check formatting, clippy, spelling, the layers and the size of files, and what the dependencies bring in
    Lint,
    /// Check the dependencies for known vulnerabilities; fetches the list of them
    Audit,
    /// Make the files of a release for each architecture: tarball, Debian and RPM package, list of what is linked in; an OCI
    /// image index; checksums
    Dist(dist::Args),
    /// Fuzz what reads processes, files and recordings, for minutes each
    Fuzz(fuzz::Args),
    /// Make a seeded mix of processes for minutes, and judge what three watches have said of it (as root)
    Soak(soak::Args),
    /// Measure what supervisor costs, next to its alternatives; exit 1 if a bar is missed (as root)
    Bench(bench::Args),
    /// Make the pictures of the documentation from real sessions (as root), and the book
    Docs(docs::Args),
    /// Boot other kernels in qemu; run `supervisor doctor`, `supervisor demo` and the live tests there
    Vm(vm::Args),
    /// Print what is concluded from each recording, whether it is right, and how often each confidence is
    Verdicts,
    /// Record the layout of a kernel's types, for the tests of the offsets
    Btf(btf::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Setup { check: true } => setup::check(),
        Task::Setup { check: false } => setup::run(),
        Task::Build(args) => binary::run(&args),
        Task::Demo { args } => binary::demo(&args),
        Task::Test { filter } => test::run(&filter),
        Task::Lint => lint::run(),
        Task::Audit => lint::advisories(),
        Task::Dist(args) => dist::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Soak(args) => soak::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Docs(args) => docs::run(&args),
        Task::Vm(args) => vm::run(&args),
        Task::Verdicts => verdicts_of_recordings(),
        Task::Btf(args) => btf::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(process::Exit(code)) = error.downcast_ref() {
                return ExitCode::from(*code);
            }
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the verdicts of the recordings. It needs neither capabilities nor a particular kernel.
fn verdicts_of_recordings() -> anyhow::Result<()> {
    let mut cargo = process::cargo();
    cargo.args(["run", "--quiet", "--locked", "--package", "supervisor-user", "--example", "verdicts"]);
    cargo.arg(process::workspace().join("tests/recordings"));
    process::visibly(cargo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_in_the_docs_can_be_parsed() {
        let shown = commands_of_docs::in_blocks().unwrap();
        let mut count = 0;
        for shown in &shown {
            let words = shown.words();
            let Some(at) = words.windows(2).position(|pair| pair == ["cargo", "xtask"]) else { continue };
            if let Err(error) = Cli::try_parse_from(&words[at + 1..]) {
                panic!("{}: {}\n{error}", shown.place, shown.text);
            }
            count += 1;
        }
        assert!(count > 5, "only {count} are found");
    }
}
