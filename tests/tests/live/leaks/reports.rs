//! Tests of what is reported and where to: files, JUnit XML, PID namespaces that cannot end, and orphans that
//! `supervisor leaks` itself adopts.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use supervisor_tests::supervisor_bin;

use super::{FIXTURE, Run, expected, leaks, run, valid};

/// Runs the fixture with the arguments behind the first one in the background, and ends once the fixture has said the
/// first one. The fixture's input does not end before the `sleep` does.
const BACKGROUND: &str = r#"
fact=$1; shift
sleep 600 | "$@" >said &
until grep -q "^$fact " said; do sleep 0.05; done
"#;

fn background<'a>(fact: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    [&["--", "sh", "-c", BACKGROUND, "sh", fact, FIXTURE], args].concat()
}

#[test]
fn the_report_is_written_to_the_file_and_nowhere_else() -> Result<()> {
    let command = ["--settle", "100ms", "--", "sh", "-c", "echo own output; sleep 600 & exit 0"];
    for format in ["text", "json"] {
        let run = run(&[&["--report", "report", "-o", format], &command[..]].concat())?;
        assert_eq!(run.code()?, 23, "{}", run.file("err")?);
        assert_eq!(run.file("out")?, "own output\n", "{format}");
        assert_eq!(run.file("err")?, "", "{format}");
        let report = run.file("report")?;
        if format == "json" {
            let report: Value = serde_json::from_str(&report)?;
            valid(&report)?;
            assert_eq!(report["exit_code"], 23);
            assert_eq!(leaks(&report), expected(&[("running", "sleep")]));
        } else {
            ensure!(report.contains("still runs; adopted by "), "{report}");
            ensure!(report.contains("supervisor: leaks: 1 running; `"), "{report}");
            ensure!(!report.contains('\x1b'), "a file has no colours: {report:?}");
        }
    }
    Ok(())
}

/// `leaks` itself may run in a test that a runner names. Only a name below the command distinguishes its leaks.
#[test]
fn a_test_is_named_by_a_creator_below_the_command_and_by_none_above_it() -> Result<()> {
    const BELOW: &str = r#"shift 2; "$@"; exit $?"#;
    let outer = ["sh", "-c", BELOW, "runner", "--exact", "outer"];
    let leak = ["sh", "-c", "sleep 600 & exit 0"];
    let inner = [&["sh", "-c", BELOW, "runner", "--exact", "inner"][..], &leak].concat();
    for (command, tests) in [(&leak[..], &[][..]), (&inner, &["inner"])] {
        let args = [&["-o", "json", "--settle", "100ms", "--"], command].concat();
        let report = Run::start(tempfile::tempdir()?, &outer, &args)?.report()?;
        let named = report["leaks"][0]["tests"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert_eq!(named, tests, "{report:#}");
    }
    Ok(())
}

/// The annotations are for the log of the job, so they are not in the file.
#[test]
fn annotations_go_to_standard_error_although_the_report_goes_to_a_file() -> Result<()> {
    let args = ["--report", "report", "--settle", "100ms", "--", "sh", "-c", "sleep 600 & exit 0"];
    let run = Run::start(tempfile::tempdir()?, &["env", "GITHUB_ACTIONS=true"], &args)?;
    assert_eq!(run.code()?, 23);
    let said = run.file("err")?;
    ensure!(said.starts_with("::error title=leaked process::sleep["), "{said}");
    ensure!(!run.file("report")?.contains("::error"), "the file has the annotations");
    Ok(())
}

/// Prints the number of test cases, and kind and message of each failure, a line each.
const READ_JUNIT: &str = r#"
import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
suite = root.find("testsuite")
cases = suite.findall("testcase")
assert root.tag == "testsuites" and int(suite.get("tests")) == len(cases), "tests"
failed = [case for case in cases if case.findall("failure")]
assert int(suite.get("failures")) == len(failed), "failures"
print(len(cases), len(failed))
for failure in root.iter("failure"):
    assert failure.text.strip(), "no story"
    print(failure.get("type"), failure.get("message"), sep="\t")
"#;

/// What an XML parser finds in the JUnit file: the number of test cases, of failed ones, and its failures.
fn junit_of(run: &Run) -> Result<(String, Vec<(String, String)>)> {
    let mut python = Command::new("/usr/bin/python3");
    let output = python.args(["-c", READ_JUNIT]).arg(run.dir.path().join("junit.xml")).output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{error}\n{}", run.file("junit.xml")?);
    let text = String::from_utf8(output.stdout)?;
    let mut lines = text.lines();
    let counts = lines.next().context("it has printed nothing")?.to_owned();
    let failure = |line: &str| line.split_once('\t').map(|(kind, said)| (kind.to_owned(), said.to_owned()));
    let failures = lines.map(|line| failure(line).with_context(|| line.to_owned()));
    Ok((counts, failures.collect::<Result<_>>()?))
}

/// The process's name is neither UTF-8 nor fit for XML.
#[test]
fn the_junit_file_is_well_formed_and_names_each_leak() -> Result<()> {
    let args = ["--junit", "junit.xml", "-o", "json", "--settle", "100ms"];
    let run = run(&[&args[..], &background("zombie", &["hostile-name", "1"])].concat())?;
    let report = run.report()?;
    assert_eq!(report["exit_code"], 23);
    let (counts, failures) = junit_of(&run)?;
    assert_eq!(counts, "1 1", "the command is the one test case");
    let mut said: Vec<(&str, &str)> = Vec::new();
    for leak in report["leaks"].as_array().context("no leaks")? {
        said.extend(leak["kind"].as_str().zip(leak["message"].as_str()));
    }
    let failures: Vec<(&str, &str)> = failures.iter().map(|(kind, it)| (&**kind, &**it)).collect();
    assert_eq!(failures, said);
    let mut kinds: Vec<&str> = failures.iter().map(|(kind, _)| *kind).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["running", "running", "unreaped"]);
    let pid = report_pid(&report, "unreaped")?;
    ensure!(failures.iter().any(|(_, it)| it.contains(&format!("(pid {pid})"))), "{failures:#?}");
    Ok(())
}

