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

/// Two jobs at once, as `make -j2` has them. Each step is three short processes: `sh`, `cp` and `rm`.
const BUILD: &str = "
    steps() { i=0; while [ $i -lt 3333 ]; do sh -c 'cp source $0; rm $0' $1$i; i=$((i + 1)); done; }
    steps a & steps b & wait";
/// The number of processes of the build: three for each step, and the two jobs.
const PROCESSES: u32 = 3 * 2 * 3333 + 2;
/// The number of pairs of builds, one alone and one under `leaks`.
const PAIRS: usize = 7;

/// The median of the differences of each pair, in percent of the build alone.
pub(crate) fn measure() -> Result<Value> {
    let dir = TempDir::new()?;
    std::fs::write(dir.path().join("source"), "text\n")?;
    let mut pairs = Vec::new();
    for pair in 1..=PAIRS {
        progress(&format!("leaks: builds of {PROCESSES} processes, pair {pair} of {PAIRS}"));
        let alone = seconds(dir.path(), Path::new("sh"), &["-c", BUILD])?;
        // Without `--settle`, `leaks` waits for two seconds at the end, which is not the build's time.
        let args = ["leaks", "--settle", "0s", "--", "sh", "-c", BUILD];
        pairs.push((alone, seconds(dir.path(), &supervisor_bin()?, &args)?));
    }
    let mut slower: Vec<f64> = pairs.iter().map(|(alone, under)| (under / alone - 1.0) * 100.0).collect();
    slower.sort_by(f64::total_cmp);
    Ok(json!({
        "processes": PROCESSES, "slower_percent": slower[PAIRS / 2],
        "slower_percent_of_pairs": slower, "pairs_seconds": pairs,
    }))
}

/// How long a program runs, in seconds.
fn seconds(dir: &Path, program: &Path, args: &[&str]) -> Result<f64> {
    let started = Instant::now();
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = command.output().with_context(|| format!("cannot start {}", program.display()))?;
    let seconds = started.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} ended with {}: {said}", program.display(), output.status);
    Ok(seconds)
}
