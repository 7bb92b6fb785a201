//! Tests of the first text that a person reads: the most urgent finding comes first, repeats are counted, and a reaper
//! is shown with its zombies.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use supervisor_lab::{Lines, Owned};
use supervisor_tests::{WAIT_LIMIT, events_of, fixture, supervisor_bin};

/// Standard output and the exit code.
fn run(args: &[&str]) -> Result<(String, Option<i32>)> {
    let output = Command::new(supervisor_bin()?).args(args).stdin(Stdio::null()).output()?;
    Ok((String::from_utf8(output.stdout)?, output.status.code()))
}

#[test]
fn ps_takes_pids_and_writes_json() -> Result<()> {
    let fixture = fixture!("never-wait", "3")?;
    let pids = (0..3)
        .map(|_| Ok(fixture.fact("zombie")?.pid("pid")?.to_string()))
        .collect::<Result<Vec<String>>>()?;
    let (text, code) = run(&["ps", "--json", &pids[0], &pids[2]])?;
    let listed: BTreeSet<String> = events_of(&text)?
        .iter()
        .map(|event| Ok(event.pid("process.pid")?.to_string()))
        .collect::<Result<_>>()?;
    assert_eq!((listed, code), (BTreeSet::from([pids[0].clone(), pids[2].clone()]), Some(1)));

    let reaper = fixture.pid().to_string();
    let (text, _) = run(&["ps", "--summary", "--reaper", &reaper])?;
    let row = text.lines().nth(1).context("no row")?;
    assert!(row.starts_with("3 ") && row.contains("F4") && row.contains(&format!("[{reaper}]")), "{text}");
    let (text, _) = run(&["ps", "--tree", "--reaper", &reaper])?;
    assert!(text.lines().next().is_some_and(|it| it.ends_with("must reap 3")), "{text}");
    let (text, _) = run(&["ps", "-w", "--reaper", &reaper])?;
    assert_eq!(text.lines().count(), 4, "no footer where no person reads: {text}");
    assert!(text.lines().next().is_some_and(|header| header.ends_with("VERDICT")), "{text}");
    fixture.end()
}

#[test]
fn explain_lists_the_zombies_of_a_reaper_and_takes_many_subjects() -> Result<()> {
    let fixture = fixture!("never-wait", "3")?;
    let zombie = fixture.fact("zombie")?.pid("pid")?.to_string();
    fixture.fact("zombie")?;
    fixture.fact("zombie")?;
    let reaper = fixture.pid().to_string();
    let (text, code) = run(&["explain", &reaper])?;
    assert!(text.starts_with("ALIVE") && text.contains("What it must reap\n  3 unreaped"), "{text}");
    assert!(text.contains("F4") && text.contains("supervisor ps --reaper"), "{text}");
    assert_eq!(code, Some(0), "the process itself is well");

    let (text, code) = run(&["explain", &zombie, &reaper, "F4"])?;
    for part in ["UNREAPED", "ALIVE", "A parent never waits for its own child"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(code, Some(1));
    let (text, code) = run(&["explain", "4194305", &zombie])?;
    assert!(text.contains("UNREAPED"), "the other one is told: {text}");
    assert_eq!(code, Some(3));

    // Other tests have processes of that name too.
    let (text, code) = run(&["explain", "fixture"])?;
    assert!(text.contains("fixture[") && code == Some(1), "{text}");
    assert_eq!(run(&["explain", "no-such-name"])?.1, Some(3));
    assert_eq!(run(&["explain", "--pod", "no-such-pod"])?.1, Some(3));
    fixture.end()
}

#[test]
fn a_watch_prints_three_lines_and_counts_repeats() -> Result<()> {
    let mut fixture = fixture!("never-wait", "3")?;
    for _ in 0..3 {
        fixture.fact("zombie")?;
    }
    let reaper = fixture.pid();
    let mut command = Command::new(supervisor_bin()?);
    command.args(["watch", "--grace", "1", "--reaper", &reaper.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut watch = Owned::start(&mut command)?;
    let stdout = Lines::of(watch.child().stdout.take().context("no pipe")?);
    let stderr = Lines::of(watch.child().stderr.take().context("no pipe")?);
    let next = |what: &str| stdout.next(what, WAIT_LIMIT)?.context("it has ended");
    let line = next("the headline")?;
    assert!(line.contains("UNREAPED") && line.contains("F4"), "{line}");
    let mut rest = vec![line];
    while !rest.last().is_some_and(|line| line.contains(" more since ")) {
        rest.push(next("the counter")?);
    }
    let text = rest.join("\n");
    assert_eq!(text.matches("UNREAPED").count(), 1, "{text}");
    assert!(text.contains("do         `supervisor explain "), "{text}");
    assert!(text.contains("2 more since ") && text.contains(&format!("[{reaper}]")), "{text}");
    fixture.send("reap")?;
    fixture.fact("reaped")?;
    while !next("the reaps")?.contains("REAPED    2 of ") {}
    watch.signal(Signal::INT)?;
    assert!(watch.end(WAIT_LIMIT)?.success());
    let mut said = Vec::new();
    while let Some(line) = stderr.next("the end", WAIT_LIMIT)? {
        said.push(line);
    }
    let said = said.join("\n");
    assert!(said.contains(&format!("only of reaper {reaper}")), "{said}");
    assert!(!said.contains("counted:") && !said.contains("bounded"), "these are for --verbose: {said}");
    fixture.end()
}

#[test]
fn a_dumb_terminal_gets_no_escape_codes() -> Result<()> {
    let fixture = fixture!("never-wait", "1")?;
    let zombie = fixture.fact("zombie")?.pid("pid")?.to_string();
    for (term, is_coloured) in [("dumb", false), ("xterm", true)] {
        let mut script = Command::new("script");
        script.args(["-qec", &format!("{} ps {zombie}", supervisor_bin()?.display()), "/dev/null"]);
        script.env("TERM", term).env_remove("NO_COLOR").stdin(Stdio::null());
        let output = script.output().context("script is a part of bsdutils")?;
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(&zombie), "{term}: {text}");
        assert_eq!(text.contains('\x1b'), is_coloured, "{term}: {text:?}");
    }
    for arguments in
        [format!("explain {zombie}"), "check --min-age 0s".to_owned(), "doctor".to_owned(), "top".to_owned()]
    {
        let mut script = Command::new("script");
        script.args(["-qec", &format!("{} {arguments}", supervisor_bin()?.display()), "/dev/null"]);
        let output = script.env("TERM", "dumb").env_remove("NO_COLOR").stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!text.contains('\x1b'), "{arguments}: {text:?}");
        if arguments == "top" {
            assert_eq!(output.status.code(), Some(3), "{text}");
            assert!(text.contains("TERM is dumb") && text.contains("supervisor ps -n 2"), "{text}");
        }
    }
    fixture.end()
}
