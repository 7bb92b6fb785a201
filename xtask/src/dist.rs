//! What is given away: a tarball, a Debian and an RPM package, with the licences of all that is in them, and checksums.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{binary, plan::PACKAGERS, process, setup};

/// The package is for these, in Debian's word.
const ARCHITECTURE: &str = "amd64";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const SUMMARY: &str = "finds processes that have exited and were not reaped";
const DESCRIPTION: &str = "\
It traces the life of processes by eBPF, and says of each one that is left why,
who must reap it, which container runtime and monitor it comes from, and what
it blocks. One statically linked program; a watch, an agent for a SIEM.
";
/// What an administrator may change; a package leaves it as it is.
const CONFIGURATION: &str = "/etc/supervisor/supervisor.toml";
/// Shells with their folders, and what a file for `supervisor` is called there.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/supervisor"),
    ("zsh", "usr/share/zsh/vendor-completions/_supervisor"),
    ("fish", "usr/share/fish/vendor_completions.d/supervisor.fish"),
];
/// Nothing is started by the package: what the agent is to do stands in its configuration.
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

/// Makes everything in `dist` below cargo's target directory.
pub(crate) fn run() -> Result<()> {
    ensure!(cfg!(target_arch = "x86_64"), "packages are made on x86-64");
    setup::ensure(&[&PACKAGERS])?;
    let binary = binary::build()?;
    let dist = process::target_dir()?.join("dist");
    if dist.exists() {
        fs::remove_dir_all(&dist)?;
    }
    let stage = dist.join(format!("supervisor-{VERSION}"));
    fill(&stage, &binary)?;

    let mut files = vec![tarball(&dist, &stage)?];
    files.extend(debian(&dist, &stage)?);
    files.extend(rpm(&dist, &stage)?);
    let bill = dist.join("supervisor.cdx.json");
    fs::write(&bill, bill_of_materials(&crates()?))?;
    files.push(bill);
    let names = files.iter().filter_map(|file| file.file_name());
    let sums = process::output(Command::new("sha256sum").args(names).current_dir(&dist));
    fs::write(dist.join("SHA256SUMS"), sums.context("sha256sum fails")?)?;
    for file in &files {
        println!("{} ({} KB)", file.display(), fs::metadata(file)?.len() / 1000);
    }
    println!("{}", dist.join("SHA256SUMS").display());
    Ok(())
}

/// Puts all files below a folder, where a host has them.
fn fill(stage: &Path, binary: &Path) -> Result<()> {
    fs::create_dir_all(stage)?;
    let mut install = Command::new(binary);
    install.args(["install", "--systemd", "--prefix", "/usr", "--root"]).arg(stage);
    quietly(&mut install)?;
    // `/etc` is for the administrator's own units.
    let units = stage.join("usr/lib/systemd");
    fs::create_dir_all(&units)?;
    fs::rename(stage.join("etc/systemd/system"), units.join("system"))?;
    fs::remove_dir(stage.join("etc/systemd"))?;
    let man = stage.join("usr/share/man/man1");
    fs::create_dir_all(&man)?;
    quietly(Command::new(binary).arg("man").arg("--dir").arg(&man))?;
    for page in fs::read_dir(&man)? {
        quietly(Command::new("gzip").args(["-9", "--no-name"]).arg(page?.path()))?;
    }
    for (shell, place) in COMPLETIONS {
        let script = process::output(Command::new(binary).args(["completions", shell]));
        write(&stage.join(place), &script.context("supervisor completions fails")?)?;
    }
    let doc = stage.join("usr/share/doc/supervisor");
    fs::create_dir_all(&doc)?;
    let tree = process::workspace();
    for name in ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"] {
        fs::copy(tree.join(name), doc.join(name)).with_context(|| format!("cannot copy {name}"))?;
    }
    write(&doc.join("copyright"), &copyright(&crates()?))
}

fn tarball(dist: &Path, stage: &Path) -> Result<PathBuf> {
    let file = dist.join(format!("supervisor-{VERSION}-x86_64-linux.tar.gz"));
    let name = stage.file_name().context("the stage has a name")?;
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "-czf"]).arg(&file);
    quietly(tar.arg("-C").arg(dist).arg(name))?;
    Ok(file)
}

/// The Debian package, where there is `dpkg-deb`.
fn debian(dist: &Path, stage: &Path) -> Result<Option<PathBuf>> {
    if process::output(Command::new("dpkg-deb").arg("--version")).is_none() {
        eprintln!("WARNING: there is no dpkg-deb, the Debian package is LEFT OUT");
        return Ok(None);
    }
    let root = dist.join("deb");
    quietly(Command::new("cp").arg("-a").arg(stage).arg(&root))?;
    let size = process::output(Command::new("du").args(["-sk"]).arg(&root)).unwrap_or_default();
    let size = size.split_whitespace().next().unwrap_or("0").to_owned();
    let control = format!(
        "Package: supervisor
Version: {VERSION}
Architecture: {ARCHITECTURE}
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
    let file = dist.join(format!("supervisor_{VERSION}_{ARCHITECTURE}.deb"));
    quietly(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&root).arg(&file))?;
    fs::remove_dir_all(&root)?;
    Ok(Some(file))
}

