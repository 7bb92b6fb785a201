//! Puts the files of a package below a folder, with the paths that they have on a host.

use std::{
    collections::BTreeSet,
    fs::{self, File, FileTimes},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};

use super::{quietly, write};
use crate::process;

/// Shells, each with the path of the completion file for `supervisor`.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/supervisor"),
    ("zsh", "usr/share/zsh/vendor-completions/_supervisor"),
    ("fish", "usr/share/fish/vendor_completions.d/supervisor.fish"),
];
/// Puts all files below a folder, with the paths that they have on a host. `host` is a program that runs here and
/// writes the texts. `binary` is the packaged program.
pub(super) fn fill(stage: &Path, host: &Path, binary: &Path, copyright: &str) -> Result<()> {
    fs::create_dir_all(stage)?;
    let mut install = Command::new(host);
    install.args(["install", "--systemd", "--prefix", "/usr", "--root"]).arg(stage);
    quietly(&mut install)?;
    fs::copy(binary, stage.join("usr/bin/supervisor"))
        .with_context(|| format!("cannot copy {}", binary.display()))?;
    // `/etc` is only for the administrator's own units.
    let units = stage.join("usr/lib/systemd");
    fs::create_dir_all(&units)?;
    fs::rename(stage.join("etc/systemd/system"), units.join("system"))?;
    fs::remove_dir(stage.join("etc/systemd"))?;
    let man = stage.join("usr/share/man/man1");
    fs::create_dir_all(&man)?;
    quietly(Command::new(host).arg("man").arg("--dir").arg(&man))?;
    for page in fs::read_dir(&man)? {
        quietly(Command::new("gzip").args(["-9", "--no-name"]).arg(page?.path()))?;
    }
    for (shell, place) in COMPLETIONS {
        let script = process::output(Command::new(host).args(["completions", shell]));
        write(&stage.join(place), &script.context("supervisor completions fails")?)?;
    }
    let doc = stage.join("usr/share/doc/supervisor");
    fs::create_dir_all(&doc)?;
    let tree = process::workspace();
    for name in ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"] {
        fs::copy(tree.join(name), doc.join(name)).with_context(|| format!("cannot copy {name}"))?;
    }
    write(&doc.join("copyright"), copyright)
}

/// Gives each file and folder this modification time, in seconds since 1970.
pub(super) fn date(stage: &Path, epoch: u64) -> Result<()> {
    let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(epoch));
    for name in files(stage)? {
        let mut place = stage.join(name);
        while place.starts_with(stage) {
            File::open(&place)?
                .set_times(times)
                .with_context(|| format!("cannot date {}", place.display()))?;
            place.pop();
        }
    }
    Ok(())
}

/// All files below a folder, by their paths relative to it.
pub(super) fn files(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            } else {
                files.insert(entry.path().strip_prefix(root)?.to_path_buf());
            }
        }
    }
    Ok(files)
}
