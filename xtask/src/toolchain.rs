//! Which compiler and which linker build the eBPF program.
//!
//! One answer for two askers: `cargo xtask setup` (what is missing?) and `supervisor-user/build.rs` (what do I
//! call?), which includes this file by path. Therefore: the standard library only.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Names a rustup toolchain to use instead of the ones looked for.
pub(crate) const OVERRIDE: &str = "SUPERVISOR_BPF_TOOLCHAIN";
/// The rustup name that `setup` gives to the distribution's compiler.
pub(crate) const LINKED: &str = "supervisor-bpf";
/// The one version of bpf-linker that this tree is built with.
pub(crate) const LINKER_VERSION: &str = "0.13.0";
/// The folder below cargo's target directory where `setup` puts its own bpf-linker.
pub(crate) const TOOLS: &str = "bpf-tools";

const NIGHTLY: &str = "nightly";

/// A compiler that rustup knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    /// What `rustup run` calls it.
    pub(crate) name: String,
    /// Its compiler's version, such as `1.96.0`.
    pub(crate) release: String,
    /// Its LLVM's major version, which bpf-linker's must equal.
    pub(crate) llvm: u32,
    /// Whether it can build `core` for a target that has none ready.
    pub(crate) has_src: bool,
}

/// A compiler with a linker that understands its bitcode.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// The compiler.
    pub(crate) toolchain: Toolchain,
    /// The bpf-linker executable.
    pub(crate) linker: PathBuf,
}

/// The compilers to consider, best first: the override alone if it is set, else rustup's nightly, else the
/// distribution's. Those that rustup does not have are left out.
pub(crate) fn candidates() -> Vec<Toolchain> {
    let list = output(rustup().args(["toolchain", "list", "-v"])).unwrap_or_default();
    let installed = parse_toolchain_list(&list);
    let wanted = env::var(OVERRIDE).ok().filter(|name| !name.is_empty());
    let names = wanted.as_deref().map_or_else(|| vec![NIGHTLY, LINKED], |name| vec![name]);
    names
        .into_iter()
        .filter_map(|name| {
            let sysroot = find_sysroot(&installed, name)?;
            let version = output(Command::new(sysroot.join("bin/rustc")).arg("-vV"))?;
            let (release, llvm) = parse_rustc(&version)?;
            let has_src = sysroot.join("lib/rustlib/src/rust/library/Cargo.lock").exists();
            Some(Toolchain { name: name.to_owned(), release, llvm, has_src })
        })
        .collect()
}

/// The first candidate that can build, together with its linker. `targets` are directories that may hold
/// [`TOOLS`]; a linker of the user's own comes first.
pub(crate) fn find<'a>(
    candidates: &[Toolchain],
    targets: impl IntoIterator<Item = &'a Path>,
) -> Option<Tools> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let path = env::var_os("PATH").unwrap_or_default();
    let linkers: Vec<(PathBuf, u32)> = env::split_paths(&path)
        .chain(home.map(|home| home.join("bin")))
        .chain(targets.into_iter().map(|target| target.join(TOOLS).join("bin")))
        .map(|dir| dir.join("bpf-linker"))
        .filter_map(|linker| {
            let llvm = linker_llvm(&linker)?;
            Some((linker, llvm))
        })
        .collect();
    candidates.iter().filter(|toolchain| toolchain.has_src).find_map(|toolchain| {
        let (linker, _) = linkers.iter().find(|(_, llvm)| *llvm == toolchain.llvm)?;
        Some(Tools { toolchain: toolchain.clone(), linker: linker.clone() })
    })
}

/// The LLVM major of a bpf-linker of the right version; nothing for any other file.
///
/// `bpf-linker --version` does not tell its LLVM, the libraries it is linked with do. A linker with LLVM inside
/// is therefore never accepted.
fn linker_llvm(linker: &Path) -> Option<u32> {
    if !linker.is_file()
        || parse_linker_version(&output(Command::new(linker).arg("--version"))?)? != LINKER_VERSION
    {
        return None;
    }
    parse_ldd(&output(Command::new("ldd").arg(linker))?)
}

