//! Programs from the registry that a task needs: each is built once, below cargo's target directory.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::process;

/// A program of a crate.
pub(crate) struct Installed<'a> {
    pub(crate) package: &'a str,
    /// Its file.
    pub(crate) program: &'a str,
    pub(crate) version: &'a str,
    /// The first line of `--version`.
    pub(crate) answer: &'a str,
    /// Further arguments of `cargo install`.
    pub(crate) args: &'a [&'a str],
    /// The task that needs it, and a hint at what it is, for the person who waits.
    pub(crate) wanted: &'a str,
}

impl Installed<'_> {
    /// The program below this folder of cargo's target directory. It is built if it is not there in that version.
    pub(crate) fn path(&self, folder: &str) -> Result<PathBuf> {
        let root = process::target_dir()?.join(folder);
        let program = root.join("bin").join(self.program);
        if !self.is_right(&program) {
            let mut install = process::cargo();
            install.args(["install", self.package, "--version", self.version, "--locked", "--force"]);
            install.args(self.args).arg("--root").arg(&root);
            process::condensed(self.wanted, install)?;
        }
        Ok(program)
    }

    fn is_right(&self, program: &Path) -> bool {
        let answer = process::output(Command::new(program).arg("--version"));
        answer.is_some_and(|text| text.lines().next() == Some(self.answer))
    }
}
