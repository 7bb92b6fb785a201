//! Kernels to boot or to read: existing files, or Debian's kernels, which are fetched and kept below cargo's target
//! directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    str::FromStr,
};

use anyhow::{Context as _, Result, bail};

use crate::{apt::Index, arch::Arch, process, setup};

/// A requested kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Debian's newest kernel of this line and flavour.
    Debian(Line, Flavour),
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
    /// The kernel of Debian's unstable suite.
    Sid,
}

/// The purpose for which a kernel of a line is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// Any machine.
    Standard,
    /// Virtual machines of cloud providers: fewer drivers.
    Cloud,
    /// Fully preemptible (`PREEMPT_RT`).
    Realtime,
    /// arm64 with pages of 16 KiB.
    Pages16k,
}

/// The kernels that every test run boots.
pub(crate) const LINES: [Wanted; 3] = [
    Wanted::Debian(Line::V6_1, Flavour::Standard),
    Wanted::Debian(Line::V6_12, Flavour::Standard),
    Wanted::Debian(Line::Newest, Flavour::Standard),
];

/// An existing kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// Its version, or the name of its file.
    pub(crate) name: String,
    /// Its image.
    pub(crate) image: PathBuf,
}

const IMAGE: &str = "vmlinuz-";
/// The packages with an image. Up to 6.18, the image is in `/boot` of the first package. From 6.19 on, it is in
/// `/usr/lib/modules` of the second, and the first only depends on the second.
const PACKAGES: [&str; 2] = ["linux-image-", "linux-binary-"];
/// The suite of [`Line::Newest`]: the backports to Debian 13.
const BACKPORTS: &str = "trixie-backports";

/// The folder of the fetched kernels.
pub(crate) fn dir() -> Result<PathBuf> {
    let dir = process::target_dir()?.join("vm");
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

impl FromStr for Wanted {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (line, flavour) = Flavour::split(text);
        let line = Line::ALL.into_iter().find(|it| it.name() == line);
        Ok(line.map_or_else(|| Self::File(text.into()), |line| Self::Debian(line, flavour)))
    }
}

impl Wanted {
    /// Fetches the kernel into `dir`, unless it is there.
    pub(crate) fn get(&self, arch: Arch, dir: &Path) -> Result<Kernel> {
        match self {
            Self::Debian(line, flavour) => line.get(*flavour, arch, dir),
            Self::File(file) => {
                if !file.is_file() {
                    let lines = Line::ALL.map(Line::name).join(", ");
                    bail!("{}: there is no such kernel; the lines are {lines}", file.display());
                }
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                let name = name.strip_prefix(IMAGE).unwrap_or(&name);
                Ok(Kernel {
                    name: name.strip_suffix(&Flavour::Standard.suffix(arch)).unwrap_or(name).to_owned(),
                    image: file.clone(),
                })
            }
        }
    }
}

impl Flavour {
    const MARKED: [(Self, &'static str); 3] =
        [(Self::Cloud, "-cloud"), (Self::Realtime, "-rt"), (Self::Pages16k, "-16k")];

    /// Splits `6.1-rt` into the name of the line and the flavour.
    fn split(text: &str) -> (&str, Self) {
        let marked = Self::MARKED.into_iter().find_map(|(it, mark)| Some((text.strip_suffix(mark)?, it)));
        marked.unwrap_or((text, Self::Standard))
    }

    /// The end of the names of its packages.
    fn suffix(self, arch: Arch) -> String {
        let arch = arch.debian();
        match self {
            Self::Standard => format!("-{arch}"),
            Self::Cloud => format!("-cloud-{arch}"),
            Self::Realtime => format!("-rt-{arch}"),
            Self::Pages16k => format!("-{arch}-16k"),
        }
    }

    /// The part of its name after the version.
    fn mark(self) -> &'static str {
        Self::MARKED.into_iter().find_map(|(it, mark)| (it == self).then_some(mark)).unwrap_or_default()
    }
}

impl Line {
    const ALL: [Self; 4] = [Self::V6_1, Self::V6_12, Self::Newest, Self::Sid];

    fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::Newest => "newest",
            Self::Sid => "sid",
        }
    }

    /// Whether a version belongs to this line.
    fn has(self, numbers: &[u32]) -> bool {
        match self {
            Self::V6_1 => numbers.starts_with(&[6, 1]),
            Self::V6_12 => numbers.starts_with(&[6, 12]),
            Self::Newest => numbers.len() > 3,
            Self::Sid => true,
        }
    }

    /// The newest of these versions that belongs to this line.
    fn newest<'a>(self, versions: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        let numbered = versions.into_iter().filter_map(|version| Some((numbers(version)?, version)));
        let of_line = numbered.filter(|(numbers, _)| self.has(numbers));
        of_line.max_by(|(one, _), (other, _)| one.cmp(other)).map(|(_, version)| version)
    }

    /// The suite that has this line.
    fn suite(self) -> &'static str {
        match self {
            Self::V6_1 => "bookworm",
            Self::V6_12 => "trixie",
            Self::Newest => BACKPORTS,
            Self::Sid => "sid",
        }
    }

    fn get(self, flavour: Flavour, arch: Arch, dir: &Path) -> Result<Kernel> {
        if arch.is_host() && matches!(self, Self::V6_1 | Self::V6_12) {
            let index = Index::host();
            if let Some(kernel) = self.try_index(flavour, arch, dir, &index) {
                return Ok(kernel);
            }
            setup::update_index()?;
            if let Some(kernel) = self.try_index(flavour, arch, dir, &index) {
                return Ok(kernel);
            }
        }
        // The host installs from another suite, or only today's list has the newest kernel.
        let index = Index::of_suite(self.suite(), arch, dir)?;
        if let Err(error) = index.update() {
            eprintln!("    {error:#}\n    the newest of those that were fetched before is taken");
        }
        // Unstable kernels have their own folder, because an older one would be mistaken for a kernel of another line.
        let dir = if self == Self::Sid { &dir.join(format!("sid-{}", arch.debian())) } else { dir };
        self.find_and_fetch(flavour, arch, dir, &index)?.with_context(|| {
            let name = self.name();
            format!("apt knows no kernel of the line {name}{}; name an image: --kernel FILE", flavour.mark())
        })
    }

    /// Finds and fetches the kernel with an index that may be old.
    fn try_index(self, flavour: Flavour, arch: Arch, dir: &Path, index: &Index) -> Option<Kernel> {
        self.find_and_fetch(flavour, arch, dir, index).unwrap_or_else(|error| {
            eprintln!("    {error:#}\n    apt's index may be old");
            None
        })
    }

    /// Finds the newest kernel of the line, and fetches it. `None` if there is none, neither in apt's index nor among
    /// the fetched kernels.
    fn find_and_fetch(
        self,
        flavour: Flavour,
        arch: Arch,
        dir: &Path,
        index: &Index,
    ) -> Result<Option<Kernel>> {
        let suffix = flavour.suffix(arch);
        let packages = index.search(&format!("^linux-(image|binary)-[0-9].*{suffix}$"));
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        let here = names.iter().filter_map(|name| version(name, IMAGE, &suffix));
        let of_package = |name| PACKAGES.iter().find_map(|prefix| version(name, prefix, &suffix));
        let there = packages.iter().filter_map(|name| of_package(name));
        let Some(version) = self.newest(here.chain(there)) else { return Ok(None) };
        let image = dir.join(format!("{IMAGE}{version}{suffix}"));
        if !image.is_file() {
            let in_package = |prefix: &str| format!("{prefix}{version}{suffix}");
            // The first package may exist and only depend on the second, so the second is tried first.
            let mut candidates = PACKAGES.iter().rev().map(|prefix| in_package(prefix));
            let package = candidates.find(|name| packages.contains(name));
            fetch(dir, index, &package.context("the package that was found is gone")?, &image)?;
        }
        Ok(Some(Kernel { name: format!("{version}{}", flavour.mark()), image }))
    }
}

/// The version in the name of a package or an image.
fn version<'a>(name: &'a str, prefix: &str, flavour: &str) -> Option<&'a str> {
    name.strip_prefix(prefix)?.strip_suffix(flavour)
}

/// The numbers of a version, such as `6.1.0-56`, `6.12.90+deb12.1` or `7.3.4+deb13`. `None` for another flavour or for
/// a release candidate.
fn numbers(version: &str) -> Option<Vec<u32>> {
    let plain = version.replacen("+deb", ".", 1);
    plain.split(['.', '-']).map(|number| number.parse().ok()).collect()
}

/// Downloads a package and extracts only the image. The modules are most of the package, and are not needed.
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
    // Our copy of tar's pipe must be closed, or dpkg-deb would wait for a reader.
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
    fn a_flavour_has_its_own_packages() {
        let suffix = Flavour::Realtime.suffix(Arch::X86_64);
        assert_eq!(version("linux-image-6.1.0-56-rt-amd64", PACKAGES[0], &suffix), Some("6.1.0-56"));
        assert_eq!(version("linux-image-6.1.0-56-amd64", PACKAGES[0], &suffix), None);
        assert_eq!(Flavour::Pages16k.suffix(Arch::Aarch64), "-arm64-16k");
    }

    #[test]
    fn versions_are_read_from_names() {
        assert_eq!(version("linux-image-6.1.0-56-amd64", PACKAGES[0], "-amd64"), Some("6.1.0-56"));
        assert_eq!(version("linux-image-6.1.0-56-amd64-dbg", PACKAGES[0], "-amd64"), None);
        assert_eq!(version("part", IMAGE, "-amd64"), None);
    }

    #[test]
    fn a_kernel_is_a_line_or_a_file() {
        assert_eq!("6.1".parse(), Ok(Wanted::Debian(Line::V6_1, Flavour::Standard)));
        assert_eq!("6.12-rt".parse(), Ok(Wanted::Debian(Line::V6_12, Flavour::Realtime)));
        assert_eq!("6.12-16k".parse(), Ok(Wanted::Debian(Line::V6_12, Flavour::Pages16k)));
        assert_eq!("newest".parse(), Ok(Wanted::Debian(Line::Newest, Flavour::Standard)));
        assert_eq!("sid".parse(), Ok(Wanted::Debian(Line::Sid, Flavour::Standard)));
        assert_eq!("/boot/bzImage".parse(), Ok(Wanted::File("/boot/bzImage".into())));
        let error = Wanted::File("7.0".into()).get(Arch::X86_64, Path::new("/")).unwrap_err().to_string();
        assert_eq!(error, "7.0: there is no such kernel; the lines are 6.1, 6.12, newest, sid");
    }
}
