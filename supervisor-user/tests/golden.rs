//! Every recording of `tests/recordings` says what it said when it was put there: `NAME.zst` gives the events of
//! `NAME.json`, one a line. `UPDATE_GOLDEN=1` writes these anew; look at what changes.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use supervisor_user::{
    conclusions::Conclusions,
    filter::Filter,
    recording::Reader,
    report::{Context, ecs},
};

/// The events of a recording, each as a line. Not the version: it is another one with every release.
fn events(recording: &Path) -> Result<String> {
    let mut reader = Reader::open(recording)?;
    let header = reader.header().clone();
    let mut conclusions = Conclusions::new(header.host.clone(), header.grace_ns, Filter::default());
    let context =
        Context { host: header.host, agent_id: header.agent_id, hooks: header.hooks.map(Into::into) };
    let mut lines = String::new();
    let mut sequence = 0;
    for observation in reader.by_ref() {
        for event in conclusions.take(&observation?) {
            sequence += 1;
            let mut event: Value = serde_json::from_str(&ecs::line(&event, &context, sequence)?)?;
            event["agent"]["version"] = "*".into();
            lines.push_str(&event.to_string());
            lines.push('\n');
        }
    }
    ensure!(reader.end().is_some_and(|end| end.counted.lost == 0), "something was lost in it");
    Ok(lines)
}

fn recordings() -> Result<Vec<PathBuf>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recordings");
    let mut found = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("{} cannot be read", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "zst") {
            found.push(path);
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "there are no recordings in {}", dir.display());
    Ok(found)
}

#[test]
fn recordings_say_what_they_said() -> Result<()> {
    let mut wrong = Vec::new();
    for recording in recordings()? {
        let now = events(&recording).with_context(|| format!("{} is not read", recording.display()))?;
        let golden = recording.with_extension("json");
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &now)?;
        }
        let before = fs::read_to_string(&golden).unwrap_or_default();
        if now != before {
            let differs = now.lines().zip(before.lines()).find(|(now, before)| now != before);
            let what = match differs {
                Some((now, before)) => format!("\n now    {now}\n before {before}"),
                None => format!("{} events now, {} before", now.lines().count(), before.lines().count()),
            };
            wrong.push(format!("{} says something else: {what}", recording.display()));
        }
    }
    ensure!(wrong.is_empty(), "{}\nUPDATE_GOLDEN=1 takes it over, if it is right", wrong.join("\n"));
    Ok(())
}

#[test]
fn recordings_name_no_host() -> Result<()> {
    for recording in recordings()? {
        let reader = Reader::open(&recording)?;
        let host = &reader.header().host;
        ensure!(*host == host.anonymous(), "{} was made without --anonymous", recording.display());
    }
    Ok(())
}

/// What is written of an observation is what is read of it: nothing of the evidence is left out.
#[test]
fn recordings_are_written_as_they_are_read() -> Result<()> {
    for recording in recordings()? {
        for observation in Reader::open(&recording)? {
            let observation = observation?;
            let mut text = Vec::new();
            serde_json::to_writer(&mut text, &observation)?;
            text.flush()?;
            ensure!(
                serde_json::from_slice::<supervisor_user::observation::Observation>(&text)? == observation
            );
        }
    }
    Ok(())
}
