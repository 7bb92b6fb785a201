//! Keeps the list of open findings on disk. If a process is reaped between two runs, the next run reports the end of a
//! finding that the earlier run reported as open.
//!
//! The file has JSON lines: a header, then an entry for each opening and each close. The agent writes a new file at
//! every start, and when the old one has more entries of closed findings than of open ones. Memory holds only the
//! position of each line.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use supervisor_deliver::{lock, plain_file, say::say};
use supervisor_ebpf::ProcessId;
use supervisor_model::{
    facts::HostIdentity,
    observation::{Observation, Seen},
    words::clean,
};

/// The version of the file format.
const FORMAT: u32 = 1;
/// A longer line is not ours.
const MAX_LINE: u64 = 4 << 20;
/// The shortest time between two syncs. Written entries are synced at the first tick after this time.
const SYNC: Duration = Duration::from_secs(1);
/// Up to this many entries of closed findings are no reason to write a new file.
const MAX_CLOSED: usize = 1024;

/// The findings that are open now.
#[derive(Debug)]
pub(super) struct OpenFindings {
    path: PathBuf,
    header: Header,
    file: File,
    end: u64,
    open: BTreeMap<Key, Line>,
    closed: usize,
    /// Whether everything that the last run has sent was delivered.
    is_delivered: bool,
    synced: Instant,
    is_dirty: bool,
    /// Whether a part of an entry may stand behind `end`.
    has_torn_end: bool,
    _lock: File,
}

/// The findings that an earlier run had opened and not closed.
#[derive(Debug)]
pub(super) struct Left {
    /// The host as it was in that run: after another boot it is another host.
    pub(super) host: HostIdentity,
    /// How long a process had to be unreaped in that run.
    pub(super) grace_ns: u64,
    /// Whether everything that was sent was delivered.
    pub(super) is_delivered: bool,
    pub(super) open: BTreeMap<Key, Line>,
    file: File,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    host: HostIdentity,
    grace_ns: u64,
}

/// The subject of an observation: one process can be a finding, and then the PID 1 of a blocked namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) is_namespace: bool,
    /// Whether it is a process that cannot exit.
    #[serde(default)]
    pub(super) is_exit: bool,
    pub(super) id: ProcessId,
}

/// The position of the line of an open finding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    offset: u64,
    len: usize,
    /// When the process exited, or was told to exit, if that was seen.
    pub(super) exit_ns: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry<'a> {
    Open(Cow<'a, Observation>),
    Closed(Key),
    /// Everything above this entry was delivered.
    Delivered,
}

impl Left {
    /// Reads what the last run has left; `None` if there is nothing. Damaged lines are skipped.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(super) fn read(dir: &Path) -> io::Result<Option<Self>> {
        let file = match plain_file::open(&path(dir), OpenOptions::new().read(true)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut lines = BufReader::new(file.try_clone()?);
        let mut text = Vec::new();
        let mut offset = 0;
        let mut next = || -> io::Result<Option<(u64, Vec<u8>)>> {
            text.clear();
            let start = offset;
            let len = lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut text)?;
            offset += len as u64;
            Ok((len > 0).then(|| (start, std::mem::take(&mut text))))
        };
        let header = next()?.and_then(|(_, text)| serde_json::from_slice::<Header>(&text).ok());
        let Some(Header { format: FORMAT, host, grace_ns }) = header else {
            say(&format!(
                "supervisor: {} cannot be understood: what the last run had opened is not closed",
                clean(&path(dir).display().to_string())
            ));
            return Ok(None);
        };
        let mut open = BTreeMap::new();
        let mut is_delivered = false;
        while let Some((offset, text)) = next()? {
            is_delivered = false;
            match serde_json::from_slice::<Entry<'_>>(&text) {
                Ok(Entry::Open(observation)) => {
                    open.extend(
                        opened(&observation).map(|key| {
                            (key, Line { offset, len: text.len(), exit_ns: exit_ns(&observation) })
                        }),
                    );
                }
                Ok(Entry::Closed(key)) => drop(open.remove(&key)),
                Ok(Entry::Delivered) => is_delivered = true,
                // A crash has cut this line, or it is damaged.
                Err(_) => {}
            }
        }
        Ok(Some(Self { host, grace_ns, is_delivered, open, file }))
    }

    /// The observation that opened a finding.
    ///
    /// # Errors
    ///
    /// If the file cannot be read any more.
    pub(super) fn observation(&self, line: &Line) -> io::Result<Option<Observation>> {
        observation(&self.file, line)
    }
}

