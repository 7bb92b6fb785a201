//! Makes the RPM package.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::{CONFIGURATION, DESCRIPTION, SUMMARY, VERSION, quietly, stage, write};
use crate::{arch::Arch, process};

/// Makes the RPM package if there is `rpmbuild`. Its scripts do the same as those of the Debian package. But RPM has no
/// purge, so the stored files of the agent stay.
pub(super) fn package(dist: &Path, root: &Path, arch: Arch, epoch: u64) -> Result<Option<PathBuf>> {
    if process::output(Command::new("rpmbuild").arg("--version")).is_none() {
        eprintln!("WARNING: there is no rpmbuild, the RPM package is LEFT OUT");
        return Ok(None);
    }
    let place = dist.join("rpm");
    let mut files = String::new();
    for file in stage::files(root)? {
        let name = Path::new("/").join(file);
        let kind = if name == Path::new(CONFIGURATION) { "%config(noreplace) " } else { "" };
        writeln!(files, "{kind}{}", name.display())?;
    }
    let spec = format!(
        "Name: supervisor
Version: {VERSION}
Release: 1
Summary: {SUMMARY}
License: (MIT OR Apache-2.0) AND GPL-2.0-only
AutoReqProv: no
%description
{DESCRIPTION}
%install
cp -a {}/. %{{buildroot}}/
%files
%defattr(-,root,root)
%dir /etc/supervisor
%dir /usr/share/doc/supervisor
{files}
%post
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
%preun
if [ \"$1\" = 0 ] && [ -d /run/systemd/system ]; then systemctl disable --now supervisor.service || true; fi
%postun
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
",
        root.display()
    );
    let spec_file = place.join("supervisor.spec");
    write(&spec_file, &spec)?;
    let name = format!("supervisor-{VERSION}-1.{}.rpm", arch.name());
    let mut build = Command::new("rpmbuild");
    build.args(["-bb", "--target", arch.name()]).env("SOURCE_DATE_EPOCH", epoch.to_string());
    for define in [
        format!("_topdir {}", place.display()),
        format!("_rpmdir {}", dist.display()),
        format!("_build_name_fmt {name}"),
        // The packaged program must be the tested program, so nothing may strip or change it.
        "__os_install_post %{nil}".to_owned(),
        "debug_package %{nil}".to_owned(),
        "_build_id_links none".to_owned(),
        "_buildhost reproducible".to_owned(),
        "use_source_date_epoch_as_buildtime 1".to_owned(),
        "clamp_mtime_to_source_date_epoch 1".to_owned(),
    ] {
        build.args(["--define", &define]);
    }
    quietly(build.arg(&spec_file))?;
    fs::remove_dir_all(&place)?;
    Ok(Some(dist.join(name)))
}
