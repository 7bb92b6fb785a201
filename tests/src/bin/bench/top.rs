//! How soon `top` answers a key, with many findings: those of a recording, again and again. And what it costs while
//! nobody types.

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use ratatui::{Terminal, backend::TestBackend};
use serde_json::{Value, json};
use supervisor_conclude::conclusions::Conclusions;
use supervisor_model::{
    filter::Filter,
    observation::{Observation, Seen},
    recording::RecordingReader,
};
use supervisor_render::style::{Colour, Style};
use supervisor_tests::{Fixture, Screen, supervisor_bin};
use supervisor_user::top::{Key, Top, draw::draw};

use crate::{load::fixture, measure::cpu_ns, progress};

const ZOMBIES: u32 = 30_000;
/// The number of zombies for the idle `top`.
const IDLE_ZOMBIES: u32 = 300;
/// In the first seconds, `top` inspects each finding several times.
const SETTLED: Duration = Duration::from_secs(30);
/// How long the idle `top` is measured.
const IDLE: Duration = Duration::from_mins(2);
/// Each has its share of the zombies.
const REAPERS: u32 = 100;
const STYLE: Style = Style { colour: Colour::Always, ..Style::PLAIN };

/// The slowest key, and the slowest that waits for a refresh.
pub(crate) fn measure() -> Result<Value> {
    progress(&format!("top: {ZOMBIES} findings"));
    let conclusions = conclusions()?;
    let mut top = Top::new(String::new());
    let mut terminal = Terminal::new(TestBackend::new(200, 60))?;
    let keys = "ejksSg/crun".chars().map(Key::Char);
    let keys = keys.chain([Key::Enter, Key::Last, Key::First, Key::Escape, Key::Enter, Key::Escape]);
    let (mut slowest, mut slowest_refresh) = (Duration::ZERO, Duration::ZERO);
    for (number, key) in keys.enumerate() {
        let started = Instant::now();
        top.refresh(&conclusions, (number as u64 + 1) * 1_000_000_000);
        let refreshed = started.elapsed();
        let started = Instant::now();
        top.key(key, &conclusions);
        terminal.draw(|frame| {
            top.prepare(&conclusions, frame.area().width);
            draw(frame, &mut top, STYLE);
        })?;
        let answered = started.elapsed();
        slowest = slowest.max(answered);
        slowest_refresh = slowest_refresh.max(refreshed + answered);
    }
    let ms = |it: Duration| it.as_secs_f64() * 1000.0;
    let idle = idle_percent()?;
    Ok(json!({
        "findings": ZOMBIES, "key_ms": ms(slowest), "key_after_refresh_ms": ms(slowest_refresh),
        "idle_findings": IDLE_ZOMBIES, "idle_percent": idle,
    }))
}

/// The CPU time of `top` and its reader process on a terminal with some findings, in percent of a CPU.
fn idle_percent() -> Result<f64> {
    progress(&format!("top: idle with {IDLE_ZOMBIES} findings"));
    let zombies = Fixture::start(&fixture()?.to_string_lossy(), &["never-wait", &IDLE_ZOMBIES.to_string()])?;
    for _ in 0..IDLE_ZOMBIES {
        zombies.fact("zombie")?;
    }
    let mut command = Command::new(supervisor_bin()?);
    command.arg("top");
    let screen = Screen::start(command, 120, 40)?;
    screen.shows(&format!("unknown {IDLE_ZOMBIES}"))?;
    thread::sleep(SETTLED);
    let used = || -> Result<u64> {
        let pid = screen.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let readers = children.split_ascii_whitespace().filter_map(|it| it.parse().ok());
        readers.chain([pid]).map(cpu_ns).sum()
    };
    let (before, started) = (used()?, Instant::now());
    thread::sleep(IDLE);
    let percent = (used()? - before) as f64 / started.elapsed().as_nanos() as f64 * 100.0;
    drop(screen);
    zombies.end()?;
    Ok(percent)
}

/// Many findings like that of the incident.
fn conclusions() -> Result<Conclusions> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings/f1-incident.zst");
    let mut reader = RecordingReader::open(&file)?;
    let header = reader.header().clone();
    let mut conclusions = Conclusions::new(header.host, header.grace_ns, Filter::default());
    let observations = reader.by_ref().collect::<Result<Vec<Observation>, _>>()?;
    let unreaped = observations.iter().find(|it| matches!(it.seen, Seen::Unreaped { .. }));
    let unreaped = unreaped.context("the recording has no zombie")?;
    for number in 0..ZOMBIES {
        let mut observation = unreaped.clone();
        let Seen::Unreaped { id, evidence, .. } = &mut observation.seen else { continue };
        evidence.facts.pid = 100_000 + number;
        id.tgid = evidence.facts.pid;
        evidence.id = Some(*id);
        if let Some(reaper) = &mut evidence.reaper {
            reaper.facts.pid = 1000 + number % REAPERS;
            evidence.facts.ppid = reaper.facts.pid;
        }
        conclusions.note(&observation);
    }
    Ok(conclusions)
}
