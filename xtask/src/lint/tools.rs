//! Checks by programs that are not part of Rust: `typos` for the spelling, `cargo-deny` for what the dependencies bring in.
//! Both are built once, below cargo's target directory.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{installed::Installed, process};

/// The folder below cargo's target directory where they are installed.
const TOOLS: &str = "lint-tools";

/// Fails on a misspelt word. `typos.toml` has the words that are right here.
pub(super) fn spelling() -> Result<()> {
    let mut check = Command::new(typos()?);
    check.arg("--config").arg("typos.toml").current_dir(process::workspace());
    process::visibly(check)
}

/// Fails on a licence that `deny.toml` does not allow, on a source other than the registry, and on a crate in two versions that
/// `deny.toml` does not list.
pub(super) fn dependencies() -> Result<()> {
    let mut check = Command::new(deny()?);
    check.args([
        "--all-features",
        "--locked",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]);
    check.current_dir(process::workspace());
    process::visibly(check)
}

/// Fails on a known vulnerability. The list of those is fetched from where `RustSec` publishes it.
pub(crate) fn advisories() -> Result<()> {
    let mut check = Command::new(deny()?);
    check.args(["--all-features", "--locked", "check", "advisories"]);
    check.current_dir(process::workspace());
    process::visibly(check)
}

fn typos() -> Result<PathBuf> {
    installed("typos-cli", "typos", "1.52.0")
}

fn deny() -> Result<PathBuf> {
    installed("cargo-deny", "cargo-deny", "0.20.2")
}

fn installed(package: &str, program: &str, version: &str) -> Result<PathBuf> {
    let answer = &*format!("{package} {version}");
    let wanted = &*format!("lint: {answer}  (built once; some minutes)");
    Installed { package, program, version, answer, args: &[], wanted }.path(TOOLS)
}
