use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::PathBuf,
};

use rustix::fs::{CWD, mkfifoat};
use tempfile::TempDir;

use super::*;

/// The longest path that is opened.
const MAX_PATH: usize = 4096;

const NOBODY: u32 = 65_534;
const MAX: u64 = 100;

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A directory that only this user can change.
struct Dir(TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// A directory that a user other than root can change.
    fn of_a_user() -> Self {
        let dir = Self::new();
        if me() == 0 {
            chown(dir.0.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
        }
        dir
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn path(&self, name: &str) -> String {
        self.at(name).into_os_string().into_string().expect("UTF-8")
    }

    fn write(&self, name: &str) -> String {
        fs::write(self.at(name), "content").expect("written");
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(0o644)).expect("permitted");
        self.path(name)
    }
}

fn refusal(path: &str) -> Refused {
    read(path, me(), MAX).expect_err("it must be refused")
}

#[test]
fn a_plain_file_of_its_owner_is_read() {
    let dir = Dir::new();
    assert_eq!(read(&dir.write("file"), me(), MAX), Ok(b"content".to_vec()));
    assert_eq!(read(&dir.path("none"), me(), MAX), Err(Refused::Open(Errno::NOENT)));
}

#[test]
fn a_file_of_another_owner_is_refused() {
    let dir = Dir::new();
    let path = dir.write("file");
    assert_eq!(read(&path, me() + 1, MAX), Err(Refused::Owner(me())));
    if me() == 0 {
        chown(&path, Some(NOBODY), None).expect("root may");
        assert_eq!(read(&path, 0, MAX), Err(Refused::Owner(NOBODY)));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("permitted");
        assert!(read(&path, NOBODY, MAX).is_ok());
    }
}

#[test]
fn a_file_that_others_can_write_is_refused() {
    let dir = Dir::new();
    let path = dir.write("file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o602)).expect("permitted");
    assert_eq!(refusal(&path), Refused::Writable);
    // A group with the same id as the owner is the private group of the owner.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).expect("permitted");
    let is_private = fs::metadata(&path).expect("it is there").gid() == me();
    assert_eq!(read(&path, me(), MAX).is_ok(), is_private);
}

#[test]
fn a_hard_link_is_refused() {
    let dir = Dir::new();
    let path = dir.write("file");
    fs::hard_link(&path, dir.at("other")).expect("a link");
    assert_eq!(refusal(&path), Refused::HardLink);
}

#[test]
fn a_large_file_is_refused() {
    let dir = Dir::new();
    let path = dir.write("file");
    fs::write(&path, "x".repeat(MAX as usize + 1)).expect("written");
    assert_eq!(refusal(&path), Refused::Size);
    File::create(&path).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
    assert_eq!(refusal(&path), Refused::Size);
}

#[test]
fn only_a_regular_file_is_opened() {
    let dir = Dir::new();
    mkfifoat(CWD, dir.at("pipe"), Mode::RUSR | Mode::WUSR).expect("a pipe");
    for path in [dir.path("pipe"), dir.path(""), "/dev/null".to_owned(), "/".to_owned()] {
        assert_eq!(refusal(&path), Refused::Type, "{path}");
    }
}

#[test]
fn a_path_that_is_not_plain_is_refused() {
    for path in ["", "a", "/a/../b", "/..", "/a\0b"] {
        assert_eq!(refusal(path), Refused::Path, "{path:?}");
    }
    assert_eq!(refusal(&format!("/{}", "a".repeat(MAX_PATH))), Refused::Path);
}

#[test]
fn a_file_of_the_kernel_is_refused() {
    for (path, kind) in [
        ("/proc/version", "proc"),
        ("/proc/kmsg", "proc"),
        ("/sys/kernel/notes", "sysfs"),
        // Links of /proc.
        ("/proc/self/environ", "proc"),
        ("/proc/1/root/etc/passwd", "proc"),
    ] {
        assert_eq!(refusal(path), Refused::FileSystem(kind), "{path}");
    }
}

#[test]
fn a_link_of_a_user_is_refused_for_any_target() {
    let dir = Dir::of_a_user();
    let target = Dir::new().write("file");
    for (name, target) in [
        ("file", target.as_str()),
        ("kmsg", "/proc/kmsg"),
        ("loop", "loop"),
        ("dir", "/run"),
        ("relative", "file"),
    ] {
        symlink(target, dir.at(name)).expect("a link");
        assert_eq!(refusal(&dir.path(name)), Refused::Link, "{name}");
    }
    assert_eq!(refusal(&dir.path("dir/utmp")), Refused::Link);
    // A directory of root below a directory of a user is not safe either: the user can replace it.
    fs::create_dir(dir.at("inner")).expect("a directory");
    symlink("/etc/passwd", dir.at("inner/link")).expect("a link");
    assert_eq!(refusal(&dir.path("inner/link")), Refused::Link);
}

#[test]
fn a_link_of_root_in_a_directory_of_root_is_followed() {
    if me() != 0 {
        return;
    }
    let (dir, other) = (Dir::new(), Dir::new());
    other.write("file");
    symlink(other.0.path(), dir.at("absolute")).expect("a link");
    symlink(format!("../{}", other.0.path().file_name().expect("a name").display()), dir.at("relative"))
        .expect("a link");
    for name in ["absolute/file", "relative/file"] {
        assert!(read(&dir.path(name), 0, MAX).is_ok(), "{name}");
    }
    // Even a link of root is refused if it leads to a file of the kernel or into a loop.
    symlink("/proc/kmsg", dir.at("kmsg")).expect("a link");
    assert_eq!(refusal(&dir.path("kmsg")), Refused::FileSystem("proc"));
    symlink("loop", dir.at("loop")).expect("a link");
    assert_eq!(refusal(&dir.path("loop")), Refused::Link);
    // A link that a user has put into a sticky directory of root.
    fs::set_permissions(dir.0.path(), fs::Permissions::from_mode(0o1777)).expect("permitted");
    assert!(read(&dir.path("absolute/file"), 0, MAX).is_ok());
    std::os::unix::fs::lchown(dir.at("absolute"), Some(NOBODY), None).expect("root may");
    assert_eq!(refusal(&dir.path("absolute/file")), Refused::Link);
    fs::set_permissions(dir.0.path(), fs::Permissions::from_mode(0o777)).expect("permitted");
    assert_eq!(refusal(&dir.path("relative/file")), Refused::Link, "anybody can replace the link");
}

#[test]
fn only_a_program_that_root_alone_can_change_counts_as_roots_file() {
    assert_eq!(is_roots("/bin/sh"), Some(true), "through links of root's");
    assert_eq!(is_roots("/bin/no-such-program"), None);
    assert_eq!(is_roots("bin/sh"), None);
    assert_eq!(is_roots("/proc/self/exe"), Some(false));
    let dir = Dir::of_a_user();
    let path = dir.write("crun");
    assert_eq!(is_roots(&path), Some(false), "in a directory that a user can change");
    symlink("/bin/sh", dir.at("runc")).expect("a link");
    assert_eq!(is_roots(&dir.path("runc")), Some(false), "a user's link to root's program");
    if me() == 0 {
        let dir = Dir::new();
        let path = dir.write("crun");
        assert_eq!(is_roots(&path), Some(true));
        chown(&path, Some(NOBODY), None).expect("root may");
        assert_eq!(is_roots(&path), Some(false));
    }
}

#[test]
fn a_plain_path_is_absolute_and_does_not_go_up() {
    for (path, plain) in [
        ("/run/crun/a/status", true),
        ("/a/.b/..c", true),
        ("/a/../b", false),
        ("/..", false),
        ("a/b", false),
        ("", false),
        ("/a\0b", false),
    ] {
        assert_eq!(is_plain(path), plain, "{path:?}");
    }
    assert!(!is_plain(&format!("/{}", "a".repeat(MAX_PATH))));
}
