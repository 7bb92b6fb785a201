//! Runs random programs of every cause in parallel, some leaking and some late. No verdict about any of them is wrong.
//! `cargo xtask soak` runs it for longer.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use supervisor_tests::{Event, Fixture, Watch, setting, time_of, wall};

/// The period in which programs are started, unless the environment sets another.
const SHORT: Duration = Duration::from_secs(40);
/// The number of programs that run at the same time.
const AT_ONCE: usize = 12;
/// A zombie that is called leaked must not be reaped within this.
const LEAKED_NS: u64 = 60_000_000_000;
/// The largest difference between two clocks, together with the time that a closing event can take.
const SLACK_NS: u64 = 1_000_000_000;

const FIXTURE: &str = env!("CARGO_BIN_EXE_fixture");

/// The end of the zombies of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The program never reaps them. The test ends it.
    Leaks,
    /// It reaps them when the test sends the event for which it waits.
    ReapsWhenTold,
    /// It reaps them by itself, and prints `reaped`.
    ReapsByItself,
    /// It is a program of rounds: the next fact `round` means that they are reaped.
    ReapsInRounds,
}

/// A kind of program.
#[derive(Debug)]
struct Kind {
    /// The fixture's arguments; `MS` stands for a random number of milliseconds.
    args: &'static [&'static str],
    /// The fact that names a zombie.
    fact: &'static str,
    zombies: usize,
    /// The name of the reaper in that fact. If this is empty, the reaper is the fixture.
    reaper: &'static str,
    /// The causes that a verdict of high confidence may name.
    causes: &'static [&'static str],
    end: End,
}

const fn leaks(args: &'static [&'static str], reaper: &'static str, causes: &'static [&'static str]) -> Kind {
    Kind { args, fact: "zombie", zombies: 1, reaper, causes, end: End::Leaks }
}

const fn late(
    args: &'static [&'static str],
    reaper: &'static str,
    causes: &'static [&'static str],
    end: End,
) -> Kind {
    Kind { args, fact: "zombie", zombies: 1, reaper, causes, end }
}

/// A program that has not waited yet looks like one that never waits, until its first wait.
const KINDS: &[Kind] = &[
    leaks(&["never-wait", "1"], "", &["never-waits"]),
    leaks(&["adopts"], "", &["waits-by-pid"]),
    leaks(&["pid1-adopts", "never-waits"], "init", &["waits-by-pid"]),
    leaks(&["pid1-adopts", "waits-for-other"], "init", &["waits-by-pid"]),
    leaks(&["pid1-own"], "init", &["never-waits"]),
    leaks(&["pid1-waits-for-group"], "init", &["waits-for-group"]),
    leaks(&["exit-signal", "0"], "", &["narrowed-wait"]),
    leaks(&["exit-signal", "10"], "", &["narrowed-wait"]),
    leaks(&["blocked-mask"], "parent", &["sigchld-blocked"]),
    leaks(&["replaced-handler"], "", &["handler-replaced"]),
    leaks(&["replaced-image", FIXTURE, "sleeper"], "parent", &["image-replaced"]),
    leaks(&["peek"], "", &["peeked"]),
    leaks(&["traced", "leader"], "parent", &["traced"]),
    Kind { zombies: 3, ..leaks(&["coalesced", "4"], "", &["coalesced"]) },
    late(&["waits-in-order"], "parent", &["waiting-for-another"], End::ReapsWhenTold),
    late(&["reads-to-end"], "parent", &["reading"], End::ReapsWhenTold),
    late(&["computes"], "parent", &["busy"], End::ReapsWhenTold),
    late(&["parent-stopped"], "parent", &["cannot-run"], End::ReapsWhenTold),
    late(&["slow-reaper", "MS"], "", &["periodic"], End::ReapsInRounds),
    late(&["asks-by-pid-every", "MS"], "", &["periodic"], End::ReapsByItself),
    late(&["reaps-by-io-uring", "MS"], "", &["unseen"], End::ReapsByItself),
    late(&["reaps-orphan-after", "MS"], "", &["never-waits", "waits-by-pid"], End::ReapsByItself),
    Kind { fact: "exited", ..late(&["reap-after", "MS"], "", &["never-waits"], End::ReapsByItself) },
];

/// The truth about one zombie.
#[derive(Clone, Copy, Debug)]
struct Truth {
    kind: &'static Kind,
    pid: u32,
    reaper: u32,
    /// The period in which it was a zombie, in nanoseconds of wall time. At its end it was reaped, or its program was
    /// ended.
    from: u64,
    until: u64,
}

