//! Finds the file systems that another program or host serves. A thread that waits for such a server may sleep in a
//! state in which no signal wakes it.

use std::{collections::HashMap, fs, io::Read as _};

use procfs::process::MountInfo;
use supervisor_model::facts::RemoteMount;

/// The directory in which the kernel shows its connections to FUSE servers.
const CONNECTIONS: &str = "/sys/fs/fuse/connections";
/// A longer list is not read to its end: a user can make 100,000 mounts in a namespace (`fs.mount-max`), each with a
/// path of 4 KiB.
const MAX_LIST: u64 = 1 << 20;
/// At most this many mounts are named.
const MAX_MOUNTS: usize = 8;

fn is_network(fs_type: &str) -> bool {
    matches!(fs_type, "nfs" | "nfs4" | "cifs" | "smb3" | "ceph" | "9p" | "afs" | "lustre" | "glusterfs")
}

/// The remote mounts that a thread can see. Mounts with waiting requests come first.
pub(super) fn remote(tid: u32) -> Vec<RemoteMount> {
    let mut list = Vec::new();
    let file = fs::File::open(format!("/proc/{tid}/mountinfo"));
    if file.and_then(|file| file.take(MAX_LIST).read_to_end(&mut list)).is_err() {
        return Vec::new();
    }
    let waiting = waiting();
    choose(parse(&list).map(|mount| of(mount, &waiting)))
}

/// The mounts of a list. A line that is cut or cannot be parsed is left out.
fn parse(list: &[u8]) -> impl Iterator<Item = MountInfo> {
    list.split_inclusive(|byte| *byte == b'\n').filter_map(|line| {
        let line = String::from_utf8_lossy(line.strip_suffix(b"\n")?);
        MountInfo::from_line(&line).ok()
    })
}

/// The chosen mounts of a list. A fuzz target calls it.
pub(super) fn chosen_of(list: &[u8]) -> Vec<RemoteMount> {
    choose(parse(list).map(|mount| of(mount, &HashMap::new())))
}

/// The number of waiting requests of each connection.
fn waiting() -> HashMap<u32, u64> {
    let Ok(connections) = fs::read_dir(CONNECTIONS) else { return HashMap::new() };
    connections
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry.file_name().to_str()?.parse().ok()?;
            let waiting = fs::read_to_string(entry.path().join("waiting")).ok()?.trim().parse().ok()?;
            Some((number, waiting))
        })
        .collect()
}

fn of(mount: MountInfo, waiting: &HashMap<u32, u64>) -> RemoteMount {
    let connection = device(&mount.majmin).filter(|_| supervisor_model::facts::is_fuse(&mount.fs_type));
    RemoteMount {
        source: mount.mount_source.unwrap_or_default(),
        mount_point: mount.mount_point.to_string_lossy().into_owned(),
        waiting: connection.and_then(|number| waiting.get(&number).copied()),
        connection,
        fs_type: mount.fs_type,
    }
}

/// The device `MAJOR:MINOR` in the encoding of the kernel. This number is the name of a connection
/// (`fuse_ctl_add_conn()`, `fs/fuse/control.c`).
fn device(majmin: &str) -> Option<u32> {
    let (major, minor) = majmin.split_once(':')?;
    Some(major.parse::<u32>().ok()? << 20 | minor.parse::<u32>().ok()?)
}

/// The mounts of other servers, without duplicates.
fn choose(mounts: impl Iterator<Item = RemoteMount>) -> Vec<RemoteMount> {
    let mut chosen: Vec<RemoteMount> = Vec::new();
    for mount in mounts.filter(|mount| mount.is_fuse() || is_network(&mount.fs_type)) {
        let is_same = |other: &RemoteMount| match mount.connection {
            Some(number) => other.connection == Some(number),
            None => other.source == mount.source,
        };
        if !chosen.iter().any(is_same) {
            chosen.push(mount);
        }
    }
    chosen.sort_by_key(|mount| mount.waiting.unwrap_or(0) == 0);
    chosen.truncate(MAX_MOUNTS);
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(fs_type: &str, source: &str, connection: Option<u32>, waiting: Option<u64>) -> RemoteMount {
        RemoteMount {
            fs_type: fs_type.to_owned(),
            source: source.to_owned(),
            mount_point: format!("/mnt/{source}"),
            connection,
            waiting,
        }
    }

    #[test]
    fn a_cut_line_and_a_line_without_a_mount_are_left_out() {
        let list = "36 35 0:50 / /mnt\\040a rw shared:1 - fuse.sshfs user@host: rw,user_id=0\nnonsense\n\
                    37 35 0:51 / /mnt/b rw - nfs4 server:/export rw,vers=4.2\n38 35 0:52 / /mnt/c rw - nfs4 cut:/";
        let chosen = chosen_of(list.as_bytes());
        let sources: Vec<&str> = chosen.iter().map(|mount| mount.source.as_str()).collect();
        assert_eq!(sources, ["user@host:", "server:/export"]);
        assert_eq!(chosen[0].connection, Some(50));
    }

    #[test]
    fn mounts_with_waiting_requests_come_first_and_local_mounts_are_left_out() {
        let mounts = [
            mount("ext4", "disk", None, None),
            mount("fuse.sshfs", "idle", Some(41), Some(0)),
            mount("nfs4", "server:/export", None, None),
            mount("fuse", "hung", Some(42), Some(2)),
            mount("fuse", "bind mount of hung", Some(42), Some(2)),
        ];
        let chosen = choose(mounts.into_iter());
        let sources: Vec<&str> = chosen.iter().map(|mount| mount.source.as_str()).collect();
        assert_eq!(sources, ["hung", "idle", "server:/export"]);
    }
}
