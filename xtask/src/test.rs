//! Lints, unit tests, live tests; of these the core on other kernels too.

use anyhow::Result;

use crate::{
    binary, fuzz,
    plan::{DEMO, KERNELS, TESTS},
    process, setup, vm, youki,
};

/// Checks formatting and lints, runs the unit tests of every crate, then the core of the live tests on other kernels, then
/// the live tests one by one. Only the chosen ones of this kernel if there is a filter.
pub(crate) fn run(filter: &[String]) -> Result<()> {
    setup::ensure(&[&DEMO, &TESTS])?;
    if filter.is_empty() {
        setup::ensure(&[&KERNELS])?;
    }
    lint()?;
    let binary = binary::build()?;

    let mut unit = process::cargo();
    unit.args(["test", "--workspace", "--exclude", "supervisor-tests", "--locked", "--no-fail-fast"]);
    binary::link_statically(&mut unit)?;
    unit.arg("--").args(filter);
    process::visibly(unit)?;

    if !setup::is_root() {
        eprintln!("The live tests load eBPF programs and need root; they were not run. Run:");
        eprintln!("    sudo -E env \"PATH=$PATH\" cargo xtask test {}", filter.join(" "));
        return Err(process::Exit(2).into());
    }
    // Before those on this kernel, so that the last lines are the test runner's own.
    let elsewhere = if filter.is_empty() { vm::core() } else { Ok(()) };
    let mut live = process::cargo();
    live.env("SUPERVISOR_BIN", binary).env("PATH", youki::path()?);
    live.args(["test", "--package", "supervisor-tests", "--tests", "--locked", "--no-fail-fast"]);
    binary::link_statically(&mut live)?;
    live.args(["--", "--test-threads=1"]).args(filter);
    process::visibly(live)?;
    elsewhere.inspect_err(|_| eprintln!("error: tests on other kernels have failed: see above"))
}

/// Checks formatting and lints; any finding is an error.
pub(crate) fn lint() -> Result<()> {
    if component("fmt") {
        let mut format = process::cargo();
        format.args(["fmt", "--all", "--check"]);
        process::visibly(format)?;
    }
    if component("clippy") {
        let mut clippy = process::cargo();
        clippy.args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--features",
            "supervisor-tests/bench",
            "--locked",
        ]);
        clippy.args(["--", "--deny", "warnings"]);
        process::visibly(clippy)?;
    }
    fuzz::check_lock()
}

/// Whether cargo has this command; says loudly if not.
fn component(name: &str) -> bool {
    let present = process::cargo().args([name, "--version"]).output().is_ok_and(|out| out.status.success());
    if !present {
        eprintln!("WARNING: `cargo {name}` is not installed, its check is LEFT OUT (rustup component add)");
    }
    present
}