/// Runs one program for a random time, and returns the truth about its zombies.
fn run(kind: &'static Kind, rng: &mut Rng, longest: Duration) -> Result<Vec<Truth>> {
    let pause = Duration::from_millis(rng.u64(200..longest.as_millis().try_into()?));
    let milliseconds = match kind.end {
        // The test can recognise rounds only after two of them.
        End::ReapsInRounds => pause / 3,
        _ => pause,
    };
    let milliseconds = milliseconds.as_millis().to_string();
    let args: Vec<&str> =
        kind.args.iter().map(|&arg| if arg == "MS" { &*milliseconds } else { arg }).collect();
    let mut program = Fixture::start(FIXTURE, &args)?;
    if kind.end == End::ReapsInRounds {
        for _ in 0..2 {
            program.fact("round")?;
        }
        program.send("zombie")?;
    }
    let mut truths = Vec::new();
    for _ in 0..kind.zombies {
        let fact = program.next(kind.fact)?;
        let reaper = if kind.reaper.is_empty() { program.pid() } else { fact.pid(kind.reaper)? };
        truths.push(Truth { kind, pid: fact.pid("pid")?, reaper, from: wall()?, until: 0 });
    }
    let until = match kind.end {
        End::Leaks | End::ReapsWhenTold => {
            thread::sleep(pause);
            let until = wall()?;
            if kind.end == End::ReapsWhenTold {
                program.send("release")?;
                program.fact("released")?;
            }
            until
        }
        End::ReapsByItself => program.next("reaped").and_then(|_| wall())?,
        End::ReapsInRounds => program.next("round").and_then(|_| wall())?,
    };
    for truth in &mut truths {
        truth.until = until;
    }
    program.end()?;
    Ok(truths)
}

/// The reported prognosis and cause of each kind of program.
#[derive(Default)]
struct Verdicts {
    last: BTreeMap<(&'static str, String), usize>,
    found: usize,
    wrong: Vec<String>,
}

impl fmt::Display for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((kind, said), count) in &self.last {
            writeln!(f, "{count:>5}  {kind:22} {said}")?;
        }
        writeln!(f, "{} found, {} wrong", self.found, self.wrong.len())?;
        self.wrong.iter().take(20).try_for_each(|line| writeln!(f, "    {line}"))
    }
}

impl Verdicts {
    /// Judges all events about one zombie while it was one.
    fn judge(&mut self, truth: &Truth, events: &[Event]) -> Result<()> {
        let mut last = None;
        for event in events.iter().filter(|event| event.is_about(truth.pid)) {
            let at = time_of(event)?;
            let is_of_it = truth.from <= at + SLACK_NS && at <= truth.until;
            let is_open = matches!(event.action(), "zombie-detected" | "zombie-existing" | "zombie-updated");
            if !is_of_it || !is_open {
                continue;
            }
            let (prognosis, cause) = (event.text("supervisor.prognosis")?, event.text("supervisor.cause"));
            let is_sure = event.text("supervisor.confidence")? == "high";
            let reaper = event.pid("supervisor.reaper.pid")?;
            let is_leak = truth.kind.end == End::Leaks;
            let stays_ns = if is_leak { u64::MAX } else { truth.until.saturating_sub(at) };
            let fault = match (prognosis, &cause) {
                _ if reaper != truth.reaper => Some("another reaper"),
                ("late", _) if is_leak => Some("it is late, and leaks"),
                ("leaked", _) if stays_ns < LEAKED_NS => Some("it is leaked, and was reaped within a minute"),
                (_, Ok(cause)) if is_sure && !truth.kind.causes.contains(cause) => {
                    Some("sure of another cause")
                }
                _ => None,
            };
            if let Some(fault) = fault {
                self.wrong.push(format!("{fault}: {truth:?}: {}", event.0));
            }
            last = Some(format!("{prognosis:8} {}", cause.unwrap_or("-")));
        }
        if let Some(last) = last {
            self.found += 1;
            *self.last.entry((truth.kind.args[0], last)).or_default() += 1;
        }
        Ok(())
    }
}

#[test]
fn no_verdict_about_a_random_program_is_wrong() -> Result<()> {
    let length = setting("SUPERVISOR_SOAK_SECONDS")?.map_or(SHORT, Duration::from_secs);
    let seed = setting("SUPERVISOR_SOAK_SEED")?.unwrap_or(1);
    // In a long run, some programs live long enough for the verdicts that need a minute.
    let longest = length.min(Duration::from_secs(50)).max(length / 6);
    println!("seed {seed}, {length:?}");
    let mut watch = Watch::start(&[])?;
    let deadline = Instant::now() + length;
    let truths = Arc::new(Mutex::new(Vec::new()));
    let (report, reports) = mpsc::channel();
    for worker in 0..AT_ONCE {
        let (truths, report) = (Arc::clone(&truths), report.clone());
        let mut rng = Rng::with_seed(seed.wrapping_mul(1000) + worker as u64);
        thread::spawn(move || {
            let work = || -> Result<()> {
                while Instant::now() < deadline {
                    let kind = &KINDS[rng.usize(..KINDS.len())];
                    let more = run(kind, &mut rng, longest).with_context(|| format!("{kind:?}"))?;
                    truths.lock().unwrap_or_else(PoisonError::into_inner).extend(more);
                }
                Ok(())
            };
            // The receiver is gone if another program has failed.
            let _ = report.send({ work }());
        });
    }
    drop(report);
    for outcome in reports {
        outcome?;
    }
    watch.settle(FIXTURE)?;
    let events = watch.stop()?.events;
    let truths = truths.lock().unwrap_or_else(PoisonError::into_inner);
    let mut verdicts = Verdicts::default();
    for truth in truths.iter() {
        verdicts.judge(truth, &events)?;
    }
    println!("{} zombies\n{verdicts}", truths.len());
    ensure!(verdicts.found > 0, "nothing was found");
    ensure!(verdicts.wrong.is_empty(), "a verdict is wrong: seed {seed}\n{verdicts}");
    Ok(())
}
