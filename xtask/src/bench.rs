//! Builds and runs the bench: a program of the tests' crate, built for release next to the program that it measures.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::{
    binary,
    plan::{DEMO, PEERS, TESTS},
    process, setup,
};

/// What is measured, and where it goes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder for `bench.json`, `bench.svg` and `bench.md`; `bench` below cargo's target directory if not given
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How many pairs each median is of
    #[arg(long, default_value_t = 9)]
    rounds: u64,
    /// Only these parts: cycles, cost, latency, growth, commands, top
    #[arg(long, value_name = "PART,…")]
    only: Option<String>,
}

/// Builds and runs the bench. Its exit code says whether every bar is met.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::ensure(&[&DEMO, &TESTS, &PEERS])?;
    ensure!(
        process::is_root(),
        "the bench traces and needs root: sudo -E env \"PATH=$PATH\" cargo xtask bench"
    );
    let supervisor = binary::build()?;
    let target = process::target_dir()?;
    let mut build = process::cargo();
    build.args([
        "build",
        "--release",
        "--locked",
        "--package",
        "supervisor-tests",
        "--bins",
        "--features",
        "bench",
    ]);
    process::visibly(build)?;
    let mut bench = std::process::Command::new(target.join("release/bench"));
    process::without_cargo_run(&mut bench);
    bench.env("SUPERVISOR_BIN", supervisor);
    bench.arg("--out").arg(args.out.clone().unwrap_or_else(|| target.join("bench")));
    bench.arg("--rounds").arg(args.rounds.to_string());
    if let Some(only) = &args.only {
        bench.arg("--only").arg(only);
    }
    process::visibly(bench)
}
