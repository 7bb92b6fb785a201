//! Runs the soak: the live tests with `soak` in their path, one by one, for a longer time. They are in the modules
//! `soak`, `soak_causes` and `reap::soak`.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, ensure};

use crate::{binary, process, test};

/// How long, and which one.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many minutes processes are made for; judging what was said takes a minute and a half more
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    minutes: u64,
    /// Makes the same mix again; another one each time if not given
    #[arg(long)]
    seed: Option<u64>,
    /// Stops reapers instead: 200 times in each call, 50 times with a death at each step, and 10,000 zombies at once
    #[arg(long, conflicts_with_all = ["minutes", "seed", "attackers"])]
    reap: bool,
    /// Runs the live tests under `supervisor leaks` instead, which reports what they leave behind
    #[arg(long, conflicts_with_all = ["minutes", "seed", "attackers", "reap"])]
    leaks: bool,
    /// Adds attackers: a quarter of the processes that become zombies try to mislead or to delay the watches
    #[arg(long)]
    attackers: bool,
}

/// Runs the soak, and shows its output.
pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(
        process::is_root(),
        "the soak loads eBPF programs and needs root: sudo -E env \"PATH=$PATH\" cargo xtask soak"
    );
    let binary = binary::build()?;
    if args.reap {
        return stops(&binary);
    }
    if args.leaks {
        return test::under_leaks(&binary);
    }
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs());
    let seed = args.seed.unwrap_or_else(now);
    eprintln!("soak: {} minutes, seed {seed}; then a minute and a half until all is judged", args.minutes);
    let mut soak = process::cargo();
    soak.env("SUPERVISOR_BIN", binary);
    soak.env("SUPERVISOR_SOAK_SECONDS", (args.minutes * 60).to_string());
    soak.env("SUPERVISOR_SOAK_SEED", seed.to_string());
    if args.attackers {
        soak.env("SUPERVISOR_SOAK_ATTACKERS", "1");
    }
    soak.args(["test", "--package", "supervisor-tests", "--test", "live", "--locked"]);
    binary::link_statically(&mut soak)?;
    soak.args(["--", "soak", "--nocapture", "--test-threads=1"]);
    process::visibly(soak)
}

/// Runs the tests that stop reapers, each stop many times.
fn stops(binary: &Path) -> Result<()> {
    for (tests, times) in [("reap::matrix", "200"), ("reap::crashes", "50"), ("reap::many", "1")] {
        eprintln!("soak: {tests}, {times} times each");
        let mut soak = process::cargo();
        soak.env("SUPERVISOR_BIN", binary).env("REAP_TIMES", times);
        soak.args(["test", "--package", "supervisor-tests", "--test", "live", "--locked"]);
        binary::link_statically(&mut soak)?;
        soak.args(["--", tests, "--nocapture", "--include-ignored", "--test-threads=1"]);
        process::visibly(soak)?;
    }
    Ok(())
}
