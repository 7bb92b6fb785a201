//! Makes the OCI image index: deploy/Containerfile with the program of each architecture.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{VERSION, quietly};
use crate::{arch::Arch, process};

/// If there is podman, makes one archive with an image for each of these programs. The build needs no network, because
/// the image begins empty.
pub(super) fn index(dist: &Path, programs: &[(Arch, PathBuf)], epoch: u64) -> Result<Option<PathBuf>> {
    if process::output(Command::new("podman").arg("--version")).is_none() {
        eprintln!("WARNING: there is no podman, the OCI image index is LEFT OUT");
        return Ok(None);
    }
    // The build has its own storage, so nothing stays among the user's images.
    let storage = dist.join("storage");
    let file = dist.join(format!("supervisor-{VERSION}.oci.tar"));
    let made = build(&storage, programs, epoch, &file);
    // If podman runs without root, the layers belong to other users. podman's own command can remove them.
    let reset = podman(&storage).args(["system", "reset", "--force"]).output();
    if !reset.is_ok_and(|it| it.status.success()) {
        bail!("podman cannot remove {}: remove it by hand", storage.display());
    }
    made.map(|()| Some(file))
}

fn build(storage: &Path, programs: &[(Arch, PathBuf)], epoch: u64, file: &Path) -> Result<()> {
    let list = format!("localhost/supervisor:{VERSION}");
    quietly(podman(storage).args(["manifest", "create", &list]))?;
    for (arch, program) in programs {
        let place = program.parent().context("a program lies in a folder")?;
        let mut build = podman(storage);
        build.args(["build", "--quiet", "--layers=false", "--format=oci", "--manifest", &list]);
        build.args(["--platform", &format!("linux/{}", arch.debian()), "--timestamp", &epoch.to_string()]);
        build.args(["--label", &format!("org.opencontainers.image.version={VERSION}")]);
        quietly(build.arg("--file").arg(process::workspace().join("deploy/Containerfile")).arg(place))?;
    }
    if fs::exists(file)? {
        fs::remove_file(file)?;
    }
    let mut push = podman(storage);
    push.args(["manifest", "push", "--quiet", "--all", &list]).arg(format!("oci-archive:{}", file.display()));
    quietly(&mut push)
}

fn podman(storage: &Path) -> Command {
    let mut podman = Command::new("podman");
    process::without_cargo_run(&mut podman);
    podman.arg("--root").arg(storage.join("root")).arg("--runroot").arg(storage.join("run"));
    podman.args(["--storage-driver", "vfs"]);
    podman
}
