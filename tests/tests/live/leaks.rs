//! Tests of `supervisor leaks`: it reports leaks exactly where a command leaves something behind, with the exit code on
//! which scripts rely.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use jsonschema::Validator;
use rustix::process::Signal;
use serde_json::Value;
use supervisor_lab::until;
use supervisor_tests::{Guard, WAIT_LIMIT, child_of, signal, supervisor_bin};
use supervisor_user::schema::SchemaSubject;
use tempfile::TempDir;

mod containers;
mod recipes;
mod reports;

const FIXTURE: &str = env!("CARGO_BIN_EXE_fixture");

/// Runs the arguments after the first one, and writes their output and exit code into files. `supervisor leaks` may
/// itself run these tests.
const SCRIPT: &str = r#"
unset SUPERVISOR_LEAKS_SOCKET
cd "$1"; shift
"$@" >out 2>err
echo $? >code.new
mv code.new code
"#;

/// A run of `supervisor leaks` in its own folder. Processes that it leaves are killed when this is dropped.
struct Run {
    dir: TempDir,
    guard: Guard,
}

impl Run {
    /// Starts it, with a command line in front of it such as `env GITHUB_ACTIONS=true`.
    fn start(dir: TempDir, before: &[&str], args: &[&str]) -> Result<Self> {
        let program = supervisor_bin()?;
        let program = program.to_str().context("the program's path is no UTF-8")?;
        Self::of(dir, &[before, &[program, "leaks"], args].concat())
    }

    /// Starts a whole command line.
    fn of(dir: TempDir, words: &[&str]) -> Result<Self> {
        let path = dir.path().to_str().context("the folder is no UTF-8")?.to_owned();
        let words = [&["-c", SCRIPT, "sh", &path], words].concat();
        Ok(Self { guard: Guard::start(FIXTURE, Path::new("/bin/sh"), &words)?, dir })
    }

    fn file(&self, name: &str) -> Result<String> {
        let path = self.dir.path().join(name);
        fs::read_to_string(&path).with_context(|| format!("there is no {}", path.display()))
    }

    /// Its exit code, once it has ended.
    fn code(&self) -> Result<i32> {
        until("the run to end", WAIT_LIMIT, || Ok(self.file("code").ok()))?.trim().parse().context("no code")
    }

    /// The report on the last line of its standard output. It must fit the schema.
    fn report(&self) -> Result<Value> {
        let code = self.code()?;
        let out = self.file("out")?;
        let line = out.lines().last();
        let line = line.with_context(|| format!("{code}, {}", self.file("err").unwrap_or_default()))?;
        let report: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        valid(&report)?;
        assert_eq!(report["exit_code"], code, "{report:#}");
        Ok(report)
    }
}

/// Fails unless a report fits the schema.
fn valid(report: &Value) -> Result<()> {
    let wrong: Vec<String> = schema()?.iter_errors(report).map(|it| it.to_string()).collect();
    ensure!(wrong.is_empty(), "{wrong:#?}: {report:#}");
    Ok(())
}

fn schema() -> Result<Validator> {
    Ok(jsonschema::options().should_validate_formats(true).build(&SchemaSubject::Leaks.schema())?)
}

fn run(args: &[&str]) -> Result<Run> {
    Run::start(tempfile::tempdir()?, &[], args)
}

