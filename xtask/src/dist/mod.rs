//! Makes the files of a release: for each architecture a tarball, a Debian package, an RPM package and a list of the
//! linked crates; one OCI image index for all architectures; checksums.
//!
//! The same commit gives the same bytes: every time stamp in the files is the commit's.

mod bill;
mod debian;
mod image;
mod rpm;
mod stage;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{arch::Arch, binary, plan::PACKAGERS, process, setup};

/// The version in Cargo.toml of the workspace. No other file names it.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const SUMMARY: &str = "finds processes that have exited and were not reaped";
const DESCRIPTION: &str = "\
It traces the life of processes by eBPF, and says of each one that is left why,
who must reap it, which container runtime and monitor it comes from, and what
it blocks. One statically linked program; a watch, an agent for a SIEM.
";
/// The file that an administrator may change. A package does not overwrite it.
const CONFIGURATION: &str = "/etc/supervisor/supervisor.toml";

/// What to package.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Package only these architectures; both if none is given
    #[arg(long = "target", value_name = "ARCH")]
    targets: Vec<Arch>,
}

/// Makes everything in `dist` below cargo's target directory.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::ensure(&[&PACKAGERS])?;
    let targets = if args.targets.is_empty() { &[Arch::X86_64, Arch::Aarch64][..] } else { &args.targets };
    let dist = process::target_dir()?.join("dist");
    if dist.exists() {
        fs::remove_dir_all(&dist)?;
    }
    let epoch = epoch()?;
    // The program of the host writes the unit, the manual pages and the completions. They are the same for each
    // architecture.
    let host = binary::build()?;
    let mut files = Vec::new();
    let mut programs = Vec::new();
    for &arch in targets {
        let binary = binary::build_for(arch)?;
        let work = dist.join(arch.debian());
        let stage = work.join(format!("supervisor-{VERSION}"));
        let linked = bill::crates(arch)?;
        stage::fill(&stage, &host, &binary, &bill::copyright(&linked))?;
        stage::date(&stage, epoch)?;
        files.push(tarball(&dist, &stage, arch, epoch)?);
        files.extend(debian::package(&dist, &stage, arch, epoch)?);
        files.extend(rpm::package(&dist, &stage, arch, epoch)?);
        let bill = dist.join(format!("supervisor-{VERSION}-{}.cdx.json", arch.name()));
        fs::write(&bill, bill::of_materials(&linked))?;
        files.push(bill);
        programs.push((arch, stage.join("usr/bin/supervisor")));
    }
    files.extend(image::index(&dist, &programs, epoch)?);
    for &arch in targets {
        fs::remove_dir_all(dist.join(arch.debian()))?;
    }
    let names = files.iter().filter_map(|file| file.file_name());
    let sums = process::output(Command::new("sha256sum").args(names).current_dir(&dist));
    let list = dist.join("SHA256SUMS");
    fs::write(&list, sums.context("sha256sum fails")?)?;
    for file in &files {
        println!("{} ({} KB)", file.display(), fs::metadata(file)?.len() / 1000);
    }
    println!("{}", list.display());
    Ok(())
}

/// The time of all files: `SOURCE_DATE_EPOCH`, or the time of the commit. Seconds since 1970.
fn epoch() -> Result<u64> {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok();
    let of_commit = || {
        let mut git = Command::new("git");
        process::output(git.args(["log", "-1", "--format=%ct"]).current_dir(process::workspace()))
    };
    let text =
        given.or_else(of_commit).context("there is no commit: set SOURCE_DATE_EPOCH to a time in seconds")?;
    text.trim().parse().with_context(|| format!("SOURCE_DATE_EPOCH={} is no time in seconds", text.trim()))
}

fn tarball(dist: &Path, stage: &Path, arch: Arch, epoch: u64) -> Result<PathBuf> {
    let file = dist.join(format!("supervisor-{VERSION}-{}-linux.tar.gz", arch.name()));
    let (dir, name) =
        (stage.parent().context("the stage has a parent")?, stage.file_name().context("and a name")?);
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mode=go-w"]);
    tar.arg(format!("--mtime=@{epoch}")).arg("--use-compress-program=gzip -9n");
    quietly(tar.arg("-cf").arg(&file).arg("-C").arg(dir).arg(name))?;
    Ok(file)
}

fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Runs a command, and shows its output only if it fails.
fn quietly(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} fails: {}", said.trim());
    Ok(())
}
