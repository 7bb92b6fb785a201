//! Tests of F8, a PID namespace that cannot end: the processes that block it are listed, and its end is reported.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use supervisor_tests::{Fixture, Watch, fixture};

/// Blocks a namespace in these ways, and compares the listed blockers with the truth: which process it is, and which
/// process can release it.
fn held_by(kinds: &[&str]) -> Result<()> {
    let mut watch = Watch::recorded(&format!("f8-{}", kinds.join("-")))?;
    let args = [&["blockers"], kinds].concat();
    let mut fixture = Fixture::start(env!("CARGO_BIN_EXE_fixture"), &args)?;
    let fact = fixture.fact("blocked")?;
    let init = fact.pid("init")?;
    let inside = ["zombie", "traced"].iter().filter_map(|kind| fact.pid(kind).ok());
    watch.keep(&inside.chain([init]).collect::<Vec<u32>>());
    let blocked = watch.wait_for("the namespace", |event| event.says("namespace-blocked", init))?;

    let mut wanted = BTreeMap::new();
    for &kind in kinds {
        let (pid, reaper) = match kind {
            "zombie" => (fact.pid("zombie")?, Some(fixture.pid())),
            // The traced process, and its tracer.
            "tracer" => (fact.pid("traced")?, Some(fact.pid("tracer")?)),
            _ => (fact.pid("task")?, None),
        };
        wanted.insert(pid, (kind.to_owned(), reaper));
    }
    let mut listed = BTreeMap::new();
    for blocker in blocked.list("supervisor.blockers")? {
        let kind = blocker.text("kind")?.to_owned();
        let state = if kind == "task" { "D" } else { "Z" };
        assert_eq!(blocker.text("state")?, state, "{blocker:?}");
        let reaper = if kind == "task" { None } else { Some(blocker.pid("reaper.pid")?) };
        listed.insert(blocker.pid("pid")?, (kind, reaper));
    }
    assert_eq!(listed, wanted, "{}", blocked.0);

    fixture.send("release")?;
    fixture.fact("released")?;
    let released = watch.wait_for("its end", |event| event.says("namespace-released", init))?;
    assert_eq!(released.text("supervisor.finding.id")?, blocked.text("supervisor.finding.id")?);
    assert_eq!(released.number("supervisor.pid_ns.ino")?, blocked.number("supervisor.pid_ns.ino")?);
    released.number("event.duration")?;
    fixture.end()?;
    let outcome = watch.stop()?;
    let alerts = outcome.events.iter().filter(|event| event.says("namespace-blocked", init));
    assert_eq!(alerts.count(), 1);
    Ok(())
}

#[test]
fn f8_each_blocker_alone() -> Result<()> {
    ["zombie", "tracer", "task"].iter().try_for_each(|kind| held_by(&[kind]))
}

#[test]
fn f8_all_blockers_at_once() -> Result<()> {
    held_by(&["zombie", "tracer", "task"])
}

#[test]
fn f8_the_finding_of_a_blocking_zombie_names_the_namespace() -> Result<()> {
    let mut watch = Watch::recorded("f8-held-init")?;
    let mut fixture = fixture!("held-init")?;
    let held = fixture.fact("held")?;
    let (init, zombie) = (held.pid("init")?, held.pid("zombie")?);
    watch.keep(&[init, zombie]);
    let found = watch.wait_for("a zombie that blocks", |event| {
        event.is_about(zombie) && event.get("supervisor.blocks").is_some()
    })?;
    let blocks = found.list("supervisor.blocks")?;
    let block = blocks.first().context("it blocks nothing")?;
    assert_eq!(block.pid("init.pid")?, init);
    assert_eq!(block.number("ino")?, found.number("supervisor.pid_ns.ino")?);
    fixture.send("release")?;
    fixture.fact("released")?;
    watch.wait_for("its end", |event| event.says("namespace-released", init))?;
    fixture.end()?;
    watch.stop()?;
    Ok(())
}
