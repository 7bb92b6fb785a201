//! Runs the lints, the unit tests and the live tests. The core of the live tests also runs on other kernels.

use std::{path::Path, process::Command, thread};

use anyhow::Result;

use crate::{
    binary, lint,
    plan::{DEMO, KERNELS, TESTS},
    process, setup, vm, youki,
};

/// A part of the paths of live tests that must run alone.
const ALONE: &str = "::alone::";
/// The number of live tests that run at once for each CPU. It is more than one, because most of them wait.
const AT_ONCE: usize = 2;

/// Checks formatting and lints, and runs the tests of every crate except `supervisor-tests`. Then runs the core of the
/// live tests on other kernels. Then runs the live tests on this kernel: those in a module `alone` one by one, then the
/// others in parallel. With a filter, runs only the chosen tests; live tests run one by one, and only on this kernel.
pub(crate) fn run(filter: &[String]) -> Result<()> {
    setup::ensure(&[&DEMO, &TESTS])?;
    if filter.is_empty() {
        setup::ensure(&[&KERNELS])?;
    }
    lint::run()?;
    let binary = binary::build()?;

    let mut unit = process::cargo();
    unit.args(["test", "--workspace", "--exclude", "supervisor-tests", "--locked", "--no-fail-fast"]);
    binary::link_statically(&mut unit)?;
    unit.arg("--").args(filter);
    process::visibly(unit)?;

    if !process::is_root() {
        eprintln!("The live tests load eBPF programs and need root; they were not run. Run:");
        eprintln!("    sudo -E env \"PATH=$PATH\" cargo xtask test {}", filter.join(" "));
        return Err(process::Exit(2).into());
    }
    if !filter.is_empty() {
        return live(&binary, 1, filter);
    }
    // The tests on other kernels run first, so that the last lines are those of the test runner.
    let elsewhere = vm::core();
    let alone = live(&binary, 1, &[ALONE.to_owned()]);
    let threads = AT_ONCE * thread::available_parallelism()?.get();
    let beside = live(&binary, threads, &["--skip".to_owned(), ALONE.to_owned()]);
    let elsewhere =
        elsewhere.inspect_err(|_| eprintln!("error: tests on other kernels have failed: see above"));
    let alone = alone.inspect_err(|_| eprintln!("error: tests that are run alone have failed: see above"));
    beside.and(alone).and(elsewhere)
}

/// Runs the live tests under `supervisor leaks`, which reports what they leave behind. Those in a module `alone` are left
/// out, because they need a host without another watch. Many tests leave zombies for a while, so only what is left at
/// the end counts.
pub(crate) fn under_leaks(binary: &Path) -> Result<()> {
    const FOR_A_WHILE: &str = "24h";
    let mut leaks = Command::new(binary);
    leaks.args(["leaks", "--grace", FOR_A_WHILE, "--"]);
    let threads = AT_ONCE * thread::available_parallelism()?.get();
    let tests = cargo_test(binary, threads, &["--skip".to_owned(), ALONE.to_owned()])?;
    leaks.arg(tests.get_program()).args(tests.get_args()).current_dir(process::workspace());
    for (name, value) in tests.get_envs() {
        match value {
            Some(value) => leaks.env(name, value),
            None => leaks.env_remove(name),
        };
    }
    process::visibly(leaks)
}

/// Runs the live tests that the arguments choose.
fn live(binary: &Path, threads: usize, chosen: &[String]) -> Result<()> {
    process::visibly(cargo_test(binary, threads, chosen)?)
}

/// The command that runs the live tests that the arguments choose.
fn cargo_test(binary: &Path, threads: usize, chosen: &[String]) -> Result<Command> {
    let mut live = process::cargo();
    live.env("SUPERVISOR_BIN", binary).env("PATH", youki::path()?);
    live.args(["test", "--package", "supervisor-tests", "--tests", "--locked", "--no-fail-fast"]);
    binary::link_statically(&mut live)?;
    live.arg("--").arg(format!("--test-threads={threads}")).args(chosen);
    Ok(live)
}
