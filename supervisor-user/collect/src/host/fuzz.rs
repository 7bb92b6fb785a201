//! Entry points for the fuzz targets: they call the parsers of `/proc` and of the reader's protocol. Nothing else calls
//! these functions.

use std::path::Path;

use procfs::{FromRead as _, process::Stat};

use super::{calls, cgroup, descriptors, mounts, proc, reader};

/// Parses the content of a file below `/proc/PID` with each parser. In `stat` a process chooses only its name, so there
/// the content is the name.
///
/// # Panics
///
/// If a result is not bounded, or leads to another path.
pub fn proc_file(content: &[u8]) {
    /// `TASK_COMM_LEN` without its NUL.
    const NAME: usize = 15;
    let name = content.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = &name[..name.len().min(NAME)];
    let stat = [b"4711 (", name, b") Z 1", " 7".repeat(48).as_bytes(), b"\n"].concat();
    let stat = Stat::from_read(stat.as_slice()).expect("a name breaks it");
    assert_eq!((stat.comm, stat.state, stat.ppid), (String::from_utf8_lossy(name).into_owned(), 'Z', 1));
    let _no_panic = proc::parse_status(content).is_ok();
    let args = supervisor_model::evidence::split_arguments(content);
    assert!(args.iter().map(String::len).sum::<usize>() <= content.len() * 3, "arguments have grown");
    let text = String::from_utf8_lossy(content);
    let lines = cgroup::memberships(&text);
    if let Some(path) = cgroup::choose(&lines) {
        assert!(text.contains(&path), "a control group was made up: {path}");
    }
    cgroup::assert_below_mount(&lines);
    assert!(mounts::chosen_of(content).len() <= 8, "too many mounts are named");
    let _no_panic = calls::decode(&text, |_| descriptors::open_file_of(&text));
}

/// Reads a stream as the collector reads the answers of its reader, and as the reader reads requests.
pub fn reader_stream(bytes: &[u8]) {
    reader::read_all(bytes);
}

/// Reads the files of the control group `group` below this directory.
///
/// # Panics
///
/// If a result names a file elsewhere.
pub fn control_group(place: &Path) {
    cgroup::assert_read_below(place);
}
