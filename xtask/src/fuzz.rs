//! Fuzzes the targets of `tests/fuzz`: builds them for libFuzzer, and runs as many at a time as there are CPUs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, ensure};

use crate::{binary, process};

/// The flags that `cargo fuzz` gives rustc, but without a sanitizer. There is little unsafe code for a sanitizer to
/// watch, and without it no nightly compiler is needed.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-trace-compares \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table -Clink-dead-code -Ccodegen-units=1 --cfg fuzzing";

/// What to fuzz, and for how long.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these targets; all if none is given
    targets: Vec<String>,
    /// How many minutes each is fuzzed
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
}

/// The folder of the targets. They are their own workspace.
const TREE: &str = "tests/fuzz";

/// Fails if the targets' lock file is older than the crates that they use. No other task builds the targets, so no
/// other task would notice.
pub(crate) fn check_lock() -> Result<()> {
    let mut lock = process::cargo();
    lock.args(["update", "--workspace", "--locked", "--quiet", "--manifest-path"]);
    lock.arg(process::workspace().join(TREE).join("Cargo.toml"));
    process::visibly(lock)
}

/// Builds the targets, runs each, and fails if a target has found a failure.
pub(crate) fn run(args: &Args) -> Result<()> {
    let tree = process::workspace().join(TREE);
    let place = process::target_dir()?.join("fuzz");
    let mut names: Vec<String> = fs::read_dir(tree.join("targets"))?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    if let Some(unknown) = args.targets.iter().find(|it| !names.contains(it)) {
        anyhow::bail!("there is no target {unknown}; there are {}", names.join(", "));
    }
    if !args.targets.is_empty() {
        names.retain(|name| args.targets.contains(name));
    }
    let host = binary::host()?;
    let mut build = process::cargo();
    build.arg("build").arg("--release").arg("--locked").arg("--target").arg(&host);
    build.arg("--manifest-path").arg(tree.join("Cargo.toml")).arg("--target-dir").arg(&place);
    build.env("RUSTFLAGS", FLAGS);
    process::visibly(build)?;

    let programs = place.join(&host).join("release");
    let at_once = thread::available_parallelism()?.get();
    let mut is_good = true;
    for names in names.chunks(at_once) {
        eprintln!("fuzz: {} for {} minutes", names.join(", "), args.minutes);
        let results: Vec<Result<Found>> = thread::scope(|scope| {
            let start = |name: &String| {
                let name = name.clone();
                let (programs, tree, place) = (&programs, &tree, &place);
                scope.spawn(move || fuzz(&name, programs, tree, place, args.minutes))
            };
            let running: Vec<_> = names.iter().map(start).collect();
            let end = |it: thread::ScopedJoinHandle<'_, _>| {
                it.join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("the thread that waits for it has panicked")))
            };
            running.into_iter().map(end).collect()
        });
        for (name, found) in names.iter().zip(results) {
            let Found { executions, coverage, new, crash } = found?;
            println!(
                "{name:<12} {executions:>10} executions, {coverage:>6} edges covered, {new:>6} new inputs kept"
            );
            if let Some(crash) = crash {
                is_good = false;
                println!("{name:<12} FAILED: {crash}");
            }
        }
    }
    ensure!(is_good, "a target has failed; its program, given the file, does it again");
    Ok(())
}

/// The result of a target.
struct Found {
    executions: u64,
    coverage: u64,
    new: u64,
    /// The end of the program's output, if it failed.
    crash: Option<String>,
}

fn fuzz(name: &str, programs: &Path, tree: &Path, place: &Path, minutes: u64) -> Result<Found> {
    let dir = |kind: &str| -> Result<PathBuf> {
        let dir = place.join(kind).join(name);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(dir)
    };
    let (corpus, artifacts) = (dir("corpus")?, dir("artifacts")?);
    let mut command = Command::new(programs.join(name));
    process::without_cargo_run(&mut command);
    command.arg(&corpus).arg(tree.join("corpus").join(name));
    command.arg(format!("-max_total_time={}", minutes * 60)).arg("-print_final_stats=1").arg("-timeout=20");
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let crash = (!output.status.success()).then(|| {
        let lines: Vec<&str> = said.lines().collect();
        let end = lines[lines.len().saturating_sub(30)..].join("\n    ");
        format!("{}\n    {end}", input(&said).unwrap_or("no input was written"))
    });
    Ok(Found {
        executions: statistic(&said, "stat::number_of_executed_units:"),
        coverage: statistic(&said, "cov:"),
        new: statistic(&said, "stat::new_units_added:"),
        crash,
    })
}

/// The file with the input that made a target fail.
fn input(said: &str) -> Option<&str> {
    said.rsplit_once("Test unit written to ")?.1.lines().next()
}

/// The number after the last occurrence of `word`.
fn statistic(said: &str, word: &str) -> u64 {
    let rest = said.rsplit_once(word).map_or("", |(_, rest)| rest);
    rest.split_whitespace().next().and_then(|it| it.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_that_fails_is_named() {
        let said = "thread panicked\nartifact_prefix='/a/'; Test unit written to /a/crash-1\nBase64: AA==\n";
        assert_eq!(input(said), Some("/a/crash-1"));
        assert_eq!(input("thread panicked\n"), None);
    }

    #[test]
    fn the_number_after_the_last_occurrence_counts() {
        let said = "#2 INITED cov: 5 ft: 6\n#9 NEW cov: 17 ft: 20\nstat::number_of_executed_units: 1234\n";
        assert_eq!((statistic(said, "cov:"), statistic(said, "stat::number_of_executed_units:")), (17, 1234));
        assert_eq!(statistic(said, "stat::new_units_added:"), 0);
    }
}
