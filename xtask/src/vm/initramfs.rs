//! Builds the root file system of the virtual machine: a newc cpio archive, which the kernel unpacks into memory.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result, bail};

use super::userland::Userland;

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const ALIGNMENT: usize = 4;

/// The programs that the machine needs. The libraries that they are linked with are added too.
const PROGRAMS: [&str; 5] = ["busybox", "crun", "runc", "setpriv", "tini"];
/// Directories that are mount points, or that programs expect.
const DIRECTORIES: [&str; 8] = ["dev", "etc", "newroot", "proc", "root", "run", "sys", "tmp"];
/// Container runtimes change their root with `pivot_root`. The kernel refuses that on the root into which it has
/// unpacked this archive. So the script binds the same tree to a directory, and moves that over the root.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TMPDIR=/tmp
mount -t proc proc /proc
mount --bind / /newroot
cd /newroot
mount --move . /
exec chroot . /bin/sh /init2
";
/// The rest of the start, in the new root. It writes a machine id, because events contain it.
const MOUNTS: &str = "cd /
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/freezer
mount -t cgroup -o freezer freezer /run/freezer
tr -d - </proc/sys/kernel/random/boot_id >/etc/machine-id
hostname vm
ip link set lo up
";

/// A program that the machine runs. Then the machine prints the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Its name in the verdict.
    pub(crate) name: String,
    /// A line of shell.
    pub(crate) command: String,
}

/// The beginning of the line with a [`Step`]'s exit code.
pub(crate) const VERDICT: &str = "VM-VERDICT";

/// The archive with everything that the steps need. `files` are files of this host, each with its path in the machine;
/// all of them become executable. `preparation` is a shell script that runs before the steps.
pub(crate) fn build(
    userland: &Userland,
    files: &[(&Path, &str)],
    preparation: &str,
    steps: &[Step],
) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in DIRECTORIES {
        archive.directory(directory)?;
    }
    archive.file("init", INIT.as_bytes())?;
    archive.file("init2", script(preparation, steps).as_bytes())?;
    let mut libraries = BTreeSet::new();
    for name in PROGRAMS {
        let program = userland.program(name)?;
        archive.file(&format!("bin/{name}"), &read(&program)?)?;
        libraries.extend(userland.libraries(&program));
    }
    for library in libraries {
        archive.file(&library, &read(&userland.file(&library))?)?;
    }
    for (file, place) in files {
        archive.file(place, &read(file)?)?;
    }
    archive.end()
}

/// The script that the machine runs in its new root. At its end, it powers the machine off.
fn script(preparation: &str, steps: &[Step]) -> String {
    let mut script = format!("{MOUNTS}{preparation}");
    for Step { name, command } in steps {
        let _infallible = write!(script, "{command}\necho \"{VERDICT} {name} $?\"\n");
    }
    script + "poweroff -f\n"
}

/// A word, quoted for the shell.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A cpio archive in the format that `Documentation/driver-api/early-userspace/buffer-format.rst` describes.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    directories: BTreeSet<String>,
}

impl Archive {
    /// Adds a directory and its parents, unless they are there.
    fn directory(&mut self, path: &str) -> Result<()> {
        let path = path.trim_matches('/');
        if path.is_empty() || self.directories.contains(path) {
            return Ok(());
        }
        self.parents(path)?;
        self.directories.insert(path.to_owned());
        self.entry(path, DIRECTORY | 0o755, &[])
    }

    /// Adds an executable file and its parent directories.
    fn file(&mut self, path: &str, data: &[u8]) -> Result<()> {
        let path = path.trim_start_matches('/');
        self.parents(path)?;
        self.entry(path, FILE | 0o755, data)
    }

    /// Ends the archive.
    fn end(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, &[])?;
        Ok(self.bytes)
    }

    fn parents(&mut self, path: &str) -> Result<()> {
        path.rsplit_once('/').map_or(Ok(()), |(parent, _)| self.directory(parent))
    }

    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) -> Result<()> {
        if name.contains('\0') {
            bail!("a file name has a zero byte: {name:?}");
        }
        self.entries += 1;
        let size = u32::try_from(data.len()).with_context(|| format!("{name} is too large"))?;
        let name_size = u32::try_from(name.len() + 1).context("a file name is too long")?;
        self.bytes.extend(b"070701");
        // Inode, mode, user, group, links, time, size, two device numbers, the size of the name, no checksum.
        for number in [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
            self.bytes.extend(format!("{number:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(data);
        self.align();
        Ok(())
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: &[u8]) -> usize {
        usize::from_str_radix(str::from_utf8(bytes).unwrap(), 16).unwrap()
    }

    /// Reads an archive back: names, modes and contents.
    fn entries(mut bytes: &[u8]) -> Vec<(String, usize, Vec<u8>)> {
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            assert_eq!(&bytes[..6], b"070701");
            let field = |index: usize| number(&bytes[6 + 8 * index..14 + 8 * index]);
            let (size, name_size) = (field(6), field(11));
            let name = &bytes[110..110 + name_size];
            assert_eq!(name.last(), Some(&0));
            let start = (110 + name_size).next_multiple_of(4);
            let name = String::from_utf8(name[..name_size - 1].to_vec()).unwrap();
            entries.push((name, field(1), bytes[start..start + size].to_vec()));
            bytes = &bytes[(start + size).next_multiple_of(4)..];
        }
        entries
    }

    #[test]
    fn an_archive_can_be_read_back() {
        let mut archive = Archive::default();
        archive.file("/lib/x/a.so", b"12345").unwrap();
        archive.file("lib/x/b.so", b"").unwrap();
        archive.directory("lib").unwrap();
        archive.directory("tmp").unwrap();
        let bytes = archive.end().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let read = entries(&bytes);
        let (directory, file) = (0o040_755, 0o100_755);
        let wanted: [(&str, usize, &[u8]); 6] = [
            ("lib", directory, b""),
            ("lib/x", directory, b""),
            ("lib/x/a.so", file, b"12345"),
            ("lib/x/b.so", file, b""),
            ("tmp", directory, b""),
            ("TRAILER!!!", 0, b""),
        ];
        let wanted = wanted.map(|(name, mode, data)| (name.to_owned(), mode, data.to_vec()));
        assert_eq!(read, wanted);
    }

    #[test]
    fn a_cpio_header_has_the_format_of_the_kernel() {
        let mut archive = Archive::default();
        archive.file("a", b"x").unwrap();
        let wanted =
            b"07070100000001000081ed000000000000000000000001000000000000000100000000000000000000000000000000\
                       0000000200000000a\0x\0\0\0";
        assert_eq!(archive.bytes, wanted);
    }

    #[test]
    fn every_step_reports_its_exit_code() {
        let step = Step { name: "a".to_owned(), command: format!("run {}", quoted("it's")) };
        let script = script("mkdir /x\n", &[step]);
        let end = script.strip_prefix(MOUNTS).unwrap();
        assert_eq!(end, "mkdir /x\nrun 'it'\\''s'\necho \"VM-VERDICT a $?\"\npoweroff -f\n");
    }
}