/// Kind and name of each leak that is not known, in order.
fn leaks(report: &Value) -> Vec<(String, String)> {
    let all = report["leaks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let new = all.iter().filter(|leak| leak["allowed"].is_null());
    let mut leaks: Vec<_> =
        new.map(|leak| (text(&leak["kind"]), text(&leak["event"]["process"]["name"]))).collect();
    leaks.sort();
    leaks
}

fn expected(leaks: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut leaks: Vec<_> =
        leaks.iter().map(|(kind, name)| ((*kind).to_owned(), (*name).to_owned())).collect();
    leaks.sort();
    leaks
}

#[test]
fn a_command_that_leaves_nothing_keeps_its_exit_code() -> Result<()> {
    for (command, code) in [
        (&["sh", "-c", "sleep 0.1 & wait"][..], 0),
        (&["sh", "-c", "exit 41"], 41),
        (&["sh", "-c", "kill -9 $$"], 128 + 9),
        (&["/no/such/command"], 127),
        (&["/etc/passwd"], 126),
    ] {
        let run = run(&[&["--"], command].concat())?;
        assert_eq!(run.code()?, code, "{command:?}: {}", run.file("err")?);
    }
    Ok(())
}

#[test]
fn an_error_of_its_own_has_its_own_code() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let wrong = dir.path().join("allow");
    fs::write(&wrong, "name sleep\n")?;
    let wrong = wrong.display().to_string();
    for (args, said) in [
        (&["--no-such-option", "--", "true"][..], "--no-such-option"),
        (&["--settle", "soon", "--", "true"], "settle"),
        (&[], "COMMAND"),
        (&["--begin"], "--each"),
        (&["--allow", &wrong, "--", "true"], "line 1: there is no reason"),
        (&["--allow", "/no/such/file", "--", "true"], "cannot read the allow list"),
        (&["--junit", "/no/such/folder/file", "--", "true"], "cannot write"),
    ] {
        let output = Command::new(supervisor_bin()?).arg("leaks").args(args).stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(125) && text.contains(said),
            "{args:?}: {}: {text}",
            output.status
        );
    }
    Ok(())
}

#[test]
fn a_process_that_still_runs_is_reported_with_who_adopted_it() -> Result<()> {
    let run =
        run(&["--subreaper", "-o", "json", "--settle", "100ms", "--", "sh", "-c", "sleep 600 & exit 0"])?;
    let report = run.report()?;
    assert_eq!(report["exit_code"], 23);
    assert_eq!(leaks(&report), expected(&[("running", "sleep")]));
    let event = &report["leaks"][0]["event"];
    assert_eq!(event["supervisor"]["reaper"]["name"], name_of_supervisor()?);
    assert_eq!(event["supervisor"]["reaper"]["adopted"], true);
    assert_eq!(event["supervisor"]["creators"][0]["name"], "sh");
    assert!(report["leaks"][0]["message"].as_str().is_some_and(|it| it.contains("; adopted by ")));
    Ok(())
}

#[test]
fn a_failed_command_keeps_its_code_and_its_leaks_are_reported() -> Result<()> {
    let run = run(&["-o", "json", "--settle", "100ms", "--", "sh", "-c", "sleep 600 & exit 3"])?;
    let report = run.report()?;
    assert_eq!(report["exit_code"], 3);
    assert_eq!(leaks(&report), expected(&[("running", "sleep")]));
    Ok(())
}

#[test]
fn a_zombie_of_a_daemon_is_reported_with_its_story() -> Result<()> {
    let command = [FIXTURE, "leaves-a-monitor", "/bin/sh", "-c", "sleep 0.1 & exit 0"];
    let run = run(&[&["--"], &command[..]].concat())?;
    assert_eq!(run.code()?, 23);
    let text = run.file("err")?;
    for part in [
        "leak 1 of 2: a process that was not reaped\nUNREAPED  sleep[",
        "What to do\n",
        "◄ must reap",
        "leak 2 of 2: fixture[",
        "still runs; adopted by fixture[",
        "supervisor: leaks: 1 unreaped, 1 running; `",
    ] {
        ensure!(text.contains(part), "{part}\nis not in\n{text}");
    }
    Ok(())
}

#[test]
fn a_zombie_that_is_reaped_late_is_reported() -> Result<()> {
    let command = [FIXTURE, "reap-after", "3000"];
    let run = run(&[&["-o", "json", "--grace", "500ms", "--"], &command[..]].concat())?;
    let report = run.report()?;
    assert_eq!(leaks(&report), expected(&[("late", "fixture")]));
    let dwell_ns = report["leaks"][0]["event"]["event"]["duration"].as_u64().context("no duration")?;
    ensure!(dwell_ns >= 3_000_000_000, "it was reaped after {dwell_ns} ns");
    // With a longer grace period, the same zombie is no leak.
    let run = self::run(&[&["--grace", "1m", "--"], &command[..]].concat())?;
    assert_eq!(run.code()?, 0, "{}", run.file("err")?);
    Ok(())
}

