//! Tests in which maps are full or events are not seen. The losses are reported and delay findings. In the end no
//! finding is missing and none is wrong.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use supervisor_tests::{Event, Fixture, Outcome, Watch, finding_of, findings_of, fixture};

/// A counted loss causes a reconciliation two seconds later. Without a cause there is one every 30 s. Half of that time
/// distinguishes both, on a busy machine too.
const CAUSED: SignedDuration = SignedDuration::from_secs(15);

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

    /// Waits until every zombie is found.
    fn is_found(&self, watch: &mut Watch) -> Result<()> {
        watch.wait_for_all("zombie-detected", &self.zombies)
    }

    fn reap(&mut self) -> Result<()> {
        self.parent.send("reap")?;
        self.parent.fact("reaped")?;
        Ok(())
    }

    /// Waits until the end of every zombie is reported.
    fn is_over(&self, watch: &mut Watch) -> Result<()> {
        watch.wait_for_all("zombie-reaped", &self.zombies)
    }

    /// Checks that a reconciliation with a cause at this time reported this about every zombie.
    fn had_a_cause(&self, outcome: &Outcome, action: &str, cause: Timestamp) -> Result<()> {
        for event in outcome.events.iter().filter(|event| event.action() == action) {
            let at: Timestamp = event.text("@timestamp")?.parse()?;
            let is_own = self.zombies.contains(&event.pid("process.pid")?);
            ensure!(!is_own || at.duration_since(cause) < CAUSED, "it comes too late: {}", event.0);
        }
        Ok(())
    }

    /// Checks that each was opened once and closed once, and that there are no other events about the parent's
    /// children.
    fn was_told(self, outcome: &Outcome) -> Result<()> {
        // A process of another test can have had one of the pids before.
        let under = outcome.events.iter().filter(|event| event.is_under(self.parent.pid()));
        let under: Vec<Event> = under.cloned().collect();
        findings_of(&under, &self.zombies)?;
        for event in &under {
            let pid = event.pid("process.pid")?;
            assert!(self.zombies.contains(&pid), "{pid} was reaped at once: {}", event.0);
        }
        self.parent.end()
    }
}

fn watch(loss: &str) -> Result<Watch> {
    Watch::start(&["--simulate-loss", loss])
}

/// The reported number of losses of a kind.
fn lost(events: &[Event], kind: &str) -> u64 {
    let told = events.iter().filter(|event| event.action() == "events-lost");
    told.filter_map(|event| event.number(&format!("supervisor.loss.{kind}")).ok()).sum()
}

/// Healthy processes; the fixture reports their number.
fn healthy(count: u64) -> Result<Fixture> {
    let storm = fixture!("storm", &count.to_string())?;
    storm.fact("done")?;
    Ok(storm)
}

/// Fails if there is an event about the children of this process.
fn nothing_under(parent: Fixture, outcome: &Outcome) -> Result<()> {
    let said = outcome.events.iter().find(|event| event.is_under(parent.pid()));
    assert_eq!(said, None, "they were reaped at once");
    parent.end()
}

/// Zombies of other tests would fill the watch's small table.
mod alone {
    use super::*;

    #[test]
    fn zombies_beyond_a_full_table_are_found_once_slots_are_free() -> Result<()> {
        let mut watch = watch("blocks=1")?;
        let mut first = Family::of(100)?;
        let mut second = Family::of(20)?;
        watch.wait_for("the loss", |event| lost(std::slice::from_ref(event), "exits") > 0)?;
        let since = Timestamp::now();
        first.reap()?;
        second.is_found(&mut watch)?;
        second.reap()?;
        second.is_over(&mut watch)?;
        let outcome = watch.stop()?;
        assert!(lost(&outcome.events, "exits") >= 56, "120 do not fit where 64 do");
        second.had_a_cause(&outcome, "zombie-detected", since)?;
        // Of the first zombies, only those that had a slot while they were there are reported.
        for &pid in &first.zombies {
            if outcome.events.iter().any(|event| event.is_about(pid)) {
                finding_of(&outcome.events, pid)?;
            }
        }
        first.parent.end()?;
        second.was_told(&outcome)
    }
}

