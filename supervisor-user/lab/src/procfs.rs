//! Reads the few files in `/proc` that a scenario needs to check its own processes.

use std::{fs, os::unix::fs::MetadataExt};

use anyhow::{Context, Result};

/// The fields of `/proc/PID/stat` that a scenario needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// The letter of its state, `Z` for a zombie.
    pub state: char,
    /// Its parent.
    pub parent: u32,
    /// Its start in clock ticks since boot. Pid and start together distinguish a process from a later one with the same
    /// pid.
    pub start: u64,
}

/// The fields for a process; `None` if there is no such process.
#[must_use]
pub fn stat(pid: u32) -> Option<Stat> {
    let raw = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse(pid, &String::from_utf8_lossy(&raw))
}

/// Parses a line. The name stands in parentheses and can contain any character, also parentheses.
fn parse(pid: u32, line: &str) -> Option<Stat> {
    let (head, tail) = line.rsplit_once(") ")?;
    let (_, comm) = head.split_once(" (")?;
    let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
    Some(Stat {
        pid,
        comm: comm.to_owned(),
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
    })
}

/// The zombies whose parent is this process.
pub fn zombies_of(parent: u32) -> Result<Vec<Stat>> {
    let entries = fs::read_dir("/proc").context("/proc cannot be listed")?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(stat).filter(|it| it.parent == parent && it.state == 'Z').collect())
}

/// The kernel function in which a process sleeps; `None` if it does not sleep or does not exist.
#[must_use]
pub fn wchan(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/wchan")).ok().filter(|name| name != "0" && !name.is_empty())
}

/// The inode number of a process's PID namespace.
pub fn pid_namespace(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/ns/pid");
    Ok(fs::metadata(&path).with_context(|| format!("{path} cannot be read"))?.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_is_parsed() {
        let line = "7 (a) Z (b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 0 0\n";
        let wanted = Stat { pid: 7, comm: "a) Z (b".to_owned(), state: 'S', parent: 1, start: 4711 };
        assert_eq!(parse(7, line), Some(wanted));
    }
}
