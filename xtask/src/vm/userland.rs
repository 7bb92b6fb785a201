//! Finds the programs of a virtual machine: on this host, or in Debian's packages of another architecture.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{apt::Index, arch::Arch, plan, process};

/// The suite of the packages for a machine of another architecture.
const SUITE: &str = "bookworm";
/// The packages with the programs. They are unpacked with their dependencies.
const PACKAGES: [&str; 5] = ["busybox-static", "crun", "runc", "tini", "util-linux"];

/// A root file system to take programs from.
pub(crate) enum Userland {
    /// The host's own.
    Host,
    /// A folder with the root file system of another architecture.
    Folder(Arch, PathBuf),
}

impl Userland {
    /// The programs of an architecture. If the host has another architecture, they are fetched into `dir`.
    pub(crate) fn of(arch: Arch, dir: &Path) -> Result<Self> {
        if arch.is_host() {
            return Ok(Self::Host);
        }
        let root = dir.join(format!("root-{}", arch.debian()));
        if !root.is_dir() {
            unpack(arch, dir, &root)?;
        }
        Ok(Self::Folder(arch, root))
    }

    /// The file of a program.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf> {
        let file = match self {
            Self::Host => plan::program(name),
            Self::Folder(_, root) => {
                let folders = ["usr/bin", "usr/sbin", "bin", "sbin"];
                folders.iter().map(|folder| root.join(folder).join(name)).find(|file| file.is_file())
            }
        };
        file.with_context(|| format!("{name} is not installed"))
    }

    /// The libraries of a program, by the paths that the program expects. A static program has none.
    pub(crate) fn libraries(&self, program: &Path) -> Vec<String> {
        let mut list = match self {
            Self::Host => Command::new("ldd"),
            Self::Folder(arch, root) => {
                let mut list = arch.runner();
                list.arg("-L").arg(root).arg(root.join(arch.interpreter())).arg("--list");
                list
            }
        };
        let linked = process::output(list.arg(program)).unwrap_or_default();
        parse_ldd(&linked).map(str::to_owned).collect()
    }

    /// The file that a program would open by this absolute path.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        match self {
            Self::Host => path.into(),
            Self::Folder(_, root) => root.join(path.trim_start_matches('/')),
        }
    }
}

/// Fetches the packages and unpacks them. The folder appears only when it is complete.
fn unpack(arch: Arch, dir: &Path, root: &Path) -> Result<()> {
    let index = Index::of_suite(SUITE, arch, dir)?;
    index.update()?;
    let part = dir.join("root-part");
    if part.exists() {
        fs::remove_dir_all(&part)?;
    }
    for package in index.download_with_dependencies(&PACKAGES)? {
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("-x").arg(package).arg(&part);
        process::visibly(unpack)?;
    }
    Ok(fs::rename(part, root)?)
}

/// The absolute paths in the output of `ldd`. For a static program there are none.
fn parse_ldd(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found() {
        let text = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibcap.so.2 => /lib/x86_64-linux-gnu/libcap.so.2 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let found: Vec<&str> = parse_ldd(text).collect();
        assert_eq!(found, ["/lib/x86_64-linux-gnu/libcap.so.2", "/lib64/ld-linux-x86-64.so.2"]);
        assert_eq!(parse_ldd("\tstatically linked\n").next(), None);
    }

    #[test]
    fn the_loader_of_another_architecture_has_the_path_that_programs_expect() {
        let text = "\tlibc.so.6 => /lib/aarch64-linux-gnu/libc.so.6 (0x55)\n\
                    \t/lib/ld-linux-aarch64.so.1 => root/lib/ld-linux-aarch64.so.1 (0x55)\n";
        let found: Vec<&str> = parse_ldd(text).collect();
        assert_eq!(found, ["/lib/aarch64-linux-gnu/libc.so.6", "/lib/ld-linux-aarch64.so.1"]);
    }
}
