//! A seeded mix of all kinds of zombies for minutes, while watches miss events and are stopped and killed. In the end,
//! all events must be true. `cargo xtask soak` runs it for longer.

use std::{
    env, fs,
    os::unix::fs::chown,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use supervisor_lab::{ExitState, Lab, Monitor, PidNs, Pod, Runtime, create, until, zombies_of};
use supervisor_tests::{
    ATTACKER, Den, Event, Fixture, Judgement, Life, Run, Slack, WAIT_LIMIT, Watch, fixture, hides_init,
    judge, lives, resident_kib, setting, supervisor_bin, wall,
};

/// The default length: the whole test then takes two minutes.
const MIX: Duration = Duration::from_mins(1);
const SEED: u64 = 1;
/// Healthy processes a second.
const RATE: &str = "1000";
/// A watch that sees everything reports a zombie within this time. On a busy machine, the limit is twice the longest
/// time of the reports that came.
const SOON: Duration = Duration::from_secs(2);
/// A watch that misses events recovers within this time: a reconciliation comes every 30 s.
const LATE: Duration = Duration::from_secs(40);
/// One watch is stopped for this long.
const STOPPED: Duration = Duration::from_secs(10);
/// This many samples of the memory are printed.
const PRINTED: usize = 12;
/// After this part of the mix, the watch that was stopped has reported what it had missed.
const CAUGHT_UP: f64 = 0.7;
/// The limit for the growth of memory after that, in KiB: hundreds more findings are open at the end.
const GROWTH: u64 = 5 << 10;
/// The additional growth for each reported zombie of other tests, in KiB: its evidence and its texts.
const PER_STRANGER: u64 = 6;
/// The limit for the memory of a watch of this mix, in KiB, even while it catches up.
const MOST_KIB: u64 = 40 << 10;

/// The losses of the second watch. Its small tables also overflow now and then.
const LOSS: &str = "exits=10,frees=10,ring=4096,processes=256,displaced=1024,execs=256";

/// Ids of containers that the attackers claim begin with this.
const CLAIMED: &str = "badc0de0";

/// Processes of a user without capabilities that try to mislead or to delay: a quarter of all that become zombies.
struct Attackers {
    mix: Fixture,
    /// A process that keeps its memory map locked all the time, and its zombie.
    locked: (Fixture, u32),
    _den: Den,
}

impl Attackers {
    fn start(seed: u64) -> Result<Self> {
        let den = Den::new(env!("CARGO_BIN_EXE_fixture"))?;
        let own = den.path("own")?;
        fs::create_dir(&own)?;
        chown(&own, Some(ATTACKER), Some(ATTACKER))?;
        let mix = den.attack(&["attackers", &seed.to_string(), &own])?;
        Ok(Self { mix, locked: den.locks_memory()?, _den: den })
    }
}

/// Fails if an event gives a process a false identity: a pod that only the attackers name, or a container of theirs for
/// a process that is not theirs.
fn no_identity_is_false(events: &[Event], attackers: u32) -> Result<()> {
    for event in events {
        let pod = event.get("orchestrator").map(ToString::to_string).unwrap_or_default();
        ensure!(
            !pod.contains("kube-system") && !pod.contains("victim"),
            "a pod that is another's: {}",
            event.0
        );
        let is_claimed = event.text("container.id").is_ok_and(|id| id.starts_with(CLAIMED));
        ensure!(!is_claimed || event.is_under(attackers), "a container that is another's: {}", event.0);
    }
    Ok(())
}

/// A pod whose containers' commands do not exist, under a monitor that does not reap the processes that it adopts.
struct Incident {
    monitor: Monitor,
    pod: Pod,
    lab: Lab,
    lives: Vec<Life>,
}

impl Incident {
    fn set() -> Result<Self> {
        let lab = Lab::new(&supervisor_bin()?)?;
        let pod = Pod::start(&lab)?;
        Ok(Self { monitor: Monitor::start(&lab)?, pod, lab, lives: Vec::new() })
    }

    /// Reaps the zombies of the last failure, and repeats the failure.
    fn again(&mut self) -> Result<()> {
        self.reap()?;
        let earliest = wall()?;
        let created = create(&self.lab, &mut self.monitor, Runtime::Crun, PidNs::Joined(&self.pod))?;
        ensure!(created.exit == ExitState::Code(1), "{}", created.log);
        // The process that joined the namespace can exit a moment after the one that the monitor waited for.
        let left = until("what the failure leaves", WAIT_LIMIT, || {
            Ok(Some(zombies_of(self.monitor.pid())?).filter(|zombies| !zombies.is_empty()))
        })?;
        for zombie in left {
            let life =
                Life { pid: zombie.pid, earliest, zombie_by: wall()?, reaped_from: None, reaped_by: None };
            self.lives.push(life);
        }
        Ok(())
    }

    fn reap(&mut self) -> Result<()> {
        let from = wall()?;
        let pids = self.monitor.reap()?;
        let by = wall()?;
        for life in self.lives.iter_mut().filter(|it| it.reaped_by.is_none() && pids.contains(&it.pid)) {
            (life.reaped_from, life.reaped_by) = (Some(from), Some(by));
        }
        Ok(())
    }
}

/// A watch, and the time since which it is attached.
struct Watching {
    watch: Watch,
    from: u64,
}

/// The events of a watch, and their period.
struct Watched {
    name: &'static str,
    events: Vec<Event>,
    from: u64,
    until: u64,
    slack: Slack,
}

impl Watching {
    fn start(options: &[&str]) -> Result<Self> {
        let watch = Watch::start(options)?;
        Ok(Self { watch, from: wall()? })
    }

    fn stop(self, name: &'static str, slack: Slack) -> Result<Watched> {
        let until = wall()?;
        let events = self.watch.stop()?.events;
        Ok(Watched { name, events, from: self.from, until, slack })
    }

    fn kill(self, name: &'static str, slack: Slack) -> Result<Watched> {
        let until = wall()?;
        let events = self.watch.kill()?;
        Ok(Watched { name, events, from: self.from, until, slack })
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one scenario in its order")]
fn every_event_about_a_mix_is_true() -> Result<()> {
    let length = setting("SUPERVISOR_SOAK_SECONDS")?.map_or(MIX, Duration::from_secs);
    let seed = setting("SUPERVISOR_SOAK_SEED")?.unwrap_or(SEED);
    println!("seed {seed}, {length:?}");
    let mut plain = Watching::start(&[])?;
    let mut robbed = Watching::start(&["--simulate-loss", LOSS])?;
    let mut killed = Watching::start(&[])?;
    let storm = fixture!("paced-storm", RATE)?;
    let mut mix = fixture!("mix", &seed.to_string())?;
    let mut incident = Incident::set()?;
    let mut attackers = setting("SUPERVISOR_SOAK_ATTACKERS")?.map(|_| Attackers::start(seed)).transpose()?;

    let start = Instant::now();
    let mut memory = Vec::new();
    let mut first_run = None;
    let mut stopped = None;
    let mut robbed_once = false;
    while start.elapsed() < length {
        incident.again()?;
        let done = start.elapsed().as_secs_f64() / length.as_secs_f64();
        memory.push((done, residents(&plain, &robbed)?));
        if done > 0.3 && first_run.is_none() {
            let run = std::mem::replace(&mut killed, Watching::start(&[])?);
            // A kernel that hides PID 1 can lose a free, and the close then comes with a reconciliation.
            let slack = Slack { found: SOON, closed: if hides_init() { LATE } else { SOON } };
            first_run = Some(run.kill("the one that was killed", slack)?);
        }
        if done > 0.4 && !robbed_once {
            robbed_once = true;
            robbed.watch.freeze()?;
            stopped = Some(Instant::now());
        }
        if stopped.is_some_and(|since: Instant| since.elapsed() >= STOPPED) {
            robbed.watch.signal(Signal::CONT)?;
            stopped = None;
        }
        // Some processes that the container leaves must be found.
        std::thread::sleep(Duration::from_secs(4));
    }
    if stopped.is_some() {
        robbed.watch.signal(Signal::CONT)?;
    }
    memory.push((1.0, residents(&plain, &robbed)?));

    // Every watch must find the remaining zombies now, and report their end.
    mix.send("rest")?;
    let mut facts = mix.facts_until("resting")?;
    let mut of_attackers = Vec::new();
    if let Some(attackers) = &mut attackers {
        attackers.mix.send("rest")?;
        of_attackers = attackers.mix.facts_until("resting")?;
    }
    let healthy = storm.pid();
    storm.end()?;
    std::thread::sleep(LATE + SOON);
    mix.send("end")?;
    facts.extend(mix.facts_until("ended")?);
    if let Some(attackers) = &mut attackers {
        attackers.mix.send("end")?;
        of_attackers.extend(attackers.mix.facts_until("ended")?);
    }
    incident.reap()?;
    plain.watch.settle(env!("CARGO_BIN_EXE_fixture"))?;
    std::thread::sleep(LATE);

    let mut lives = [lives(&facts)?, lives(&of_attackers)?].concat();
    lives.append(&mut incident.lives);
    let runs = [
        first_run.context("it was too short for a kill")?,
        plain.stop("the one that sees all", Slack::both(SOON))?,
        robbed.stop("the one that is robbed and stopped", Slack::both(LATE))?,
        killed.stop("the one after the kill", Slack::both(SOON))?,
    ];
    let mut reapers = vec![mix.pid(), incident.monitor.pid()];
    if let Some(attackers) = attackers {
        reapers.push(attackers.mix.pid());
        println!("{} of {} zombies are the attackers'", of_attackers.len() / 2, lives.len());
        let zombie = attackers.locked.1;
        for Watched { name, events, .. } in &runs {
            no_identity_is_false(events, attackers.mix.pid()).with_context(|| *name)?;
        }
        let is_found = |event: &Event| event.says("zombie-detected", zombie);
        ensure!(runs[1].events.iter().any(is_found), "the zombie behind the locked memory map was not found");
        attackers.mix.end()?;
    }
    mix.end()?;
    let (is_good, most_strangers) = judged(&runs, &lives, &reapers, healthy)?;
    println!("{} zombies", lives.len());
    ensure!(is_good, "what was said is not what was true: seed {seed}");
    is_flat(&memory, GROWTH + PER_STRANGER * most_strangers)
}

/// Judges the events of each watch: whether all are right, and the largest number of other tests' zombies that one
/// watch has reported.
fn judged(runs: &[Watched], lives: &[Life], reapers: &[u32], healthy: u32) -> Result<(bool, u64)> {
    let mut is_good = true;
    let mut most_strangers = 0;
    for Watched { name, events, from, until, slack } in runs {
        let judge_with = |slack: Slack| -> Result<Judgement> {
            judge(&Run { events, from: *from, until: *until, slack }, lives, reapers, &[healthy])
        };
        let longest = judge_with(*slack)?.percentile(100) * 2;
        let judgement =
            judge_with(Slack { found: longest.max(slack.found), closed: longest.max(slack.closed) })?;
        let told =
            events.iter().filter(|it| matches!(it.action(), "zombie-detected" | "zombie-existing")).count();
        let strangers = told.saturating_sub(judgement.found) as u64;
        println!("{name}: {judgement}; zombies of others: {strangers}");
        most_strangers = most_strangers.max(strangers);
        is_good &= judgement.is_good() && judgement.made > 0;
    }
    Ok((is_good, most_strangers))
}

/// Fails if a watch uses more memory than allowed, or if its memory still grows once the stopped watch has caught up.
fn is_flat(memory: &[(f64, [u64; 2])], growth: u64) -> Result<()> {
    for (done, [plain, robbed]) in memory.iter().step_by(memory.len().div_ceil(PRINTED)) {
        println!("memory at {:.0} %: {plain} and {robbed} KiB", done * 100.0);
    }
    let at = |part: f64| memory.iter().find(|(done, _)| *done >= part).map(|(_, kib)| *kib);
    let (early, late) = (at(CAUGHT_UP).context("it was too short")?, at(1.0).context("it has no end")?);
    for (early, late) in early.into_iter().zip(late) {
        ensure!(late <= early + growth, "memory has grown from {early} to {late} KiB, by more than {growth}");
        ensure!(late <= MOST_KIB + growth, "{late} KiB are more than {MOST_KIB} and {growth}");
    }
    Ok(())
}

fn residents(plain: &Watching, robbed: &Watching) -> Result<[u64; 2]> {
    Ok([resident_kib(plain.watch.pid())?, resident_kib(robbed.watch.pid())?])
}
