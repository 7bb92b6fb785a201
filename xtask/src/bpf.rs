//! Builds the eBPF object. `cargo build` takes the committed object; `cargo xtask build --bpf` builds it again.

mod toolchain;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use crate::process;
use record::{OBJECT, RECORD, recipe};
use toolchain::Tools;

#[path = "../../supervisor-ebpf/object/record.rs"]
mod record;

/// Builds the object, and writes it into the tree with its record.
pub(crate) fn build() -> Result<()> {
    let fresh = fresh(&toolchain::get()?)?;
    let tree = process::workspace();
    let changed = !fs::read(tree.join(OBJECT)).is_ok_and(|committed| committed == fresh);
    fs::write(tree.join(OBJECT), &fresh).with_context(|| format!("cannot write {OBJECT}"))?;
    let record = record::expected(tree, &fresh).context("cannot read the sources of the object")?;
    fs::write(tree.join(RECORD), record).with_context(|| format!("cannot write {RECORD}"))?;
    let news = if changed { "changed: commit it with its record" } else { "the same as before" };
    println!("{OBJECT} ({} KB, {news})", fresh.len() / 1000);
    Ok(())
}

/// Builds the object, and fails unless every byte is equal to the committed object. Then a test of the committed object
/// is also a test of a fresh one.
pub(crate) fn check() -> Result<()> {
    let committed = fs::read(process::workspace().join(OBJECT)).with_context(|| format!("no {OBJECT}"))?;
    let tools = toolchain::get().map_err(|error| {
        eprintln!(
            "The compiler of the eBPF object cannot be had here, so the object was NOT compared: {error:#}"
        );
        process::Exit(3)
    })?;
    ensure!(
        record::is_current(process::workspace())? && fresh(&tools)? == committed,
        "{OBJECT} is not what its sources give: run `cargo xtask build --bpf` and commit supervisor-ebpf/object"
    );
    println!("{OBJECT}: a fresh build gives the same bytes");
    Ok(())
}

/// Builds the object without its DWARF sections. They are three quarters of the object, and the kernel does not read
/// them.
fn fresh(tools: &Tools) -> Result<Vec<u8>> {
    let folder = process::target_dir()?.join("bpf");
    compile(tools, &folder)?;
    let built = folder.join(recipe::TARGET).join("release/supervisor-ebpf");
    let stripped = folder.join("supervisor.bpf.o");
    let mut strip = tools.objcopy()?;
    strip.arg("--strip-debug").arg(&built).arg(&stripped);
    process::visibly(strip)?;
    let mut object = fs::read(&stripped).with_context(|| format!("no {}", stripped.display()))?;
    hide_registries(&mut object)?;
    Ok(object)
}

/// Overwrites the names of the folders in which cargo keeps crates, because each folder is named after a registry's
/// host. In the object, they are only part of file names, which the kernel's verifier shows.
fn hide_registries(object: &mut [u8]) -> Result<()> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo"))).context("no home directory")?;
    let sources = home.join("registry/src");
    for entry in fs::read_dir(&sources).with_context(|| sources.display().to_string())? {
        let name = entry?.file_name();
        let name = name.as_encoded_bytes();
        let found: Vec<usize> = (0..object.len()).filter(|at| object[*at..].starts_with(name)).collect();
        for at in found {
            object[at..at + name.len()].fill(b'_');
        }
    }
    Ok(())
}

/// Runs cargo with the settings of the recipe. No path of this host gets into the object, because cargo trims the
/// paths.
fn compile(tools: &Tools, folder: &Path) -> Result<()> {
    let mut cargo = tools.cargo();
    cargo.current_dir(process::workspace());
    cargo.args(["build", "--release", "--locked", "--package", "supervisor-ebpf"]);
    cargo.args(["--bin", "supervisor-ebpf", "--features", "program", "--target", recipe::TARGET]);
    cargo.args(["-Zbuild-std=core", "-Ztrim-paths", "--target-dir"]).arg(folder);
    cargo.envs(recipe::PROFILE).env("CARGO_PROFILE_RELEASE_TRIM_PATHS", "all");
    cargo.env("CARGO_ENCODED_RUSTFLAGS", recipe::RUSTFLAGS.join("\u{1f}"));
    for name in ["RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS"] {
        cargo.env_remove(name);
    }
    let own = env::var_os("PATH").unwrap_or_default();
    let linker = tools.linker.parent().map(PathBuf::from);
    cargo.env("PATH", env::join_paths(linker.into_iter().chain(env::split_paths(&own)))?);
    process::condensed(&format!("bpf: cargo build, with {}", recipe::RUSTC), cargo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_object_was_made_from_these_sources() {
        assert!(
            record::is_current(process::workspace()).unwrap(),
            "run `cargo xtask build --bpf` and commit supervisor-ebpf/object"
        );
    }
}
