//! Keeps in the state directory what reapers did with earlier findings, so that a restart of the agent forgets nothing.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    path::Path,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use supervisor_conclude::conclusions::PastOutcome;
use supervisor_deliver::plain_file;

use super::open_findings::create_beside;

/// The file's name in the state directory.
const FILE: &str = "history.json";
/// A longer file is not ours: there are at most 1,024 reapers with 16 outcomes each.
const MAX_BYTES: u64 = 1 << 20;
/// How often the file is written while the agent runs.
pub(super) const SAVE_EVERY: Duration = Duration::from_mins(5);

#[derive(Serialize, Deserialize)]
struct Document {
    /// Processes of another boot have nothing to do with those of this one.
    boot_id: String,
    outcomes: Vec<PastOutcome>,
}

/// Reads what an earlier run of this boot has kept. A damaged or too long file gives nothing.
pub(super) fn read(dir: &Path, boot_id: &str) -> Vec<PastOutcome> {
    let mut text = Vec::new();
    let Ok(file) = plain_file::open(&dir.join(FILE), OpenOptions::new().read(true)) else {
        return Vec::new();
    };
    if file.take(MAX_BYTES).read_to_end(&mut text).is_err() {
        return Vec::new();
    }
    let document: Option<Document> = serde_json::from_slice(&text).ok();
    document
        .filter(|document| document.boot_id == boot_id)
        .map(|document| document.outcomes)
        .unwrap_or_default()
}

/// Keeps the outcomes for the next run.
///
/// # Errors
///
/// If the state directory cannot be written.
pub(super) fn write(dir: &Path, boot_id: &str, outcomes: Vec<PastOutcome>) -> io::Result<()> {
    let path = dir.join(FILE);
    let (new, mut file) = create_beside(&path)?;
    file.write_all(&serde_json::to_vec(&Document { boot_id: boot_id.to_owned(), outcomes })?)?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> PastOutcome {
        PastOutcome { reaper: "x".into(), adopted: Some(true), reaped: 3, dwells_ns: vec![1, 2, 3] }
    }

    #[test]
    fn the_history_is_read_only_by_the_same_boot() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path(), "a"), []);
        write(dir.path(), "a", vec![outcome()]).unwrap();
        write(dir.path(), "a", vec![outcome(), outcome()]).unwrap();
        assert_eq!(read(dir.path(), "a"), [outcome(), outcome()]);
        assert_eq!(read(dir.path(), "b"), []);
    }

    #[test]
    fn a_damaged_file_or_a_link_gives_no_history() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert_eq!(read(dir.path(), "a"), []);
        let other = dir.path().join("other");
        write(dir.path(), "a", vec![outcome()]).unwrap();
        fs::rename(dir.path().join(FILE), &other).unwrap();
        std::os::unix::fs::symlink(&other, dir.path().join(FILE)).unwrap();
        assert_eq!(read(dir.path(), "a"), []);
    }
}
