//! Tests of attacks by number, by a user without capabilities: zombies with large arguments, many PID namespaces, many
//! programs, and zombies at the slots of a victim. All the time, other zombies are reported, memory is bounded, and the
//! end comes on time. `SUPERVISOR_ATTACK_SCALE` multiplies the numbers: with 10 they are those of docs/threat-model.md.

use std::{collections::HashSet, env, time::Duration};

use anyhow::{Context as _, Result, ensure};
use supervisor_tests::{Besieged, Den, Event, Fixture, ON_TIME, Watch, fixture, resident_kib, run_json};

/// The number of zombies, before the scale.
const ZOMBIES: usize = 2000;
/// The number of PID namespaces, before the scale.
const NAMESPACES: usize = 300;
/// The kernel allows no more levels below the first one (`MAX_PID_NS_LEVEL`, `include/linux/pid_namespace.h`), and this
/// process may be in one itself.
const LEVELS: usize = 31;
/// The limit for a report, while a busy machine inspects thousands.
const SOON: Duration = Duration::from_mins(1);
/// The memory that an agent may use, in KiB, beside its findings.
const MEMORY: u64 = 40 << 10;
/// The memory that one finding with hostile arguments may take, in KiB (docs/limitations.md).
const FINDING: u64 = 25;

/// The factor for all numbers.
fn scale() -> Result<usize> {
    env::var("SUPERVISOR_ATTACK_SCALE").map_or(Ok(1), |text| text.parse().context("SUPERVISOR_ATTACK_SCALE"))
}

fn den() -> Result<Den> {
    Den::new(env!("CARGO_BIN_EXE_fixture"))
}

/// Waits until a watch has reported this many zombies of one parent.
fn until_reported(watch: &mut Watch, parent: &Fixture, count: usize) -> Result<()> {
    let mut found = HashSet::new();
    watch.wait_until("all zombies of the attacker", |event| {
        if event.action() == "zombie-detected" && event.is_under(parent.pid()) {
            found.extend(event.pid("process.pid"));
        }
        found.len() >= count
    })
}

/// Waits on a watch.
fn of(watch: &mut Watch) -> impl FnOnce(u32, Duration) -> Result<Event> + '_ {
    |pid, _| watch.wait_for("a bystander's", |event| event.says("zombie-detected", pid))
}

#[test]
fn zombies_with_the_longest_arguments_delay_nobody() -> Result<()> {
    let count = ZOMBIES * scale()?;
    let den = den()?;
    let mut watch = Watch::start(&[])?;
    let agent = Besieged::start()?;
    let attacker = den.attack(&["padded", &count.to_string()])?;
    den.bystander(SOON, |pid, within| agent.reports(pid, within))?;
    attacker.fact("ready")?;
    den.bystander(SOON, |pid, within| agent.reports(pid, within))?;
    den.bystander(SOON, of(&mut watch))?;
    agent.is_healthy()?;
    until_reported(&mut watch, &attacker, count)?;
    let (listed, _) = run_json(&["ps", "-o", "json"])?;
    let listed = listed.iter().filter(|event| event.is_under(attacker.pid())).count();
    assert_eq!(listed, count, "ps does not list all");
    for pid in [watch.pid(), agent.agent.pid()] {
        let kib = resident_kib(pid)?;
        println!("{count} zombies: {kib} KiB");
        ensure!(kib < MEMORY + FINDING * count as u64, "{kib} KiB for {count} zombies");
    }
    agent.ends_on_time()?;
    watch.stop()?;
    attacker.end()
}

/// An inspection reads 1,024 members of a namespace (docs/threat-model.md, "Blocking the collector").
#[test]
fn members_of_a_namespace_that_are_not_inspected_are_counted() -> Result<()> {
    /// The limit, and more.
    const MEMBERS: u64 = 1024 + 76;
    let den = den()?;
    let mut watch = Watch::start(&[])?;
    let crowd = den.attack(&["crowd", "1", &MEMBERS.to_string()])?;
    let init = crowd.fact("crowd")?.pid("init")?;
    let is_it = |event: &Event| event.says("namespace-blocked", init);
    let blocked = watch.wait_for("the namespace", is_it)?;
    let ino = blocked.number("supervisor.pid_ns.ino")?.to_string();
    let (listed, _) = run_json(&["ps", "-o", "json", "--pidns", &ino])?;
    let listed = listed.iter().find(|event| is_it(event)).context("ps does not list the namespace")?;
    for event in [&blocked, listed] {
        let named = event.list("supervisor.blockers")?.len() as u64;
        let left_out = event.number("supervisor.blockers_left_out")?;
        assert_eq!(named + left_out, 1024, "each inspected one holds it: {}", event.0);
        let verdict = event.text("supervisor.verdict")?;
        ensure!(verdict.ends_with("; 76 other processes in it were not looked at"), "{verdict}");
    }
    crowd.end()?;
    watch.wait_for("its end", |event| event.says("namespace-released", init))?;
    watch.stop().map(drop)
}

