//! Control groups as their file systems show them: which one a process is in, whether it is frozen, and how many
//! processes it may hold.

use std::{
    fs,
    path::{Path, PathBuf},
};

use procfs::process::Process;
use serde::{Deserialize, Serialize};

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Version 1 controllers, or the empty name for the unified hierarchy.
    controllers: Vec<String>,
    place: PathBuf,
}

/// One line of `/proc/PID/cgroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Membership {
    /// Version 1 controllers, or the empty name for the unified hierarchy.
    controllers: Vec<String>,
    path: String,
}

/// How many tasks there are, and how many there may be, where a process lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidBudget {
    /// The file that has the limit.
    pub source: String,
    /// Tasks now, zombies included.
    pub current: u64,
    /// Tasks at most.
    pub max: u64,
}

/// The mounted hierarchies, of the root of each.
pub(super) fn mounts() -> Vec<Mount> {
    let Ok(mounts) = Process::myself().and_then(|myself| myself.mountinfo()) else { return Vec::new() };
    mounts
        .into_iter()
        .filter(|mount| mount.root == "/")
        .filter_map(|mount| {
            let controllers = match mount.fs_type.as_str() {
                "cgroup2" => vec![String::new()],
                "cgroup" => mount.super_options.into_keys().collect(),
                _ => return None,
            };
            Some(Mount { controllers, place: mount.mount_point })
        })
        .collect()
}

/// Reads the lines `ID:CONTROLLERS:PATH`.
pub(super) fn memberships(text: &str) -> Vec<Membership> {
    text.lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            Some(Membership {
                controllers: controllers.split(',').map(str::to_owned).collect(),
                path: path.to_owned(),
            })
        })
        .collect()
}

/// The unified hierarchy's path, or if that is the root, the pids or memory controller's.
pub(super) fn choose(lines: &[Membership]) -> Option<String> {
    let unified = of(lines, "");
    [unified, of(lines, "pids"), of(lines, "memory")]
        .into_iter()
        .flatten()
        .find(|path| *path != "/")
        .or(unified)
        .map(str::to_owned)
}

fn of<'a>(lines: &'a [Membership], controller: &str) -> Option<&'a str> {
    let line = lines.iter().find(|line| line.controllers.iter().any(|name| name == controller))?;
    Some(&line.path)
}

/// The directories of a process's group in a hierarchy, innermost first.
fn directories(mounts: &[Mount], lines: &[Membership], controller: &str) -> Vec<PathBuf> {
    let mount = mounts.iter().find(|mount| mount.controllers.iter().any(|name| name == controller));
    let (Some(mount), Some(path)) = (mount, of(lines, controller)) else { return Vec::new() };
    // A group outside of our own cgroup namespace begins with `/..`: it is not below the mount.
    if path.split('/').any(|name| name == "..") || path.ends_with(" (deleted)") {
        return Vec::new();
    }
    let mut place = mount.place.join(path.trim_start_matches('/'));
    let mut all = Vec::new();
    while place.starts_with(&mount.place) {
        all.push(place.clone());
        if !place.pop() {
            break;
        }
    }
    all
}

/// The file that says that a group is frozen.
pub(super) fn frozen(mounts: &[Mount], lines: &[Membership]) -> Option<String> {
    // Both tell the effective state, a frozen group above included.
    let unified = directories(mounts, lines, "").first().map(|dir| dir.join("cgroup.events"));
    let freezer = directories(mounts, lines, "freezer").first().map(|dir| dir.join("freezer.state"));
    let says = |file: &Path, words: &[&str]| {
        fs::read_to_string(file).is_ok_and(|text| text.lines().any(|line| words.contains(&line.trim())))
    };
    unified
        .filter(|file| says(file, &["frozen 1"]))
        .or_else(|| freezer.filter(|file| says(file, &["FROZEN", "FREEZING"])))
        .map(|file| file.to_string_lossy().into_owned())
}

/// A membership of the version 1 pids controller.
pub(super) fn in_pids_group(path: &str) -> Membership {
    Membership { controllers: vec!["pids".to_owned()], path: path.to_owned() }
}

