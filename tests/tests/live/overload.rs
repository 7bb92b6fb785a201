//! More than there is room for, and what was not seen: it is told, it delays, and in the end nothing is missing and
//! nothing is wrong.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use supervisor_tests::{Event, Fixture, Outcome, Watch, finding_of, fixture};

/// What nobody has counted is found by a reconciliation, every 30 s, and a look after the grace period.
const UNCOUNTED: Duration = Duration::from_secs(45);
/// What was counted as lost is found by one within seconds.
const COUNTED: Duration = Duration::from_secs(15);

/// A parent with its zombies.
struct Family {
    parent: Fixture,
    zombies: Vec<u32>,
}

impl Family {
    fn of(count: usize) -> Result<Self> {
        let parent = fixture!("never-wait", &count.to_string())?;
        let zombies = (0..count).map(|_| parent.fact("zombie")?.pid("pid")).collect::<Result<Vec<u32>>>()?;
        Ok(Self { parent, zombies })
    }

    /// Every zombie is found.
    fn is_found(&self, watch: &mut Watch, limit: Duration) -> Result<()> {
        for &pid in &self.zombies {
            watch.wait_within(limit, "every zombie", |event| event.says("zombie-detected", pid))?;
        }
        Ok(())
    }

    fn reap(&mut self) -> Result<()> {
        self.parent.send("reap")?;
        self.parent.fact("reaped")?;
        Ok(())
    }

    /// The end of every zombie is told.
    fn is_over(&self, watch: &mut Watch, limit: Duration) -> Result<()> {
        for &pid in &self.zombies {
            watch.wait_within(limit, "every end", |event| event.says("zombie-reaped", pid))?;
        }
        Ok(())
    }

    /// Each was opened once and closed once, and nothing else was said of the parent's children.
    fn was_told(self, outcome: &Outcome) -> Result<()> {
        for &pid in &self.zombies {
            finding_of(&outcome.events, pid)?;
        }
        let under = outcome.events.iter().filter(|event| event.is_under(self.parent.pid()));
        for event in under {
            let pid = event.pid("process.pid")?;
            assert!(self.zombies.contains(&pid), "{pid} was reaped at once: {}", event.0);
        }
        self.parent.end()
    }
}

fn watch(loss: &str) -> Result<Watch> {
    Watch::start(&["--simulate-loss", loss])
}

/// How much of a kind was told to be lost.
fn lost(events: &[Event], kind: &str) -> u64 {
    let told = events.iter().filter(|event| event.action() == "events-lost");
    told.filter_map(|event| event.number(&format!("supervisor.loss.{kind}")).ok()).sum()
}

/// Healthy processes, whose number is told.
fn healthy(count: u64) -> Result<Fixture> {
    let storm = fixture!("storm", &count.to_string())?;
    storm.fact("done")?;
    Ok(storm)
}

/// Nothing was said of the children of this one.
fn nothing_under(parent: Fixture, outcome: &Outcome) -> Result<()> {
    let said = outcome.events.iter().find(|event| event.is_under(parent.pid()));
    assert_eq!(said, None, "they were reaped at once");
    parent.end()
}

#[test]
fn what_the_table_has_no_room_for_is_found_when_it_has() -> Result<()> {
    let mut watch = watch("blocks=1")?;
    let mut first = Family::of(100)?;
    let mut second = Family::of(20)?;
    watch.wait_within(COUNTED, "the loss", |event| lost(std::slice::from_ref(event), "exits") > 0)?;
    first.reap()?;
    second.is_found(&mut watch, COUNTED)?;
    second.reap()?;
    second.is_over(&mut watch, COUNTED)?;
    let outcome = watch.stop()?;
    assert!(lost(&outcome.events, "exits") >= 56, "120 do not fit where 64 do");
    // Of the first, those are told that there was room for while they were there.
    for &pid in &first.zombies {
        if outcome.events.iter().any(|event| event.is_about(pid)) {
            finding_of(&outcome.events, pid)?;
        }
    }
    first.parent.end()?;
    second.was_told(&outcome)
}

#[test]
fn reaps_that_the_ring_has_no_room_for_close_their_findings() -> Result<()> {
    let mut watch = watch("ring=4096")?;
    let mut family = Family::of(1000)?;
    family.is_found(&mut watch, COUNTED)?;
    // It does not read the ring meanwhile.
    watch.signal(Signal::STOP)?;
    family.reap()?;
    let later = healthy(1000)?;
    watch.signal(Signal::CONT)?;
    family.is_over(&mut watch, COUNTED)?;
    let told = |event: &Event| lost(std::slice::from_ref(event), "reaps") > 0;
    watch.wait_within(COUNTED, "the loss", told)?;
    let outcome = watch.stop()?;
    // Each takes 64 bytes of the 4096.
    let told = lost(&outcome.events, "reaps");
    assert!((900..=1100).contains(&told), "{told} of 1000 reaps were told to be lost");
    nothing_under(later, &outcome)?;
    family.was_told(&outcome)
}

#[test]
fn exits_that_nobody_has_seen_are_found() -> Result<()> {
    let mut watch = watch("exits=1")?;
    let mut family = Family::of(5)?;
    let storm = healthy(2000)?;
    family.is_found(&mut watch, UNCOUNTED)?;
    family.reap()?;
    family.is_over(&mut watch, COUNTED)?;
    let outcome = watch.stop()?;
    for &pid in &family.zombies {
        let (found, _) = finding_of(&outcome.events, pid)?;
        assert!(found.get("process.end").is_none(), "nobody has seen when it exited: {}", found.0);
    }
    assert!(lost(&outcome.events, "resync_found") >= 5, "that they were found late is told");
    nothing_under(storm, &outcome)?;
    family.was_told(&outcome)
}

