//! apt's package lists: the host's own lists, or separate lists of another suite of the same archive.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{arch::Arch, process};

/// Package lists.
pub(crate) struct Index {
    /// Options of every apt command. With them, apt reads only these lists.
    options: Vec<String>,
    what: String,
    /// The folder of downloaded packages, if it is not the host's own.
    archives: Option<PathBuf>,
}

impl Index {
    /// The host's own lists.
    pub(crate) fn host() -> Self {
        Self { options: Vec::new(), what: "the host's own suite".to_owned(), archives: None }
    }

    /// Lists of another suite of the archive that the host installs from, in this directory. They are empty until
    /// [`Index::update`]. The host's lists and its installed packages do not change.
    pub(crate) fn of_suite(suite: &str, arch: Arch, dir: &Path) -> Result<Self> {
        let name = format!("{suite}-{}", arch.debian());
        let dir = std::path::absolute(dir)?.join(&name);
        fs::create_dir_all(dir.join("lists/partial"))?;
        fs::create_dir_all(dir.join("archives/partial"))?;
        let sources = dir.join("sources.list");
        let line = format!("deb {} {suite} main\n", archive()?);
        fs::write(&sources, line).with_context(|| format!("cannot write {}", sources.display()))?;
        // An empty status file means that no package of the host counts as installed.
        let status = dir.join("status");
        fs::write(&status, "")?;
        let options = [
            format!("APT::Architecture={}", arch.debian()),
            format!("APT::Architectures={}", arch.debian()),
            format!("Dir::State::status={}", status.display()),
            format!("Dir::State::lists={}", dir.join("lists").display()),
            format!("Dir::Cache={}", dir.display()),
            format!("Dir::Etc::sourcelist={}", sources.display()),
            "Dir::Etc::sourceparts=-".to_owned(),
        ];
        let options = options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect();
        Ok(Self { options, what: name, archives: Some(dir.join("archives")) })
    }

    /// Fetches the lists again. It refuses the lists of the host: only root can renew them, and setup does that.
    pub(crate) fn update(&self) -> Result<()> {
        if self.options.is_empty() {
            bail!("setup renews the lists of the host");
        }
        let mut update = self.command("apt-get");
        update.arg("update");
        process::condensed(&format!("kernels: apt-get update, of {} only", self.what), update)
    }

    /// The names of packages that match the pattern.
    pub(crate) fn search(&self, pattern: &str) -> Vec<String> {
        let mut search = self.command("apt-cache");
        search.args(["search", "--names-only", pattern]);
        let lines = process::output(&mut search).unwrap_or_default();
        lines.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
    }

    /// Downloads a package into an empty directory. Returns the file.
    pub(crate) fn download(&self, package: &str, into: &Path) -> Result<PathBuf> {
        let mut download = self.command("apt-get");
        download.args(["download", package]).current_dir(into);
        process::condensed(&format!("kernels: apt-get download {package}, of {}", self.what), download)?;
        let mut files = fs::read_dir(into)?;
        Ok(files.next().with_context(|| format!("apt-get download {package} brought nothing"))??.path())
    }

    /// Downloads packages with all their dependencies. Returns the files.
    pub(crate) fn download_with_dependencies(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let archives =
            self.archives.as_deref().context("the host's packages are installed, not downloaded")?;
        let mut download = self.command("apt-get");
        download.args(["install", "-y", "--download-only", "--no-install-recommends"]).args(packages);
        let title = format!("vm: apt-get install --download-only {}, of {}", packages.join(" "), self.what);
        process::condensed(&title, download)?;
        let mut files = Vec::new();
        for entry in fs::read_dir(archives)? {
            let file = entry?.path();
            if file.extension().is_some_and(|it| it == "deb") {
                files.push(file);
            }
        }
        Ok(files)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options);
        command
    }
}

/// The address of the archive that the host's Debian packages come from.
fn archive() -> Result<String> {
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"]);
    let uris = process::output(&mut targets).unwrap_or_default();
    let uri = uris.lines().next().context("apt knows no archive of Debian; see `apt-get indextargets`")?;
    Ok(uri.to_owned())
}
