//! The extra hook: by whom a process was reaped; when exactly is a matter of dwell.rs. Where the kernel does not let it be attached, nothing
//! of it is said, and all the rest is.

use anyhow::{Result, ensure};
use supervisor_tests::{Event, Fixture, Watch, finding_of};

/// Whether the hook is attached. Who knows what this machine allows says so in `SUPERVISOR_HOOKS`.
pub(crate) fn is_attached(event: &Event) -> Result<bool> {
    let hooks = event.text("supervisor.hooks")?;
    if let Ok(wanted) = std::env::var("SUPERVISOR_HOOKS") {
        ensure!(hooks == wanted, "{hooks} are attached, and not {wanted}");
    }
    Ok(hooks.ends_with("+fentry"))
}

/// Lets a fixture's zombie be reaped, and holds what is said of the reaper against who it is.
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
fn by_who_has_adopted_it() -> Result<()> {
    reaped_by(&["adopts"], "", "fixture")
}

#[test]
fn by_its_parent_that_ends_and_whose_heir_ignores_it() -> Result<()> {
    reaped_by(&["heir-ignores"], "parent", "fixture")
}

#[test]
fn by_the_pid_1_that_ends_its_namespace() -> Result<()> {
    reaped_by(&["pid1-own"], "init", "fixture")?;
    reaped_by(&["pid1-adopts", "never-waits"], "init", "fixture")
}