#[test]
fn known_leaks_are_not_counted_and_stale_entries_are_named() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("allow"), "name sleep # stays on purpose\nargs sccache # was removed\n")?;
    let junit = dir.path().join("junit.xml");
    let args = ["--allow", "allow", "--junit", "junit.xml", "--settle", "100ms", "-o", "json", "--"];
    let run = Run::start(dir, &[], &[&args[..], &["sh", "-c", "sleep 600 & exit 0"]].concat())?;
    let report = run.report()?;
    assert_eq!(report["exit_code"], 0);
    assert_eq!(leaks(&report), []);
    assert_eq!(report["leaks"][0]["allowed"]["reason"], "stays on purpose");
    assert_eq!(report["unmatched"][0]["entry"], "args sccache");
    ensure!(fs::read_to_string(junit)?.contains("failures=\"0\""), "a known leak is no failure");
    Ok(())
}

#[test]
fn annotations_are_written_under_github_actions_only() -> Result<()> {
    let args = ["--settle", "100ms", "--", "sh", "-c", "sleep 600 & exit 0"];
    for (value, is_expected) in [("true", true), ("", false)] {
        let variable = format!("GITHUB_ACTIONS={value}");
        let run = Run::start(tempfile::tempdir()?, &["env", &variable], &args)?;
        assert_eq!(run.code()?, 23);
        let text = run.file("err")?;
        let has = text.lines().any(|line| line.starts_with("::error title=leaked process::sleep["));
        assert_eq!(has, is_expected, "{text}");
    }
    Ok(())
}

#[test]
fn without_capabilities_it_reads_proc_and_says_what_it_cannot_see() -> Result<()> {
    let dir = tempfile::tempdir()?;
    // The other user may read the program here.
    let program = dir.path().join("supervisor");
    supervisor_lab::copy_program(supervisor_bin()?, &program)?;
    chmod(dir.path(), 0o777)?;
    let program = program.display().to_string();
    let before = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let args = [&program, "leaks", "--settle", "1s", "-o", "json", "--"];
    let command = [FIXTURE, "leaves-a-monitor", "/bin/sh", "-c", "sleep 0.1 & exit 0"];
    let run = Run::of(dir, &[&before[..], &args, &command].concat())?;
    let report = run.report()?;
    assert_eq!(report["method"], "proc");
    assert_eq!(leaks(&report), expected(&[("running", "fixture"), ("unreaped", "sleep")]));
    let unseen = report["unseen"].as_array().context("it has seen all")?;
    ensure!(unseen.iter().any(|it| it.as_str().is_some_and(|it| it.contains("CAP_BPF"))), "{unseen:#?}");
    Ok(())
}

#[test]
fn a_signal_ends_the_command_and_the_report_follows() -> Result<()> {
    let run = run(&["-o", "json", "--settle", "100ms", "--", "sh", "-c", "echo ready; exec sleep 600"])?;
    until("the command to run", WAIT_LIMIT, || {
        Ok(run.file("out").ok().filter(|text| text.contains("ready")))
    })?;
    let name = name_of_supervisor()?;
    let leaks_pid = child_of(run.guard.program(), "supervisor", |it| it.comm == name)?;
    signal(leaks_pid.pid, Signal::TERM)?;
    let report = run.report()?;
    assert_eq!(report["exit_code"], 128 + Signal::TERM.as_raw());
    assert_eq!(report["command"]["signal"], Signal::TERM.as_raw());
    assert_eq!(leaks(&report), []);
    Ok(())
}

/// The name of its process, which the kernel cuts to 15 bytes.
fn name_of_supervisor() -> Result<String> {
    let path = supervisor_bin()?;
    let name = path.file_name().and_then(|name| name.to_str()).context("its name is no UTF-8")?;
    Ok(name.chars().take(15).collect())
}

fn chmod(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

/// A folder of `PATH` in which `supervisor` is the program under test.
fn path_with_supervisor(dir: &Path) -> Result<String> {
    let bin: PathBuf = dir.join("bin");
    fs::create_dir(&bin)?;
    std::os::unix::fs::symlink(supervisor_bin()?, bin.join("supervisor"))?;
    Ok(format!("{}:{}", bin.display(), std::env::var("PATH")?))
}
