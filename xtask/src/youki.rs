//! Builds youki, a container runtime that Debian does not have, for the live tests.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::process;

const VERSION: &str = "0.7.0";
/// The folder below cargo's target directory for youki.
const TOOLS: &str = "test-tools";

/// `PATH` with the folder of youki. youki is built if it is missing.
pub(crate) fn path() -> Result<OsString> {
    let root = process::target_dir()?.join(TOOLS);
    let folder = root.join("bin");
    if !is_right(&folder.join("youki")) {
        let mut install = process::cargo();
        install.args(["install", "youki", "--version", VERSION, "--locked", "--force"]);
        // Without the features seccomp and systemd, youki needs no library of the host.
        install.args(["--no-default-features", "--features", "v1,v2", "--debug", "--root"]).arg(&root);
        process::condensed(&format!("test: youki {VERSION}  (a container runtime; some minutes)"), install)?;
    }
    let own: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    Ok(env::join_paths(own.into_iter().chain([folder]))?)
}

fn is_right(program: &Path) -> bool {
    let version = process::output(Command::new(program).arg("--version"));
    version.is_some_and(|text| text.lines().next() == Some(&format!("youki version: {VERSION}")))
}