#[test]
fn frees_that_nobody_has_seen_leave_no_finding_open() -> Result<()> {
    let mut watch = watch("frees=1")?;
    let mut family = Family::of(5)?;
    let storm = healthy(2000)?;
    family.is_found(&mut watch, COUNTED)?;
    family.reap()?;
    family.is_over(&mut watch, UNCOUNTED)?;
    // Their places in the table are used again, by those that are healthy and those that are not.
    let more = healthy(2000)?;
    let mut next = Family::of(5)?;
    next.is_found(&mut watch, COUNTED)?;
    next.reap()?;
    next.is_over(&mut watch, UNCOUNTED)?;
    let outcome = watch.stop()?;
    assert!(lost(&outcome.events, "resync_closed") >= 5, "that they were closed late is told");
    for storm in [storm, more] {
        nothing_under(storm, &outcome)?;
    }
    family.was_told(&outcome)?;
    next.was_told(&outcome)
}

#[test]
fn what_was_reaped_unseen_is_not_open_at_the_end() -> Result<()> {
    let mut watch = watch("frees=1")?;
    let mut family = Family::of(5)?;
    family.is_found(&mut watch, COUNTED)?;
    family.reap()?;
    let outcome = watch.stop()?;
    family.was_told(&outcome)
}

#[test]
fn an_entry_that_was_left_behind_hides_no_zombie() -> Result<()> {
    // Its free was not seen, and the exit of the next that has its place is not either.
    let mut watch = watch("exits=2,frees=2")?;
    let storm = healthy(5000)?;
    let mut family = Family::of(300)?;
    family.is_found(&mut watch, UNCOUNTED)?;
    family.reap()?;
    family.is_over(&mut watch, UNCOUNTED)?;
    let outcome = watch.stop()?;
    nothing_under(storm, &outcome)?;
    family.was_told(&outcome)
}

#[test]
fn records_that_had_to_make_room_are_told_and_never_guessed() -> Result<()> {
    let mut watch = watch("processes=1,displaced=512,execs=64")?;
    let mut family = Family::of(1500)?;
    family.is_found(&mut watch, COUNTED)?;
    family.reap()?;
    family.is_over(&mut watch, COUNTED)?;
    let told = |event: &Event| lost(std::slice::from_ref(event), "records") > 0;
    watch.wait_within(COUNTED, "the loss", told)?;
    let outcome = watch.stop()?;
    assert!(lost(&outcome.events, "records") >= 900, "1500 records do not fit where 512 do");
    let parent = family.parent.pid();
    let mut known = 0;
    for &pid in &family.zombies {
        let (found, _) = finding_of(&outcome.events, pid)?;
        let creators = found.get("supervisor.creators").and_then(|it| it.as_array());
        if let Some(nearest) = creators.and_then(|it| it.first()) {
            let nearest = nearest.get("pid").and_then(serde_json::Value::as_u64);
            assert_eq!(nearest, Some(parent.into()), "a creator was guessed: {}", found.0);
            known += 1;
        }
    }
    println!("{known} of {} creators are known", family.zombies.len());
    family.was_told(&outcome)
}

#[test]
fn a_watch_that_was_stopped_for_ten_seconds_catches_up() -> Result<()> {
    let mut watch = Watch::start(&[])?;
    let mut before = Family::of(20)?;
    before.is_found(&mut watch, COUNTED)?;
    watch.signal(Signal::STOP)?;
    let storm = fixture!("paced-storm", "2000")?;
    let mut during = Family::of(20)?;
    let mut short = Family::of(20)?;
    before.reap()?;
    std::thread::sleep(Duration::from_secs(10));
    short.reap()?;
    watch.signal(Signal::CONT)?;
    before.is_over(&mut watch, COUNTED)?;
    during.is_found(&mut watch, COUNTED)?;
    during.reap()?;
    during.is_over(&mut watch, COUNTED)?;
    watch.settle(env!("CARGO_BIN_EXE_fixture"))?;
    let outcome = watch.stop()?;
    // Those that came and went unseen cannot be looked at any more.
    let about = outcome.events.iter().find(|event| event.is_under(short.parent.pid()));
    assert_eq!(about, None, "they were gone when it went on");
    short.parent.end()?;
    nothing_under(storm, &outcome)?;
    before.was_told(&outcome)?;
    during.was_told(&outcome)
}

#[test]
fn a_watch_that_was_killed_in_a_storm_finds_all_when_it_is_started_again() -> Result<()> {
    let watch = Watch::start(&[])?;
    let storm = fixture!("paced-storm", "2000")?;
    let mut family = Family::of(20)?;
    watch.kill()?;
    let mut watch = Watch::start(&[])?;
    for &pid in &family.zombies {
        watch.wait_for("every zombie", |event| event.says("zombie-existing", pid))?;
    }
    family.reap()?;
    family.is_over(&mut watch, COUNTED)?;
    let outcome = watch.stop()?;
    nothing_under(storm, &outcome)?;
    family.was_told(&outcome).context("after the restart")
}
