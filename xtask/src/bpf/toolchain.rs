//! Finds the compiler and the linker of the eBPF object, and installs them for this user if they are missing. They need
//! neither root nor a distribution's packages.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::recipe::{LINKER, LINKER_FEATURE, RUSTC, TOOLCHAIN};
use crate::{plan, process};

/// The folder below cargo's target directory for the linker.
const TOOLS: &str = "bpf-tools";

/// The tools that build the object.
pub(super) struct Tools {
    /// The name of the compiler's toolchain in rustup.
    toolchain: String,
    sysroot: PathBuf,
    pub(super) linker: PathBuf,
}

impl Tools {
    /// The compiler's cargo.
    pub(super) fn cargo(&self) -> Command {
        rustup_run(&self.toolchain, "cargo")
    }

    /// The compiler's `objcopy`. It does not find its libraries by itself.
    pub(super) fn objcopy(&self) -> Result<Command> {
        let targets = fs::read_dir(self.sysroot.join("lib/rustlib"))?;
        let mut files = targets.filter_map(|entry| Some(entry.ok()?.path().join("bin/rust-objcopy")));
        let file = files.find(|file| file.is_file());
        let mut objcopy =
            Command::new(file.with_context(|| format!("{} has no rust-objcopy", self.toolchain))?);
        objcopy.env("LD_LIBRARY_PATH", self.sysroot.join("lib"));
        Ok(objcopy)
    }
}

/// Finds the tools, and installs those that are missing.
pub(super) fn get() -> Result<Tools> {
    ensure!(
        plan::program("rustup").is_some(),
        "rustup is missing, which provides the eBPF compiler {TOOLCHAIN}: install it from https://rustup.rs"
    );
    let compiler = match find() {
        Some(compiler) => compiler,
        None => install()?,
    };
    let Compiler { name, sysroot } = compiler;
    let linker = linker(&name, &sysroot)?;
    Ok(Tools { toolchain: name, sysroot, linker })
}

/// A toolchain with the right compiler and the source of `core`.
struct Compiler {
    name: String,
    sysroot: PathBuf,
}

/// Finds a toolchain with the right compiler. Its name does not matter.
fn find() -> Option<Compiler> {
    let list = process::output(rustup().args(["toolchain", "list", "-v"]))?;
    let mut toolchains = parse_toolchain_list(&list);
    let found = toolchains.find(|(_, sysroot)| {
        let version = || process::output(Command::new(sysroot.join("bin/rustc")).arg("--version"));
        sysroot.join("lib/rustlib/src/rust/library/Cargo.lock").is_file()
            && version().is_some_and(|version| version.trim() == RUSTC)
    });
    found.map(|(name, sysroot)| Compiler { name: name.to_owned(), sysroot: sysroot.to_owned() })
}

fn install() -> Result<Compiler> {
    let mut install = rustup();
    install.args(["toolchain", "install", TOOLCHAIN, "--profile", "minimal", "--component", "rust-src"]);
    process::condensed(&format!("bpf: rustup toolchain install {TOOLCHAIN}"), install)?;
    find().with_context(|| format!("rustup has installed {TOOLCHAIN}, but it is not {RUSTC} with rust-src"))
}

/// bpf-linker, linked with the `libLLVM` of the compiler.
fn linker(toolchain: &str, sysroot: &Path) -> Result<PathBuf> {
    let root = process::target_dir()?.join(TOOLS).join(TOOLCHAIN);
    let linker = root.join("bin/bpf-linker");
    if is_right(&linker) {
        return Ok(linker);
    }
    // bpf-linker's build script needs a folder with LLVM's own layout. It makes the linker search for its library there
    // at run time.
    let prefix = root.join("llvm");
    let folder = prefix.join("lib");
    fs::create_dir_all(&folder)?;
    let library = library(sysroot).with_context(|| format!("{toolchain} has no libLLVM.so"))?;
    let own_name = library.file_name().context("a library has a name")?;
    for link in [folder.join("libLLVM.so"), folder.join(own_name)] {
        if link.symlink_metadata().is_ok() {
            fs::remove_file(&link)?;
        }
        symlink(&library, link)?;
    }
    let mut install = rustup_run(toolchain, "cargo");
    install.args(["install", "bpf-linker", "--version", LINKER, "--locked", "--force"]);
    install.args(["--no-default-features", "--features", LINKER_FEATURE, "--root"]).arg(&root);
    install.env("LLVM_PREFIX", prefix);
    process::condensed(&format!("bpf: cargo install bpf-linker {LINKER}  (about a minute)"), install)?;
    ensure!(is_right(&linker), "{} is not bpf-linker {LINKER}, or does not run", linker.display());
    Ok(linker)
}

fn is_right(linker: &Path) -> bool {
    let version = process::output(Command::new(linker).arg("--version"));
    version.is_some_and(|version| version.trim() == format!("bpf-linker {LINKER}"))
}

/// The compiler's LLVM, such as `libLLVM.so.22.1-rust-1.97.0-nightly`.
fn library(sysroot: &Path) -> Option<PathBuf> {
    let mut files = fs::read_dir(sysroot.join("lib")).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    files.find(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libLLVM.so.")))
}

fn rustup_run(toolchain: &str, program: &str) -> Command {
    let mut command = rustup();
    command.args(["run", toolchain, program]);
    command
}

/// A `rustup` command that installs nothing by itself and ignores the toolchain of the present cargo.
fn rustup() -> Command {
    let mut command = Command::new("rustup");
    process::without_cargo_run(&mut command);
    command.env("RUSTUP_AUTO_INSTALL", "0").env_remove("RUSTUP_TOOLCHAIN");
    command
}

/// Names and sysroots of `rustup toolchain list -v`.
fn parse_toolchain_list(text: &str) -> impl Iterator<Item = (&str, &Path)> {
    text.lines().filter_map(|line| {
        let (name, rest) = line.trim().split_once(char::is_whitespace)?;
        Some((name, Path::new(&rest[rest.find('/')?..])))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toolchains_have_a_name_and_a_folder() {
        let text =
            "stable-x86_64-unknown-linux-gnu (active, default) /r/stable\nmine /opt/my rust\nno folder\n";
        let expected = [
            ("stable-x86_64-unknown-linux-gnu", Path::new("/r/stable")),
            ("mine", Path::new("/opt/my rust")),
        ];
        assert_eq!(parse_toolchain_list(text).collect::<Vec<_>>(), expected);
    }
}
