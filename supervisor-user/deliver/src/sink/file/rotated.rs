//! The files that were rotated: PATH.1 is the newest, or PATH.1.zst once it is compressed.
//!
//! If the agent is killed at any point here, every event is still in some file. A file is renamed only to a name that
//! is free. It is deleted only when its compressed form is complete and on disk. If both exist, the plain file counts.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use super::MODE;
use crate::{plain_file, sink::warn};

/// zstd's own default: quick, and ten times smaller than the text.
const LEVEL: i32 = 3;

/// The rotated files of one file.
#[derive(Debug)]
pub(super) struct Rotated {
    path: PathBuf,
    keep: u32,
    compress: bool,
    compressor: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Rotated {
    pub(super) fn new(path: &Path, keep: u32, compress: bool) -> Self {
        Self { path: path.to_owned(), keep, compress, compressor: None, stop: Arc::default() }
    }

    /// Finishes work that a killed agent has begun. Work that fails now is done the next time.
    pub(super) fn tidy(&mut self) {
        if self.compressor.as_ref().is_some_and(|running| !running.is_finished()) {
            return;
        }
        let plain: Vec<PathBuf> =
            (1..=self.keep).map(|n| plain(&self.path, n)).filter(|it| is_there(it)).collect();
        for path in &plain {
            if let Err(error) = remove(&compressed(path)) {
                warn(&format!("{} cannot be removed: {error}", compressed(path).display()));
            }
        }
        if self.compress && !plain.is_empty() {
            self.start(plain);
        }
    }

    /// Renames the file to the newest rotated name, and each rotated file to the next name.
    pub(super) fn rotate(&mut self) -> io::Result<()> {
        self.finish();
        let path = &self.path;
        let exists = |n: u32| is_there(&plain(path, n)) || is_there(&compressed(&plain(path, n)));
        let free = (1..=self.keep).find(|n| !exists(*n));
        if free.is_none() {
            for n in (self.keep.max(1)..).take_while(|n| exists(*n)) {
                remove(&plain(path, n))?;
                remove(&compressed(&plain(path, n)))?;
            }
        }
        for n in (1..free.unwrap_or(self.keep)).rev() {
            let (from, to) = (plain(path, n), plain(path, n + 1));
            rename(&from, &to)?;
            rename(&compressed(&from), &compressed(&to))?;
        }
        if self.keep == 0 { remove(path) } else { rename(path, &plain(path, 1)) }
    }

    /// Compresses in the background, so that events do not wait for it.
    fn start(&mut self, plain: Vec<PathBuf>) {
        let part = self.path.with_added_extension("part");
        let stop = Arc::clone(&self.stop);
        let work = move || {
            for path in plain {
                if let Err(error) = compress(&path, &part, &stop)
                    && !stop.load(Ordering::Relaxed)
                {
                    warn(&format!("{} is kept uncompressed for now: {error}", path.display()));
                }
            }
        };
        match thread::Builder::new().name("compress".to_owned()).spawn(work) {
            Ok(handle) => self.compressor = Some(handle),
            Err(error) => warn(&format!("rotated files are kept uncompressed for now: {error}")),
        }
    }

    fn finish(&mut self) {
        if let Some(handle) = self.compressor.take()
            && handle.join().is_err()
        {
            warn(&format!("compressing a rotated file of {} failed", self.path.display()));
        }
    }
}

impl Drop for Rotated {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.finish();
    }
}

fn plain(path: &Path, n: u32) -> PathBuf {
    path.with_added_extension(n.to_string())
}

fn compressed(path: &Path) -> PathBuf {
    path.with_added_extension("zst")
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn remove(path: &Path) -> io::Result<()> {
    unless_missing(fs::remove_file(path))
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    unless_missing(fs::rename(from, to))
}

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Replaces a plain file with its compressed form.
fn compress(path: &Path, part: &Path, stop: &AtomicBool) -> io::Result<()> {
    remove(part)?;
    let mut plain = plain_file::open(path, OpenOptions::new().read(true))?;
    let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(part)?;
    let result = write(&mut plain, file, stop)
        .and_then(|()| fs::rename(part, compressed(path)))
        .and_then(|()| sync_directory(path))
        .and_then(|()| fs::remove_file(path));
    if result.is_err() {
        // The next compression removes it too.
        let _ = remove(part);
    }
    result
}

fn write(plain: &mut File, file: File, stop: &AtomicBool) -> io::Result<()> {
    let mut encoder = zstd::Encoder::new(file, LEVEL)?;
    encoder.include_checksum(true)?;
    let mut block = vec![0; 128 << 10];
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match plain.read(&mut block)? {
            0 => return encoder.finish()?.sync_all(),
            read => encoder.write_all(&block[..read])?,
        }
    }
}

/// Makes sure that the compressed file's name is on disk before the plain file is removed.
fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rotates a directory with these files, each of which holds its own name. Returns the files afterwards.
    fn rotated(before: &[&str], keep: u32) -> Vec<(String, String)> {
        let dir = tempfile::tempdir().unwrap();
        for name in before {
            fs::write(dir.path().join(name), name).unwrap();
        }
        Rotated::new(&dir.path().join("f"), keep, false).rotate().unwrap();
        let mut after: Vec<(String, String)> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.file_name().unwrap().display().to_string(), fs::read_to_string(path).unwrap()))
            .collect();
        after.sort();
        after
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn the_oldest_file_is_deleted_and_the_others_get_the_next_name() {
        assert_eq!(rotated(&["f"], 2), pairs(&[("f.1", "f")]));
        assert_eq!(rotated(&["f", "f.1", "f.2"], 2), pairs(&[("f.1", "f"), ("f.2", "f.1")]));
        assert_eq!(rotated(&["f", "f.1.zst", "f.2.zst"], 2), pairs(&[("f.1", "f"), ("f.2.zst", "f.1.zst")]));
    }

    #[test]
    fn a_gap_that_a_kill_has_left_is_filled_and_nothing_is_deleted_for_it() {
        let after = rotated(&["f", "f.1", "f.3"], 3);
        assert_eq!(after, pairs(&[("f.1", "f"), ("f.2", "f.1"), ("f.3", "f.3")]));
        let after = rotated(&["f.1", "f.2"], 3);
        assert_eq!(after, pairs(&[("f.2", "f.1"), ("f.3", "f.2")]));
    }

    #[test]
    fn files_beyond_the_present_limit_are_deleted() {
        let after = rotated(&["f", "f.1", "f.2", "f.3.zst", "f.4"], 2);
        assert_eq!(after, pairs(&[("f.1", "f"), ("f.2", "f.1")]));
    }
}
