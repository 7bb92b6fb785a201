//! Kernels to boot or to look into: files that are there, or Debian's, which are fetched and kept below cargo's target directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    str::FromStr,
};

use anyhow::{Context as _, Result, bail};

use crate::{process, setup, toolchain};

/// Which kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Debian's newest of this line.
    Line(Line),
    /// The path of a bzImage.
    File(PathBuf),
}

/// A line of Debian's kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// 6.1, of Debian 12.
    V6_1,
    /// 6.12, of Debian 12's backports and of Debian 13.
    V6_12,
}

/// A kernel that is there.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// Its version, or the name of its file.
    pub(crate) name: String,
    /// Its bzImage.
    pub(crate) image: PathBuf,
}

const FLAVOUR: &str = "-amd64";
const IMAGE: &str = "vmlinuz-";
const PACKAGE: &str = "linux-image-";

/// Where they are kept.
pub(crate) fn dir() -> Result<PathBuf> {
    let dir = process::target_dir()?.join("vm");
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

impl FromStr for Wanted {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "6.1" => Self::Line(Line::V6_1),
            "6.12" => Self::Line(Line::V6_12),
            file => Self::File(file.into()),
        })
    }
}

impl Wanted {
    /// Fetches it into `dir`, unless it is there.
    pub(crate) fn get(&self, dir: &Path) -> Result<Kernel> {
        match self {
            Self::Line(line) => line.get(dir),
            Self::File(file) => {
                if !file.is_file() {
                    bail!("{}: there is no such kernel; the lines are 6.1 and 6.12", file.display());
                }
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                let name = name.strip_prefix(IMAGE).unwrap_or(&name);
                Ok(Kernel {
                    name: name.strip_suffix(FLAVOUR).unwrap_or(name).to_owned(),
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
        }
    }

    /// The numbers of a version, such as `6.1.0-56` or `6.12.117+deb12`, if it is of this line.
    fn numbers(self, version: &str) -> Option<Vec<u32>> {
        let (rest, separator) = match self {
            Self::V6_1 => (version.strip_prefix("6.1.")?, "-"),
            Self::V6_12 => (version.strip_prefix("6.12.")?, "+deb"),
        };
        let (one, two) = rest.split_once(separator)?;
        Some(vec![one.parse().ok()?, two.parse().ok()?])
    }

    /// The newest of these versions that is of this line.
    fn newest<'a>(self, versions: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        versions
            .into_iter()
            .filter(|version| self.numbers(version).is_some())
            .max_by_key(|it| self.numbers(it))
    }

    fn get(self, dir: &Path) -> Result<Kernel> {
        match self.find_and_fetch(dir) {
            Ok(Some(kernel)) => return Ok(kernel),
            Ok(None) => {}
            Err(error) => eprintln!("    {error:#}\n    apt's index may be old"),
        }
        setup::update_index()?;
        self.find_and_fetch(dir)?.with_context(|| {
            let name = self.name();
            format!("apt knows no kernel of the line {name}; name a bzImage: --kernel FILE")
        })
    }

    /// `None` if there is none, in apt's index or among those fetched before.
    fn find_and_fetch(self, dir: &Path) -> Result<Option<Kernel>> {
        let search = ["search", "--names-only", "^linux-image-6[.].*-amd64$"];
        let index = toolchain::output(Command::new("apt-cache").args(search)).unwrap_or_default();
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        let here = names.iter().filter_map(|name| version(name, IMAGE));
        let there = index.lines().filter_map(|line| version(line.split_whitespace().next()?, PACKAGE));
        let Some(version) = self.newest(here.chain(there)) else { return Ok(None) };
        let image = dir.join(format!("{IMAGE}{version}{FLAVOUR}"));
        if !image.is_file() {
            fetch(dir, version)?;
        }
        Ok(Some(Kernel { name: version.to_owned(), image }))
    }
}

/// The version in the name of a package or an image.
fn version<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    name.strip_prefix(prefix)?.strip_suffix(FLAVOUR)
}

/// Downloads a package and takes the image out of it: its modules, the most of it, are not needed.
fn fetch(dir: &Path, version: &str) -> Result<()> {
    let part = dir.join("part");
    remove(&part)?;
    fs::create_dir_all(&part)?;
    let package = format!("{PACKAGE}{version}{FLAVOUR}");
    let mut download = Command::new("apt-get");
    download.args(["download", &package]).current_dir(&part);
    process::condensed(&format!("kernels: apt-get download {package}"), download)?;
    let mut files = fs::read_dir(&part)?;
    let deb = files.next().with_context(|| format!("apt-get download {package} brought nothing"))??.path();

    let mut unpack = Command::new("dpkg-deb");
    let mut unpack = unpack.arg("--fsys-tarfile").arg(&deb).stdout(Stdio::piped()).spawn()?;
    let archive = unpack.stdout.take().context("dpkg-deb has no pipe")?;
    let name = format!("{IMAGE}{version}{FLAVOUR}");
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--file=-", &format!("./boot/{name}")]).current_dir(&part).stdin(archive);
    let status = tar.status().context("cannot start tar")?;
    // Its pipe, shared with tar, has to go, or dpkg-deb would wait for a reader.
    drop(tar);
    let unpacked = unpack.wait()?;
    if !status.success() || !unpacked.success() {
        bail!("{} cannot be unpacked: dpkg-deb {unpacked}, tar {status}", deb.display());
    }
    fs::rename(part.join("boot").join(&name), dir.join(&name))?;
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
        assert_eq!(Line::V6_12.newest(["6.1.0-56", "6.12", "6.120.1+deb12"]), None);
    }

    #[test]
    fn versions_are_read_from_names() {
        assert_eq!(version("linux-image-6.1.0-56-amd64", PACKAGE), Some("6.1.0-56"));
        assert_eq!(version("linux-image-6.1.0-56-amd64-dbg", PACKAGE), None);
        assert_eq!(version("part", IMAGE), None);
    }

    #[test]
    fn a_kernel_is_a_line_or_a_file() {
        assert_eq!("6.1".parse(), Ok(Wanted::Line(Line::V6_1)));
        assert_eq!("6.12".parse(), Ok(Wanted::Line(Line::V6_12)));
        assert_eq!("/boot/bzImage".parse(), Ok(Wanted::File("/boot/bzImage".into())));
        let error = Wanted::File("7.0".into()).get(Path::new("/")).unwrap_err().to_string();
        assert_eq!(error, "7.0: there is no such kernel; the lines are 6.1 and 6.12");
    }
}