/// The RPM package, where there is `rpmbuild`. Its scripts do what the Debian package's do, but RPM knows no
/// purge: what the agent has stored stays.
fn rpm(dist: &Path, stage: &Path) -> Result<Option<PathBuf>> {
    if process::output(Command::new("rpmbuild").arg("--version")).is_none() {
        eprintln!("WARNING: there is no rpmbuild, the RPM package is LEFT OUT");
        return Ok(None);
    }
    let place = dist.join("rpm");
    let mut files = String::new();
    for file in files_of(stage)? {
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
        stage.display()
    );
    let spec_file = place.join("supervisor.spec");
    write(&spec_file, &spec)?;
    let name = format!("supervisor-{VERSION}-1.x86_64.rpm");
    let mut build = Command::new("rpmbuild");
    build.args(["-bb", "--target", "x86_64"]);
    for define in [
        format!("_topdir {}", place.display()),
        format!("_rpmdir {}", dist.display()),
        format!("_build_name_fmt {name}"),
        // The program is as it was tested: nothing strips or changes it.
        "__os_install_post %{nil}".to_owned(),
        "debug_package %{nil}".to_owned(),
        "_build_id_links none".to_owned(),
    ] {
        build.args(["--define", &define]);
    }
    quietly(build.arg(&spec_file))?;
    fs::remove_dir_all(&place)?;
    Ok(Some(dist.join(name)))
}

/// All files below a folder, by their names from there.
fn files_of(root: &Path) -> Result<BTreeSet<PathBuf>> {
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

/// A crate that is linked in.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Linked {
    name: String,
    version: String,
    licence: String,
}

/// All crates that the program is made of, but for this workspace's own.
fn crates() -> Result<BTreeSet<Linked>> {
    let mut cargo = process::cargo();
    cargo.args(["tree", "--locked", "--package", "supervisor-user", "--edges", "normal", "--prefix", "none"]);
    cargo.args(["--target", &binary::host()?, "--format", "{p}|{l}"]);
    let tree = process::output(cargo.stderr(Stdio::inherit())).context("cargo tree fails")?;
    Ok(tree.lines().filter_map(parse_crate).collect())
}

/// Reads a line of `cargo tree`, such as `libc v0.2.180|MIT OR Apache-2.0`. A crate of this workspace has its folder there.
fn parse_crate(line: &str) -> Option<Linked> {
    let (package, licence) = line.trim_end_matches(" (*)").split_once('|')?;
    let mut words = package.split(' ');
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    if words.any(|word| word.starts_with("(/")) {
        return None;
    }
    Some(Linked { name: name.to_owned(), version: version.to_owned(), licence: licence.to_owned() })
}

fn copyright(crates: &BTreeSet<Linked>) -> String {
    let mut text = "supervisor is licensed under MIT or Apache-2.0, at your choice; its eBPF programs also under GPL-2.0.\n\
                    Linked into it are, each under its own licence:\n\n"
        .to_owned();
    for Linked { name, version, licence } in crates {
        let _infallible = writeln!(text, "{name} {version}: {licence}");
    }
    text.push_str(
        "\nand the GNU C library (LGPL-2.1 or later) and libgcc (GPL-3.0 with the runtime exception).\n",
    );
    text
}

/// The same for programs, as `CycloneDX` 1.6.
fn bill_of_materials(crates: &BTreeSet<Linked>) -> String {
    let component = |it: &Linked| {
        format!(
            "    {{\"type\": \"library\", \"name\": {:?}, \"version\": {:?}, \"purl\": \"pkg:cargo/{}@{}\", \
             \"licenses\": [{{\"expression\": {:?}}}]}}",
            it.name, it.version, it.name, it.version, it.licence
        )
    };
    let components: Vec<String> = crates.iter().map(component).collect();
    format!(
        "{{\n  \"bomFormat\": \"CycloneDX\",\n  \"specVersion\": \"1.6\",\n  \"version\": 1,\n  \"metadata\": {{\"component\": \
         {{\"type\": \"application\", \"name\": \"supervisor\", \"version\": {VERSION:?}}}}},\n  \"components\": [\n{}\n  ]\n}}\n",
        components.join(",\n")
    )
}

fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Runs a command that says nothing if it goes well.
fn quietly(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} fails: {}", said.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_listed_with_their_licences_but_not_our_own() {
        let libc = Linked {
            name: "libc".to_owned(),
            version: "0.2.180".to_owned(),
            licence: "MIT OR Apache-2.0".to_owned(),
        };
        assert_eq!(parse_crate("libc v0.2.180|MIT OR Apache-2.0"), Some(libc));
        assert_eq!(parse_crate("supervisor-ebpf v0.1.0 (/a/supervisor-ebpf)|MIT"), None);
        assert_eq!(parse_crate(""), None);
        let proc_macro = parse_crate("serde_derive v1.0.1 (proc-macro)|MIT (*)").map(|it| it.licence);
        assert_eq!(proc_macro.as_deref(), Some("MIT"));
    }
}
