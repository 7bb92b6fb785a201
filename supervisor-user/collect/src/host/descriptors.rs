//! Reads the descriptors of processes: which processes can write to which pipe, and which have an `io_uring`.
//!
//! This module lists `/proc/PID/fd` and reads the links in it. It does not follow them, because to follow a link asks
//! the file system of the file. The permission bits of a link are the mode of the open file (`tid_fd_update_inode()`,
//! `fs/proc/fd.c`). So `fdinfo` is not needed, whose content comes from the driver of the file.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use supervisor_model::facts::{OpenFile, PipeWriters};

/// A search for the writers of pipes reads at most this many descriptors in all, and at most a tenth of them from one
/// process.
const MAX_DESCRIPTORS: usize = 20_000;
/// After this time a search begins no further process: it is a quarter of the time that a reader has for an answer. The
/// time is checked only between processes, so the search can take longer by the descriptors of one process, which are
/// 2,000 at most.
const SEARCH_TIME: Duration = Duration::from_millis(50);
/// The result of a search is used again for this many times the duration of the search: searches take 5 % of the time.
const REUSED_FOR: u32 = 20;

/// A search for the writers of pipes.
#[derive(Debug)]
pub(super) struct Search {
    done: Instant,
    took: Duration,
    pub(super) writers: PipeWriters,
}

impl Search {
    /// Searches all processes, the highest pids first: in most cases the reader of a pipe has forked its writer.
    pub(super) fn of(mut pids: Vec<u32>) -> Self {
        let began = Instant::now();
        pids.sort_unstable_by(|a, b| b.cmp(a));
        let mut writers = PipeWriters { is_complete: true, ..PipeWriters::default() };
        let mut left = MAX_DESCRIPTORS;
        for pid in pids {
            if left == 0 || began.elapsed() > SEARCH_TIME {
                writers.is_complete = false;
                break;
            }
            let most = left.min(MAX_DESCRIPTORS / 10);
            let found = each(pid, most, |file, descriptor| {
                if let OpenFile::Pipe(ino) = open_file_of(file) {
                    let ends =
                        if is_writable(descriptor) { &mut writers.pairs } else { &mut writers.readers };
                    if !ends.ends_with(&[(ino, pid)]) {
                        ends.push((ino, pid));
                    }
                }
                None::<()>
            });
            left -= found.read;
            writers.is_complete &= found.is_whole;
        }
        for ends in [&mut writers.pairs, &mut writers.readers] {
            ends.sort_unstable();
            ends.dedup();
        }
        Self { done: Instant::now(), took: began.elapsed(), writers }
    }

    /// Whether the result may still be used again.
    pub(super) fn is_fresh(&self) -> bool {
        self.done.elapsed() < self.took * REUSED_FOR
    }
}

/// Whether a process has an `io_uring` descriptor. `None` if that is not known: its descriptors cannot be read, or
/// there are too many.
pub(super) fn has_io_uring(pid: u32) -> Option<bool> {
    let found = each(pid, MAX_DESCRIPTORS / 10, |file, _| (file == "anon_inode:[io_uring]").then_some(()));
    if found.value.is_some() { Some(true) } else { found.is_whole.then_some(false) }
}

/// The file that the link of a descriptor leads to.
pub(super) fn open_file(descriptor: &str) -> OpenFile {
    let link = fs::read_link(descriptor).ok();
    link.as_deref().and_then(Path::to_str).map_or(OpenFile::Other, open_file_of)
}

pub(super) fn open_file_of(link: &str) -> OpenFile {
    let ino = |link: &str| link.strip_prefix("pipe:[")?.strip_suffix(']')?.parse().ok();
    match ino(link) {
        Some(ino) => OpenFile::Pipe(ino),
        None if link.starts_with("socket:[") => OpenFile::Socket,
        None => OpenFile::Other,
    }
}

fn is_writable(descriptor: &Path) -> bool {
    const OWNER_WRITES: u32 = 0o200;
    fs::symlink_metadata(descriptor).is_ok_and(|link| link.permissions().mode() & OWNER_WRITES != 0)
}

