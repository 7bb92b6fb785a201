//! How much longer a build takes under `supervisor leaks`.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use supervisor_tests::supervisor_bin;
use tempfile::TempDir;

use crate::progress;

/// A build: two compilers at once, as with `make -j2`. Each compilation is three processes: `cc`, the compiler proper
/// and the assembler.
const BUILD: &str = "seq 6667 | xargs -P2 -I% cc -c -o %.o source.c";
/// A script that starts programs that do next to nothing: `sh`, `cp` and `rm`. No build is as short of work.
const SCRIPT: &str = "
    steps() { i=0; while [ $i -lt 3333 ]; do sh -c 'cp source.c $0; rm $0' $1$i; i=$((i + 1)); done; }
    steps a & steps b & wait";
/// The number of processes of each: three for each step, and some for the steps.
const PROCESSES: u32 = 20_000;
/// The number of pairs of runs, one alone and one under `leaks`.
const PAIRS: usize = 5;

/// How much longer a build and a script take under `leaks`.
pub(crate) fn measure() -> Result<Value> {
    Ok(json!({
        "processes": PROCESSES,
        "build": slower("build", BUILD)?,
        "script": slower("script", SCRIPT)?,
    }))
}

/// The median of the differences of each pair, in percent of the run alone.
fn slower(name: &str, work: &str) -> Result<Value> {
    let mut pairs = Vec::new();
    for pair in 1..=PAIRS {
        progress(&format!("leaks: a {name} of {PROCESSES} processes, pair {pair} of {PAIRS}"));
        let alone = seconds(Path::new("sh"), &["-c", work])?;
        // Without `--settle`, `leaks` waits for two seconds at the end, which is not the build's time.
        let args = ["leaks", "--settle", "0s", "--", "sh", "-c", work];
        pairs.push((alone, seconds(&supervisor_bin()?, &args)?));
    }
    let mut slower: Vec<f64> = pairs.iter().map(|(alone, under)| (under / alone - 1.0) * 100.0).collect();
    slower.sort_by(f64::total_cmp);
    Ok(json!({
        "slower_percent": slower[PAIRS / 2],
        "slower_percent_of_pairs": slower, "pairs_seconds": pairs,
    }))
}

/// How long a program runs in a directory with a source file, in seconds.
fn seconds(program: &Path, args: &[&str]) -> Result<f64> {
    let dir = TempDir::new()?;
    std::fs::write(dir.path().join("source.c"), "int add(int a, int b) { return a + b; }\n")?;
    let started = Instant::now();
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let output = command.output().with_context(|| format!("cannot start {}", program.display()))?;
    let seconds = started.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} ended with {}: {said}", program.display(), output.status);
    Ok(seconds)
}
