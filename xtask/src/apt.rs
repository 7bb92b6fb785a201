//! apt's package lists: the host's own, or lists of another suite of the same archive, kept apart from the host's.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::process;

/// Package lists.
pub(crate) struct Index {
    /// Options of every apt command, which let it look only at these lists.
    options: Vec<String>,
    what: String,
}

impl Index {
    /// The host's own.
    pub(crate) fn host() -> Self {
        Self { options: Vec::new(), what: "the host's own suite".to_owned() }
    }

    /// Those of another suite of the archive that the host installs from, in this directory. They are empty until
    /// [`Index::update`]. The host's lists and its installed packages stay as they are.
    pub(crate) fn of_suite(suite: &str, dir: &Path) -> Result<Self> {
        let dir = std::path::absolute(dir)?.join(suite);
        fs::create_dir_all(dir.join("lists/partial"))?;
        fs::create_dir_all(dir.join("archives/partial"))?;
        let sources = dir.join("sources.list");
        let line = format!("deb {} {suite} main\n", archive()?);
        fs::write(&sources, line).with_context(|| format!("cannot write {}", sources.display()))?;
        let options = [
            format!("Dir::State::lists={}", dir.join("lists").display()),
            format!("Dir::Cache={}", dir.display()),
            format!("Dir::Etc::sourcelist={}", sources.display()),
            "Dir::Etc::sourceparts=-".to_owned(),
        ];
        let options = options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect();
        Ok(Self { options, what: suite.to_owned() })
    }

    /// Fetches the lists anew. Those of the host are left alone: only root can do that, and setup does.
    pub(crate) fn update(&self) -> Result<()> {
        if self.options.is_empty() {
            bail!("setup renews the lists of the host");
        }
        let mut update = self.command("apt-get");
        update.arg("update");
        process::condensed(&format!("kernels: apt-get update, of {} only", self.what), update)
    }

    /// The names of packages that match.
    pub(crate) fn search(&self, pattern: &str) -> Vec<String> {
        let mut search = self.command("apt-cache");
        search.args(["search", "--names-only", pattern]);
        let lines = process::output(&mut search).unwrap_or_default();
        lines.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
    }

    /// Downloads a package into an empty directory; returns the file.
    pub(crate) fn download(&self, package: &str, into: &Path) -> Result<PathBuf> {
        let mut download = self.command("apt-get");
        download.args(["download", package]).current_dir(into);
        process::condensed(&format!("kernels: apt-get download {package}, of {}", self.what), download)?;
        let mut files = fs::read_dir(into)?;
        Ok(files.next().with_context(|| format!("apt-get download {package} brought nothing"))??.path())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options);
        command
    }
}

/// Where the host's packages of Debian come from.
fn archive() -> Result<String> {
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"]);
    let uris = process::output(&mut targets).unwrap_or_default();
    let uri = uris.lines().next().context("apt knows no archive of Debian; see `apt-get indextargets`")?;
    Ok(uri.to_owned())
}
