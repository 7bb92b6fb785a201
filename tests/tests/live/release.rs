//! Tests of the optional hook, which reports who reaped a process; dwell.rs tests the exact time. Where the kernel does
//! not let the hook be attached, the reaper is not reported, and all other facts are.

use anyhow::{Result, ensure};
use supervisor_tests::{Event, Fixture, Watch, finding_of, fixture};

/// Whether the hook is attached. `SUPERVISOR_HOOKS` states it on a machine where the answer is known.
pub(crate) fn is_attached(event: &Event) -> Result<bool> {
    let hooks = event.text("supervisor.hooks")?;
    if let Ok(wanted) = std::env::var("SUPERVISOR_HOOKS") {
        ensure!(hooks == wanted, "{hooks} are attached, and not {wanted}");
    }
    Ok(hooks.ends_with("+fentry"))
}

/// Lets a fixture's zombie be reaped, and compares the reported reaper with the truth.
fn reaped_by(args: &[&str], reaper: &str, name: &str) -> Result<()> {
    let mut watch = Watch::start(&[])?;
    let mut fixture = Fixture::start(env!("CARGO_BIN_EXE_fixture"), args)?;
    let fact = fixture.fact("zombie")?;
    let pid = fact.pid("pid")?;
    let reaper = if reaper.is_empty() { fixture.pid() } else { fact.pid(reaper)? };
    watch.wait_for("the zombie", |event| event.says("zombie-detected", pid))?;
    fixture.send("release")?;
    fixture.fact("released")?;
    watch.wait_for("its end", |event| event.says("zombie-reaped", pid))?;
    fixture.end()?;
    let outcome = watch.stop()?;
    let (open, close) = finding_of(&outcome.events, pid)?;
    ensure!(open.get("supervisor.reaped_by").is_none(), "it is not reaped yet: {}", open.0);
    if is_attached(close)? {
        assert_eq!(close.pid("supervisor.reaped_by.pid")?, reaper, "{}", close.0);
        assert_eq!(close.text("supervisor.reaped_by.name")?, name);
        let message = close.text("message")?;
        ensure!(message.ends_with(&format!("by {name} (pid {reaper})")), "{message}");
    } else {
        ensure!(close.get("supervisor.reaped_by").is_none(), "nobody has seen who: {}", close.0);
    }
    Ok(())
}

#[test]
fn a_reap_by_the_adopter_is_reported() -> Result<()> {
    reaped_by(&["adopts"], "", "fixture")
}

#[test]
fn a_reap_by_an_ending_parent_whose_heir_ignores_sigchld_is_reported() -> Result<()> {
    reaped_by(&["heir-ignores"], "parent", "fixture")
}

#[test]
fn a_reap_by_the_pid_1_of_an_ending_namespace_is_reported() -> Result<()> {
    reaped_by(&["pid1-own"], "init", "fixture")?;
    reaped_by(&["pid1-adopts", "never-waits"], "init", "fixture")
}

/// The fields that two watches must report alike, whatever they have seen of the reap. The confidence is not one of
/// them: it depends on what an inspection could read of the reaper in its time.
const ALIKE: [&str; 8] = [
    "event.action",
    "process.entity_id",
    "process.exit_code",
    "supervisor.finding.id",
    "supervisor.family",
    "supervisor.reaper.pid",
    "supervisor.creators",
    "supervisor.pid_ns",
];

#[test]
fn a_watch_without_the_hook_finds_the_same() -> Result<()> {
    // A watch with a simulated loss does not read the records of an older watch. This ring is large enough for all.
    let mut with = Watch::start(&["--simulate-loss", "ring=1048576"])?;
    let mut without = Watch::start(&["--simulate-loss", "release=0"])?;
    let mut fixture = fixture!("never-wait", "3")?;
    let pids = (0..3).map(|_| fixture.fact("zombie")?.pid("pid")).collect::<Result<Vec<u32>>>()?;
    for watch in [&mut with, &mut without] {
        for &pid in &pids {
            watch.wait_for("a zombie", |event| event.says("zombie-detected", pid))?;
        }
    }
    fixture.send("reap")?;
    fixture.fact("reaped")?;
    for watch in [&mut with, &mut without] {
        for &pid in &pids {
            watch.wait_for("its end", |event| event.says("zombie-reaped", pid))?;
        }
    }
    fixture.end()?;
    let (with, without) = (with.stop()?, without.stop()?);
    for pid in pids {
        let (with, without) = (finding_of(&with.events, pid)?, finding_of(&without.events, pid)?);
        assert_eq!(without.1.text("supervisor.hooks")?, "tp_btf+iter", "it was to be left out");
        for (with, without) in [(with.0, without.0), (with.1, without.1)] {
            for name in ALIKE {
                assert_eq!(with.field(name)?, without.field(name)?, "{name}");
            }
        }
    }
    Ok(())
}