/// The result of reading the descriptors of a process.
struct Found<T> {
    value: Option<T>,
    /// The number of descriptors that were read.
    read: usize,
    /// Whether these were all descriptors. A process that is gone has none.
    is_whole: bool,
}

/// Calls `take` with the link and the path of each descriptor of a process, until `take` returns a value.
fn each<T>(pid: u32, most: usize, mut take: impl FnMut(&str, &Path) -> Option<T>) -> Found<T> {
    let mut found = Found { value: None, read: 0, is_whole: true };
    let descriptors = match fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(descriptors) => descriptors,
        Err(error) => return Found { is_whole: is_gone(&error), ..found },
    };
    for descriptor in descriptors.map_while(Result::ok) {
        if found.read == most {
            return Found { is_whole: false, ..found };
        }
        found.read += 1;
        let path = descriptor.path();
        // A descriptor can be closed meanwhile. A link that is not UTF-8 is the path of a file.
        let Ok(link) = fs::read_link(&path) else { continue };
        found.value = link.to_str().and_then(|link| take(link, &path));
        if found.value.is_some() {
            break;
        }
    }
    found
}

fn is_gone(error: &io::Error) -> bool {
    [libc::ENOENT, libc::ESRCH].map(Some).contains(&error.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::{
        os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn the_process_that_can_write_to_a_pipe_is_found() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let OpenFile::Pipe(ino) = open_file(&format!("/proc/self/fd/{}", reader.as_raw_fd())) else {
            panic!("it is a pipe")
        };
        // While the write end is open here, other tests of this process can pass it on to their children.
        let mut child =
            Command::new("sleep").arg("600").stdout(writer).stdin(Stdio::null()).spawn().expect("sleep");
        let search = Search::of(vec![std::process::id(), child.id()]);
        child.kill().expect("it can be killed");
        child.wait().expect("it is ours");
        let pids: Vec<u32> = search.writers.pairs.iter().filter(|it| it.0 == ino).map(|it| it.1).collect();
        assert_eq!(pids, [child.id()], "this process holds the reading end only");
        assert!(search.writers.is_complete);
        let gone = Search::of(vec![child.id()]);
        assert_eq!(gone.writers, PipeWriters { is_complete: true, ..PipeWriters::default() }, "it is gone");
    }

    #[test]
    fn a_process_with_too_many_descriptors_is_searched_in_part() {
        let _some = [io::pipe().expect("a pipe"), io::pipe().expect("a pipe")];
        let found = each(std::process::id(), 3, |_, _| None::<()>);
        assert_eq!((found.read, found.is_whole), (3, false));
        let first = each(std::process::id(), 3, |_, _| Some(()));
        assert_eq!((first.read, first.value), (1, Some(())), "it ends with what was looked for");
    }

    #[test]
    fn a_search_is_used_again_for_twenty_times_its_duration() {
        let search = |took: u64| Search {
            done: Instant::now().checked_sub(Duration::from_secs(10)).expect("the host is up for longer"),
            took: Duration::from_secs(took),
            writers: PipeWriters::default(),
        };
        // The second search stays fresh for twice its age, because this test can be slow.
        assert_eq!([search(0), search(1)].map(|it| it.is_fresh()), [false, true]);
    }

    #[test]
    fn an_io_uring_descriptor_is_found() {
        let mut child = Command::new("sleep").arg("600").spawn().expect("sleep");
        assert_eq!(has_io_uring(child.id()), Some(false));
        child.kill().expect("it can be killed");
        child.wait().expect("it is ours");
        let mut parameters = [0_u8; 120];
        // SAFETY: `struct io_uring_params` has 120 bytes; the kernel writes no more.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) };
        if fd < 0 {
            // The administrator can forbid it.
            assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::EPERM));
            return;
        }
        // SAFETY: the kernel has just made it, for us.
        let ring = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        assert_eq!(has_io_uring(std::process::id()), Some(true));
        drop(ring);
    }
}
