//! Tests of the options that choose zombies, and of those that choose how they are freed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use supervisor_lab::{stat, until};
use supervisor_tests::{Event, Fixture, WAIT_LIMIT, Watch, fixture};

use super::{reap, reap_json, zombies};

/// Two zombies whose reaper has lost their SIGCHLD.
fn lost(how: &str) -> Result<(Fixture, [u32; 2])> {
    let fixture = fixture!("lost-sigchld", how)?;
    let fact = fixture.fact("zombies")?;
    Ok((fixture, [fact.pid("first")?, fact.pid("second")?]))
}

/// Frees its two zombies, and returns the two events.
fn freed_both(fixture: &Fixture, options: &[&str]) -> Result<Vec<Event>> {
    let reaper = fixture.pid().to_string();
    let (events, code) = reap_json(&[&["--reaper", &reaper, "--yes", "--force"], options].concat())?;
    ensure!(code == Some(0) && events.len() == 2, "{code:?}: {events:#?}");
    Ok(events)
}

/// The event about a zombie.
fn about(events: &[Event], pid: u32) -> Result<&Event> {
    events.iter().find(|event| event.is_about(pid)).with_context(|| format!("{pid}: {events:#?}"))
}

/// How often its handler ran.
fn handled(mut fixture: Fixture) -> Result<u64> {
    fixture.send("say")?;
    let count = fixture.fact("handled")?.number("count")?;
    fixture.end()?;
    Ok(count)
}

fn is_there(pid: u32) -> bool {
    stat(pid).is_some_and(|it| it.state == 'Z')
}

/// A process of this name whose zombies stay, with their pids.
fn leaky(name: &str) -> Result<(Fixture, Vec<u32>)> {
    let mut leaky = fixture!("leaks", name, "100")?;
    leaky.fact("ready")?;
    zombies(leaky.pid(), 1)?;
    leaky.send("stop")?;
    // After this, no child of its own is among them, which it reaps.
    let count = leaky.fact("leaked")?.number("count")?;
    let mut zombies = zombies(leaky.pid(), count)?;
    zombies.sort_unstable();
    Ok((leaky, zombies))
}

/// The age is that of the exit, which a watch has seen.
#[test]
fn all_with_min_age_takes_the_old_zombies_and_leaves_the_young_ones() -> Result<()> {
    const AGE: Duration = Duration::from_secs(15);
    let name = format!("ages{}", std::process::id());
    let watch = Watch::start(&["--comm", &name])?;
    let (_old_reaper, old) = leaky(&name)?;
    let seen = Instant::now();
    until("the zombies to be old", WAIT_LIMIT, || Ok((seen.elapsed() > AGE).then_some(())))?;
    let (_young_reaper, young) = leaky(&name)?;
    let age = format!("{}s", AGE.as_secs());
    let args = ["--all", "--comm", &name, "--min-age", &age, "--yes", "--force", "--no-nudge"];
    let (events, code) = reap_json(&args)?;
    ensure!(code == Some(0), "{code:?}: {events:#?}");
    let mut freed = events.iter().map(|event| event.pid("process.pid")).collect::<Result<Vec<u32>>>()?;
    freed.sort_unstable();
    assert_eq!(freed, old);
    ensure!(old.into_iter().all(|pid| stat(pid).is_none()), "they are not freed");
    ensure!(young.into_iter().all(is_there), "a young one is gone");
    // Without an age, the rest is taken too.
    let (events, code) = reap_json(&["--all", "--comm", &name, "--yes", "--force", "--no-nudge"])?;
    ensure!(code == Some(0) && !events.is_empty(), "{code:?}: {events:#?}");
    watch.stop().map(drop)
}