impl OpenFindings {
    /// Begins a new file with those findings of `left` that are still open.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub(super) fn begin(
        dir: &Path,
        lock: File,
        host: &HostIdentity,
        grace_ns: u64,
        left: Option<&Left>,
    ) -> io::Result<Self> {
        let header = Header { format: FORMAT, host: host.clone(), grace_ns };
        let path = path(dir);
        let none = BTreeMap::new();
        let (open, file) = left.map_or((&none, None), |left| (&left.open, Some(&left.file)));
        let (file, end, open) = rewrite(&path, &header, open, file)?;
        let is_delivered = left.is_some_and(|left| left.is_delivered);
        Ok(Self {
            path,
            header,
            file,
            end,
            open,
            closed: 0,
            is_delivered,
            synced: Instant::now(),
            is_dirty: false,
            has_torn_end: false,
            _lock: lock,
        })
    }

    /// Takes in an observation. Call it before the event of an opening is sent, and after the event of a close is sent.
    ///
    /// # Errors
    ///
    /// If writing to the disk fails.
    pub(super) fn take(&mut self, observation: &Observation) -> io::Result<()> {
        if let Some(key) = ended(observation)
            && self.open.remove(&key).is_some()
        {
            self.append(&Entry::Closed(key))?;
            self.closed += 1;
        }
        if let Some(key) = opened(observation).filter(|key| !self.open.contains_key(key)) {
            let offset = self.end;
            let len = self.append(&Entry::Open(Cow::Borrowed(observation)))?;
            self.open.insert(key, Line { offset, len, exit_ns: exit_ns(observation) });
        }
        if self.closed > MAX_CLOSED.max(self.open.len()) {
            (self.file, self.end, self.open) =
                rewrite(&self.path, &self.header, &self.open, Some(&self.file))?;
            self.closed = 0;
        }
        Ok(())
    }

    /// Syncs written entries to the disk, at most once in [`SYNC`]. Call it at every tick.
    ///
    /// # Errors
    ///
    /// If writing to the disk fails.
    pub(super) fn tick(&mut self) -> io::Result<()> {
        if self.is_dirty && self.synced.elapsed() >= SYNC {
            self.synced = Instant::now();
            self.file.sync_data()?;
            self.is_dirty = false;
        }
        Ok(())
    }

    /// The observation that opened the finding that `end` closes, if that finding is open.
    ///
    /// # Errors
    ///
    /// If the file cannot be read any more.
    pub(super) fn opening_of(&self, end: &Observation) -> io::Result<Option<Observation>> {
        let line = ended(end).and_then(|key| self.open.get(&key));
        line.map_or(Ok(None), |line| observation(&self.file, line))
    }

    /// Whether everything that the last run has sent was delivered.
    pub(super) fn is_delivered(&self) -> bool {
        self.is_delivered
    }

    /// Records that everything that was sent is delivered.
    ///
    /// # Errors
    ///
    /// If writing to the disk fails.
    pub(super) fn delivered(mut self) -> io::Result<()> {
        self.append(&Entry::Delivered).map(drop)
    }

    fn append(&mut self, entry: &Entry<'_>) -> io::Result<usize> {
        let mut text = serde_json::to_vec(entry)?;
        text.push(b'\n');
        if self.has_torn_end {
            self.file.set_len(self.end)?;
            self.has_torn_end = false;
        }
        if let Err(error) = self.file.write_all(&text) {
            // A part of the entry may be in the file. It is cut off, now or before the next entry.
            self.has_torn_end = self.file.set_len(self.end).is_err();
            return Err(error);
        }
        self.end += text.len() as u64;
        self.is_dirty = true;
        Ok(text.len())
    }
}

/// Keeps other agents out of the state directory until the returned file is closed. Makes the directory if there is
/// none.
///
/// # Errors
///
/// If the directory cannot be made, or another agent uses it.
pub(super) fn lock(dir: &Path) -> io::Result<File> {
    lock::directory(dir, "another supervisor uses it: give this one another (--state-dir)")
}

fn path(dir: &Path) -> PathBuf {
    dir.join("open-findings.jsonl")
}

/// The key that an observation opens.
fn opened(observation: &Observation) -> Option<Key> {
    match observation.seen {
        Seen::Unreaped { id, .. } => Some(Key { is_namespace: false, is_exit: false, id }),
        Seen::Held { id, .. } => Some(Key { is_namespace: true, is_exit: false, id }),
        Seen::Stuck { id, .. } => Some(Key { is_namespace: false, is_exit: true, id }),
        _ => None,
    }
}

/// The key that an observation closes.
fn ended(observation: &Observation) -> Option<Key> {
    match observation.seen {
        Seen::Reaped { id, .. } => Some(Key { is_namespace: false, is_exit: false, id }),
        Seen::Released { id } => Some(Key { is_namespace: true, is_exit: false, id }),
        Seen::Finished { id } => Some(Key { is_namespace: false, is_exit: true, id }),
        _ => None,
    }
}

fn exit_ns(observation: &Observation) -> Option<u64> {
    match &observation.seen {
        Seen::Unreaped { evidence, .. } => evidence.exit_ns,
        Seen::Held { evidence, .. } => evidence.init.exit_ns,
        Seen::Stuck { evidence, .. } => evidence.ending.as_ref().and_then(|ending| ending.since_ns),
        _ => None,
    }
}

fn observation(file: &File, line: &Line) -> io::Result<Option<Observation>> {
    Ok(match serde_json::from_slice(&read_line(file, line)?) {
        Ok(Entry::Open(observation)) => Some(observation.into_owned()),
        _ => None,
    })
}

