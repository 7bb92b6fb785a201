//! Tests that `supervisor demo` ends with 0, leaves nothing behind, and prints its text. `cargo xtask bench` measures
//! how long it takes.

use std::{
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use rustix::process::Signal;
use supervisor_lab::{Lines, Owned, until};
use supervisor_model::family::Family;
use supervisor_tests::{WAIT_LIMIT, supervisor_bin};
use tempfile::TempDir;

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

    /// The traces of this demo: files of the lab, and processes that have its directory in their arguments or
    /// environment. Other demos on this host have another directory.
    fn traces(&self) -> Result<Vec<String>> {
        let dir = self.dir.path().to_string_lossy();
        let mut traces = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let path = entry?.path();
            let is_given = ["cmdline", "environ"].iter().any(|file| {
                let bytes = fs::read(path.join(file)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).contains(&*dir)
            });
            if is_given {
                traces.push(path.display().to_string());
            }
        }
        for entry in fs::read_dir(self.dir.path())? {
            traces.push(entry?.path().display().to_string());
        }
        Ok(traces)
    }

    /// Waits until there is no trace of it. A killed process takes a moment to end.
    fn leaves_nothing(&self) -> Result<()> {
        let mut traces = Vec::new();
        let gone = until("everything to end", WAIT_LIMIT, || {
            traces = self.traces()?;
            Ok(traces.is_empty().then_some(()))
        });
        gone.with_context(|| format!("left: {traces:?}"))
    }
}

fn goes_as_announced(args: &[&str]) -> Result<String> {
    let mut demo = Demo::start(args)?;
    let mut text = String::new();
    while let Some(line) = demo.stdout.next("the demo to end", WAIT_LIMIT)? {
        text.push_str(&line);
        text.push('\n');
    }
    let status = demo.process.end(WAIT_LIMIT)?;
    assert!(status.success(), "{status}: {text}");
    demo.leaves_nothing()?;
    Ok(text)
}

#[test]
fn the_incident_is_played_with_the_real_crun() -> Result<()> {
    let text = goes_as_announced(&[])?;
    for fact in ["crun create", "joined", "demo-monitor", "zap_pid_ns_processes", "runc create", "(gone)"] {
        assert!(text.contains(fact), "{fact} is missing in:\n{text}");
    }
    Ok(())
}

#[test]
fn the_incident_is_played_with_a_simulated_crun() -> Result<()> {
    let text = goes_as_announced(&["--played"])?;
    assert!(text.contains("played by our own"), "{text}");
    Ok(())
}

/// The ids of the families that are listed, and whether each can be shown here.
fn listed() -> Result<Vec<(String, bool)>> {
    let output = Command::new(supervisor_bin()?).args(["demo", "--list"]).stdin(Stdio::null()).output()?;
    assert!(output.status.success());
    let list = String::from_utf8(output.stdout)?;
    let lines = list.lines().skip(1);
    Ok(lines
        .map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            (words.next().unwrap_or_default(), words.next().as_deref() == Some("yes"))
        })
        .collect())
}

#[test]
fn every_family_is_listed() -> Result<()> {
    assert_eq!(listed()?.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), Family::ALL.map(Family::id));
    Ok(())
}

#[test]
fn every_family_that_is_possible_here_is_played() -> Result<()> {
    for (id, _) in listed()?.into_iter().filter(|(_, is_here)| *is_here) {
        let text = goes_as_announced(&[&id.to_lowercase()])?;
        assert!(text.contains(&format!("{id} ")), "{id} is missing in:\n{text}");
    }
    Ok(())
}

#[test]
fn several_families_are_played_and_an_unknown_one_is_refused() -> Result<()> {
    let text = goes_as_announced(&["F9", "f4"])?;
    for family in [Family::F9, Family::F4] {
        assert!(text.contains(family.title()), "{text}");
    }
    let output = Command::new(supervisor_bin()?).args(["demo", "F99"]).stdin(Stdio::null()).output()?;
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr)?;
    assert!(Family::ALL.iter().all(|family| said.contains(family.id())), "{said}");
    Ok(())
}

#[test]
fn a_demo_that_is_interrupted_or_killed_leaves_nothing() -> Result<()> {
    let kinds: [(&[&str], &str); 4] =
        [(&[], "Left behind"), (&["F3"], "UNREAPED"), (&["F5"], "UNREAPED"), (&["F11"], "UNREAPED")];
    let signals = [(Signal::INT, Some(1)), (Signal::KILL, None)];
    for ((args, word), (signal, code)) in kinds.into_iter().flat_map(|kind| signals.map(|it| (kind, it))) {
        let mut demo = Demo::start(args)?;
        while !demo.stdout.next("the zombie", WAIT_LIMIT)?.context("the demo has ended")?.contains(word) {}
        assert_ne!(demo.traces()?, [""; 0], "the test is blind");
        demo.process.signal(signal)?;
        assert_eq!(demo.process.end(WAIT_LIMIT)?.code(), code);
        demo.leaves_nothing()?;
    }
    Ok(())
}