#[test]
fn all_frees_the_zombies_of_the_named_reaper_only() -> Result<()> {
    let (wanted, other) = (fixture!("never-wait", "3")?, fixture!("never-wait", "2")?);
    let [mut mine, mut others] = [zombies(wanted.pid(), 3)?, zombies(other.pid(), 2)?];
    let reaper = wanted.pid().to_string();
    let (said, code) = reap(&["--all", "--reaper", &reaper, "--yes"])?;
    ensure!(code == Some(1) && said.contains("needs force"), "{code:?}: {said}");
    ensure!(mine.iter().all(|it| is_there(*it)), "without force they stay: {said}");
    let (events, code) = reap_json(&["--all", "--reaper", &reaper, "--yes", "--force", "--no-nudge"])?;
    ensure!(code == Some(0), "{code:?}: {events:#?}");
    let mut freed = events.iter().map(|event| event.pid("process.pid")).collect::<Result<Vec<u32>>>()?;
    freed.sort_unstable();
    mine.sort_unstable();
    assert_eq!(freed, mine);
    ensure!(mine.iter().all(|it| stat(*it).is_none()), "they are not freed");
    let mut left = zombies(other.pid(), 2)?;
    left.sort_unstable();
    others.sort_unstable();
    assert_eq!(left, others);
    other.end()
}

/// The disposition was replaced for a while, so the handler did not run.
#[test]
fn a_handler_that_missed_its_signal_reaps_on_another_one_and_is_not_stopped() -> Result<()> {
    let (fixture, zombies) = lost("all")?;
    let events = freed_both(&fixture, &[])?;
    for event in zombies.map(|pid| about(&events, pid)) {
        let event = event?;
        assert_eq!(event.text("supervisor.reap.outcome")?, "freed-by-sigchld");
        assert_eq!(event.text("event.outcome")?, "success");
        ensure!(event.flag("supervisor.reap.nudged")?, "{}", event.0);
        ensure!(event.get("supervisor.reap.stopped_us").is_none(), "it was stopped: {}", event.0);
    }
    ensure!(!zombies.into_iter().any(is_there), "they are not freed");
    assert_eq!(handled(fixture)?, 1);

    let (fixture, _) = lost("all")?;
    let (said, code) = reap(&["--reaper", &fixture.pid().to_string(), "--yes", "--force"])?;
    ensure!(code == Some(0) && said.contains("which a SIGCHLD made wait"), "{code:?}: {said}");
    ensure!(!said.contains("stopped "), "{said}");
    fixture.end()
}

#[test]
fn with_no_nudge_the_handler_does_not_run() -> Result<()> {
    let (fixture, zombies) = lost("all")?;
    let events = freed_both(&fixture, &["--no-nudge"])?;
    for event in zombies.map(|pid| about(&events, pid)) {
        let event = event?;
        assert_eq!(event.text("supervisor.reap.outcome")?, "freed");
        ensure!(!event.flag("supervisor.reap.nudged")?, "{}", event.0);
        ensure!(event.number("supervisor.reap.stopped_us")? > 0, "{}", event.0);
    }
    ensure!(!zombies.into_iter().any(is_there), "they are not freed");
    assert_eq!(handled(fixture)?, 0);
    Ok(())
}

#[test]
fn a_handler_that_reaps_one_child_is_made_to_wait_for_the_others() -> Result<()> {
    let (fixture, zombies) = lost("one")?;
    let events = freed_both(&fixture, &[])?;
    let mut outcomes = Vec::new();
    for event in zombies.map(|pid| about(&events, pid)) {
        outcomes.push(event?.text("supervisor.reap.outcome")?);
    }
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["freed", "freed-by-sigchld"]);
    assert_eq!(handled(fixture)?, 1);
    Ok(())
}

/// While a thread waits for a signal, the kernel takes that signal out of the thread's mask (`do_sigtimedwait()`). For a
/// `signalfd`, the program blocks it.
#[test]
fn a_reaper_that_takes_sigchld_without_a_handler_gets_it_first() -> Result<()> {
    for how in ["waits", "reads"] {
        let (fixture, zombies) = lost(how)?;
        let (events, code) = reap_json(&["--reaper", &fixture.pid().to_string(), "--yes", "--force"])?;
        ensure!(code == Some(0) && events.len() == 2, "{how}: {code:?}: {events:#?}");
        for event in zombies.map(|pid| about(&events, pid)) {
            assert_eq!(event?.text("supervisor.reap.outcome")?, "freed-by-sigchld", "{how}");
        }
        assert_eq!(fixture.fact("handled")?.number("count")?, 1);
        fixture.end()?;
    }
    Ok(())
}