#[test]
fn reaps_lost_in_a_full_ring_close_their_findings() -> Result<()> {
    let mut watch = watch("ring=4096")?;
    let mut family = Family::of(1000)?;
    family.is_found(&mut watch)?;
    // The watch does not read the ring meanwhile. Another watch shows when the kernel has reported all reaps.
    let mut other = Watch::start(&[])?;
    other.wait_for_all("zombie-existing", &family.zombies)?;
    watch.freeze()?;
    family.reap()?;
    family.is_over(&mut other)?;
    other.stop()?;
    let later = healthy(1000)?;
    let since = Timestamp::now();
    watch.signal(Signal::CONT)?;
    family.is_over(&mut watch)?;
    let told = |event: &Event| lost(std::slice::from_ref(event), "reaps") > 0;
    watch.wait_for("the loss", told)?;
    let outcome = watch.stop()?;
    family.had_a_cause(&outcome, "zombie-reaped", since)?;
    // Each record takes 64 of the 4096 bytes. On a busy machine some frees come after the watch goes on: an RCU
    // callback can be late, and the other watch has closed those findings by reconciliation.
    let told = lost(&outcome.events, "reaps");
    // Reaps of other tests can be lost too.
    assert!(told >= 500, "{told} of 1000 reaps were told to be lost");
    nothing_under(later, &outcome)?;
    family.was_told(&outcome)
}

#[test]
fn unseen_exits_are_found() -> Result<()> {
    let mut watch = watch("exits=1")?;
    let mut family = Family::of(5)?;
    let storm = healthy(2000)?;
    family.is_found(&mut watch)?;
    family.reap()?;
    family.is_over(&mut watch)?;
    let outcome = watch.stop()?;
    for (found, _) in findings_of(&outcome.events, &family.zombies)? {
        assert!(found.get("process.end").is_none(), "nobody has seen when it exited: {}", found.0);
    }
    assert!(lost(&outcome.events, "resync_found") >= 5, "that they were found late is told");
    nothing_under(storm, &outcome)?;
    family.was_told(&outcome)
}

#[test]
fn unseen_frees_leave_no_finding_open() -> Result<()> {
    let mut watch = watch("frees=1")?;
    let mut family = Family::of(5)?;
    let storm = healthy(2000)?;
    family.is_found(&mut watch)?;
    family.reap()?;
    family.is_over(&mut watch)?;
    // Healthy and unhealthy processes use their slots in the table again.
    let more = healthy(2000)?;
    let mut next = Family::of(5)?;
    next.is_found(&mut watch)?;
    next.reap()?;
    next.is_over(&mut watch)?;
    let outcome = watch.stop()?;
    assert!(lost(&outcome.events, "resync_closed") >= 5, "that they were closed late is told");
    for storm in [storm, more] {
        nothing_under(storm, &outcome)?;
    }
    family.was_told(&outcome)?;
    next.was_told(&outcome)
}

#[test]
fn an_unseen_reap_leaves_no_finding_open_at_the_end() -> Result<()> {
    let mut watch = watch("frees=1")?;
    let mut family = Family::of(5)?;
    family.is_found(&mut watch)?;
    family.reap()?;
    let outcome = watch.stop()?;
    family.was_told(&outcome)
}

#[test]
fn a_stale_entry_hides_no_zombie() -> Result<()> {
    // Its free was not seen, and the exit of the next process with the same slot is not seen either.
    let mut watch = watch("exits=2,frees=2")?;
    let storm = healthy(5000)?;
    let mut family = Family::of(300)?;
    family.is_found(&mut watch)?;
    family.reap()?;
    family.is_over(&mut watch)?;
    let outcome = watch.stop()?;
    nothing_under(storm, &outcome)?;
    family.was_told(&outcome)
}

#[test]
fn dropped_records_are_reported_and_never_guessed() -> Result<()> {
    let mut watch = watch("processes=1,displaced=512,execs=64")?;
    let mut family = Family::of(1500)?;
    family.is_found(&mut watch)?;
    family.reap()?;
    family.is_over(&mut watch)?;
    let told = |event: &Event| lost(std::slice::from_ref(event), "records") > 0;
    watch.wait_for("the loss", told)?;
    let outcome = watch.stop()?;
    assert!(lost(&outcome.events, "records") >= 900, "1500 records do not fit where 512 do");
    let parent = family.parent.pid();
    let mut known = 0;
    for (found, _) in findings_of(&outcome.events, &family.zombies)? {
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
    before.is_found(&mut watch)?;
    watch.freeze()?;
    let storm = fixture!("paced-storm", "2000")?;
    let mut during = Family::of(20)?;
    let mut short = Family::of(20)?;
    before.reap()?;
    std::thread::sleep(Duration::from_secs(10));
    short.reap()?;
    watch.signal(Signal::CONT)?;
    before.is_over(&mut watch)?;
    during.is_found(&mut watch)?;
    during.reap()?;
    during.is_over(&mut watch)?;
    watch.settle(env!("CARGO_BIN_EXE_fixture"))?;
    let outcome = watch.stop()?;
    // Processes that came and went unseen cannot be inspected any more.
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
    watch.wait_for_all("zombie-existing", &family.zombies)?;
    family.reap()?;
    family.is_over(&mut watch)?;
    let outcome = watch.stop()?;
    nothing_under(storm, &outcome)?;
    family.was_told(&outcome).context("after the restart")
}
