//! Tests of the lists of `supervisor ps --from`: their columns, their order, and how they are repeated.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::json;
use supervisor_lab::{Lines, Owned, until};
use supervisor_tests::{Broker, Fixture, WAIT_LIMIT, fixture, supervisor_bin};

use super::{agent, bucket, ps, run};

#[test]
fn a_list_has_the_columns_and_the_order_that_are_chosen() -> Result<()> {
    let broker = Broker::start()?;
    let agent = agent(&broker, "node-l")?;
    let fixture = fixture!("never-wait", "3")?;
    let reaper = fixture.pid().to_string();
    let mut pids = (0..3).map(|_| fixture.fact("zombie")?.pid("pid")).collect::<Result<Vec<u32>>>()?;
    pids.sort_unstable();
    let listed = |options: &[&str]| -> Result<Vec<String>> {
        let listed = ps(&broker, &[&["--reaper", &reaper], options].concat())?;
        ensure!(listed.code == Some(1), "{:?}: {}", listed.code, listed.stderr);
        // Cells are padded, and separated by spaces.
        Ok(listed.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
    };
    until("the node to have reported all", WAIT_LIMIT, || {
        Ok((ps(&broker, &["--reaper", &reaper])?.with(&["node-l", "fixture"]) == 3).then_some(()))
    })?;
    let lines = |pids: &[u32]| pids.iter().map(|pid| format!("exit 7 {pid} fixture")).collect::<Vec<_>>();
    let columns = ["--columns", "exit,pid,name", "--sort", "pid"];
    let with = |options: &[&str]| listed(&[&columns, options].concat());
    assert_eq!(with(&["--no-headers"])?, lines(&pids));
    let headed = with(&[])?;
    assert_eq!(headed[0], "EXIT PID NAME");
    assert_eq!(headed[1..], lines(&pids));
    pids.reverse();
    assert_eq!(with(&["--reverse", "--no-headers"])?, lines(&pids));
    let usual = listed(&["--no-headers"])?;
    assert_eq!(usual.len(), 3, "{usual:#?}");
    ensure!(usual.iter().all(|line| line.contains("node-l")), "{usual:#?}");
    for wrong in [&["--reverse"][..], &["--columns", "colour"], &["--sort", "colour"]] {
        assert_eq!(ps(&broker, wrong)?.code, Some(2), "{wrong:?}");
    }
    fixture.end()?;
    agent.stop().map(drop)
}

#[test]
fn a_list_is_repeated_and_follows_what_happens() -> Result<()> {
    let broker = Broker::start()?;
    let agent = agent(&broker, "node-r")?;
    let dir = tempfile::tempdir()?;
    let name = format!("again{}", std::process::id());
    let program = dir.path().join(&name);
    supervisor_lab::copy_program(env!("CARGO_BIN_EXE_fixture"), &program)?;
    let program = program.to_str().context("a plain path")?;
    let zombie = || -> Result<(Fixture, String)> {
        let fixture = Fixture::start(program, &["never-wait", "1"])?;
        let pid = fixture.fact("zombie")?.pid("pid")?.to_string();
        Ok((fixture, pid))
    };
    let (mut first, first_pid) = zombie()?;
    let mut command = Command::new(supervisor_bin()?);
    command.args(["ps", "--from", &broker.url(), "--nats-timeout", "30s", "--every", "200ms"]);
    command.args(["--comm", &name, "--columns", "pid", "--no-headers", "--sort", "pid"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut list = Owned::start(&mut command)?;
    let lines = Lines::of(list.child().stdout.take().context("it has no pipe")?);
    let next = |what: &str| lines.next(what, WAIT_LIMIT)?.context("the list has ended");
    for _ in 0..3 {
        assert_eq!(next("the zombie again")?, first_pid);
    }
    let (second, second_pid) = zombie()?;
    while next("the second zombie")? != second_pid {}
    first.send("reap")?;
    // A list with both has them one after the other.
    let mut before = String::new();
    loop {
        let pid = next("a list without the first zombie")?;
        if pid == second_pid && before == second_pid {
            break;
        }
        before = pid;
    }
    list.signal(Signal::TERM)?;
    list.end(WAIT_LIMIT)?;
    first.end()?;
    second.end()?;
    agent.stop().map(drop)
}

#[test]
fn blocked_namespaces_have_a_list_of_their_own() -> Result<()> {
    let broker = Broker::start()?;
    run(async {
        let bucket = bucket(&broker).await?;
        let document = json!({
            "@timestamp": "2026-01-01T00:00:00Z",
            "process": { "pid": 70, "name": "pause" },
            "supervisor": {
                "finding": { "kind": "namespace" },
                "pid_ns": { "ino": 4_026_532_177_u32 },
                "blockers": [{ "kind": "zombie", "pid": 71, "name": "crun", "reaper": { "pid": 9, "name": "conmon" } }],
            },
        });
        bucket.put("lab.anonymous.1", serde_json::to_vec(&document)?.into()).await?;
        Ok(())
    })?;
    let words = ["anonymous", "4026532177", "pause[70]", "crun[71] zombie", "reports"];
    let listed = ps(&broker, &[])?;
    assert_eq!((listed.code, listed.stdout.lines().count()), (Some(1), 2), "{}", listed.stdout);
    assert!(
        listed.stdout.starts_with("HOST") && listed.stdout.contains("BLOCKED PID NS"),
        "{}",
        listed.stdout
    );
    assert_eq!(listed.with(&words), 1, "{}", listed.stdout);
    assert_eq!(ps(&broker, &["--reaper", "9"])?.with(&words), 1);
    assert_eq!(ps(&broker, &["--reaper", "10"])?.code, Some(0));
    assert_eq!(ps(&broker, &["--grace", "1s"])?.code, Some(2), "a node has its own grace period");
    Ok(())
}
