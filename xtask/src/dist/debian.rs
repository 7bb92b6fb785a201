//! Makes the Debian package.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::{CONFIGURATION, DESCRIPTION, SUMMARY, VERSION, quietly, write};
use crate::{arch::Arch, process};

/// The package starts nothing: the configuration of the agent says what the agent does.
const POSTINST: &str = "#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
";
const PRERM: &str = "#!/bin/sh
set -e
if [ \"$1\" = remove ] && [ -d /run/systemd/system ]; then systemctl disable --now supervisor.service || true; fi
";
const POSTRM: &str = "#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
if [ \"$1\" = purge ]; then rm -rf /var/lib/supervisor; rmdir /etc/supervisor 2>/dev/null || true; fi
";

/// Makes the Debian package if there is `dpkg-deb`.
pub(super) fn package(dist: &Path, stage: &Path, arch: Arch, epoch: u64) -> Result<Option<PathBuf>> {
    if process::output(Command::new("dpkg-deb").arg("--version")).is_none() {
        eprintln!("WARNING: there is no dpkg-deb, the Debian package is LEFT OUT");
        return Ok(None);
    }
    let architecture = arch.debian();
    let root = dist.join("deb");
    quietly(Command::new("cp").arg("-a").arg(stage).arg(&root))?;
    let size =
        process::output(Command::new("du").args(["-sk", "--apparent-size"]).arg(&root)).unwrap_or_default();
    let size = size.split_whitespace().next().unwrap_or("0").to_owned();
    let control = format!(
        "Package: supervisor
Version: {VERSION}
Architecture: {architecture}
Maintainer: The authors of supervisor <supervisor@example.invalid>
Installed-Size: {size}
Section: admin
Priority: optional
Description: {SUMMARY}
 {}
",
        DESCRIPTION.trim_end().replace('\n', "\n ")
    );
    let debian = root.join("DEBIAN");
    write(&debian.join("control"), &control)?;
    write(&debian.join("conffiles"), &format!("{CONFIGURATION}\n"))?;
    for (name, script) in [("postinst", POSTINST), ("prerm", PRERM), ("postrm", POSTRM)] {
        write(&debian.join(name), script)?;
        quietly(Command::new("chmod").arg("755").arg(debian.join(name)))?;
    }
    let file = dist.join(format!("supervisor_{VERSION}_{architecture}.deb"));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "--build"]).arg(&root).arg(&file);
    quietly(build.env("SOURCE_DATE_EPOCH", epoch.to_string()))?;
    fs::remove_dir_all(&root)?;
    Ok(Some(file))
}
