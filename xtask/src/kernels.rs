//! Kernels to boot or to look into: files that are there, or Debian's, which are fetched and kept below cargo's target directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    str::FromStr,
};

use anyhow::{Context as _, Result, bail};

use crate::{apt::Index, arch::Arch, process, setup};

/// Which kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Debian's newest of this line.
    Line(Line),
    /// The path of an image.
    File(PathBuf),
}

/// A line of Debian's kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// 6.1, of Debian 12.
    V6_1,
    /// 6.12, of Debian 12's backports and of Debian 13.
    V6_12,
    /// The newest of the backports to Debian 13.
    Newest,
}

/// All of them, as every test run boots them.
pub(crate) const LINES: [Wanted; 3] =
    [Wanted::Line(Line::V6_1), Wanted::Line(Line::V6_12), Wanted::Line(Line::Newest)];

/// A kernel that is there.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// Its version, or the name of its file.
    pub(crate) name: String,
    /// Its image.
    pub(crate) image: PathBuf,
}

const IMAGE: &str = "vmlinuz-";
/// Which packages hold an image. Up to 6.18 it is in `/boot` of the first; from 6.19 on in `/usr/lib/modules` of the second,
/// and the first only depends on it.
const PACKAGES: [&str; 2] = ["linux-image-", "linux-binary-"];
/// The suite of [`Line::Newest`]: the backports to Debian 13.
const BACKPORTS: &str = "trixie-backports";

/// Where they are kept.
pub(crate) fn dir() -> Result<PathBuf> {
    let dir = process::target_dir()?.join("vm");
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

impl FromStr for Wanted {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let line = [Line::V6_1, Line::V6_12, Line::Newest].into_iter().find(|line| line.name() == text);
        Ok(line.map_or_else(|| Self::File(text.into()), Self::Line))
    }
}

impl Wanted {
    /// Fetches it into `dir`, unless it is there.
    pub(crate) fn get(&self, arch: Arch, dir: &Path) -> Result<Kernel> {
        match self {
            Self::Line(line) => line.get(arch, dir),
            Self::File(file) => {
                if !file.is_file() {
                    bail!("{}: there is no such kernel; the lines are 6.1, 6.12 and newest", file.display());
                }
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                let name = name.strip_prefix(IMAGE).unwrap_or(&name);
                Ok(Kernel {
                    name: name.strip_suffix(&flavour(arch)).unwrap_or(name).to_owned(),
                    image: file.clone(),
                })
            }
        }
    }
}

impl Line {
    fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::Newest => "newest",
        }
    }

    /// Whether a version is of this line.
    fn has(self, numbers: &[u32]) -> bool {
        match self {
            Self::V6_1 => numbers.starts_with(&[6, 1]),
            Self::V6_12 => numbers.starts_with(&[6, 12]),
            Self::Newest => numbers.len() > 3,
        }
    }

    /// The newest of these versions that is of this line.
    fn newest<'a>(self, versions: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        let numbered = versions.into_iter().filter_map(|version| Some((numbers(version)?, version)));
        let of_line = numbered.filter(|(numbers, _)| self.has(numbers));
        of_line.max_by(|(one, _), (other, _)| one.cmp(other)).map(|(_, version)| version)
    }

    /// The suite that has it.
    fn suite(self) -> &'static str {
        match self {
            Self::V6_1 => "bookworm",
            Self::V6_12 => "trixie",
            Self::Newest => BACKPORTS,
        }
    }

    fn get(self, arch: Arch, dir: &Path) -> Result<Kernel> {
        let is_hosts = arch.is_host() && self != Self::Newest;
        let index = if is_hosts {
            Index::host()
        } else {
            // Only today's list knows the newest.
            let index = Index::of_suite(self.suite(), arch, dir)?;
            if let Err(error) = index.update() {
                eprintln!("    {error:#}\n    the newest of those that were fetched before is taken");
            }
            index
        };
        match self.find_and_fetch(arch, dir, &index) {
            Ok(Some(kernel)) => return Ok(kernel),
            Ok(None) => {}
            Err(error) => eprintln!("    {error:#}\n    apt's index may be old"),
        }
        if is_hosts {
            setup::update_index()?;
        }
        self.find_and_fetch(arch, dir, &index)?.with_context(|| {
            let name = self.name();
            format!("apt knows no kernel of the line {name}; name an image: --kernel FILE")
        })
    }

    /// `None` if there is none, in apt's index or among those fetched before.
    fn find_and_fetch(self, arch: Arch, dir: &Path, index: &Index) -> Result<Option<Kernel>> {
        let flavour = flavour(arch);
        let packages = index.search(&format!("^linux-(image|binary)-[0-9].*{flavour}$"));
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        let here = names.iter().filter_map(|name| version(name, IMAGE, &flavour));
        let of_package = |name| PACKAGES.iter().find_map(|prefix| version(name, prefix, &flavour));
        let there = packages.iter().filter_map(|name| of_package(name));
        let Some(version) = self.newest(here.chain(there)) else { return Ok(None) };
        let image = dir.join(format!("{IMAGE}{version}{flavour}"));
        if !image.is_file() {
            let in_package = |prefix: &str| format!("{prefix}{version}{flavour}");
            // The package that only depends on the other exists too, so the other is tried first.
            let mut candidates = PACKAGES.iter().rev().map(|prefix| in_package(prefix));
            let package = candidates.find(|name| packages.contains(name));
            fetch(dir, index, &package.context("the package that was found is gone")?, &image)?;
        }
        Ok(Some(Kernel { name: version.to_owned(), image }))
    }
}