/// A `rustup` that installs nothing on its own and forgets which toolchain the present cargo came from.
pub(crate) fn rustup() -> Command {
    let mut command = Command::new("rustup");
    command.env("RUSTUP_AUTO_INSTALL", "0").env_remove("RUSTUP_TOOLCHAIN");
    command
}

/// What a command prints, if it can be run and succeeds.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// Release and LLVM major of `rustc -vV`.
pub(crate) fn parse_rustc(text: &str) -> Option<(String, u32)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    Some((field("release: ")?.trim().to_owned(), leading_number(field("LLVM version: ")?)?))
}

/// Names and sysroots of `rustup toolchain list -v`.
fn parse_toolchain_list(text: &str) -> Vec<(&str, &Path)> {
    text.lines()
        .filter_map(|line| {
            let (name, rest) = line.trim().split_once(char::is_whitespace)?;
            let path = &rest[rest.find('/')?..];
            Some((name, Path::new(path)))
        })
        .collect()
}

/// The sysroot of a toolchain by its whole name, or by its name without the host triple.
fn find_sysroot<'a>(installed: &[(&str, &'a Path)], name: &str) -> Option<&'a Path> {
    let exact = installed.iter().find(|(other, _)| *other == name);
    let host = format!("{name}-{}-", env::consts::ARCH);
    exact.or_else(|| installed.iter().find(|(other, _)| other.starts_with(&host))).map(|(_, path)| *path)
}

/// The version in `bpf-linker --version`.
fn parse_linker_version(text: &str) -> Option<&str> {
    text.trim().strip_prefix("bpf-linker ")?.split_whitespace().next()
}

/// The major version of the `libLLVM` in what `ldd` prints: `libLLVM.so.22.1` or `libLLVM-17.so.1`.
fn parse_ldd(text: &str) -> Option<u32> {
    text.split_whitespace().find_map(|word| {
        let rest = word.strip_prefix("libLLVM")?;
        leading_number(rest.strip_prefix(".so.").or_else(|| rest.strip_prefix('-'))?)
    })
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustc_tells_release_and_llvm() {
        let text = "rustc 1.96.0 (ac68faa20 2026-05-25)\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\n\
                    release: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(parse_rustc(text), Some(("1.96.0".to_owned(), 22)));
        assert_eq!(parse_rustc("release: 1.96.0\n"), None);
        assert_eq!(parse_rustc(""), None);
    }

    #[test]
    fn toolchains_are_found_by_short_and_whole_name() {
        let arch = env::consts::ARCH;
        let text = format!(
            "stable-{arch}-unknown-linux-gnu (active, default) /r/stable\n\
             nightly-2026-01-01-{arch}-unknown-linux-gnu /r/dated\n\
             nightly-{arch}-unknown-linux-gnu /r/nightly\nsupervisor-bpf /usr\n"
        );
        let list = parse_toolchain_list(&text);
        assert_eq!(find_sysroot(&list, "nightly"), Some(Path::new("/r/nightly")));
        assert_eq!(find_sysroot(&list, "stable"), Some(Path::new("/r/stable")));
        assert_eq!(find_sysroot(&list, LINKED), Some(Path::new("/usr")));
        assert_eq!(find_sysroot(&list, "beta"), None);
    }

    #[test]
    fn linker_version_is_the_second_word() {
        assert_eq!(parse_linker_version("bpf-linker 0.13.0\n"), Some("0.13.0"));
        assert_eq!(parse_linker_version("ld 2.40\n"), None);
    }

    #[test]
    fn ldd_tells_the_llvm() {
        let line = "\tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x00007f1bd5c00000)\n";
        assert_eq!(parse_ldd(line), Some(22));
        assert_eq!(parse_ldd("\tlibLLVM-17.so.1 => /usr/lib/libLLVM-17.so.1 (0x1)\n"), Some(17));
        assert_eq!(parse_ldd("\tlibc.so.6 => /lib/libc.so.6 (0x1)\n"), None);
    }
}
