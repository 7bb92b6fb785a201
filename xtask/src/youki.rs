//! Builds youki, a container runtime that Debian does not have, for the live tests.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::installed::Installed;

const VERSION: &str = "0.7.0";

/// `PATH` with the folder of youki. youki is built if it is missing.
pub(crate) fn path() -> Result<OsString> {
    let youki = Installed {
        package: "youki",
        program: "youki",
        version: VERSION,
        answer: &format!("youki version: {VERSION}"),
        // Without the features seccomp and systemd, youki needs no library of the host.
        args: &["--no-default-features", "--features", "v1,v2", "--debug"],
        wanted: &format!("test: youki {VERSION}  (a container runtime; some minutes)"),
    };
    let program = youki.path("test-tools")?;
    let folder = program.parent().map(Path::to_owned);
    let own: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    Ok(env::join_paths(own.into_iter().chain(folder))?)
}
