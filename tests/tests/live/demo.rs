//! `supervisor demo`: ends 0 within its time, leaves nothing, and says what it has to say.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::process::Signal;
use supervisor_tests::supervisor_bin;
use supervisor_user::scenario::{Lines, Owned, until};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(15);

/// A running demo, whose lab is in a directory of its own.
struct Demo {
    process: Owned,
    stdout: Lines,
    dir: TempDir,
}

impl Demo {
    fn start(args: &[&str]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("supervisor-demo-test-").tempdir()?;
        let mut command = Command::new(supervisor_bin()?);
        command.arg("demo").args(args).env("TMPDIR", dir.path());
        let mut process = Owned::start(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let stdout = Lines::of(process.child().stdout.take().context("the demo has no pipe")?);
        Ok(Self { process, stdout, dir })
    }

    /// What is left of it: files of the lab, and processes that have their programs or arguments there.
    fn traces(&self) -> Result<Vec<String>> {
        let dir = self.dir.path().to_string_lossy();
        let mut traces = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let path = entry?.path();
            let cmdline = fs::read(path.join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&cmdline).contains(&*dir) {
                traces.push(path.display().to_string());
            }
        }
        for entry in fs::read_dir(self.dir.path())? {
            traces.push(entry?.path().display().to_string());
        }
        Ok(traces)
    }
}

fn goes_as_announced(args: &[&str]) -> Result<String> {
    let started = Instant::now();
    let mut demo = Demo::start(args)?;
    let mut text = String::new();
    while let Some(line) = demo.stdout.next("the demo to end", LIMIT)? {
        text.push_str(&line);
        text.push('\n');
    }
    let status = demo.process.end(LIMIT)?;
    assert!(status.success(), "{status}: {text}");
    assert!(started.elapsed() < LIMIT, "it took {:?}", started.elapsed());
    assert_eq!(demo.traces()?, [""; 0], "something is left");
    Ok(text)
}

#[test]
fn with_the_real_crun() -> Result<()> {
    let text = goes_as_announced(&[])?;
    for fact in ["crun create", "joined", "demo-monitor", "zap_pid_ns_processes", "runc create", "(gone)"] {
        assert!(text.contains(fact), "{fact} is missing in:\n{text}");
    }
    Ok(())
}

#[test]
fn with_a_played_crun() -> Result<()> {
    let text = goes_as_announced(&["--played"])?;
    assert!(text.contains("played by our own"), "{text}");
    Ok(())
}

#[test]
fn interrupted_or_killed_it_leaves_nothing() -> Result<()> {
    for (signal, code) in [(Signal::INT, Some(1)), (Signal::KILL, None)] {
        let mut demo = Demo::start(&[])?;
        while !demo.stdout.next("the zombie", LIMIT)?.context("the demo has ended")?.contains("Left behind") {
        }
        assert_ne!(demo.traces()?, [""; 0], "the test is blind");
        demo.process.signal(signal)?;
        assert_eq!(demo.process.end(LIMIT)?.code(), code);
        until("everything to end", LIMIT, || Ok(demo.traces()?.is_empty().then_some(())))?;
    }
    Ok(())
}
