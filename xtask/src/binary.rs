//! Builds the release binary.

use std::{
    env, fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{arch::Arch, bpf, plan::DEMO, process, setup};

const FLAG: &str = "-C target-feature=+crt-static";
/// Cargo's variable for flags of rustc, and the separator of the flags. The separator is no blank, because a path may
/// have blanks.
const FLAGS: &str = "CARGO_ENCODED_RUSTFLAGS";
const BETWEEN: &str = "\x1f";

/// What to build.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rebuild the eBPF object instead, into supervisor-ebpf/object; installs its compiler and linker where they are missing
    #[arg(long)]
    bpf: bool,
    /// Write nothing: exit 1 if the committed object is not, byte for byte, what its sources give, 3 if its compiler cannot be
    /// had
    #[arg(long, requires = "bpf")]
    check: bool,
    /// Build for this architecture instead of the host's
    #[arg(long, value_name = "ARCH", conflicts_with = "bpf")]
    target: Option<Arch>,
}

/// Builds the binary, or the eBPF object, and prints where it is.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.bpf {
        return if args.check { bpf::check() } else { bpf::build() };
    }
    let binary = args.target.map_or_else(build, build_for)?;
    let bytes = fs::metadata(&binary).with_context(|| format!("no {}", binary.display()))?.len();
    println!("{} ({}.{} MB)", shown(&binary), bytes / 1_000_000, bytes % 1_000_000 / 100_000);
    Ok(())
}

/// Builds the binary and returns its path. The path is the same as cargo's path for a binary that is not statically
/// linked.
pub(crate) fn build() -> Result<PathBuf> {
    let mut cargo = process::cargo();
    cargo.args(["build", "--release", "--locked", "--package", "supervisor-user"]);
    let target = process::target_dir()?;
    let built = target.join(link_statically(&mut cargo)?).join("release/supervisor");
    hide_places(&mut cargo)?;
    process::visibly(cargo)?;
    let binary = target.join("release/supervisor");
    fs::create_dir_all(target.join("release"))?;
    if fs::exists(&binary)? {
        fs::remove_file(&binary)?;
    }
    fs::hard_link(&built, &binary).with_context(|| format!("cannot make {}", binary.display()))?;
    Ok(binary)
}

/// Builds the binary for an architecture. Returns its path.
pub(crate) fn build_for(arch: Arch) -> Result<PathBuf> {
    if arch.is_host() {
        return build();
    }
    let mut cargo = process::cargo();
    cargo.args(["build", "--release", "--locked", "--package", "supervisor-user"]);
    link_statically_for(&mut cargo, arch)?;
    hide_places(&mut cargo)?;
    process::visibly(cargo)?;
    Ok(process::target_dir()?.join(arch.triple()).join("release/supervisor"))
}

/// Makes a cargo build link the C library statically, so that the program runs on any Linux, and in a machine that has
/// no other files. Returns the folder below the target directory that the build then uses.
pub(crate) fn link_statically(cargo: &mut Command) -> Result<String> {
    let host = host()?;
    set_target(cargo, &host);
    Ok(host)
}

/// The same for an architecture.
pub(crate) fn link_statically_for(cargo: &mut Command, arch: Arch) -> Result<()> {
    arch.prepare(cargo)?;
    set_target(cargo, arch.triple());
    Ok(())
}

fn set_target(cargo: &mut Command, triple: &str) {
    let given = env::var("RUSTFLAGS").unwrap_or_default();
    let flags: Vec<&str> = given.split_whitespace().chain(FLAG.split(' ')).collect();
    cargo.args(["--target", triple]).env(FLAGS, flags.join(BETWEEN));
}

/// Keeps the paths of this machine out of a binary, so that the same sources give the same bytes in any folder. Call it after
/// the target is set.
fn hide_places(cargo: &mut Command) -> Result<()> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo"))).context("there is no home folder")?;
    let flags = cargo.get_envs().find(|(name, _)| *name == FLAGS).and_then(|(_, flags)| flags);
    let mut flags = flags.unwrap_or_default().to_owned();
    for (place, name) in [(process::workspace(), "/supervisor"), (&home, "/cargo")] {
        flags.push(BETWEEN);
        flags.push("--remap-path-prefix=");
        flags.push(place);
        flags.push("=");
        flags.push(name);
    }
    cargo.env(FLAGS, flags);
    Ok(())
}

/// Builds the binary without optimisation, and becomes `supervisor demo`. On a new machine, the release build would
/// take longer than everything else.
pub(crate) fn demo(args: &[String]) -> Result<()> {
    setup::ensure(&[&DEMO])?;
    let mut cargo = process::cargo();
    cargo.args(["build", "--locked", "--package", "supervisor-user"]);
    process::visibly(cargo)?;
    let mut command = Command::new(process::target_dir()?.join("debug/supervisor"));
    process::without_cargo_run(&mut command);
    let error = command.arg("demo").args(args).exec();
    Err(error).context("cannot start supervisor")
}

/// The triple of this host. With `--target` and this triple, cargo does not use the flag for build scripts and macros,
/// which cannot be linked statically.
pub(crate) fn host() -> Result<String> {
    let version = process::output(Command::new("rustc").arg("-vV")).context("rustc -vV fails")?;
    let host =
        version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    Ok(host.to_owned())
}

/// A path as the user would type it.
fn shown(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
