//! What the code has to hold to beside its tests: formatting, clippy, the layers, no circles, spelling, and the licences and versions
//! of its dependencies.

mod circles;
mod layers;
mod sizes;
mod tools;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

pub(crate) use tools::advisories;

use crate::{fuzz, process};

/// Checks all of it; any finding is an error.
pub(crate) fn run() -> Result<()> {
    if component("fmt") {
        let mut format = process::cargo();
        format.args(["fmt", "--all", "--check"]);
        process::visibly(format)?;
    }
    layers::check()?;
    circles::check()?;
    sizes::check()?;
    tools::spelling()?;
    tools::dependencies()?;
    if component("clippy") {
        let mut clippy = process::cargo();
        clippy.args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--features",
            "supervisor-tests/bench",
            "--locked",
        ]);
        clippy.args(["--", "--deny", "warnings"]);
        process::visibly(clippy)?;
    }
    fuzz::check_lock()
}

/// Whether cargo has this command; says loudly if not.
fn component(name: &str) -> bool {
    let present = process::cargo().args([name, "--version"]).output().is_ok_and(|out| out.status.success());
    if !present {
        eprintln!("WARNING: `cargo {name}` is not installed, its check is LEFT OUT (rustup component add)");
    }
    present
}

/// The Rust files below a folder. Tests are left out: files and folders with that name.
fn sources(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.file_stem().is_some_and(|it| it == "tests") {
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}
