//! Recordings, and the events that are concluded from them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use supervisor_conclude::conclusions::Conclusions;
use supervisor_model::{event::Event, filter::Filter, observation::Observation, recording::RecordingReader};
use supervisor_render::Context;

/// All recordings in a directory, in the order of their names.
pub(crate) fn recordings(dir: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let dir = dir.as_ref();
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("{} cannot be read", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "zst") {
            found.push(path);
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "there are no recordings in {}", dir.display());
    Ok(found)
}

/// Replays a recording after `change` has changed its observations. Gives each event to `take`, with the context of every
/// event and the sequence number.
pub(crate) fn replay(
    recording: &Path,
    change: impl Fn(&mut Observation),
    mut take: impl FnMut(&Event, &Context, u64) -> Result<()>,
) -> Result<()> {
    let mut reader = RecordingReader::open(recording)?;
    let header = reader.header().clone();
    let mut conclusions = Conclusions::new(header.host.clone(), header.grace_ns, Filter::default());
    let context =
        Context { host: header.host, agent_id: header.agent_id, hooks: header.hooks.map(Into::into) };
    let mut sequence = 0;
    for observation in reader.by_ref() {
        let mut observation = observation?;
        change(&mut observation);
        for event in conclusions.take(&observation) {
            sequence += 1;
            take(&event, &context, sequence)?;
        }
    }
    ensure!(reader.end().is_some_and(|end| end.counted.lost == 0), "something was lost in it");
    Ok(())
}
