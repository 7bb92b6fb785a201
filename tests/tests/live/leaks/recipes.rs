//! Tests of the recipes of docs/leaks.md: of ten tests two leave something behind, and the report names both. The files
//! are those that the page shows.

use std::{
    collections::BTreeSet,
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use supervisor_lab::{program, until};
use supervisor_tests::{WAIT_LIMIT, child_of, signal, supervisor_bin};

use super::{Run, name_of_supervisor, path_with_supervisor};

const PAGE: &str = include_str!("../../../../docs/leaks.md");

/// A daemon that leaves a zombie.
const DAEMON: &str = "import os, time
if os.fork() == 0:
    os._exit(0)
time.sleep(600)
";

/// The block of the page whose first line names this file in a comment.
fn shown(name: &str) -> Result<&'static str> {
    let blocks = PAGE.split("\n```").skip(1).step_by(2).filter_map(|block| Some(block.split_once('\n')?.1));
    let is_file = |block: &&str| {
        block.lines().next().is_some_and(|line| line.trim_start_matches(['#', '/', ' ']) == name)
    };
    blocks.filter(|block| is_file(block)).last().with_context(|| format!("the page shows no {name}"))
}

/// Runs a suite in a folder with these files; returns the report.
fn run(files: &[(&str, &str)], command: &[&str]) -> Result<Value> {
    let dir = tempfile::tempdir()?;
    for (name, text) in files.iter().chain(&[("daemon.py", DAEMON)]) {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        fs::write(path, text)?;
    }
    let path = format!("PATH={}", path_with_supervisor(dir.path())?);
    let words =
        ["env", &path, "supervisor", "leaks", "-o", "json", "--settle", "1s", "--junit", "junit.xml", "--"];
    let run = Run::of(dir, &[&words[..], command].concat())?;
    let report = run.report().with_context(|| run.file("err").unwrap_or_default())?;
    assert_eq!(report["command"]["exit_code"], 0, "{}", run.file("out")?);
    assert_eq!(report["exit_code"], 23);
    let junit = run.file("junit.xml")?;
    for name in names(&report) {
        ensure!(junit.contains(&format!("name=\"{name}\"")), "{name} is not in {junit}");
    }
    Ok(report)
}

/// The tests that the report names.
fn names(report: &Value) -> BTreeSet<&str> {
    let leaks = report["leaks"].as_array().map(Vec::as_slice).unwrap_or_default();
    leaks.iter().filter_map(|leak| leak["tests"].as_array()).flatten().filter_map(Value::as_str).collect()
}

/// Fails unless every leak belongs to a test.
fn all_are_named(report: &Value) -> Result<()> {
    let leaks = report["leaks"].as_array().context("no leaks")?;
    let is_named = |leak: &Value| leak["tests"].as_array().is_some_and(|tests| tests.len() == 1);
    ensure!(leaks.iter().all(is_named), "{report:#}");
    Ok(())
}

#[test]
fn bats_names_both_tests() -> Result<()> {
    let fine = |n| format!("@test \"fine {n}\" {{ run sh -c 'true & wait'; }}\n");
    let mut suite = (1..=8).map(fine).collect::<Vec<_>>().concat();
    suite.push_str("@test \"leaks: a_sleep\" { sleep 600 3>&- >/dev/null 2>&1 & }\n");
    suite.push_str("@test \"leaks a zombie\" { python3 daemon.py 3>&- >/dev/null 2>&1 & }\n");
    let report = run(&[("ten.bats", &suite)], &["bats", "ten.bats"])?;
    assert_eq!(names(&report), ["leaks a zombie", "leaks: a_sleep"].into(), "{report:#}");
    all_are_named(&report)
}