fn report_pid(report: &Value, kind: &str) -> Result<u64> {
    let leaks = report["leaks"].as_array().context("no leaks")?;
    let leak = leaks.iter().find(|leak| leak["kind"] == kind).with_context(|| format!("{report:#}"))?;
    leak["event"]["process"]["pid"].as_u64().context("no pid")
}

#[test]
fn a_run_without_leaks_is_one_test_case_that_succeeds() -> Result<()> {
    let run = run(&["--junit", "junit.xml", "--", "true"])?;
    assert_eq!(run.code()?, 0, "{}", run.file("err")?);
    assert_eq!(junit_of(&run)?, ("1 0".to_owned(), Vec::new()));
    Ok(())
}

/// PID 1 of a namespace has been killed, and waits for a zombie whose parent is outside.
#[test]
fn a_pid_namespace_that_cannot_end_is_reported_with_what_holds_it() -> Result<()> {
    let args = ["--junit", "junit.xml", "-o", "json", "--settle", "500ms"];
    let run = run(&[&args[..], &background("held", &["held-init"])].concat())?;
    let report = run.report()?;
    assert_eq!(report["exit_code"], 23);
    let left =
        [("namespace", "fixture"), ("running", "fixture"), ("running", "sleep"), ("unreaped", "fixture")];
    assert_eq!(leaks(&report), expected(&left), "{report:#}");
    let said = run.file("said")?;
    let number = |name: &str| said.split([' ', '\n']).find_map(|it| it.strip_prefix(name)?.parse().ok());
    let (init, zombie): (u64, u64) = number("init=").zip(number("zombie=")).context("no pids")?;
    assert_eq!(report_pid(&report, "namespace")?, init);
    assert_eq!(report_pid(&report, "unreaped")?, zombie);
    let (_, failures) = junit_of(&run)?;
    let kinds = failures.iter().filter(|(kind, _)| kind == "namespace");
    assert_eq!(kinds.count(), 1, "{failures:#?}");

    // The same in the text for people.
    let run = self::run(&[&["--settle", "500ms"], &background("held", &["held-init"])[..]].concat())?;
    assert_eq!(run.code()?, 23);
    let text = run.file("err")?;
    for part in [": a PID namespace that cannot end\n", "1 namespace"] {
        ensure!(text.contains(part), "{part}\nis not in\n{text}");
    }
    Ok(())
}

/// The monitor above it stands for PID 1 of a container that never reaps.
#[test]
fn with_subreaper_an_orphan_is_reaped_that_the_process_above_does_not_reap() -> Result<()> {
    let program = supervisor_bin()?.display().to_string();
    for (options, left) in [(&[][..], &[("unreaped", "sleep")][..]), (&["--subreaper"], &[])] {
        let before = [FIXTURE, "leaves-a-monitor", &program, "leaks", "-o", "json", "--report", "report"];
        let command = ["--", "sh", "-c", "(sleep 0.2 &); exit 0"];
        let run = Run::of(tempfile::tempdir()?, &[&before[..], options, &command].concat())?;
        let code = run.code()?;
        let report: Value = serde_json::from_str(&run.file("report")?)?;
        valid(&report)?;
        assert_eq!(leaks(&report), expected(left), "{options:?}: {report:#}");
        assert_eq!(code, if left.is_empty() { 0 } else { 23 }, "{options:?}");
    }
    Ok(())
}
