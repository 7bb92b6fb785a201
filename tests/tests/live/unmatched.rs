//! Tests of filters that no finding passes, and of output whose reader is gone: neither may look like "all is well".

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use supervisor_lab::{Owned, pid_namespace};
use supervisor_tests::{WAIT_LIMIT, fixture, supervisor_bin};

/// A container name that does not exist on this host.
const NO_CONTAINER: &str = "no-such-container";
/// A pod name that does not exist on this host.
const NO_POD: &str = "no-such-namespace/no-such-pod";
/// An inode number of no PID namespace: the root directory of a file system has it.
const NO_NAMESPACE: &str = "1";

/// Standard output, standard error and the exit code.
fn run(args: &[&str]) -> Result<(String, String, Option<i32>)> {
    let output = Command::new(supervisor_bin()?).args(args).stdin(Stdio::null()).output()?;
    Ok((String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?, output.status.code()))
}

#[test]
fn ps_says_that_nothing_matches_and_how_many_others_there_are() -> Result<()> {
    let fixture = fixture!("never-wait", "2")?;
    let zombies = [fixture.fact("zombie")?.pid("pid")?, fixture.fact("zombie")?.pid("pid")?];
    for (filter, unknown) in [
        (["--container", NO_CONTAINER], "no process is seen in a container `no-such-container`"),
        (["--pod", NO_POD], "no process is seen in a pod `no-such-namespace/no-such-pod`"),
        (["--pidns", NO_NAMESPACE], "no process is seen in a PID namespace 1"),
    ] {
        for format in ["text", "json"] {
            let (stdout, stderr, code) = run(&["ps", "-o", format, filter[0], filter[1]])?;
            assert_eq!((stdout.as_str(), code), ("", Some(0)), "{filter:?}");
            // On a busy machine, a line about late reads can precede it.
            let said = stderr.lines().last().unwrap_or_default();
            assert!(said.starts_with(&format!("nothing matches: {unknown}; ")), "{filter:?}: {stderr}");
            assert!(said.ends_with(" other findings are there without the filters"), "{filter:?}: {stderr}");
            assert!(!stderr.contains("nothing is unreaped"), "{filter:?}: {stderr}");
        }
    }
    // The named process and namespace exist, and have no zombie.
    let own = pid_namespace(fixture.pid())?.to_string();
    let (_, stderr, code) = run(&["ps", "--pidns", &own, "--comm", "no-such-name"])?;
    let said = stderr.lines().last().unwrap_or_default();
    assert!(said.starts_with("nothing that matches is unreaped; "), "{stderr}");
    assert_eq!(code, Some(0));
    let (stdout, ..) = run(&["ps", "--columns", "pid", "--no-headers"])?;
    for pid in zombies {
        assert!(stdout.lines().any(|line| line == pid.to_string()), "{pid} is not in {stdout}");
    }
    fixture.end()
}

#[test]
fn check_is_unknown_if_the_named_container_pod_or_namespace_is_absent() -> Result<()> {
    let fixture = fixture!("never-wait", "1")?;
    fixture.fact("zombie")?;
    for (filter, unknown) in [
        (["--container", NO_CONTAINER], "no process is seen in a container `no-such-container`"),
        (["--pod", NO_POD], "no process is seen in a pod `no-such-namespace/no-such-pod`"),
        (["--pidns", NO_NAMESPACE], "no process is seen in a PID namespace 1"),
    ] {
        let (stdout, _, code) = run(&["check", "--min-age", "0s", filter[0], filter[1]])?;
        assert!(stdout.starts_with(&format!("SUPERVISOR UNKNOWN - {unknown}; ")), "{stdout}");
        assert!(stdout.contains(" without the filters"), "{stdout}");
        assert_eq!(code, Some(3), "{stdout}");
    }
    let own = pid_namespace(fixture.pid())?.to_string();
    let (stdout, _, code) = run(&["check", "--min-age", "0s", "--pidns", &own, "--comm", "no-such-name"])?;
    // On a busy machine, a late read makes even that UNKNOWN, and the line says so.
    let (state, expected) = if stdout.contains("were late or left out") { ("UNKNOWN", 3) } else { ("OK", 0) };
    assert!(stdout.starts_with(&format!("SUPERVISOR {state} - no unreaped process")), "{stdout}");
    assert_eq!(code, Some(expected), "{stdout}");
    fixture.end()
}

#[test]
fn ps_every_ends_when_nobody_reads_it_any_more() -> Result<()> {
    let fixture = fixture!("never-wait", "1")?;
    let zombie = fixture.fact("zombie")?.pid("pid")?.to_string();
    let mut command = Command::new(supervisor_bin()?);
    // The next list would come long after the limit. So `ps` must notice the closed output before it writes.
    command
        .args(["ps", "--every", "1h", &zombie])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut ps = Owned::start(&mut command)?;
    let mut stdout = BufReader::new(ps.child().stdout.take().context("no pipe")?);
    let mut header = String::new();
    stdout.read_line(&mut header)?;
    assert!(header.starts_with("PID "), "{header}");
    drop(stdout);
    let status = ps.end(WAIT_LIMIT)?;
    assert_eq!(status.code(), Some(1), "it had found something");
    fixture.end()
}
