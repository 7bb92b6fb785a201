//! Reads control groups from their file systems: the group of a process, whether it is frozen, how many processes it
//! may hold, and how much processor time it has.

use std::{
    fs,
    path::{Path, PathBuf},
};

use procfs::process::Process;
use supervisor_model::facts::{CpuFacts, PidBudget};

/// The host's own limit of pids.
const PID_MAX: &str = "/proc/sys/kernel/pid_max";

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

/// The mounted hierarchies. Only a mount of the root of a hierarchy counts.
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

/// The path in the unified hierarchy. If that path is the root, the path of the pids controller or of the memory
/// controller.
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

/// The directories of a process's group and of the groups above it in a hierarchy, innermost first.
fn directories(mounts: &[Mount], lines: &[Membership], controller: &str) -> Vec<PathBuf> {
    let mount = mounts.iter().find(|mount| mount.controllers.iter().any(|name| name == controller));
    let (Some(mount), Some(path)) = (mount, of(lines, controller)) else { return Vec::new() };
    // The path of a group outside of our own cgroup namespace begins with `/..`: the group is not below the mount.
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

/// Fails if the path of a process's group leads out of the mount of its hierarchy. A fuzz target calls it.
pub(super) fn assert_below_mount(lines: &[Membership]) {
    let mount = Mount { controllers: vec![String::new(), "pids".to_owned()], place: "/sys/fs/cgroup".into() };
    for dir in ["", "pids"].iter().flat_map(|name| directories(std::slice::from_ref(&mount), lines, name)) {
        let goes_up = dir.components().any(|part| part == std::path::Component::ParentDir);
        assert!(dir.starts_with(&mount.place) && !goes_up, "{}", dir.display());
    }
}

/// Reads the files of the group `group` below a directory. Fails if a result names a file elsewhere. A fuzz target calls
/// it.
pub(super) fn assert_read_below(place: &Path) {
    let controllers = ["", "pids", "cpu", "freezer"].map(str::to_owned).to_vec();
    let mounts = [Mount { controllers, place: place.to_owned() }];
    let lines = memberships("1:pids,cpu,freezer:/group\n0::/group\n");
    let is_below = |file: &str| Path::new(file).starts_with(place);
    assert!(frozen(&mounts, &lines).is_none_or(|file| is_below(&file)), "another group is frozen");
    let budget = pid_budget(&mounts, &lines);
    assert!(budget.is_none_or(|it| is_below(&it.source) || it.source == PID_MAX), "another limit is named");
    assert!(cpu(&mounts, &lines).is_some(), "the group is not read");
}

/// The state file of the frozen group that a process is in or below. It is the file of the nearest group that was
/// frozen itself, because only that group can be thawed.
pub(super) fn frozen(mounts: &[Mount], lines: &[Membership]) -> Option<String> {
    let unified = directories(mounts, lines, "");
    let freezer = directories(mounts, lines, "freezer");
    let says = |file: &Path, words: &[&str]| {
        fs::read_to_string(file).is_ok_and(|text| text.lines().any(|line| words.contains(&line.trim())))
    };
    // In both versions the innermost group reports the effective state, which includes a frozen group above it.
    let found = |groups: &[PathBuf], state: &str, words: &[&str], own: &str| {
        let innermost = groups.first().filter(|group| says(&group.join(state), words))?;
        let itself = groups.iter().find(|group| says(&group.join(own), &["1"]));
        Some(itself.unwrap_or(innermost).join(state))
    };
    found(&unified, "cgroup.events", &["frozen 1"], "cgroup.freeze")
        .or_else(|| found(&freezer, "freezer.state", &["FROZEN", "FREEZING"], "freezer.self_freezing"))
        .map(|file| file.to_string_lossy().into_owned())
}

/// A membership in a group of the version 1 pids controller.
pub(super) fn in_pids_group(path: &str) -> Membership {
    Membership { controllers: vec!["pids".to_owned()], path: path.to_owned() }
}

/// The memberships of a process. If it has no group in the version 1 pids hierarchy, or is shown in the root of that
/// hierarchy, the membership of another process replaces it. `/proc` shows every zombie in the root.
pub(super) fn with_pids_group(
    mut own: Vec<Membership>,
    others: impl FnOnce() -> Option<Vec<Membership>>,
) -> Vec<Membership> {
    if of(&own, "pids").is_none_or(|path| path == "/")
        && let Some(path) = others().as_deref().and_then(|others| of(others, "pids"))
    {
        own.retain(|line| !line.controllers.iter().any(|name| name == "pids"));
        own.push(in_pids_group(path));
    }
    own
}

/// The tightest limit: the limit with the fewest pids left.
pub(super) fn pid_budget(mounts: &[Mount], lines: &[Membership]) -> Option<PidBudget> {
    let of_host = host_budget();
    ["", "pids"]
        .into_iter()
        .flat_map(|controller| {
            // In version 1, and in version 2 before commit 73e75e6fc352 (Linux 6.11 or 6.12) or with the mount option
            // `pids_localevents`, the kernel counts a refused fork in the group of the process that forks. Otherwise it
            // counts the refused fork in the group whose limit was reached, and in the groups above.
            let mut refused = None;
            directories(mounts, lines, controller).into_iter().filter_map(move |dir| {
                refused = refused.max(named_number(&dir.join("pids.events"), "max"));
                group_budget(&dir, refused)
            })
        })
        .chain(of_host)
        .min_by_key(|budget| budget.max.saturating_sub(budget.current))
}

/// The limit of one group. The word `max` means that there is no limit.
fn group_budget(dir: &Path, fork_failures: Option<u64>) -> Option<PidBudget> {
    let limit = dir.join("pids.max");
    Some(PidBudget {
        max: number(&limit)?,
        current: number(&dir.join("pids.current"))?,
        source: limit.to_string_lossy().into_owned(),
        fork_failures,
    })
}

/// The tightest limit of processor time, and how often it was applied. `None` if no group of the process is visible.
pub(super) fn cpu(mounts: &[Mount], lines: &[Membership]) -> Option<CpuFacts> {
    let groups = ["", "cpu"].map(|controller| directories(mounts, lines, controller)).concat();
    if groups.is_empty() {
        return None;
    }
    let limited = groups.iter().filter_map(|dir| {
        let throttled = named_number(&dir.join("cpu.stat"), "nr_throttled").unwrap_or_default();
        Some(CpuFacts { throttled, limit_millis: Some(limit_millis(dir)?) })
    });
    Some(
        limited
            .min_by_key(|facts| facts.limit_millis)
            .unwrap_or(CpuFacts { throttled: 0, limit_millis: None }),
    )
}

/// The limit of one group. Version 2 has `cpu.max`: `max`, or a time in each period. Version 1 has the same two values
/// in two files.
fn limit_millis(dir: &Path) -> Option<u64> {
    let (quota, period): (u64, u64) = match fs::read_to_string(dir.join("cpu.max")) {
        Ok(text) => {
            let (quota, period) = text.trim().split_once(' ')?;
            (quota.parse().ok()?, period.parse().ok()?)
        }
        // -1 means no limit, and does not parse as an unsigned number.
        Err(_) => (number(&dir.join("cpu.cfs_quota_us"))?, number(&dir.join("cpu.cfs_period_us"))?),
    };
    quota.checked_mul(1000)?.checked_div(period)
}

fn host_budget() -> Option<PidBudget> {
    // The fourth field of /proc/loadavg is `running/all`, where all are the tasks of the host.
    let loadavg = fs::read_to_string("/proc/loadavg").ok()?;
    let current = loadavg.split(' ').nth(3)?.split_once('/')?.1.parse().ok()?;
    Some(PidBudget {
        source: PID_MAX.to_owned(),
        current,
        max: number(Path::new(PID_MAX))?,
        fork_failures: None,
    })
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The number in the line that begins with a name.
fn named_number(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_group_with_any_name_is_below_its_mount(
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
    fn the_group_is_chosen_in_each_cgroup_mode() {
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
    fn the_tightest_pid_limit_and_the_frozen_group_are_found() {
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
        let named = |end: &str| frozen(&mounts, &lines).is_some_and(|file| file.ends_with(end));
        assert!(named("/a/b/freezer.state"));
        write("a/b/freezer.self_freezing", "0\n");
        write("a/freezer.self_freezing", "1\n");
        assert!(named("/a/freezer.state"), "the group above was frozen, and only that can be thawed");
        write("a/b/pids.events", "max 3\n");
        write("a/pids.events", "max 1\n");
        let budget = pid_budget(&mounts, &lines).expect("a limit");
        assert_eq!(budget.fork_failures, Some(3), "an old kernel counts where the fork was");
        let outside = memberships("3:pids:/../a/b\n");
        assert_eq!(directories(&mounts, &outside, "pids"), [] as [PathBuf; 0]);
    }

    #[test]
    fn a_zombie_gets_the_version_1_pids_group_of_its_neighbour() {
        let zombie = || memberships("8:pids:/\n0::/docker/abc\n");
        let group = |own: Vec<Membership>, other: Option<&str>| {
            let lines = with_pids_group(own, || other.map(memberships));
            of(&lines, "pids").map(str::to_owned)
        };
        assert_eq!(
            group(zombie(), Some("8:pids:/docker/abc\n0::/docker/abc\n")).as_deref(),
            Some("/docker/abc")
        );
        assert_eq!(group(zombie(), Some("0::/docker/abc\n")).as_deref(), Some("/"));
        assert_eq!(group(zombie(), None).as_deref(), Some("/"));
        let living = memberships("8:pids:/own\n0::/docker/abc\n");
        assert_eq!(group(living, Some("8:pids:/docker/abc\n")).as_deref(), Some("/own"));
        assert_eq!(group(memberships("0::/docker/abc\n"), Some("0::/docker/abc\n")), None);
    }

    #[test]
    fn the_tightest_cpu_limit_is_found_in_both_versions() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(dir.path().join("a/b")).expect("a group");
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
        let mount =
            |controller: &str| [Mount { controllers: vec![controller.into()], place: dir.path().into() }];
        let (v1, v2) = (memberships("4:cpu:/a/b\n"), memberships("0::/a/b\n"));
        assert_eq!(cpu(&mount("cpu"), &v2), None, "in no group that is mounted");
        assert_eq!(cpu(&mount(""), &v2), Some(CpuFacts { throttled: 0, limit_millis: None }));
        write("a/cpu.max", "50000 100000\n");
        write("a/cpu.stat", "usage_usec 7\nnr_periods 9\nnr_throttled 8\nthrottled_usec 5\n");
        write("a/b/cpu.max", "max 100000\n");
        assert_eq!(cpu(&mount(""), &v2), Some(CpuFacts { throttled: 8, limit_millis: Some(500) }));
        write("a/b/cpu.max", "20000 100000\n");
        assert_eq!(cpu(&mount(""), &v2), Some(CpuFacts { throttled: 0, limit_millis: Some(200) }));
        fs::remove_file(dir.path().join("a/cpu.max")).expect("removed");
        fs::remove_file(dir.path().join("a/b/cpu.max")).expect("removed");
        write("a/cpu.cfs_quota_us", "1500000\n");
        write("a/cpu.cfs_period_us", "1000000\n");
        write("a/b/cpu.cfs_quota_us", "-1\n");
        write("a/b/cpu.cfs_period_us", "100000\n");
        assert_eq!(cpu(&mount("cpu"), &v1), Some(CpuFacts { throttled: 8, limit_millis: Some(1500) }));
    }
}
