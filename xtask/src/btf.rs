//! `btf`: records the layout of a kernel's types, for the tests of the offsets.

mod image;
mod trim;
mod writer;

use std::{fs, path::Path, process::Stdio};

use anyhow::{Context as _, Result, anyhow, ensure};
use btfparse::{Readable, TypeInformation};

use crate::{
    arch::Arch,
    kernels::{self, Wanted},
    process,
};

/// The folder from which the tests read the recorded layouts.
const RECORDED: &str = "supervisor-user/tests/btf";

/// Which kernel to record.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// `6.1` or `6.12`, for Debian's newest of that line, `newest`, for the newest of its backports, `sid`, for its unstable
    /// one, or the path of a bzImage; the kernel that runs here if not given
    #[arg(long, value_name = "LINE|FILE")]
    kernel: Option<Wanted>,
}

/// Writes the part of a kernel's BTF that the offsets need. Fails if the part gives other offsets than the whole BTF.
pub(crate) fn run(args: &Args) -> Result<()> {
    let dir = kernels::dir()?;
    let (banner, whole) = match &args.kernel {
        Some(wanted) => {
            let kernel = wanted.get(Arch::X86_64, &dir)?;
            let image = fs::read(&kernel.image)?;
            let banner = image::banner(&image).context("this is no bzImage")?;
            (banner.to_owned(), image::btf(&image)?)
        }
        None => (fs::read_to_string("/proc/sys/kernel/osrelease")?, fs::read("/sys/kernel/btf/vmlinux")?),
    };
    let (trimmed, lacking) = trim::trim(&parse(&whole)?, trim::ENTRIES, &supervisor_ebpf::HELPERS)?;
    for lacking in lacking {
        println!("it has no {lacking}");
    }

    let version = version(&banner).with_context(|| format!("no version in `{banner}`"))?;
    let name = format!("{version}.btf");
    let (whole_file, trimmed_file) = (dir.join(format!("{version}.whole.btf")), dir.join(&name));
    fs::write(&whole_file, &whole)?;
    fs::write(&trimmed_file, &trimmed)?;
    ensure!(
        offsets(&whole_file)? == offsets(&trimmed_file)?,
        "{name} gives other offsets than the whole BTF"
    );
    fs::copy(&trimmed_file, process::workspace().join(RECORDED).join(&name))?;
    println!("{RECORDED}/{name}: {} of {} bytes of {}", trimmed.len(), whole.len(), banner.trim_end());
    Ok(())
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<String> {
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().ok());
    Some(format!("{}.{}", numbers.next()??, numbers.next()??))
}

/// The offsets that supervisor resolves from a file, with the code of the agent.
fn offsets(file: &Path) -> Result<String> {
    let mut cargo = process::cargo();
    cargo.args(["run", "--quiet", "--locked", "--package", "supervisor-user", "--example", "offsets"]);
    let offsets = process::output(cargo.arg(file).stderr(Stdio::inherit()));
    offsets.with_context(|| format!("the offsets of {} cannot be resolved", file.display()))
}

fn parse(btf: &[u8]) -> Result<TypeInformation> {
    TypeInformation::new(&Bytes(btf))
        .map_err(|error| anyhow!("the BTF cannot be parsed: {}", error.message()))
}

/// A BTF file in memory.
struct Bytes<'a>(&'a [u8]);

impl Readable for Bytes<'_> {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> btfparse::Result<()> {
        let bytes = self.0.get(offset as usize..).and_then(|rest| rest.get(..buffer.len()));
        let too_short = || btfparse::Error::new(btfparse::ErrorKind::IOError, "the BTF is truncated");
        buffer.copy_from_slice(bytes.ok_or_else(too_short)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_begins_with_the_version() {
        for (release, expected) in [
            ("6.1.0-56-amd64 (maintainer) #1 SMP", Some("6.1")),
            ("6.18.44", Some("6.18")),
            ("7.0-rc1", Some("7.0")),
            ("linux", None),
        ] {
            assert_eq!(version(release).as_deref(), expected, "{release}");
        }
    }
}