#[test]
fn pytest_names_both_tests() -> Result<()> {
    // Python reaps a process whose object has no references any more, if it has exited by then.
    let suite = "import subprocess, pytest
kept = []
@pytest.mark.parametrize('n', range(8))
def test_fine(n):
    subprocess.run(['true'], check=True)
def test_leaks_a_zombie():
    kept.append(subprocess.Popen(['true']))
def test_leaks_a_sleep():
    subprocess.Popen(['sleep', '600'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
";
    let files = [("conftest.py", shown("conftest.py")?), ("test_ten.py", suite)];
    // Debian's own Python, for which Debian's pytest is installed.
    let report = run(&files, &["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider"])?;
    let leaking = ["test_ten.py::test_leaks_a_sleep", "test_ten.py::test_leaks_a_zombie"];
    assert_eq!(names(&report), leaking.into(), "{report:#}");
    assert_eq!(report["tests"].as_array().map(Vec::len), Some(10), "{report:#}");
    all_are_named(&report)
}

#[test]
fn go_test_names_both_tests() -> Result<()> {
    let suite = r#"package example

import (
	"fmt"
	"os/exec"
	"testing"
)

func TestFine(t *testing.T) {
	for i := 0; i < 8; i++ {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			leaks(t)
			if err := exec.Command("true").Run(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestLeaksAZombie(t *testing.T) {
	leaks(t)
	if err := exec.Command("true").Start(); err != nil {
		t.Fatal(err)
	}
}

func TestLeaksASleep(t *testing.T) {
	leaks(t)
	if err := exec.Command("sleep", "600").Start(); err != nil {
		t.Fatal(err)
	}
}
"#;
    let module = "module example.org/example\n\ngo 1.19\n";
    let files = [("go.mod", module), ("leaks_test.go", shown("leaks_test.go")?), ("ten_test.go", suite)];
    let report = run(&files, &["go", "test", "-count=1", "./..."])?;
    assert_eq!(names(&report), ["TestLeaksASleep", "TestLeaksAZombie"].into(), "{report:#}");
    all_are_named(&report)
}

#[test]
fn nextest_names_both_tests() -> Result<()> {
    if program("cargo-nextest").is_none() {
        ensure!(env::var_os("CI").is_none(), "cargo-nextest is not installed");
        eprintln!(
            "SKIPPED: cargo-nextest is not installed; `cargo install cargo-nextest --locked` brings it"
        );
        return Ok(());
    }
    let mut suite = "use std::process::{Command, Stdio};
fn quiet(program: &str, arg: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(arg).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
#[test] fn leaks_a_sleep() { quiet(\"sleep\", \"600\").spawn().unwrap(); }
#[test] fn leaks_a_zombie() { quiet(\"python3\", \"daemon.py\").spawn().unwrap(); }
"
    .to_owned();
    let fine = |n| {
        format!("#[test] fn fine_{n}() {{ assert!(quiet(\"true\", \"\").status().unwrap().success()); }}\n")
    };
    suite.push_str(&(1..=8).map(fine).collect::<Vec<_>>().concat());
    let manifest = "[package]\nname = \"ten\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n";
    let files = [("Cargo.toml", manifest), ("src/lib.rs", ""), ("tests/ten.rs", &suite)];
    let report = run(
        &files,
        &["env", "-u", "RUSTFLAGS", "CARGO_TARGET_DIR=target", "cargo", "nextest", "run", "--offline"],
    )?;
    assert_eq!(names(&report), ["leaks_a_sleep", "leaks_a_zombie"].into(), "{report:#}");
    all_are_named(&report)
}

/// The script of the composite action, with inputs as GitHub passes them.
#[test]
fn the_action_runs_its_command() -> Result<()> {
    let action = include_str!("../../../../deploy/github-action/action.yml");
    let (_, script) = action.split_once("      run: |\n").context("the action has no script")?;
    let script = script.lines().map(str::trim_start).collect::<Vec<_>>().join("\n");
    for (command, junit, code) in [("sleep 600 & true | true", "junit.xml", 23), ("false | true", "", 1)] {
        let dir = tempfile::tempdir()?;
        let path = format!("PATH={}", path_with_supervisor(dir.path())?);
        let inputs = [format!("RUN={command}"), format!("JUNIT={junit}")];
        let [command, junit] = &inputs;
        let before = ["env", &path, command, junit, "ALLOW=", "SETTLE=100ms", "SUPERVISOR=supervisor"];
        let run = Run::of(dir, &[&before[..], &["bash", "-eo", "pipefail", "-c", &script]].concat())?;
        assert_eq!(run.code()?, code, "{}", run.file("err")?);
        assert_eq!(run.file("junit.xml").is_ok(), code == 23);
    }
    Ok(())
}

#[test]
fn each_names_tests_that_are_commands() -> Result<()> {
    let suite = "set -e
supervisor leaks --each fine -- true
code=0; supervisor leaks --each 'it leaks' -- sh -c 'sleep 600 >/dev/null 2>&1 &' 2>said || code=$?
test $code = 23
grep -q 'the test `it leaks` leaked: sleep' said
code=0; supervisor leaks --each fails -- sh -c 'exit 3' || code=$?
test $code = 3
# Two tests of one shell.
supervisor leaks --each marked --begin
sleep 600 >/dev/null 2>&1 &
code=0; supervisor leaks --each marked --end 2>/dev/null || code=$?
test $code = 23
supervisor leaks --each other --begin
supervisor leaks --each other --end
# A mark that does not belong to the command is refused.
! supervisor leaks --each never-begun --end 2>/dev/null
";
    let report = run(&[("run.sh", suite)], &["sh", "run.sh"])?;
    assert_eq!(names(&report), ["it leaks", "marked"].into(), "{report:#}");
    let tests: BTreeSet<&str> =
        report["tests"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert_eq!(tests, ["fails", "fine", "it leaks", "marked", "other"].into());
    all_are_named(&report)
}

#[test]
fn each_alone_is_a_run_of_that_name() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let args = ["--each", "alone", "--settle", "100ms", "-o", "json", "--", "sh", "-c", "sleep 600 & exit 0"];
    let run = Run::start(dir, &[], &args)?;
    assert_eq!(names(&run.report()?), ["alone"].into());
    Ok(())
}

/// Any process that knows the socket can send marks, but only marks from descendants of the command count.
#[test]
fn a_mark_from_outside_of_the_command_is_refused() -> Result<()> {
    let args = [
        "--settle",
        "100ms",
        "-o",
        "json",
        "--",
        "sh",
        "-c",
        "echo $SUPERVISOR_LEAKS_SOCKET; exec sleep 600",
    ];
    let run = Run::start(tempfile::tempdir()?, &[], &args)?;
    let said = || Ok(run.file("out").ok().filter(|text| text.ends_with('\n')));
    let socket = until("the command to name the socket", WAIT_LIMIT, said)?;
    let mark = ["--each", "forged", "--begin"];
    let output = Command::new(supervisor_bin()?)
        .arg("leaks")
        .args(mark)
        .env("SUPERVISOR_LEAKS_SOCKET", socket.trim())
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(125) && text.contains("does not descend"),
        "{}: {text}",
        output.status
    );
    let name = name_of_supervisor()?;
    let program = child_of(run.guard.program(), "supervisor", |it| it.comm == name)?;
    signal(program.pid, Signal::TERM)?;
    let report = run.report()?;
    ensure!(report["tests"].is_null(), "{report:#}");
    Ok(())
}

#[test]
fn marks_without_a_run_above_do_nothing() -> Result<()> {
    for mark in ["--begin", "--end"] {
        let run = Run::start(tempfile::tempdir()?, &[], &["--each", "alone", mark])?;
        assert_eq!(run.code()?, 0, "{}", run.file("err")?);
    }
    Ok(())
}