/// The version in the name of a package or an image.
fn version<'a>(name: &'a str, prefix: &str, flavour: &str) -> Option<&'a str> {
    name.strip_prefix(prefix)?.strip_suffix(flavour)
}

/// How the names of an architecture's kernels end.
fn flavour(arch: Arch) -> String {
    format!("-{}", arch.debian())
}

/// The numbers of a version, such as `6.1.0-56`, `6.12.90+deb12.1` or `7.3.4+deb13`. `None` of another flavour or release
/// candidate.
fn numbers(version: &str) -> Option<Vec<u32>> {
    let plain = version.replacen("+deb", ".", 1);
    plain.split(['.', '-']).map(|number| number.parse().ok()).collect()
}

/// Downloads a package and takes the image out of it: its modules, the most of it, are not needed.
fn fetch(dir: &Path, index: &Index, package: &str, image: &Path) -> Result<()> {
    let part = dir.join("part");
    remove(&part)?;
    fs::create_dir_all(&part)?;
    let deb = index.download(package, &part)?;

    let mut unpack = Command::new("dpkg-deb");
    let mut unpack = unpack.arg("--fsys-tarfile").arg(&deb).stdout(Stdio::piped()).spawn()?;
    let archive = unpack.stdout.take().context("dpkg-deb has no pipe")?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--file=-", "--wildcards", "--to-stdout", "*/vmlinuz*"]);
    let whole = part.join("vmlinuz");
    tar.stdin(archive).stdout(fs::File::create(&whole)?);
    let status = tar.status().context("cannot start tar")?;
    // Its pipe, shared with tar, has to go, or dpkg-deb would wait for a reader.
    drop(tar);
    let unpacked = unpack.wait()?;
    if !status.success() || !unpacked.success() {
        bail!("{} cannot be unpacked: dpkg-deb {unpacked}, tar {status}", deb.display());
    }
    fs::rename(&whole, image)?;
    remove(&part)
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_line_is_found_by_number() {
        let versions =
            ["6.1.0-9", "6.12.117+deb12", "6.1.0-56", "6.1.0-50", "6.12.9+deb12", "6.1.0-60-cloud"];
        assert_eq!(Line::V6_1.newest(versions), Some("6.1.0-56"));
        assert_eq!(Line::V6_12.newest(versions), Some("6.12.117+deb12"));
        assert_eq!(Line::V6_12.newest(["6.1.0-56", "6.120.1+deb12"]), None);
        let backports =
            ["6.19.14+deb13", "7.3.4+deb13", "7.10.1+deb13", "7.10.1+deb13.1", "7.11~rc1", "7.11"];
        assert_eq!(Line::Newest.newest(backports), Some("7.10.1+deb13.1"));
        assert_eq!(Line::V6_1.newest(["6.1.0-0.deb11.48", "6.1.0-60-cloud", "6.1.0-rt-9"]), None);
    }

    #[test]
    fn versions_are_read_from_names() {
        assert_eq!(version("linux-image-6.1.0-56-amd64", PACKAGES[0], "-amd64"), Some("6.1.0-56"));
        assert_eq!(version("linux-image-6.1.0-56-amd64-dbg", PACKAGES[0], "-amd64"), None);
        assert_eq!(version("part", IMAGE, "-amd64"), None);
    }

    #[test]
    fn a_kernel_is_a_line_or_a_file() {
        assert_eq!("6.1".parse(), Ok(Wanted::Line(Line::V6_1)));
        assert_eq!("6.12".parse(), Ok(Wanted::Line(Line::V6_12)));
        assert_eq!("newest".parse(), Ok(Wanted::Line(Line::Newest)));
        assert_eq!("/boot/bzImage".parse(), Ok(Wanted::File("/boot/bzImage".into())));
        let error = Wanted::File("7.0".into()).get(Arch::X86_64, Path::new("/")).unwrap_err().to_string();
        assert_eq!(error, "7.0: there is no such kernel; the lines are 6.1, 6.12 and newest");
    }
}