fn read_line(file: &File, line: &Line) -> io::Result<Vec<u8>> {
    let mut text = vec![0; line.len];
    file.read_exact_at(&mut text, line.offset)?;
    Ok(text)
}

/// Creates an empty file beside another one, which it will replace. Only the agent's user may read it.
pub(super) fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(&new)?;
    Ok((new, file))
}

/// Writes a new file with the lines of open findings, and replaces the old file with it.
fn rewrite(
    path: &Path,
    header: &Header,
    open: &BTreeMap<Key, Line>,
    old: Option<&File>,
) -> io::Result<(File, u64, BTreeMap<Key, Line>)> {
    let (new, mut file) = create_beside(path)?;
    let mut text = serde_json::to_vec(header)?;
    text.push(b'\n');
    file.write_all(&text)?;
    let mut end = text.len() as u64;
    let mut lines = BTreeMap::new();
    if let Some(old) = old {
        for (key, line) in open {
            let text = read_line(old, line)?;
            file.write_all(&text)?;
            lines.insert(*key, Line { offset: end, ..*line });
            end += text.len() as u64;
        }
    }
    file.sync_data()?;
    fs::rename(new, path)?;
    Ok((file, end, lines))
}

#[cfg(test)]
mod tests {
    use supervisor_model::{
        clock::Wall,
        evidence::sample::{host, incident},
    };

    use super::*;

    fn unreaped(pid: u32) -> Observation {
        let mut evidence = incident();
        evidence.exit_ns = Some(u64::from(pid));
        let id = ProcessId::new(pid, 1);
        let seen = Seen::Unreaped { id, existing: false, evidence: Box::new(evidence) };
        Observation { at_ns: 7, wall: Wall::at_offset(0), seen }
    }

    fn reaped(pid: u32) -> Observation {
        Observation::at(8, Seen::Reaped { id: ProcessId::new(pid, 1), free_ns: None, release: None })
    }

    fn pids(left: &Left) -> Vec<u32> {
        left.open.keys().map(|key| key.id.tgid).collect()
    }

    #[test]
    fn the_next_run_gets_the_findings_that_are_still_open() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        assert!(Left::read(&state).unwrap().is_none());
        let mut open = OpenFindings::begin(&state, lock(&state).unwrap(), &host(), 9, None).unwrap();
        for pid in 1..=3 {
            open.take(&unreaped(pid)).unwrap();
        }
        open.take(&unreaped(2)).unwrap();
        open.take(&reaped(2)).unwrap();
        open.take(&reaped(77)).unwrap();

        // The agent was killed.
        drop(open);
        let left = Left::read(&state).unwrap().unwrap();
        assert_eq!((pids(&left), left.is_delivered, left.grace_ns), (vec![1, 3], false, 9));
        let line = left.open.values().last().unwrap();
        assert_eq!(line.exit_ns, Some(3));
        assert_eq!(left.observation(line).unwrap().unwrap(), unreaped(3));

        // The next run goes on, alone, and ends in order.
        let other = lock(&state).unwrap();
        assert_eq!(lock(&state).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(other);
        let mut open = OpenFindings::begin(&state, lock(&state).unwrap(), &host(), 9, Some(&left)).unwrap();
        open.take(&reaped(1)).unwrap();
        open.delivered().unwrap();
        let left = Left::read(&state).unwrap().unwrap();
        assert_eq!((pids(&left), left.is_delivered), (vec![3], true));
        assert_eq!(
            left.observation(&left.open.values().next().copied().unwrap()).unwrap().unwrap(),
            unreaped(3)
        );
    }

    #[test]
    fn a_damaged_line_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let mut open = OpenFindings::begin(dir.path(), lock(dir.path()).unwrap(), &host(), 9, None).unwrap();
        open.take(&unreaped(1)).unwrap();
        open.file.write_all(b"{\"open\":\n\xff\n").unwrap();
        open.end += 11;
        open.take(&unreaped(2)).unwrap();
        open.file.write_all(b"{\"closed\":{\"is_name").unwrap();
        assert_eq!(pids(&Left::read(dir.path()).unwrap().unwrap()), [1, 2]);
        fs::write(path(dir.path()), "nonsense").unwrap();
        assert!(Left::read(dir.path()).unwrap().is_none());
    }

    #[test]
    fn closed_findings_do_not_make_the_file_grow() {
        let dir = tempfile::tempdir().unwrap();
        let mut open = OpenFindings::begin(dir.path(), lock(dir.path()).unwrap(), &host(), 9, None).unwrap();
        open.take(&unreaped(1)).unwrap();
        let one = open.end;
        for pid in 2..4000 {
            open.take(&unreaped(pid)).unwrap();
            open.take(&reaped(pid)).unwrap();
        }
        assert!(open.end < one * (MAX_CLOSED as u64 + 3), "{} bytes", open.end);
        assert_eq!(pids(&Left::read(dir.path()).unwrap().unwrap()), [1]);
    }
}
