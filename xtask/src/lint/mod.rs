//! What the code has to hold to beside its tests: formatting, clippy, the layers, no circles, spelling, and the licences and versions
//! of its dependencies.

mod circles;
mod layers;
mod sizes;
mod tools;

use anyhow::Result;

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