#[test]
fn namespaces_within_namespaces_are_reported_at_every_level() -> Result<()> {
    let den = den()?;
    let agent = Besieged::start()?;
    let attacker = den.attack(&["nested", &LEVELS.to_string()])?;
    let mut missing =
        (0..LEVELS).map(|_| attacker.fact("zombie")?.pid("pid")).collect::<Result<HashSet<u32>>>()?;
    // They are reported in any order.
    while !missing.is_empty() {
        let opens = |event: &Event| ["zombie-detected", "zombie-existing"].contains(&event.action());
        let is_missing = |event: &Event| missing.iter().any(|pid| event.is_about(*pid));
        let event = agent.agent.wait_for("every level", |event| opens(event) && is_missing(event));
        let event = event.with_context(|| format!("missing: {missing:?}"))?;
        ensure!(event.get("supervisor.pid_ns.level").is_some(), "no level: {}", event.0);
        missing.remove(&event.pid("process.pid")?);
    }
    den.bystander(ON_TIME, |pid, within| agent.reports(pid, within))?;
    agent.is_healthy()?;
    agent.ends_on_time()?;
    attacker.end()
}

#[test]
fn many_namespaces_delay_nobody() -> Result<()> {
    let count = NAMESPACES * scale()?;
    let den = den()?;
    let mut watch = Watch::start(&[])?;
    let agent = Besieged::start()?;
    let attacker = den.attack(&["namespaces", &count.to_string()])?;
    attacker.fact("ready")?;
    // Namespaces that cannot end are inspected again and again.
    for _ in 0..3 {
        den.bystander(SOON, |pid, within| agent.reports(pid, within))?;
        den.bystander(SOON, of(&mut watch))?;
        agent.is_healthy()?;
    }
    until_reported(&mut watch, &attacker, count - count.div_ceil(10))?;
    let kib = resident_kib(agent.agent.pid())?;
    println!("{count} namespaces: {kib} KiB");
    ensure!(kib < MEMORY + FINDING * count as u64, "{kib} KiB for {count} namespaces");
    agent.ends_on_time()?;
    watch.stop()?;
    attacker.end()
}

#[test]
fn programs_that_push_out_the_records_of_others_delay_nobody_and_are_counted() -> Result<()> {
    let den = den()?;
    // These small maps are as full as the real ones are with 8,192 living processes that have called exec.
    let mut watch = Watch::start(&["--simulate-loss", "processes=1,displaced=256,execs=64"])?;
    // Its creator has called exec before the attack.
    let mut victim = fixture!("reap-when-told")?;
    let attacker = den.attack(&["hoard", "400"])?;
    attacker.fact("ready")?;
    let pid = victim.fact("exited")?.pid("pid")?;
    let found = watch.wait_for("the victim", |event| event.says("zombie-detected", pid))?;
    ensure!(found.is_under(victim.pid()), "it has another parent: {}", found.0);
    for creator in found.list("supervisor.creators").unwrap_or_default() {
        let creator = creator.pid("pid")?;
        ensure!(creator != attacker.pid(), "the attacker is taken for its creator: {}", found.0);
    }
    for _ in 0..3 {
        den.bystander(ON_TIME, of(&mut watch))?;
    }
    watch
        .wait_for("the loss", |event| event.number("supervisor.loss.records").is_ok_and(|count| count > 0))?;
    victim.send("reap")?;
    victim.fact("reaped")?;
    victim.end()?;
    watch.stop()?;
    attacker.end()
}

#[test]
fn zombies_at_the_slots_of_a_victim_do_not_hide_it() -> Result<()> {
    // 16 blocks of 64 slots.
    let mut watch = Watch::start(&["--simulate-loss", "blocks=16"])?;
    // Only root can choose pids; another user has to fork until it gets them.
    let attacker = fixture!("slots", "1024")?;
    let victim = attacker.fact("zombie")?.pid("pid")?;
    watch.wait_for("the victim", |event| event.says("zombie-detected", victim))?;
    attacker.end()?;
    let outcome = watch.stop()?;
    let found = outcome.events.iter().find(|event| event.says("zombie-detected", victim));
    // If it had found no slot, a reconciliation would find it, but that does not know the time of its exit.
    ensure!(found.context("it is gone")?.get("process.end").is_some(), "its exit was lost");
    Ok(())
}

#[test]
fn every_attack_at_once_does_not_keep_the_end() -> Result<()> {
    let den = den()?;
    let agent = Besieged::start()?;
    let (locked, _zombie) = den.locks_memory()?;
    let attackers =
        [den.attack(&["padded", "200"])?, den.attack(&["namespaces", "50"])?, den.attack(&["hoard", "100"])?];
    for attacker in &attackers {
        attacker.fact("ready")?;
        den.bystander(SOON, |pid, within| agent.reports(pid, within))?;
    }
    agent.is_healthy()?;
    ensure!(agent.metrics()?.contains("supervisor_reads_lost_total"), "reads are not counted");
    agent.ends_on_time()?;
    drop(locked);
    attackers.into_iter().try_for_each(Fixture::end)?;
    Ok(())
}