/// The tightest limit: the one with the least room left.
pub(super) fn pid_budget(mounts: &[Mount], lines: &[Membership]) -> Option<PidBudget> {
    let of_host = host_budget();
    ["", "pids"]
        .into_iter()
        .flat_map(|controller| directories(mounts, lines, controller))
        .filter_map(|dir| group_budget(&dir))
        .chain(of_host)
        .min_by_key(|budget| budget.max.saturating_sub(budget.current))
}

/// The limit of one group; `max` is none.
fn group_budget(dir: &Path) -> Option<PidBudget> {
    let limit = dir.join("pids.max");
    Some(PidBudget {
        max: number(&limit)?,
        current: number(&dir.join("pids.current"))?,
        source: limit.to_string_lossy().into_owned(),
    })
}

fn host_budget() -> Option<PidBudget> {
    const PID_MAX: &str = "/proc/sys/kernel/pid_max";
    // The fourth field of /proc/loadavg is `running/all`, where all are the tasks of the host.
    let loadavg = fs::read_to_string("/proc/loadavg").ok()?;
    let current = loadavg.split(' ').nth(3)?.split_once('/')?.1.parse().ok()?;
    Some(PidBudget { source: PID_MAX.to_owned(), current, max: number(Path::new(PID_MAX))? })
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_group_is_below_its_mount_whatever_its_name_is(
            names in vec(prop_oneof![
                select(vec!["..", ".", "", "a", "..a", "a (deleted)", "a:b"]).prop_map(str::to_owned),
                ".{0,8}",
            ], 0..6),
        ) {
            let mount = Mount { controllers: vec![String::new()], place: "/sys/fs/cgroup".into() };
            let lines = memberships(&format!("0::/{}\n", names.join("/")));
            let all = directories(std::slice::from_ref(&mount), &lines, "");
            for dir in &all {
                prop_assert!(dir.starts_with(&mount.place), "{}", dir.display());
                prop_assert!(dir.components().all(|part| part != Component::ParentDir), "{}", dir.display());
            }
            prop_assert!(all.last().is_none_or(|dir| *dir == mount.place), "up to the mount");
        }
    }

    #[test]
    fn group_of_each_mode() {
        let group = |text: &str| choose(&memberships(text));
        assert_eq!(
            group("0::/system.slice/x.scope (deleted)\n").as_deref(),
            Some("/system.slice/x.scope (deleted)")
        );
        assert_eq!(group("5:pids:/docker/abc\n4:cpu,memory:/m\n0::/\n").as_deref(), Some("/docker/abc"));
        assert_eq!(group("5:pids:/\n4:cpu,memory:/m:n\n0::/\n").as_deref(), Some("/m:n"));
        assert_eq!(group("5:pids:/\n1:name=systemd:/s\n").as_deref(), None);
    }

    #[test]
    fn limits_of_each_mode() {
        let dir = tempfile::tempdir().expect("a directory");
        let group = dir.path().join("a/b");
        fs::create_dir_all(&group).expect("a group");
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
        let mounts = [Mount { controllers: vec!["pids".into(), "freezer".into()], place: dir.path().into() }];
        let lines = memberships("3:pids:/a/b\n2:freezer:/a/b\n0::/\n");
        write("a/pids.max", "10\n");
        write("a/pids.current", "8\n");
        write("a/b/pids.max", "max\n");
        write("a/b/pids.current", "3\n");
        let budget = pid_budget(&mounts, &lines).expect("a limit");
        assert_eq!((budget.current, budget.max), (8, 10), "the limit above counts");
        assert_eq!(frozen(&mounts, &lines), None);
        write("a/b/freezer.state", "FROZEN\n");
        assert!(frozen(&mounts, &lines).is_some_and(|file| file.ends_with("a/b/freezer.state")));
        let outside = memberships("3:pids:/../a/b\n");
        assert_eq!(directories(&mounts, &outside, "pids"), [] as [PathBuf; 0]);
    }
}
