//! How soon `top` answers a key, with many findings: those of a recording, again and again.

use std::{
    path::Path,
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
use supervisor_user::top::{Key, Top, draw::draw};

use crate::progress;

const ZOMBIES: u32 = 30_000;
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
    Ok(json!({"findings": ZOMBIES, "key_ms": ms(slowest), "key_after_refresh_ms": ms(slowest_refresh)}))
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
