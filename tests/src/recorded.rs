//! What a live test has seen, as a recording for the repository: `UPDATE_RECORDINGS=1 cargo test -p supervisor-tests`.
//!
//! The recording is made by `supervisor record --anonymous`; here it is cut down to what the test is about, and what
//! tells the place where it was made is replaced: see `tests/recordings/README.md`.

use std::{
    collections::HashSet,
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supervisor_lab::stat;
use supervisor_model::{
    observation::{Observation, Seen},
    recording::{RecordingReader, RecordingWriter},
};
use tempfile::TempDir;

use crate::supervisor_bin;

/// Set, it lets the tests that name a recording record it again.
const SWITCH: &str = "UPDATE_RECORDINGS";
/// The control group that recordings tell instead of the test's own.
const GROUP: &str = "/system.slice/live-test.service";

/// A recording that is being made.
#[derive(Debug)]
pub(crate) struct Recorded {
    name: String,
    raw: TempDir,
}

/// Processes whose observations are kept.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) wanted: Vec<u32>,
    pub(crate) unwanted: Vec<u32>,
}

impl Recorded {
    /// `None` if recordings are not to be made.
    pub(crate) fn new(name: &str) -> Result<Option<Self>> {
        if env::var_os(SWITCH).is_none() {
            return Ok(None);
        }
        Ok(Some(Self { name: name.to_owned(), raw: tempfile::tempdir()? }))
    }

    /// Where `supervisor record` is to write.
    pub(crate) fn file(&self) -> PathBuf {
        self.raw.path().join("raw.zst")
    }

    /// Puts it among the recordings.
    pub(crate) fn publish(&self, kept: &Kept) -> Result<()> {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings").join(&self.name);
        let place = place.with_added_extension("zst");
        let scrub = Scrub::new()?;
        let mut reader = RecordingReader::open(&self.file())?;
        let mut writer = RecordingWriter::create(&place, true, reader.header())?;
        let mut seen = HashSet::new();
        for observation in reader.by_ref() {
            let observation = observation?;
            let id = match &observation.seen {
                Seen::Unreaped { id, .. }
                | Seen::Held { id, .. }
                | Seen::Stuck { id, .. }
                | Seen::Finished { id }
                | Seen::Reaped { id, .. }
                | Seen::Released { id } => *id,
                Seen::Lost { .. } => continue,
            };
            // Of what is kept, its end is too.
            if kept.keeps(&observation) || seen.contains(&id) {
                seen.insert(id);
                let mut value = serde_json::to_value(observation)?;
                scrub.clean(&mut value);
                writer.write(&serde_json::from_value(value)?)?;
            }
        }
        let counted = reader.end().context("the recording has no end")?.counted;
        ensure!(counted.lost == 0, "{} events were lost: make it again", counted.lost);
        writer.finish(counted)?;
        Ok(fs::set_permissions(&place, fs::Permissions::from_mode(0o644))?)
    }
}

impl Kept {
    /// What is about one of the processes, or about a child of one of them.
    fn keeps(&self, observation: &Observation) -> bool {
        let (pid, reaper) = match &observation.seen {
            Seen::Unreaped { id, evidence, .. } => {
                (id.tgid, evidence.reaper.as_ref().map(|reaper| reaper.facts.pid))
            }
            Seen::Held { id, .. } | Seen::Stuck { id, .. } => (id.tgid, None),
            _ => return false,
        };
        let is_wanted = self.wanted.contains(&pid) || reaper.is_some_and(|pid| self.wanted.contains(&pid));
        is_wanted && !self.unwanted.contains(&pid)
    }
}

/// What tells the place, and what is told instead.
struct Scrub {
    texts: Vec<(String, String)>,
    /// Host pids, and the program that each is called.
    programs: Vec<(u32, &'static str)>,
}

impl Scrub {
    fn new() -> Result<Self> {
        let own = env::current_exe()?;
        let mut texts = vec![(own.display().to_string(), "/usr/bin/live-test".to_owned())];
        // The fixtures are built next to the directory of the tests.
        let built = own.ancestors().nth(2).context("the test is nowhere")?.to_owned();
        let binary = supervisor_bin()?.canonicalize()?;
        for dir in [Some(&*built), binary.parent()].into_iter().flatten() {
            texts.push((format!("{}/", dir.display()), "/usr/bin/".to_owned()));
        }
        for line in fs::read_to_string("/proc/self/cgroup")?.lines() {
            if let Some((_, path)) = line.rsplit_once(':').filter(|(_, path)| *path != "/") {
                texts.push((path.to_owned(), GROUP.to_owned()));
            }
        }
        let mut programs = vec![(1, "/sbin/init"), (std::process::id(), "/usr/bin/live-test")];
        let mut starter = stat(std::process::id()).map(|it| it.parent);
        while let Some(pid) = starter.filter(|pid| *pid > 1) {
            programs.push((pid, "/usr/bin/sh"));
            starter = stat(pid).map(|it| it.parent);
        }
        Ok(Self { texts, programs })
    }

    fn clean(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                for (before, now) in &self.texts {
                    *text = text.replace(before, now);
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|it| self.clean(it)),
            Value::Object(fields) => {
                let pid = fields.get("pid").or_else(|| fields.get("id")?.get("tgid")).and_then(Value::as_u64);
                let program = self.programs.iter().find(|(it, _)| Some(u64::from(*it)) == pid);
                for (name, field) in fields.iter_mut() {
                    match (program, &**name) {
                        (Some((_, path)), "comm") => *field = path.rsplit('/').next().into(),
                        (Some((_, path)), "filename" | "exe") if field.is_string() => *field = (*path).into(),
                        (Some((_, path)), "args") => *field = json!([path]),
                        (Some((_, path)), "exec") if field.is_object() => {
                            field["filename"] = (*path).into();
                            field["args"] = json!([path]);
                            field["previous"] = Value::Null;
                        }
                        (_, "cgroup") if field.is_array() => self.clean_group(field),
                        _ => self.clean(field),
                    }
                }
            }
            _ => {}
        }
    }

    /// A control group as the kernel side tells it: its names, from the root on.
    fn clean_group(&self, group: &mut Value) {
        let names: Vec<&str> = group.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut path: Value = format!("/{}", names.join("/")).into();
        self.clean(&mut path);
        let names = path.as_str().unwrap_or_default().split('/').filter(|name| !name.is_empty());
        *group = names.collect::<Vec<_>>().into();
    }
}
